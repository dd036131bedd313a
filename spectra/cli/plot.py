"""``spectra plot SOURCE FIGURE``: a figure of a report, Fisher, loss surface, plan, training run or rewritten data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectra.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")

_REPORT, _FISHER, _SURFACE = "a result folder", "a Fisher file (.safetensors)", "a loss surface (.npz)"
_PLAN, _LOG, _HISTORY = "a plan (.yaml)", "a log of TempBalance (.jsonl)", "a sample history (.safetensors)"
_REWRITTEN = "the output of 'spectra distill' (.jsonl)"
_DATA_SHIFT, _MODEL_SHIFT = "a shift of data (.shift.json)", "a shift of a model (.model-shift.json)"
_BASE_SHIFT = "a shift of a base (.base-shift.json), or a folder of them"
_RUN = "the folder of a training run"
_MADE_BY = {
    _REPORT: "spectra analyze MODEL --output DIR",
    _FISHER: "spectra fisher MODEL --data FILE -o fisher.safetensors",
    _SURFACE: "spectra surface MODEL --data FILE --fisher fisher.safetensors -o surface.npz",
    _PLAN: "spectra plan MODEL -o plan.yaml",
    _LOG: "train with TempBalance(model, optimizer, log='tempbalance.jsonl')",
    _RUN: "spectra finetune RECIPE.yaml",
    _HISTORY: "train with DCSTrainer, which writes sample_weights.safetensors",
    _REWRITTEN: "spectra distill DATA --model MODEL --task TASK -o OUT.jsonl",
    _DATA_SHIFT: "spectra distill shift OUT.jsonl --model MODEL",
    _MODEL_SHIFT: "spectra distill shift OUT.jsonl --model MODEL --tuned MODEL",
    _BASE_SHIFT: "in Python, spectra.base_shift(PRETRAINED, RETRAINED).save('NAME.base-shift.json')",
}
_SOURCES = {
    "esd": _REPORT,
    "alpha-by-depth": _REPORT,
    "alpha-trajectory": _RUN,
    "base-shift": _BASE_SHIFT,
    "data-shift": _DATA_SHIFT,
    "fisher-by-layer": _FISHER,
    "fisher-vs-alpha": _REPORT,
    "loss-surface": _SURFACE,
    "losses": _RUN,
    "metrics": _RUN,
    "model-shift": _MODEL_SHIFT,
    "plan": _PLAN,
    "sample-weights": _HISTORY,
    "selection": _REWRITTEN,
    "tempbalance-trajectory": _LOG,
}
FIGURES = tuple(_SOURCES)
_LOGS = ("tempbalance.jsonl", "alphadecay.jsonl")  # of a run
_SHIFTS = {"data-shift": ".shift.json", "model-shift": ".model-shift.json"}
_OPTIONS = {"layer": ("esd",), "fisher": ("fisher-vs-alpha",), "aggregate": ("fisher-by-layer", "fisher-vs-alpha")}

_EXAMPLES = """\b
Examples:
  spectra plot report alpha-by-depth
  spectra plot report esd --layer encoder.layer.0.attention.self.query --format pdf
  spectra plot fisher.safetensors fisher-by-layer --aggregate mean_of_means
  spectra plot report fisher-vs-alpha --fisher fisher.safetensors
  spectra plot surface.npz loss-surface --wide
  spectra plot plan.yaml plan
  spectra plot run/sample_weights.safetensors sample-weights
  spectra plot own-words.jsonl selection
  spectra plot own-words.shift.json data-shift
  spectra plot tempbalance.jsonl tempbalance-trajectory
  spectra plot runs/first losses -o losses.png"""


@click.command(epilog=_EXAMPLES)
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path))
@click.argument("figure", metavar="FIGURE")
@click.option("--layer", metavar="NAME", help="For esd: which layer.  [default: the worst reliable fit]")
@click.option("--fisher", type=click.Path(path_type=Path), metavar="FILE", help="For fisher-vs-alpha: the model's Fisher.")
@click.option(
    "--aggregate",
    metavar="A",
    help="For the Fisher figures: how a layer's parameters become one score: param_mean, mean_of_means, trace, matrices_mean "
    "or relative.  [default: that of the file]",
)
@click.option("--format", "formats", default=",".join(FORMATS), metavar="F,F", show_default=True, help="png, pdf and svg.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write: a folder, or a file of one of the formats.  [default: 'figures' in the folder, or beside the file]",
)
@click.option("--wide", is_flag=True, help="Text width (6.75 in) instead of one column (3.25 in).")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def plot(
    source: Path,
    figure: str,
    *,
    layer: str | None,
    fisher: Path | None,
    aggregate: str | None,
    formats: str,
    output: Path | None,
    wide: bool,
    debug: bool,
) -> int:
    """Draw a figure of a result, ready for a paper.

    FIGURE is one of these, and SOURCE is what it is drawn from:

    \b
    esd                     DIR    density of one layer's eigenvalues, with its tail
    alpha-by-depth          DIR    alpha along the model, by kind of layer
    fisher-vs-alpha         DIR    Fisher score against alpha; with --fisher FILE
    fisher-by-layer         FILE   Fisher score along the model, by kind of layer
    loss-surface            NPZ    loss over two random directions
    plan                    YAML   number of every unit along the model, and its score
    sample-weights          DCS    weights of samples over a run, and the hardest
    selection               OUT    responses by decision and reason, and how their lengths changed
    data-shift              JSON   how likely original and rewritten responses are to the model; or OUT
    model-shift             JSON   how far each matrix has moved, and its alpha; or OUT
    base-shift              BASE   in how many directions retraining has moved a base
    tempbalance-trajectory  JSONL  score and multiplier of every unit over a run; or RUN
    losses                  RUN    loss of training and of evaluation
    metrics                 RUN    metrics of evaluation, and the values on the test data
    alpha-trajectory        RUN    alpha of every layer over the epochs

    DIR is the result folder of 'spectra analyze MODEL --output DIR', FILE the .safetensors or .json file of 'spectra fisher',
    NPZ the file of 'spectra surface', YAML the .yaml, .yml or .json file of 'spectra plan', DCS the .safetensors file of
    DCSTrainer, OUT the data set that 'spectra distill' wrote, JSON a file of 'spectra distill shift',
    JSONL the log of TempBalance, BASE a .base-shift.json file, or a folder with several, drawn together, RUN the folder of
    'spectra finetune'.
    """
    if figure not in FIGURES:
        raise InputError(f"unknown figure '{figure}'.{did_you_mean(figure, FIGURES)} Known: {', '.join(FIGURES)}.")
    wanted = [name.strip() for name in formats.split(",")]
    wrong = [name for name in wanted if name not in FORMATS]
    if wrong:
        raise InputError(f"unknown format '{wrong[0]}'. Known: {', '.join(FORMATS)}.")
    source = _beside(figure, source)
    _check_source(figure, source)
    _check_options(figure, layer=layer, fisher=fisher, aggregate=aggregate)

    from spectra.report.figures import write

    drawn, stem = _drawn(figure, source, layer=layer, fisher=fisher, aggregate=aggregate, wide=wide)
    folder = output or (source if source.is_dir() else source.parent) / "figures"
    if output is not None and output.suffix[1:] in FORMATS:
        folder, stem, wanted = output.parent, output.stem, [output.suffix[1:]]
    for path in write(drawn, folder, stem, wanted):
        click.echo(path)
    return 0


def _check_options(figure: str, **options: object) -> None:
    for name, takers in _OPTIONS.items():
        if options[name] is not None and figure not in takers:
            raise InputError(f"'{figure}' has no --{name}: that is for {' and '.join(takers)}.")
    if figure == "fisher-vs-alpha" and options["fisher"] is None:
        raise InputError(f"'{figure}' needs the Fisher of the same model too: --fisher FILE. Make one: {_MADE_BY[_FISHER]}")


def _beside(figure: str, source: Path) -> Path:
    """Return the log in the folder of a run, or the shift beside a data set, if these, or the other shift, were given."""
    if _SOURCES[figure] == _LOG and source.is_dir():
        return next((log for name in _LOGS if (log := source / name).is_file()), source)
    if figure not in _SHIFTS or source.name.endswith(_SHIFTS[figure]):
        return source
    stem = next((source.name.removesuffix(end) for end in _SHIFTS.values() if source.name.endswith(end)), source.stem)
    shift = source.with_name(stem + _SHIFTS[figure])
    return shift if shift.exists() else source


def _check_source(figure: str, source: Path) -> None:
    """Refuse a file of the wrong kind by its name; what is in it the readers judge."""
    kinds = {".safetensors": (_FISHER, _HISTORY), ".npz": (_SURFACE,), ".yaml": (_PLAN,), ".yml": (_PLAN,)}
    kinds |= {".json": (_FISHER, _PLAN, _REWRITTEN, _DATA_SHIFT, _MODEL_SHIFT, _BASE_SHIFT)}
    kinds |= {".jsonl": (_LOG, _REWRITTEN), ".csv": (_REWRITTEN,)}
    possible: tuple[str, ...] = (_REPORT, _BASE_SHIFT, _RUN) if source.is_dir() else kinds.get(source.suffix, (_REPORT,))
    what = _SOURCES[figure]
    if what not in possible:
        raise InputError(f"'{figure}' is drawn from {what}, and '{source}' is none. Make one: {_MADE_BY[what]}")
    if what == _FISHER and source.suffix == ".safetensors":
        from spectra.results.sample_history import is_sample_history

        if is_sample_history(source):
            raise InputError(
                f"'{figure}' is drawn from {what}, and '{source}' is a sample history. Draw 'sample-weights' of it."
            )


def _drawn(
    figure: str, source: Path, *, layer: str | None, fisher: Path | None, aggregate: str | None, wide: bool
) -> tuple[Figure, str]:
    """Read the source and draw; return the figure and the name of its files."""
    from spectra.report import figures

    if figure == "loss-surface":
        from spectra.results.surface import load_surface

        return figures.loss_surface(load_surface(source), wide=wide), figure
    if figure == "plan":
        from spectra.policies.plan import load_plan

        return figures.plan(load_plan(source), wide=wide), _stem(figure, source, usual="plan")
    if figure == "sample-weights":
        from spectra.results.sample_history import load_sample_history

        return figures.sample_weights(load_sample_history(source), wide=wide), _stem(figure, source, usual="sample_weights")
    if figure == "selection":
        from spectra.results.distill_records import load_records

        return figures.selection(load_records(source), wide=wide), f"{figure}-{source.stem.removesuffix('.records')}"
    if figure == "data-shift":
        from spectra.results.data_shift import load_data_shift

        return figures.data_shift(load_data_shift(source), wide=wide), f"{figure}-{source.stem.removesuffix('.shift')}"
    if figure == "model-shift":
        from spectra.results.model_shift import load_model_shift

        return figures.model_shift(load_model_shift(source), wide=wide), f"{figure}-{source.stem.removesuffix('.model-shift')}"
    if figure == "base-shift":
        from spectra.results.base_shift import load_base_shifts

        return figures.base_shift(load_base_shifts(source), wide=wide), figure
    if figure == "tempbalance-trajectory":
        from spectra.results.scale_log import load_scale_log

        log = load_scale_log(source)
        for note in log.notes:
            click.echo(f"{source}: {note}", err=True)
        return figures.tempbalance_trajectory(log, wide=wide), _stem(figure, source, usual="tempbalance")
    if _SOURCES[figure] == _RUN:
        return _drawn_of_run(figure, source, wide=wide), figure
    if figure == "fisher-by-layer":
        from spectra.results.fisher_store import load_fisher

        return figures.fisher_by_layer(load_fisher(source), aggregate=aggregate, wide=wide), figure
    from spectra.results.store import load

    report = load(source)
    if fisher is not None:
        from spectra.results.fisher_store import load_fisher

        return figures.fisher_vs_alpha(load_fisher(fisher), report, aggregate=aggregate, wide=wide), figure
    if figure == "esd":
        name = layer or figures.default_layer(report)
        return figures.esd(report, name, wide=wide), f"esd-{name}"
    return figures.alpha_by_depth(report, wide=wide), figure


def _drawn_of_run(figure: str, folder: Path, *, wide: bool) -> Figure:
    from spectra.report import figures

    if figure == "alpha-trajectory":
        from spectra.results.run_spectra import load_run_spectra

        return figures.alpha_trajectory(load_run_spectra(folder), wide=wide)
    from spectra.results.run_metrics import load_run_metrics
    from spectra.results.run_record import RESULTS, load_run

    lines = load_run_metrics(folder)
    if figure == "losses":
        return figures.losses(lines, wide=wide)
    return figures.metrics(lines, load_run(folder) if (folder / RESULTS).is_file() else None, wide=wide)


def _stem(figure: str, source: Path, *, usual: str) -> str:
    """Name the files after the source, unless that has its usual name: several may lie in one folder."""
    return figure if source.stem == usual else f"{figure}-{source.stem}"
