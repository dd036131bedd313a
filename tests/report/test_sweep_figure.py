"""The figure of a sweep."""

import pytest

from spectra.errors import InputError
from spectra.report.figures.sweep import sweep
from spectra.results.sweep_statistics import summarize
from tests.sweeps import DCS, PLAIN, sweep_of, three_methods


def drawn(record, **options):
    return sweep(record, summarize(record, **options))


def test_every_run_is_a_dot_and_every_setting_a_row():
    axes = drawn(three_methods()).axes[0]
    dots = axes.lines[0]
    assert len(dots.get_xdata()) == 12
    assert sorted(set(dots.get_ydata())) == [0, 1, 2]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["method=plain", "method=dcs", "method=sdft"]
    assert axes.get_xlabel() == "eval accuracy (higher is better)"


def test_the_bar_is_student_s_interval():
    axes = drawn(sweep_of({"plain": {"eval_accuracy": [0.7, 0.9]}, "dcs": {"eval_accuracy": [0.7, 0.8]}})).axes[0]
    (low, _), (high, _) = axes.collections[0].get_segments()[0]
    half = 12.706204736  # of Student's t with one degree of freedom, at 97.5 %; the standard error is 0.1
    assert (low, high) == (pytest.approx(0.8 - 0.1 * half), pytest.approx(0.8 + 0.1 * half))


def test_failed_runs_and_other_metrics_are_left_out():
    record = sweep_of({"a$b$": {"eval_loss": PLAIN}, "dcs": {"eval_loss": [*DCS[:3], None]}, "none": {"eval_loss": [None]}})
    figure = drawn(record)
    axes = figure.axes[0]
    assert len(axes.lines[0].get_xdata()) == 7
    assert axes.get_xlabel() == "eval loss (lower is better)"
    figure.canvas.draw()  # dollars are no mathematics


def test_a_sweep_without_results_is_refused():
    with pytest.raises(InputError, match="no run of the sweep is finished, so that there is nothing to draw"):
        drawn(sweep_of({"plain": {"eval_loss": [None]}}))
