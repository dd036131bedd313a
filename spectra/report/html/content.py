"""Everything that the page is about, read from a result folder: the report, and a Fisher and plans that lie beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spectra.errors import SpectraError
from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan import Plan, load_plan
from spectra.results.comparison import Comparison
from spectra.results.comparison_store import load_comparison
from spectra.results.comparison_writing import CHANGES, COMPARISON
from spectra.results.fisher import Fisher
from spectra.results.fisher_store import load_fisher
from spectra.results.report import Report
from spectra.results.store import load
from spectra.results.writing import SPECTRA

_YAML = (".yaml", ".yml")
# At the start of a line of a plan in YAML; recipes and other settings have none of them.
_MARKS = ("policy:", "values:", "rates:")


@dataclass(frozen=True, kw_only=True)
class PageContent:
    """What the sections show.

    Attributes:
        report: The analysis.
        before: One of the same model before it was trained, or ``None``.
        comparison: That lies in the same folder, or ``None``.
        fisher: Of the same model, or ``None``.
        plans: Of the same model, by the name of their file.
        notes: What lies in the folder and is not shown, and why.
    """

    report: Report
    before: Report | None = None
    comparison: Comparison | None = None
    fisher: Fisher | None = None
    plans: tuple[tuple[str, Plan | DropoutPlan], ...] = ()
    notes: tuple[str, ...] = ()


def read_content(
    folder: str | os.PathLike[str],
    *,
    fisher: str | os.PathLike[str] | None = None,
    plan: str | os.PathLike[str] | None = None,
) -> PageContent:
    """Read what the page shows.

    Args:
        folder: A result folder.
        fisher: Either file of a Fisher. ``None``: one that lies in the folder, the first by its name.
        plan: A plan. ``None``: those that lie in the folder.

    Returns:
        The content. What was found in the folder and cannot be read is a note; what was named and cannot is an error.

    Raises:
        ResultsError: No result folder, or a file that was named is missing or damaged.
    """
    path = Path(folder).expanduser()
    report = load(path)
    notes: list[str] = []
    found_fisher = load_fisher(fisher) if fisher is not None else _fisher_in(path, notes)
    plans = [(Path(plan).name, load_plan(plan))] if plan is not None else list(_plans_in(path, notes))
    compared = load_comparison(path) if (path / COMPARISON).is_file() else None
    return PageContent(report=report, comparison=compared, fisher=found_fisher, plans=tuple(plans), notes=tuple(notes))


def _fisher_in(folder: Path, notes: list[str]) -> Fisher | None:
    """Read the first Fisher of a folder: a .safetensors file, other than the spectra, with its .json beside it."""
    found = [file for file in sorted(folder.glob("*.safetensors")) if file.name not in (SPECTRA, CHANGES)]
    for file in (file for file in found if file.with_suffix(".json").is_file()):
        try:
            return load_fisher(file)
        except SpectraError as error:
            notes.append(f"{file.name} is not shown: {error}")
    return None


def _plans_in(folder: Path, notes: list[str]) -> Iterator[tuple[str, Plan | DropoutPlan]]:
    for file in sorted(file for file in folder.iterdir() if file.suffix in _YAML):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.startswith(_MARKS) for line in lines):
                yield file.name, load_plan(file)
        except (OSError, SpectraError) as error:
            notes.append(f"{file.name} is not shown: {error}")
