"""READMEs of the studies, the changelog and the guide for contributors become pages, and links to them stay within the site.

Pages are written for GitHub, too: a link such as ``../analysis/fit_quality`` leads to a folder there, and to the page made from
its README here. The copies in ``docs/studies`` and ``docs/project`` are not kept under version control.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^()#\s]*)(#[^()\s]*)?(?=\))")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^()\s]+)\)")
CODE = re.compile(r"(^(```+|~~~+).*?^\2\s*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", lambda app: copy_pages())
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}


def copied_pages() -> dict[Path, str]:
    """Return where in the repository pages come from, and what they are called here."""
    studies = {path: f"studies/{path.parent.name}" for path in sorted((ROOT / "analysis").glob("*/README.md"))}
    return studies | {ROOT / "CHANGELOG.md": "project/changelog", ROOT / "CONTRIBUTING.md": "project/contributing"}


def copy_pages() -> None:
    """Write the copies, those only that have changed, and remove what has no origin any more."""
    written = set()
    for origin, page in copied_pages().items():
        copy = DOCS / f"{page}.md"
        copy.parent.mkdir(exist_ok=True)
        text = with_links(without_lost_images(origin), origin.parent, copy.parent)
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")
        written.add(copy)
    for copy in {*(DOCS / "studies").glob("*.md"), *(DOCS / "project").glob("*.md")} - written:
        copy.unlink()


def without_lost_images(origin: Path) -> str:
    """Return the text of a file; a figure that is not drawn yet, as of a study that is under way, is words only."""
    text = origin.read_text(encoding="utf-8")
    return IMAGE.sub(lambda found: found[0] if (origin.parent / found[2]).exists() else f"*Not drawn yet: {found[1]}*", text)


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Rewrite the links of a page to what has a page of its own."""
    folder = (DOCS / page).parent
    source[0] = with_links(source[0], folder, folder)


def with_links(text: str, origin: Path, folder: Path) -> str:
    """Rewrite the links of a text that moves from one folder to another; code stays as it is.

    Args:
        text: Markdown.
        origin: The folder that its links are relative to.
        folder: The one they are to be relative to.

    Returns:
        The text; links to folders without a page are text only.
    """
    parts = CODE.split(text)
    # Of the two groups of CODE the first is all of the code, the second only its fence.
    prose = [LINK.sub(lambda found: _target(found, origin, folder), part) for part in parts[::3]]
    codes = parts[1::3]
    return "".join(piece for pair in zip(prose, [*codes, ""], strict=True) for piece in pair)


def _target(found: re.Match[str], origin: Path, folder: Path) -> str:
    path, anchor = (origin / found[1]).resolve(), found[2] or ""
    if path == DOCS or path == ROOT / "notebooks" or path == ROOT / "README.md":
        path, anchor = DOCS / ("tutorials.md" if path.name == "notebooks" else "index.md"), ""
    pages = copied_pages()
    page = pages.get(path) or pages.get(path / "README.md")
    if page is not None:
        path = DOCS / f"{page}.md"
    return os.path.relpath(path, folder) + anchor
