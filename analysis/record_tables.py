"""Tables in Markdown of what the docstring of a record says of its attributes, for pages that are made from the code."""

from __future__ import annotations

import inspect
import re
from typing import Any


def meanings(record: type[Any]) -> dict[str, str]:
    """Read what the docstring of a record says of its attributes, by name."""
    section = (inspect.getdoc(record) or "").split("Attributes:\n")[1].split("\n\n")[0]
    return dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE))


def in_markdown(meaning: str) -> str:
    """Write what is meant for Sphinx as Markdown, in one line that begins as a cell of a table does."""
    line = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", " ".join(meaning.split())).rstrip(".").replace("``", "`").replace("|", r"\|")
    return line if line[1:2].isupper() else line[:1].lower() + line[1:]
