"""The table of figures that ``spectra plot`` knows: an entry each, from which help, checks and dispatch follow.

To add a figure, write the function that reads its source and draws, and an entry of ``FIGURES``; an option that no figure has
yet is declared in ``plot.py``, a kind of source in ``plot_sources.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectra.cli import plot_sources as kinds
from spectra.cli.plot_sources import SourceKind
from spectra.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.fisher import Fisher

    Drawn = tuple[Figure, str]  # and the name of its files


@dataclass(frozen=True)
class PlotFigure:
    """A figure of ``spectra plot``.

    Attributes:
        name: On the command line.
        source: What it is drawn from.
        shows: One line of the help.
        draw: Called with the source, ``wide`` and those of the options that were given; returns the figure and the name of its
            files.
        options: Names of the options it takes, beside those of all figures.
    """

    name: str
    source: SourceKind
    shows: str
    draw: Callable[..., Drawn]
    options: tuple[str, ...] = ()


def _esd(source: Path, *, wide: bool, layer: str | None = None) -> Drawn:
    from spectra.report import figures
    from spectra.results.store import load

    report = load(source)
    name = layer or figures.default_layer(report)
    return figures.esd(report, name, wide=wide), f"esd-{name}"


def _alpha_by_depth(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.store import load

    return figures.alpha_by_depth(load(source), wide=wide), "alpha-by-depth"


def _alpha_histogram(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.store import load

    return figures.alpha_histogram(load(source), wide=wide), "alpha-histogram"


def _esd_grid(source: Path, *, wide: bool, layers: tuple[str, ...] = ()) -> Drawn:
    from spectra.report import figures
    from spectra.results.store import load

    return figures.esd_grid(load(source), layers, wide=wide), "esd-grid"


def _mp_overlay(source: Path, *, wide: bool, layer: str | None = None) -> Drawn:
    from spectra.diagnose.bulk import with_bulk
    from spectra.report import figures
    from spectra.results.store import load

    report = load(source)
    name = layer or figures.default_layer(report)
    return figures.mp_overlay(with_bulk(report, name), name, wide=wide), f"mp-overlay-{name}"


def _metric_scatter(source: Path, *, wide: bool, metric: str = "alpha") -> Drawn:
    from spectra.report import figures
    from spectra.results.model_errors import load_model_errors

    return figures.metric_scatter(load_model_errors(source), metric, wide=wide), f"{source.stem}-{metric}"


def _fisher_vs_alpha(source: Path, *, wide: bool, fisher: Path | None = None, aggregate: str | None = None) -> Drawn:
    from spectra.report import figures
    from spectra.results.store import load

    if fisher is None:
        raise InputError(
            f"'fisher-vs-alpha' needs the Fisher of the same model too: --fisher FILE. Make one: {kinds.FISHER.made_by}"
        )
    report = load(source)
    return figures.fisher_vs_alpha(_loaded_fisher(fisher), report, aggregate=aggregate, wide=wide), "fisher-vs-alpha"


def _fisher_by_layer(source: Path, *, wide: bool, aggregate: str | None = None) -> Drawn:
    from spectra.report import figures

    return figures.fisher_by_layer(_loaded_fisher(source), aggregate=aggregate, wide=wide), "fisher-by-layer"


def _loaded_fisher(file: Path) -> Fisher:
    from spectra.results.fisher_store import load_fisher
    from spectra.results.sample_history import is_sample_history

    if file.suffix == ".safetensors" and is_sample_history(file):
        raise InputError(f"a Fisher is wanted, and '{file}' is a sample history. Draw 'sample-weights' of it.")
    return load_fisher(file)


def _loss_surface(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.surface import load_surface

    return figures.loss_surface(load_surface(source), wide=wide), "loss-surface"


def _plan(source: Path, *, wide: bool) -> Drawn:
    from spectra.policies.plan import load_plan
    from spectra.report import figures

    return figures.plan(load_plan(source), wide=wide), _after("plan", source, usual="plan")


def _losses(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.run_metrics import load_run_metrics

    return figures.losses(load_run_metrics(source), wide=wide), "losses"


def _metrics(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.run_metrics import load_run_metrics
    from spectra.results.run_record import RESULTS, load_run

    lines = load_run_metrics(source)
    return figures.metrics(lines, load_run(source) if (source / RESULTS).is_file() else None, wide=wide), "metrics"


def _alpha_trajectory(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.run_spectra import load_run_spectra

    return figures.alpha_trajectory(load_run_spectra(source), wide=wide), "alpha-trajectory"


def _tempbalance_trajectory(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.scale_log import load_scale_log

    log = load_scale_log(source)
    for note in log.notes:
        click.echo(f"{source}: {note}", err=True)
    return figures.tempbalance_trajectory(log, wide=wide), _after("tempbalance-trajectory", source, usual="tempbalance")


def _sample_weights(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.sample_history import load_sample_history

    figure = figures.sample_weights(load_sample_history(source), wide=wide)
    return figure, _after("sample-weights", source, usual="sample_weights")


def _selection(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.distill_records import load_records

    return figures.selection(load_records(source), wide=wide), f"selection-{source.stem.removesuffix('.records')}"


def _data_shift(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.data_shift import load_data_shift

    return figures.data_shift(load_data_shift(source), wide=wide), f"data-shift-{source.stem.removesuffix('.shift')}"


def _model_shift(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.model_shift import load_model_shift

    return figures.model_shift(load_model_shift(source), wide=wide), f"model-shift-{source.stem.removesuffix('.model-shift')}"


def _compare(source: Path, *, wide: bool, model: str | None = None) -> Drawn:
    from spectra.report import figures
    from spectra.results.comparison_store import load_comparison

    return figures.compare(load_comparison(source), model=model, wide=wide), f"compare-{model}" if model else "compare"


def _trajectory(source: Path, *, wide: bool, metric: str = "alpha") -> Drawn:
    from spectra.report import figures
    from spectra.results.comparison_store import load_comparison

    return figures.trajectory(load_comparison(source), metric=metric, wide=wide), f"trajectory-{metric}"


def _base_shift(source: Path, *, wide: bool) -> Drawn:
    from spectra.report import figures
    from spectra.results.base_shift import load_base_shifts

    return figures.base_shift(load_base_shifts(source), wide=wide), "base-shift"


def _after(figure: str, source: Path, *, usual: str) -> str:
    """Name the files after the source, unless that has its usual name: several may lie in one folder."""
    return figure if source.stem == usual else f"{figure}-{source.stem}"


FIGURES = {
    figure.name: figure
    for figure in (
        PlotFigure("esd", kinds.REPORT, "density of one layer's eigenvalues, with its tail", _esd, ("layer",)),
        PlotFigure("esd-grid", kinds.REPORT, "densities of many layers, kinds by blocks", _esd_grid, ("layers",)),
        PlotFigure("mp-overlay", kinds.REPORT, "one layer's spectrum, its bulk and its spikes", _mp_overlay, ("layer",)),
        PlotFigure("alpha-by-depth", kinds.REPORT, "alpha along the model, by kind of layer", _alpha_by_depth),
        PlotFigure("alpha-histogram", kinds.REPORT, "distribution of alpha, by kind of layer", _alpha_histogram),
        PlotFigure("metric-scatter", kinds.MODELS, "a metric of many models against test error", _metric_scatter, ("metric",)),
        PlotFigure(
            "fisher-by-layer",
            kinds.FISHER,
            "Fisher score along the model, by kind of layer",
            _fisher_by_layer,
            ("aggregate",),
        ),
        PlotFigure(
            "fisher-vs-alpha",
            kinds.REPORT,
            "Fisher score against alpha; with --fisher FILE",
            _fisher_vs_alpha,
            ("fisher", "aggregate"),
        ),
        PlotFigure("loss-surface", kinds.SURFACE, "loss over two random directions", _loss_surface),
        PlotFigure("plan", kinds.PLAN, "number of every unit along the model, and its score", _plan),
        PlotFigure("losses", kinds.RUN, "loss of training and of evaluation", _losses),
        PlotFigure("metrics", kinds.RUN, "metrics of evaluation, and the values on the test data", _metrics),
        PlotFigure("alpha-trajectory", kinds.RUN, "alpha of every layer over the epochs", _alpha_trajectory),
        PlotFigure(
            "tempbalance-trajectory", kinds.LOG, "score and multiplier of every unit over a run", _tempbalance_trajectory
        ),
        PlotFigure("sample-weights", kinds.HISTORY, "weights of samples over a run, and the hardest", _sample_weights),
        PlotFigure("selection", kinds.REWRITTEN, "responses by decision and reason, and how their lengths changed", _selection),
        PlotFigure(
            "data-shift",
            kinds.DATA_SHIFT,
            "how likely original and rewritten responses are to the model",
            _data_shift,
        ),
        PlotFigure("model-shift", kinds.MODEL_SHIFT, "how far each matrix has moved, and its alpha", _model_shift),
        PlotFigure("compare", kinds.COMPARISON, "where models changed, and their alpha before and after", _compare, ("model",)),
        PlotFigure("trajectory", kinds.COMPARISON, "a metric of every matrix over checkpoints", _trajectory, ("metric",)),
        PlotFigure("base-shift", kinds.BASE_SHIFT, "in how many directions retraining has moved a base", _base_shift),
    )
}


def takers(option: str) -> list[str]:
    """Return the figures that take an option.

    Args:
        option: Its name, without dashes.

    Returns:
        Their names, in the order of the table.
    """
    return [figure.name for figure in FIGURES.values() if option in figure.options]
