"""``spectra analyze --dry-run``: what would be analysed, from headers alone."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, cast

from spectra.cli.console import console
from spectra.results.words import counted

if TYPE_CHECKING:
    from spectra.diagnose.plan import AnalysisPlan
    from spectra.results.settings import SettingsChanges

_GIGA = 1e9


def dry_run(
    model: str,
    profile: str,
    settings: dict[str, Any],
    *,
    base: str | None,
    shard: str | None,
    device: str,
    workers: Any,
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
        device: Checked, and not used.
        workers: Number of workers, or ``"auto"``.
        as_json: Print JSON.
        no_color: Print without colour.

    Returns:
        The exit code 0.
    """
    from spectra.diagnose.engines.devices import resolve_devices, seats_at
    from spectra.diagnose.plan import plan_analysis
    from spectra.diagnose.profiles import resolve_settings
    from spectra.diagnose.shards import part_of
    from spectra.results.shards import Shard
    from spectra.sources import open_source

    resolved = resolve_settings(profile, **cast("SettingsChanges", settings))
    num_workers = len(seats_at(resolve_devices(device, model, resolved.precision), workers))
    source = open_source(model, base=base, lora=resolved.lora)
    plan = plan_analysis(source, resolved)
    plan = plan if shard is None else part_of(plan, Shard.parse(shard))
    if as_json:
        print(json.dumps(_as_dict(plan, num_workers), indent=1))
    else:
        _print_table(source.name, plan, num_workers, no_color=no_color)
    return 0


def _as_dict(plan: AnalysisPlan, workers: int) -> dict[str, Any]:
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
    return {
        "layers": layers,
        "skipped": [dataclasses.asdict(tensor) for tensor in plan.skipped],
        "num_decompositions": sum(job.num_matrices for job in plan.jobs),
        "flops": plan.flops,
        "peak_bytes": plan.peak_bytes(workers),
        "workers": workers,
    }


def _print_table(name: str, plan: AnalysisPlan, workers: int, *, no_color: bool) -> None:
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
    decompositions = sum(job.num_matrices for job in plan.jobs)
    out.print(
        f"\n{counted(decompositions, 'decomposition')}, {plan.flops / _GIGA:.3g} GFLOP; up to "
        f"{plan.peak_bytes(workers) / 2**20:.0f} MiB in flight with {counted(workers, 'worker')}",
        markup=False,
    )
