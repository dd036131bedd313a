"""``spectra compare --dry-run``: what would be compared, from headers alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from spectra.cli.console import console
from spectra.errors import InputError
from spectra.results.words import counted

if TYPE_CHECKING:
    from spectra.cli.dry_run import Where
    from spectra.diagnose.compared_models import OpenedModels
    from spectra.matrices import WeightMatrices
    from spectra.results.settings import SettingsChanges


def compare_dry_run(
    models: Sequence[str],
    profile: str,
    settings: dict[str, Any],
    *,
    where: Where,
    directions: int,
    as_json: bool,
    no_color: bool,
) -> int:
    """Print what a comparison would do.

    Args:
        models: As ``spectra compare`` takes them, the base first.
        profile: Name of a profile.
        settings: Changes to it, as ``spectra.compare`` takes them.
        where: Where it would be done.
        directions: Size of the leading subspaces.
        as_json: Print JSON.
        no_color: Print without colour.

    Returns:
        The exit code 0.

    Raises:
        InputError: One of the models is a saved analysis.
    """
    from spectra.diagnose.compare_reports import is_report
    from spectra.diagnose.compared_models import open_models
    from spectra.diagnose.crew import budget_at
    from spectra.diagnose.engines.devices import resolve_devices, seats_at
    from spectra.diagnose.profiles import resolve_settings
    from spectra.diagnose.within_memory import in_words_too_large

    saved = [model for model in models if is_report(model)]
    if saved:
        raise InputError(f"'{saved[0]}' is a saved analysis, whose metrics are compared at once. Leave out --dry-run.")
    resolved = resolve_settings(profile, **cast("SettingsChanges", settings))
    seats = seats_at(resolve_devices(where.device, models[0], resolved.precision), where.workers)
    budget = budget_at(seats, where.max_memory)
    opened = open_models(models[0], models[1:], resolved, revision=False)
    found = _too_large(opened, directions, budget) if budget is not None else []
    if as_json:
        room = {"max_memory": budget, "too_large": [job.matrix_name for _, job in found]}
        print(json.dumps(_as_dict(opened) | room, indent=1))
    else:
        _print_table(opened, no_color=no_color)
        if found and budget is not None:
            words = f"The comparison would be refused: {in_words_too_large(found, budget)}"
            console(no_color=no_color).print(f"\n{words}", markup=False)
    return 0


def _too_large(opened: OpenedModels, directions: int, budget: int) -> list[tuple[int, WeightMatrices]]:
    from spectra.diagnose.comparison_memory import bytes_of_comparison
    from spectra.diagnose.within_memory import too_large

    settings = opened.plan.settings
    need = partial(bytes_of_comparison, others=opened.others, settings=settings, num_directions=directions)
    return too_large(opened.plan.jobs, need, budget)


def _as_dict(opened: OpenedModels) -> dict[str, Any]:
    rows = [
        {
            "layer_name": job.layer_name,
            "matrix_name": job.matrix_name,
            "kind": job.kind,
            "num_rows": job.num_rows,
            "num_cols": job.num_cols,
            "num_eigenvalues": job.num_eigenvalues,
            "models": _counterparts(opened, job.matrix_name),
        }
        for job in opened.plan.jobs
    ]
    return {
        "base": opened.base.location,
        "models": [{"name": o.info.name, "location": o.info.location, "notes": list(o.info.notes)} for o in opened.others],
        "layers": rows,
        "skipped": [tensor.to_dict() for tensor in opened.plan.skipped],
        "num_decompositions": _decompositions(opened),
    }


def _counterparts(opened: OpenedModels, matrix_name: str) -> list[str]:
    return [other.info.name for other in opened.others if matrix_name in other.changes or other.is_adapter]


def _decompositions(opened: OpenedModels) -> int:
    """Count the spectra: of the base, and of each model and its change; those of what turns out unchanged are not computed."""
    changes = [job.num_matrices for other in opened.others for job in opened.plan.jobs if job.matrix_name in other.changes]
    return sum(job.num_matrices for job in opened.plan.jobs) + 2 * sum(changes)


def _print_table(opened: OpenedModels, *, no_color: bool) -> None:
    from spectra.report.cells import name_cell, plain_table

    out = console(no_color=no_color)
    table = plain_table("matrix")
    for heading in ("kind", "shape", "models"):
        table.add_column(heading, justify="left" if heading == "kind" else "right", no_wrap=True)
    for job in opened.plan.jobs:
        found = len(_counterparts(opened, job.matrix_name))
        shape = f"{job.num_rows}×{job.num_cols}"
        cells = (job.kind, f"{job.num_matrices}·{shape}" if job.num_matrices > 1 else shape, f"{found}/{len(opened.others)}")
        table.add_row(name_cell(job.matrix_name, out.width), *cells)
    matrices = len(opened.plan.jobs)
    number = "1 matrix" if matrices == 1 else f"{matrices} matrices"
    out.print(f"Would compare {number} of '{opened.base.name}' with {counted(len(opened.others), 'model')}\n", markup=False)
    out.print(table)
    for other in opened.others:
        for note in other.info.notes:
            out.print(f"\n{other.info.name}: {note}", markup=False)
    out.print(f"\nAt most {counted(_decompositions(opened), 'decomposition')}; fewer, as what is equal has one", markup=False)
