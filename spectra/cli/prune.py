"""``spectra prune MODEL --plan PLAN -o FOLDER``: a checkpoint with the smallest weights of each layer set to zero."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.model_and_data import ModelAndData, ModelAndDataCommand, memory_in_words, prepare, with_model_and_data
from spectra.cli.progress import Advance, progress_bar
from spectra.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from spectra.policies.plan import Plan
    from spectra.training.pruning.outcome import PruneReport

METHODS = ("magnitude", "wanda")

_EXAMPLES = """\b
Examples:
  spectra plan ./llama --policy alphapruning --sparsity 0.5 -o plan.yaml
  spectra prune ./llama --plan plan.yaml -o llama-pruned
  spectra prune ./llama --plan plan.yaml --method wanda --data corpus.txt --samples 128 -o llama-wanda
  spectra prune demo --sparsity 0.5 --dry-run"""

_MAKE_ONE = "spectra plan MODEL --policy alphapruning --sparsity S -o plan.yaml"
_METHOD = (
    "Which weights go: the smallest of a layer (magnitude), or of each output, times the norm of their input on the texts of "
    "--data (wanda)."
)
_SPARSITY = "In place of a plan: the same share of all layers in blocks."
_INCLUDE = "With --sparsity: prune the layers whose name matches, in blocks or not; repeatable."
_EXCLUDE = "With --sparsity: leave out layers whose name matches; repeatable."


class _PruneCommand(ModelAndDataCommand):
    option_groups = {  # noqa: RUF012 - a constant
        **dict.fromkeys(ModelAndDataCommand.option_groups, "Texts, for --method wanda"),
        **dict.fromkeys(("plan", "sparsity", "method", "include", "exclude"), "Pruning"),
    }


@click.command(cls=_PruneCommand, epilog=_EXAMPLES)
@click.argument("model")
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="Sparsities by layer, from 'spectra plan'.")
@click.option("--sparsity", type=click.FloatRange(0, 1), metavar="S", help=_SPARSITY)
@click.option("--method", type=click.Choice(METHODS), default="magnitude", metavar="M", show_default=True, help=_METHOD)
@click.option("--include", multiple=True, metavar="GLOB", help=_INCLUDE)
@click.option("--exclude", multiple=True, metavar="GLOB", help=_EXCLUDE)
@partial(with_model_and_data, requires_data=False)  # only one of the methods reads texts
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FOLDER", help="The new checkpoint.")
@click.option("--force", is_flag=True, help="Replace a checkpoint that this command has written.")
@click.option("--dry-run", is_flag=True, help="Show how much of each layer would go, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, all layers.")
@click.option("--rows", type=click.IntRange(min=0), default=20, metavar="N", show_default=True, help="Layers shown.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no hints.")
@click.option("--no-color", is_flag=True, help="No colour; NO_COLOR does the same.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def prune(
    model: str,
    *,
    plan: Path | None,
    sparsity: float | None,
    method: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    output: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    rows: int,
    quiet: bool,
    no_color: bool,
    debug: bool,
    data: Path | None,
    **flags: Any,
) -> int:
    """Write a checkpoint with the smallest weights of its layers set to zero.

    MODEL is a folder with safetensors weights, or 'demo'; it is not changed. The new folder has the same files, dtypes and
    shards, and loads as the old one does.
    """
    if output is None and not dry_run:
        raise InputError("say where the pruned checkpoint goes: -o FOLDER. Or look first: --dry-run.")
    if (data is not None) != (method == "wanda"):
        raise InputError(
            "--method wanda needs texts: --data FILE." if data is None else "--data is for --method wanda. Leave it out."
        )
    sparsities = _sparsities(model, plan, sparsity, include, exclude)
    from spectra.training.pruning import preview_pruning, prune_checkpoint

    report = preview_pruning(model, sparsities, method=method)  # first, as what is refused is refused soon
    if output is not None and not dry_run:
        _check_room(model, output, force=force)
        with progress_bar("layers", hidden=quiet or not sys.stderr.isatty()) as advance, memory_in_words():
            names = [layer.layer_name for layer in report.layers]
            norms, notes = (None, ()) if data is None else _input_norms(model, names, ModelAndData(data=data, **flags), advance)
            report = prune_checkpoint(
                model,
                output,
                sparsities,
                method=method,
                input_norms=norms,
                notes=notes,
                force=force,
                progress=advance,
            )
    _print(report, as_json=as_json, rows=rows, no_color=no_color, is_done=not dry_run)
    if output is not None and not dry_run and not (quiet or as_json):
        print(f"Checkpoint in '{output}'. Next: spectra analyze {output}", file=sys.stderr)
    return 0


def _sparsities(
    model: str, plan: Path | None, sparsity: float | None, include: tuple[str, ...], exclude: tuple[str, ...]
) -> Plan | Mapping[str, float]:
    if (plan is None) == (sparsity is None):
        raise InputError("give either a plan (--plan FILE) or the same sparsity for all layers (--sparsity S).")
    if sparsity is not None:
        from spectra.training.pruning import uniform_sparsities

        return uniform_sparsities(model, sparsity, include=include, exclude=exclude)
    if include or exclude:
        raise InputError("--include and --exclude are for --sparsity. A plan names its layers: edit it.")
    from spectra.policies.plan import Plan, load_plan

    assert plan is not None
    loaded = load_plan(plan)
    if not isinstance(loaded, Plan):
        raise InputError(f"'{plan}' sets dropout, not sparsities. Make one for pruning: {_MAKE_ONE}")
    return loaded


def _check_room(model: str, output: Path, *, force: bool) -> None:
    """Refuse a place before a model has been loaded for it."""
    from spectra.sources import demo
    from spectra.training.pruning.folder import check_room

    source = demo.verified_folder() if model == demo.NAME else Path(model).expanduser()
    check_room(output.expanduser(), source, force=force)


def _input_norms(
    model: str, layers: list[str], flags: ModelAndData, advance: Advance
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Measure the inputs of layers, and say on which texts."""
    from spectra.training.pruning import input_norms

    prepared = prepare(model, flags)
    total = len(prepared.batches)
    norms = input_norms(
        prepared.model, prepared.batches, layers, progress=lambda done: advance(done, total, "batches of texts")
    )
    return norms, prepared.notes[-1:]  # those before it are of the head, whose outputs nobody looks at


def _print(report: PruneReport, *, as_json: bool, rows: int, no_color: bool, is_done: bool) -> None:
    if as_json:
        import json

        print(json.dumps(report.to_dict(), indent=1, allow_nan=False))
        return
    from rich.table import Table
    from rich.text import Text

    from spectra.cli.console import console

    out = console(no_color=no_color)
    text = str(report) if is_done else str(report).replace("Pruned", "Would prune").replace("are zero", "would be zero")
    out.print(text + "\n", markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("layer", overflow="fold")
    for heading in ("weights", "asked", "reached" if is_done else "would be"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in report.layers[:rows]:
        table.add_row(Text(layer.layer_name), f"{layer.num_params:,}", f"{layer.asked:.4f}", f"{layer.reached:.4f}")
    out.print(table)
    if len(report.layers) > rows:
        out.print(f"… {len(report.layers) - rows} more layers (--rows, --json)", markup=False)
    for note in report.notes:
        out.print(f"\n{note}", markup=False)
