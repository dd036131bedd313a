"""Make the table of docs/meta_peft.md: ``python docs/make_meta_peft.py``, from a checkout.

It stands between markers, ``<!-- table options -->`` and ``<!-- end -->``; a test keeps it up to date.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.readme_tables import remade, table

PAGE = Path(__file__).with_name("meta_peft.md")

_PAPER = "Block et al. (2025), arXiv 2410.22264"


def text(page: str) -> str:
    """Return a page with its tables made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    return remade(page, TABLES)


def options() -> str:
    """Return the table of the options of meta-PEFT."""
    from spectra.training.meta_peft.config import MetaPeftConfig

    rows = [
        (f"`{f.name}`", _value(f.default), f.metadata["meaning"], _source(f.metadata["source"]))
        for f in dataclasses.fields(MetaPeftConfig)
    ]
    return table(("option", "default", "meaning", "source"), rows) + "\n"


TABLES: dict[str, Callable[[], str]] = {"options": options}


def _value(value: Any) -> str:
    return "none" if value is None else f"`{value}`"


def _source(source: str) -> str:
    """Shorten what the page says above the table."""
    return source.replace(f"released code of {_PAPER}", "released code").replace(_PAPER, "paper")


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
