"""Make the pages of the notebooks, with what they print and draw: ``make notebooks``, or ``python docs/make_notebooks.py 01``.

jupytext reads a script, nbclient runs it, what came out becomes cells of words behind those of code, and jupytext writes all
of it as Markdown. So a page is itself a notebook that jupytext reads, and no format is ours; nbconvert would indent outputs
where pages have fences, and knows nothing of figures that a cell has written to files. A line that is the path of a figure
becomes the figure; what goes to stderr, such as progress bars, is left out. Numbers repeat on one machine, seconds do not.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "notebooks"
PAGES = ROOT / "docs" / "notebooks"

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^()\s]+)(?=\))")
_SECONDS = 1800  # for a cell: that of a busy machine
_PLAIN = {"jupytext": {"notebook_metadata_filter": "-all", "cell_metadata_filter": "-all"}}  # neither header nor tags


def scripts(*beginnings: str) -> list[Path]:
    """Return the scripts whose names begin so, or all of them."""
    return [path for path in sorted(SCRIPTS.glob("*.py")) if path.name.startswith(beginnings or "")]


def page_of(script: Path) -> Path:
    """Return where the page of a script lies."""
    return PAGES / f"{script.stem}.md"


def cells_of(script: Path) -> Any:
    """Read a script as a notebook whose links lead to the same places from where its page is.

    Args:
        script: In the percent format.

    Returns:
        The notebook, not run.
    """
    import jupytext

    notebook = jupytext.read(script)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(_moved, cell.source)
    return notebook


def _moved(link: re.Match[str]) -> str:
    target, _, anchor = link[1].partition("#")
    place = (SCRIPTS / target).resolve()
    place = page_of(place) if place.parent == SCRIPTS and place.suffix == ".py" else place
    return os.path.relpath(place, PAGES) + ("#" + anchor if anchor else "")


def make_page(script: Path) -> Path:
    """Run a script in an empty folder, and write its page and figures.

    Args:
        script: In the percent format. A cell that fails raises, and nothing is written.

    Returns:
        The page.
    """
    import jupytext
    from nbclient import NotebookClient
    from nbformat.v4 import new_markdown_cell

    notebook, images = cells_of(script), PAGES / "images" / script.stem
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=_SECONDS, resources={"metadata": {"path": folder}}).execute()
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        for cell in notebook.cells:
            shown = "\n\n".join(_shown(_printed(cell), Path(folder), images))
            cells += [cell, new_markdown_cell(shown)] if shown else [cell]
    link = f"*Made from [{script.name}]({os.path.relpath(script, PAGES)}), which runs from top to bottom.*"
    notebook.cells = [cells[0], new_markdown_cell(link), *cells[1:]]
    notebook.metadata = _PLAIN
    page_of(script).write_text(jupytext.writes(notebook, fmt="md").rstrip("\n") + "\n", encoding="utf-8")
    return page_of(script)


def _printed(cell: Any) -> list[str]:
    streams = [output for output in cell.get("outputs", []) if output.output_type == "stream" and output.name == "stdout"]
    return "".join(output.text for output in streams).splitlines()


def _shown(lines: list[str], folder: Path, images: Path) -> Iterator[str]:
    """Yield what was printed, in fences, and figures where their paths were printed."""
    for is_figure, some in groupby(lines, lambda line: line.endswith(".png") and (folder / line).is_file()):
        if is_figure:
            for line in some:
                copy = Path(shutil.copy(folder / line, images))
                yield f"![{copy.stem.replace('-', ' ')}]({copy.relative_to(PAGES)})"
        elif text := "\n".join(some).strip("\n"):
            yield f"```text\n{text}\n```"


def main(beginnings: list[str]) -> None:
    """Make the pages of some scripts, or of all."""
    for script in scripts(*beginnings):
        sys.stdout.write(f"{make_page(script).relative_to(ROOT)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
