"""``spectra plan MODEL --policy P -o plan.yaml``: one number per unit of a model, to be read, edited and applied."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.progress import progress_bar
from spectra.cli.setting_flags import GroupedCommand
from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.policies.dropout_plan import DropoutPlan
    from spectra.policies.plan import Plan

_FEW = 20  # rows that one looks at

_EXAMPLES = """\b
Examples:
  spectra plan demo -o rates.yaml
  spectra plan report --policy tempbalance --preset emnlp2024-glue --s-above 1 -o glue-rates.yaml
  spectra plan ./my-model --policy alphapruning --sparsity 0.5 -o sparsities.yaml
  spectra plan ./my-model --policy adapter-rank --mean-rank 8 -o ranks.yaml
  spectra plan fisher.safetensors --policy guided-dropout --p-upper 0.2 -o dropout.yaml"""

_SCALES, _SPARSITY, _RANKS, _DROPOUT, _ALL = (
    "Learning rates and weight decays (tempbalance, alphadecay)",
    "Sparsities (alphapruning)",
    "Adapter ranks (adapter-rank)",
    "Drop probabilities (guided-dropout)",
    "Options of several policies",
)
# Heading, option, type, metavar, meaning. Which policy has which the policies know themselves; defaults are the preset's.
_POLICY_OPTIONS: tuple[tuple[str, str, Any, str, str], ...] = (
    (_SCALES, "map", str, "M", "From scores to multipliers: sigmoid, linear, sqrt, log2 or rank."),
    (_SCALES, "r-min", float, "X", "For linear and rank: multiplier of the lowest score."),
    (_SCALES, "r-max", float, "X", "For linear and rank: multiplier of the highest score."),
    (_SCALES, "s-below", float, "X", "For sigmoid: strength below the mean score; multipliers go down to 10^(-X/2)."),
    (_SCALES, "s-above", float, "X", "For sigmoid: strength above the mean score; multipliers go up to 10^(X/2)."),
    (_SCALES, "tau", float, "X", "For sigmoid: steepness."),
    (_SCALES, "normalize", str, "N", "Mean of the multipliers that becomes 1: none, arithmetic or geometric."),
    (_SPARSITY, "sparsity", float, "S", "Share of the weights of all planned layers that is set to zero."),
    (_SPARSITY, "epsilon", float, "X", "How far shares go apart before they are scaled: 1 - X to 1 + X."),
    (_SPARSITY, "allocation", str, "A", "alpha, or a control: uniform or reversed."),
    (_RANKS, "mean-rank", float, "R", "As many parameters as a rank of R for every layer.  [default: 8]"),
    (_RANKS, "budget", int, "N", "Or that number of parameters itself."),
    (_RANKS, "min-rank", int, "R", "Least rank of a layer; with 0 some get no adapter."),
    (_RANKS, "max-rank", int, "R", "Largest rank of a layer."),
    (_DROPOUT, "p-upper", float, "P", "Probability of the lowest score."),
    (_DROPOUT, "p-lower", float, "P", "Probability of the highest score."),
    (_DROPOUT, "rule", str, "R", "From scores to probabilities: rank, linear or log."),
    (_DROPOUT, "mean-p", float, "P", "Mean that the probabilities shall have."),
    (_DROPOUT, "p-cap", float, "P", "Largest probability beside --mean-p."),
    (_DROPOUT, "control", str, "C", "A control instead: uniform, mean-matched, per-type, shuffled, reversed or none."),
    (_DROPOUT, "seed", int, "N", "Of the control shuffled."),
    (_DROPOUT, "aggregate", str, "A", "How parameters become one score."),
    (_ALL, "metric", str, "COLUMN", "What layers are scored by: alpha, stable_rank, ..."),
    (_ALL, "unit", str, "U", "What gets one number: block or layer."),
)


_PRESETS = (
    "Named set of options. Of tempbalance: recommended, neurips2023, emnlp2024-glue, emnlp2024-sciml or farms; of alphadecay: "
    "alphadecay; of alphapruning: recommended, alphapruning or farms.  [default: the first of these]"
)
_FISHER = "For adapter-rank, in place of spectra, and for guided-dropout, in place of MODEL."


class _PlanCommand(GroupedCommand):
    option_groups = {  # noqa: RUF012 - a constant
        **{name.replace("-", "_"): heading for heading, name, *_ in _POLICY_OPTIONS},
        "include": _DROPOUT,
        "exclude": _ALL,
    }


def _with_policy_options(command: Any) -> Any:
    for name, meaning in (
        ("exclude", "Leave out layers, or sites, whose name matches, beside those that the preset leaves out."),
        ("include", "Only sites whose name matches."),
    ):
        command = click.option(f"--{name}", multiple=True, metavar="GLOB", help=f"{meaning} Repeatable.")(command)
    for _, name, kind, metavar, meaning in reversed(_POLICY_OPTIONS):
        command = click.option(f"--{name}", type=kind, metavar=metavar, help=meaning)(command)
    return command


@click.command(cls=_PlanCommand, epilog=_EXAMPLES)
@click.argument("model", required=False)
@click.option(
    "--policy",
    default="tempbalance",
    metavar="P",
    show_default=True,
    help="tempbalance, alphadecay, alphapruning, adapter-rank or guided-dropout.",
)
@click.option("--preset", metavar="NAME", help=_PRESETS)
@click.option("--fisher", type=click.Path(path_type=Path), metavar="FILE", help=_FISHER)
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="The plan: .yaml, .yml or .json.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no hints.")
@click.option("--no-color", is_flag=True, help="No colour; NO_COLOR does the same.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
@_with_policy_options
def plan(
    model: str | None,
    *,
    policy: str,
    preset: str | None,
    fisher: Path | None,
    output: Path | None,
    force: bool,
    quiet: bool,
    no_color: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Plan one number per unit of a model: a learning rate, weight decay, sparsity, adapter rank or drop probability.

    MODEL is a result folder of 'spectra analyze', whose numbers are used; or a checkpoint, a hub id or 'demo', which is
    analysed as the policy asks for. For guided-dropout it is the file of 'spectra fisher'. The plan is a text file that may be
    edited. Exit code 1: layers could not be analysed, such as those with NaN; the plan is that of the others.
    """
    from spectra.policies.plan import plan as make
    from spectra.policies.plan_file import check_free
    from spectra.results.records import FAILURES

    if output is not None:
        check_free(output, force=force)
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    with progress_bar("layers", hidden=quiet or not sys.stderr.isatty()) as advance:
        try:
            made = make(
                model,
                fisher,
                policy=policy,
                preset=preset,
                progress=lambda progress: advance(progress.num_done, progress.num_layers),
                **given,
            )
        except InputError as error:
            raise InputError(_in_flags(str(error))) from error
    if output is not None:
        made.save(output, force=force)
    _print(made, no_color=no_color)
    if not quiet:
        print(_next_step(made, output), file=sys.stderr)
    return 1 if FAILURES & set(getattr(made, "left_out", {}).values()) else 0


def _in_flags(message: str) -> str:
    """Say in the words of the command line what is said in those of Python: ``unit='layer'`` is ``--unit layer`` here."""
    flags = {option.replace("-", "_"): f"--{option}" for option in ("exclude", "include", *(row[1] for row in _POLICY_OPTIONS))}
    for name, flag in flags.items():
        message = re.sub(rf"(?<![\w.]){name}='([\w.]+)'", rf"{flag} \1", message)
        if "_" in name:
            message = re.sub(rf"(?<![\w.]){name}(?![\w.])", flag, message)
    return re.sub(r"^(\w+):", lambda found: f"{flags.get(found[1], found[1])}:", message)


def _print(made: Plan | DropoutPlan, *, no_color: bool) -> None:
    from spectra.cli.console import console
    from spectra.report.plan_table import plan_table

    out = console(no_color=no_color)
    headline, conclusion = str(made).split("\n")
    out.print(headline + "\n", markup=False)
    out.print(plan_table(made, width=out.width, max_rows=_FEW))
    out.print("\n" + conclusion, markup=False)
    for note in getattr(made, "notes", ()):
        print(f"Note: {note}.", file=sys.stderr)


def _next_step(made: Plan | DropoutPlan, output: Path | None) -> str:
    if output is None:
        return "Keep the plan, to edit and apply it: -o plan.yaml"
    return f"Plan in '{output}'. See it: spectra plot {output} plan. Apply it:{_application(made, output)}"


def _application(made: Plan | DropoutPlan, output: Path) -> str:
    target = getattr(made, "target", "")
    if target == "sparsity":
        return f" spectra prune MODEL --plan {output} -o OUT"
    if target == "adapter_rank":
        return f' peft.LoraConfig(**spectra.load_plan("{output}").lora_arguments())'
    if output.suffix == ".json":  # which holds no comments
        return "\n".join(("", *made.how_to_apply(output)[1:]))
    return f" in training, as the first lines of '{output}' say"
