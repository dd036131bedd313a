"""Docstrings without types in them, and signatures of dataclasses, made ready for napoleon and Sphinx.

Napoleon takes what stands before a colon in "Returns:" or in the docstring of an attribute for a type; here it is a sentence.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

NO_TYPE = ["..", ""]  # an empty comment: what napoleon looks for a type in


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, before napoleon."""
    app.connect("autodoc-process-docstring", _process_docstring, priority=100)
    app.connect("autodoc-process-signature", _process_signature)
    return {"parallel_read_safe": True}


def _process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    prefix = NO_TYPE if what in ("attribute", "data", "property") else []
    lines[:] = prefix + plain_returns(lines)


def _process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    # What a dataclass says of a default that is made anew is no Python, and Sphinx would cut the signature at every comma.
    return (signature.replace("<factory>", "...") if signature else signature), returned


def plain_returns(lines: list[str]) -> list[str]:
    """Write the sections "Returns:" and "Yields:" as the fields that napoleon would make of them, without a type.

    Args:
        lines: Of a docstring in Google style.

    Returns:
        The lines; the headings are part of those that follow them.
    """
    done: list[str] = []
    field = ""
    for line in lines:
        header = re.fullmatch(r"(Return|Yield)s:", line)
        if header:
            field = f":{header[1].lower()}s: "
        else:
            done.append(field + line.strip() if field else line)
            field = ""
    return done
