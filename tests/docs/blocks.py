"""The fenced blocks of the pages, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE_ELSEWHERE = ("_build", "notebooks", "project", "studies")  # by the site, and from scripts that have tests of their own
PAGES = [
    "README.md",
    *sorted(
        str(page.relative_to(ROOT))
        for page in (ROOT / "docs").rglob("*.md")
        if page.relative_to(ROOT / "docs").parts[0] not in MADE_ELSEWHERE
    ),
]
BLOCK = re.compile(r"^(?:<!-- not run: ([^\n]*) -->\n)?```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Where it stands.
        line: On which line its content begins, from 1.
        language: As the fence says.
        text: Its content.
        not_run: Why it is not run: the comment on the line before it. Empty if it is.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""

    def commands(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the words of each command, and the lines that are shown below it."""
        lines = re.sub(r"\s*\\\n\s*", " ", self.text).splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in pairwise([*starts, len(lines)]):
            yield shlex.split(lines[start], comments=True)[1:], lines[start + 1 : end]


def blocks_of(page: str) -> list[Block]:
    """Return all blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[2], found[3], found[1] or "")
        for found in BLOCK.finditer(text)
    ]


def blocks(page: str, language: str) -> list[str]:
    """Return the content of a page's blocks of a language."""
    return [block.text for block in blocks_of(page) if block.language == language]


def commands(page: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the commands of spectra on a page, run or not: its words without the first, and the lines shown below it."""
    for block in blocks_of(page):
        if block.language == "console":
            yield from ((words[1:], shown) for words, shown in block.commands() if words[0] == "spectra")
