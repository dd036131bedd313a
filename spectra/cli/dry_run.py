"""``spectra analyze --dry-run``: what would be analysed, from headers alone, and how long this machine would take."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from spectra.cli.console import console
from spectra.results.words import counted

if TYPE_CHECKING:
    from spectra.diagnose.plan import AnalysisPlan
    from spectra.diagnose.projection import Projection
    from spectra.results.settings import SettingsChanges

_GIGA = 1e9
_WORTH_SAYING = 1.25  # times longer


@dataclass(frozen=True)
class Where:
    """What the analysis would run on.

    Attributes:
        device: As ``spectra.analyze`` takes it.
        workers: Likewise.
        max_memory: Likewise.
    """

    device: str
    workers: int | Literal["auto"]
    max_memory: str | None


@dataclass(frozen=True)
class _Outlook:
    """What an analysis would need.

    Attributes:
        workers: Number of workers.
        budget: Bytes that layers in flight may take together; ``None`` on a GPU.
        too_large: Names of matrices that do not fit by themselves.
        refusal: What the analysis would say of them; empty if it would run.
        projection: Memory and time; ``None`` where the analysis would be refused, or its time is not known.
    """

    workers: int
    budget: int | None
    too_large: tuple[str, ...]
    refusal: str
    projection: Projection | None


def dry_run(
    model: str,
    profile: str,
    settings: dict[str, Any],
    *,
    base: str | None,
    shard: str | None,
    where: Where,
    as_json: bool,
    no_color: bool,
) -> int:
    """Print the plan of an analysis.

    Args:
        model: As ``spectra analyze`` takes it.
        profile: Name of a profile.
        settings: Changes to it, as ``spectra.analyze`` takes them.
        base: Base model, or ``None``.
        shard: Which part, or ``None`` for all layers.
        where: What it would run on.
        as_json: Print JSON.
        no_color: Print without colour.

    Returns:
        The exit code 0, even if the analysis would be refused for its memory: what was asked for is the plan.
    """
    from spectra.diagnose.plan import plan_analysis
    from spectra.diagnose.profiles import resolve_settings
    from spectra.diagnose.shards import part_of
    from spectra.results.shards import Shard
    from spectra.sources import open_source

    resolved = resolve_settings(profile, **cast("SettingsChanges", settings))
    source = open_source(model, base=base, lora=resolved.lora)
    plan = plan_analysis(source, resolved)
    plan = plan if shard is None else part_of(plan, Shard.parse(shard))
    outlook = _outlook(plan, model, where)
    if as_json:
        print(json.dumps(_as_dict(plan, outlook), indent=1))
    else:
        _print_table(source.name, plan, outlook, no_color=no_color)
    return 0


def _outlook(plan: AnalysisPlan, model: str, where: Where) -> _Outlook:
    from spectra.diagnose.crew import budget_at
    from spectra.diagnose.engines.devices import resolve_devices, seats_at
    from spectra.diagnose.machine_rates import measure_rates
    from spectra.diagnose.memory_need import remedy_of
    from spectra.diagnose.projection import can_be_projected, project
    from spectra.diagnose.within_memory import in_words_too_large, too_large

    seats = seats_at(resolve_devices(where.device, model, plan.settings.precision), where.workers)
    workers, budget = len(seats), budget_at(seats, where.max_memory)
    if budget is None:
        return _Outlook(workers, None, (), "", None)
    found = too_large(plan.jobs, plan.need, budget)
    projection = None
    if not found and can_be_projected(plan.settings):
        rates = measure_rates(plan.jobs, workers=workers, precision=plan.settings.precision, budget=budget)
        projection = project(plan, rates, workers=workers, budget=budget)
    names = tuple(job.matrix_name for _, job in found)
    words = in_words_too_large(found, budget, remedy=remedy_of(plan.settings)) if found else ""
    return _Outlook(workers, budget, names, words, projection)


def _as_dict(plan: AnalysisPlan, outlook: _Outlook) -> dict[str, Any]:
    layers = [
        {
            "layer_name": job.layer_name,
            "matrix_name": job.matrix_name,
            "kind": job.kind,
            "dtype": job.tensor.dtype,
            "num_rows": job.num_rows,
            "num_cols": job.num_cols,
            "num_matrices": job.num_matrices,
            "num_eigenvalues": job.num_eigenvalues,
            "flops": job.flops,
        }
        for job in plan.jobs
    ]
    projection = outlook.projection
    return {
        "layers": layers,
        "skipped": [dataclasses.asdict(tensor) for tensor in plan.skipped],
        "num_decompositions": sum(job.num_matrices for job in plan.jobs),
        "flops": plan.flops,
        "peak_bytes": projection.peak_bytes if projection else plan.peak_bytes(outlook.workers),
        "max_memory": outlook.budget,
        "too_large": outlook.too_large,
        "workers": outlook.workers,
        "seconds": round(projection.seconds, 3) if projection else None,
        "seconds_now": round(projection.seconds_now, 3) if projection else None,
    }


def _print_table(name: str, plan: AnalysisPlan, outlook: _Outlook, *, no_color: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console(no_color=no_color)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("layer", overflow="fold")
    for heading in ("kind", "dtype", "shape", "eigenvalues", "GFLOP"):
        table.add_column(heading, justify="left" if heading in ("kind", "dtype") else "right", no_wrap=True)
    for job in plan.jobs:
        shape = f"{job.num_rows}×{job.num_cols}"
        shape = f"{job.num_matrices}·{shape}" if job.num_matrices > 1 else shape
        cells = (job.kind, job.tensor.dtype, shape, str(job.num_eigenvalues), f"{job.flops / _GIGA:.3g}")
        table.add_row(Text(job.matrix_name), *cells)  # a text: brackets in a name are no markup
    out.print(f"Would analyse {counted(len(plan.jobs), 'layer')} of '{name}'\n", markup=False)
    out.print(table)
    if plan.skipped:
        out.print(f"\nWould skip {counted(len(plan.skipped), 'tensor')}:", markup=False)
        for tensor in plan.skipped:
            shape = "×".join(map(str, tensor.shape))
            out.print(f"  {tensor.name} ({shape}): {tensor.reason}", markup=False)
    out.print("\n" + _cost_in_words(plan, outlook), markup=False)


def _cost_in_words(plan: AnalysisPlan, outlook: _Outlook) -> str:
    from rich.filesize import decimal as in_words

    decompositions = sum(job.num_matrices for job in plan.jobs)
    projection = outlook.projection
    peak = projection.peak_bytes if projection else plan.peak_bytes(outlook.workers)
    lines = [
        f"{counted(decompositions, 'decomposition')}, {plan.flops / _GIGA:.3g} GFLOP; up to {in_words(peak)} in flight with "
        f"{counted(outlook.workers, 'worker')}"
    ]
    if projection:
        if projection.at_once < min(outlook.workers, len(plan.jobs)):
            lines[0] += f", {projection.at_once} at once: more would not fit into {in_words(outlook.budget or 0)}"
        without = f", without {', '.join(projection.not_counted)}" if projection.not_counted else ""
        slower = projection.seconds_now > _WORTH_SAYING * projection.seconds
        now = f"; {_duration(projection.seconds_now)} if other programs keep the cores as busy as now" if slower else ""
        lines.append(f"About {_duration(projection.seconds)} at the rates of this machine{without}{now}")
    elif outlook.refusal:
        lines.append(f"The analysis would be refused: {outlook.refusal}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
