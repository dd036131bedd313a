"""A metric of models against their test errors, with the rank correlations and how many models these rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.report.figures.point_names import name_points
from spectra.report.figures.series import add_legend, aspect, look
from spectra.report.figures.style import new_figure, style
from spectra.results.model_errors import ModelError
from spectra.results.rank_correlation import rank_correlation
from spectra.results.records import column_meanings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SYMBOLS = {
    "alpha": r"mean $\alpha$",
    "alpha_hill": r"mean Hill $\alpha$",
    "alpha_weighted": r"mean $\alpha\,\log_{10}\lambda_{\max}$",
    "log10_alpha_norm": r"mean $\log_{10}\sum\lambda^\alpha$",
    "log10_lambda_max": r"mean $\log_{10}\lambda_{\max}$",
    "log10_sum_eigenvalues": r"mean $\log_{10}\sum\lambda$",
}
_MOST_NAMES = 25  # more cover each other, however they are placed
_FEWEST_IN_GROUP = 3  # for a correlation of its own: of two the ranks agree or disagree perfectly


def metric_scatter(models: Sequence[ModelError], metric: str = "alpha", *, wide: bool = False) -> Figure:
    """Draw a metric, averaged over the layers of each model, against the model's test error.

    Over the axes stand Spearman's and Kendall's rank correlation with the number of models, and a p-value; where there are so
    few models that not even a perfect order would be evidence, that stands there instead. Groups have a colour and a marker
    each, and from three models on a correlation of their own: one over all groups may come from the difference of groups alone.

    Args:
        models: With their test errors.
        metric: A column of numbers.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No such column, or no model that has it.
    """
    means = [model.mean(metric) for model in models]
    points = [(model, value) for model, value in zip(models, means, strict=True) if math.isfinite(value)]
    if not points:
        raise InputError(f"none of the {len(models)} models has a value of '{metric}', so there is nothing to draw.")
    errors, values = [model.test_error for model, _ in points], [value for _, value in points]
    groups = list(dict.fromkeys(model.group for model, _ in points))
    labels = {group: _group_label(group, points) for group in groups}
    with style():
        has_legend = groups != [""]
        figure, axes = new_figure(wide=wide, aspect=aspect(list(labels.values()), wide=wide) if has_legend else 0.72)
        for number, group in enumerate(groups):
            color, marker = look(number)
            inside = [i for i, (model, _) in enumerate(points) if model.group == group]
            x, y = [errors[i] for i in inside], [values[i] for i in inside]
            axes.plot(x, y, linestyle="none", marker=marker, markersize=4.0, color=color, label=labels[group])
        axes.margins(0.12)
        axes.set_xlabel("test error" + _left_out(len(models) - len(points), metric))
        axes.set_ylabel(_metric_label(metric))
        axes.set_title(str(rank_correlation(errors, values)), loc="left", fontsize="small", wrap=False)
        if has_legend:
            add_legend(figure, axes, wide=wide)
        if len(points) <= _MOST_NAMES:
            name_points(figure, axes, [model.name for model, _ in points], errors, values)
    return figure


def _metric_label(metric: str) -> str:
    if metric in _SYMBOLS:
        return _SYMBOLS[metric]
    return f"mean {metric.replace('_', ' ')}" if metric in column_meanings() else metric


def _group_label(group: str, points: Sequence[tuple[ModelError, float]]) -> str:
    inside = [(model.test_error, value) for model, value in points if model.group == group]
    name = group or "no group"
    if len(inside) < _FEWEST_IN_GROUP:
        return f"{name} (n = {len(inside)})"
    found = rank_correlation(*zip(*inside, strict=True))
    return f"{name} (ρ {found.spearman:z.2f}, n = {found.num})".replace("-0", "−0").replace("-1", "−1")


def _left_out(number: int, metric: str) -> str:
    return f"\n(left out: {number} without {metric})" if number else ""
