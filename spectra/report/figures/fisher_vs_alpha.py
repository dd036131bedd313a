"""Fisher score against alpha, layer by layer: the two diagnostics side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from spectra.report.figures.layer_pairs import LayerPair, pair_layers
from spectra.report.figures.scored_layers import drawable, left_out, looks_by_role, score_label, scored_layers
from spectra.report.figures.series import add_legend, aspect
from spectra.report.figures.style import new_figure, style
from spectra.report.figures.titles import add_title
from spectra.results.fisher import Aggregate, Fisher
from spectra.results.records import LayerStatus
from spectra.results.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOUBTFUL = "hollow: doubtful fit"
_FEWEST_FOR_RANKS = 3  # of two points the ranks agree or disagree perfectly, whatever they are


def fisher_vs_alpha(fisher: Fisher, report: Report, *, aggregate: Aggregate | str | None = None, wide: bool = False) -> Figure:
    """Draw the Fisher score of every layer against its alpha, with their rank correlation.

    Layers whose fit is doubtful are hollow. Over the axes stands Spearman's rank correlation of all layers drawn, and of those
    with good fits where there are others. It carries no p-value: the layers of a model are no independent sample. Of a weight
    that holds several matrices alpha is their mean. The band between 2 and 6 is where well-trained layers are found.

    Args:
        fisher: Of a model.
        report: Of the same model; ``pair_layers`` says how names are matched.
        aggregate: How the parameters of a layer become one score. Default: that of the Fisher.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: The names do not match, no layer has a positive score, or the aggregate is unknown or needs values that
            were not kept.
    """
    pairs = {pair.layer_name: pair for pair in pair_layers(fisher, report)}
    layers = [layer for layer in scored_layers(fisher, aggregate)[0] if layer.name in pairs]
    drawn = drawable(fisher, layers)
    looks = looks_by_role(drawn)
    alphas = [pairs[layer.name].alpha for layer in drawn]
    doubtful = [pairs[layer.name].is_doubtful for layer in drawn]
    with style():
        figure, axes = new_figure(wide=wide, aspect=aspect([*looks, *[_DOUBTFUL] * any(doubtful)], wide=wide))
        axes.set_yscale("log")
        if not report.settings.inverse:  # where well-trained layers are: known of eigenvalues, not of their inverses
            axes.axvspan(2.0, 6.0, color="0.93", zorder=0, linewidth=0)
        for role, (color, marker) in looks.items():
            inside = [i for i, layer in enumerate(drawn) if layer.role == role]
            axes.scatter(
                [alphas[i] for i in inside],
                [drawn[i].score for i in inside],
                s=11,
                marker=marker,
                facecolors=["white" if doubtful[i] else color for i in inside],
                edgecolors=color,
                linewidths=0.8,
                zorder=3,
            )
            axes.plot([], [], linestyle="none", marker=marker, markersize=3.5, color=color, label=role)
        if any(doubtful):
            axes.plot([], [], "o", markersize=3.5, markerfacecolor="white", markeredgecolor="0.3", label=_DOUBTFUL)
        inverse = r" of $1/\lambda$" if report.settings.inverse else ""
        axes.set_xlabel(rf"power-law exponent $\alpha${inverse}" + left_out(layers, _unpaired(report, list(pairs.values()))))
        axes.set_ylabel(score_label(fisher, aggregate))
        ranks = rank_correlation(alphas, [layer.score for layer in drawn], doubtful)
        axes.text(0.0, 1.03, ranks, transform=axes.transAxes, fontsize="small")
        add_title(axes, fisher.info.model, wide=wide, pad=16.0)
        add_legend(figure, axes, wide=wide)
    return figure


def _unpaired(report: Report, pairs: Collection[LayerPair]) -> list[str]:
    """Say how many fitted layers have no Fisher score, such as a head that the measured model lacks."""
    fitted = {row.layer_name for row in report.layers if row.status == LayerStatus.OK}
    number = len(fitted - {row.layer_name for pair in pairs for row in pair.rows})
    return [f"{number} not measured"] if number else []


def rank_correlation(alphas: Sequence[float], scores: Sequence[float], doubtful: Sequence[bool]) -> str:
    """Say how far the ranks of two diagnostics agree.

    Args:
        alphas: Of layers.
        scores: Of the same layers.
        doubtful: Which of their fits are poor.

    Returns:
        Spearman's rank correlation of all, and of those with good fits where there are others; a dash where it is not defined.
    """
    good = [i for i, is_doubtful in enumerate(doubtful) if not is_doubtful]
    text = f"Spearman ρ {_spearman(alphas, scores)} (n = {len(alphas)})"
    if len(good) in (0, len(alphas)):
        return text
    return f"{text}, good fits {_spearman([alphas[i] for i in good], [scores[i] for i in good])} (n = {len(good)})"


def _spearman(first: Sequence[float], second: Sequence[float]) -> str:
    """Return the rank correlation in words; a dash where it says nothing or is not defined."""
    from scipy.stats import spearmanr

    if len(first) < _FEWEST_FOR_RANKS or min(len(set(first)), len(set(second))) == 1:
        return "–"
    return f"{float(spearmanr(first, second).statistic):z.2f}".replace("-", "−")
