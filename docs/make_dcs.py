"""Make the table and the figure of docs/dcs.md: ``python docs/make_dcs.py``, from a checkout.

The table stands between markers, ``<!-- table options -->`` and ``<!-- end -->``; a test keeps it up to date. The figure is
drawn anew with ``--figures``, from the history that the page's own loop saves, which takes some seconds and scikit-learn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.readme_tables import remade

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
PAGE = FOLDER / "dcs.md"


def text(page: str) -> str:
    """Return a page with its tables made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    return remade(page, TABLES)


def options() -> str:
    """Return the table of the options of DCS."""
    from spectra.training.dcs.config import DCSConfig

    heads = "| option | default | meaning |\n| --- | --- | --- |\n"
    rows = [f"| `{f.name}` | {_value(f.default)} | {f.metadata['meaning']} |\n" for f in dataclasses.fields(DCSConfig)]
    return heads + "".join(rows)


TABLES: dict[str, Callable[[], str]] = {"options": options}


def sample_weights() -> Figure:
    """Run the page's loop over digits, and draw the history that it saves."""
    from spectra.report.figures import sample_weights as draw
    from spectra.results.sample_history import load_sample_history

    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index("### In a loop of your own"), page.index("$ spectra plot digits.safetensors")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", page[start:end], re.MULTILINE | re.DOTALL))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("loop.py").write_text(program, encoding="utf-8")
        runpy.run_path("loop.py")
        return draw(load_sample_history("digits.safetensors"), wide=True)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if "--figures" in sys.argv:
        from spectra.report.figures import write

        write(sample_weights(), FOLDER / "images", "sample-weights", ["png"])
