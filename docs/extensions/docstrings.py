"""Docstrings without types in them, signatures of dataclasses and help texts, made ready for napoleon and Sphinx.

Napoleon takes what stands before a colon in "Returns:" or in the docstring of an attribute for a type; here it is a sentence.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docstrings import prepare_docstring
from sphinx.util.inspect import signature as signature_of
from sphinx.util.inspect import stringify_signature

FISHER = "spectra.fisher"  # a package that can be called: what is documented is the function behind it
NO_TYPE = ["..", ""]  # an empty comment: what napoleon looks for a type in


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, before napoleon."""
    app.connect("autodoc-process-docstring", _process_docstring, priority=100)
    app.connect("autodoc-process-signature", _process_signature)
    for part in ("description", "options", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _process_help)
    return {"parallel_read_safe": True}


def _process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if name == FISHER:
        lines[:] = prepare_docstring(_fisher().__doc__)
    prefix = NO_TYPE if what in ("attribute", "data", "property") else []
    lines[:] = prefix + plain_returns(lines)


def _process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    if name == FISHER:
        arguments, _, result = stringify_signature(signature_of(_fisher()), unqualified_typehints=True).rpartition(" -> ")
        return arguments, result
    # What a dataclass says of a default that is made anew is no Python, and Sphinx would cut the signature at every comma.
    return (signature.replace("<factory>", "...") if signature else signature), returned


def _process_help(app: Sphinx, context: Any, lines: list[str]) -> None:
    # Help texts are for a terminal: a star is a star, an underscore ends a word, and lines set by hand (click's \b) stay so.
    done: list[str] = []
    for by_hand, group in groupby(lines, key=lambda line: line.startswith("| ")):
        if by_hand:
            done += ["", "::", "", *(f"    {line[2:]}" for line in group), ""]
        else:
            done += map(_escaped, group)
    lines[:] = done


def _escaped(line: str) -> str:
    return line if line.lstrip().startswith("..") else re.sub(r"\*|(?<=\w)_(?!\w)", r"\\\g<0>", line)


def _fisher() -> Any:
    from spectra.fisher.estimate import fisher

    return fisher


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
