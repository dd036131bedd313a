import pytest

from spectra.errors import InputError
from spectra.report.figures import metric_scatter
from spectra.results.model_errors import ModelError
from tests.drawn_reports import fitted_row, report_of


def models_of(*errors_and_alphas, groups=()):
    return [
        ModelError(f"model {i}", groups[i] if groups else "", error, report_of([fitted_row("a", alpha)]))
        for i, (error, alpha) in enumerate(errors_and_alphas)
    ]


SIX = ((1.0, 2.0), (2.0, 2.5), (3.0, 3.0), (4.0, 2.25), (5.0, 4.0), (6.0, 5.0))


def test_each_model_is_a_point_at_its_error_and_mean():
    axes = metric_scatter(models_of(*SIX)).axes[0]
    assert list(zip(*axes.get_lines()[0].get_data(), strict=True)) == list(SIX)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("test error", r"mean $\alpha$")


def test_the_correlations_stand_over_the_axes():
    # Of 15 pairs 13 agree: tau 11/15; of 720 orders of six 20 have a tau at least as far from 0.
    title = metric_scatter(models_of(*SIX)).axes[0].get_title(loc="left")
    assert title == "Spearman ρ 0.83, Kendall τ 0.73, p = 0.056 (n = 6)"


def test_of_three_models_it_says_that_they_are_too_few():
    assert "n = 3 is too few" in metric_scatter(models_of(*SIX[:3])).axes[0].get_title(loc="left")


def test_names_stand_beside_their_points_and_cover_none():
    figure = metric_scatter(models_of(*SIX, (1.02, 2.01), (1.01, 2.03)), wide=True)
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == [f"model {i}" for i in range(8)]
    boxes = [text.get_window_extent() for text in texts]
    assert not any(box.count_overlaps(boxes[:i]) for i, box in enumerate(boxes))


def test_more_names_than_can_be_read_are_left_out():
    assert len(metric_scatter(models_of(*[(float(i), 2.0 + i) for i in range(30)])).axes[0].texts) == 0


def test_groups_have_a_look_and_from_three_models_on_a_correlation_each():
    figure = metric_scatter(models_of(*SIX, groups=["net", "net", "net", "other", "other", ""]))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["net (ρ 1.00, n = 3)", "other (n = 2)", "no group (n = 1)"]
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].get_lines()}
    assert len(looks) == len({marker for _, marker in looks}) == 3


@pytest.mark.parametrize(
    ("metric", "label"), [("alpha_weighted", r"mean $\alpha\,\log_{10}\lambda_{\max}$"), ("ks_distance", "mean ks distance")]
)
def test_other_metrics_can_be_drawn(metric, label):
    assert metric_scatter(models_of(*SIX), metric).axes[0].get_ylabel() == label


def test_models_without_the_metric_are_counted():
    models = [*models_of(*SIX), ModelError("none", "", 7.0, report_of([fitted_row("a", float("nan"))]))]
    assert metric_scatter(models).axes[0].get_xlabel() == "test error\n(left out: 1 without alpha)"
    with pytest.raises(InputError, match="none of the 7 models has a value of 'lambda_plus', so there is nothing to draw"):
        metric_scatter(models, "lambda_plus")
