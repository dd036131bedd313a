import dataclasses

import pytest

from spectra.results.comparison import METRICS_ONLY, ComparedModel
from spectra.results.comparison_conclusion import conclusion
from tests.comparisons import comparison_of, equal_row_of, layer_of, row_of

NAN = float("nan")


def only_metrics(name, **changes):
    return row_of(name, status=METRICS_ONLY, norm_change=NAN, norm_before=NAN, **changes)


def test_equal_models_are_said_to_be_equal_in_what_was_compared():
    assert conclusion(comparison_of(equal_row_of())) == (
        "No weight matrix differs. Biases, gains and other vectors are not compared."
    )


def test_a_single_change_is_named_beside_the_alphas():
    assert conclusion(comparison_of(row_of("a"), equal_row_of("b"))) == (
        "All of the change is in a; alpha: mean 3.100 before, 2.850 after, over 2 with good fits"
    )


def test_a_change_that_lies_mostly_in_one_matrix_is_found_there():
    rows = [row_of("a", norm_change=0.1), row_of("b", norm_change=0.3)]  # 0.09 of 0.1
    assert conclusion(comparison_of(*rows)).startswith("90% of the change (of its squared norm) is in b; alpha")


def test_a_change_that_is_spread_is_counted():
    rows = [row_of(f"layers.{i}", norm_change=0.1) for i in range(10)]
    assert conclusion(comparison_of(*rows)).startswith("Half of the change (of its squared norm) is in 5 of 10 matrices; ")


def test_alphas_of_poor_fits_are_left_out():
    poor = row_of("a", after=layer_of("a", alpha=9.0, fit_quality="poor"))
    assert conclusion(comparison_of(poor)).endswith("alpha: no matrix has good fits before and after")
    assert "3.100 before, 2.600 after, over 1 with" in conclusion(comparison_of(poor, row_of("b")))


def test_metrics_alone_tell_of_alpha_alone():
    assert conclusion(comparison_of(only_metrics("a"))) == "Alpha: mean 3.100 before, 2.600 after, over 1 with good fits"
    two = comparison_of(only_metrics("a"), only_metrics("a", model="other"))
    assert conclusion(two) == "No weights to compare: what reports hold are metrics."


def test_unknown_changes_are_called_unknown():
    lost = row_of("a", status="no_counterpart", norm_change=NAN, after=None)
    assert conclusion(comparison_of(lost)).startswith("No change is known; alpha: no matrix")


def test_of_several_models_the_extremes_are_named():
    rows = [row_of("a", model=name, norm_change=change) for name, change in (("x", 0.8), ("y", 4.0), ("z", 1.6))]
    assert conclusion(comparison_of(*rows)) == "Changed most: 'y', by 0.5 of the norm; least: 'x', by 0.1."


@pytest.mark.parametrize(("changes", "half"), [((0.8, 2.0, 3.2), "c-2"), ((0.1, 0.2, 3.2), "c-3"), ((3.2, 3.2, 3.2), "c-1")])
def test_of_a_run_it_is_told_when_half_of_the_change_was_reached(changes, half):
    rows = [row_of("a", model=f"c-{i}", norm_change=change) for i, change in enumerate(changes, 1)]
    models = tuple(ComparedModel(name=f"c-{i}", location="", step=i) for i in (1, 2, 3))
    run = dataclasses.replace(comparison_of(*rows), models=models, over_time=True)
    assert (
        conclusion(run)
        == f"At the last checkpoint, 'c-3', the change is 0.4 of the norm; half of that was reached by '{half}'."
    )


def test_a_run_that_ends_where_it_began_has_no_half_way():
    rows = [row_of("a", model="c-1"), equal_row_of("a", model="c-2")]
    words = conclusion(dataclasses.replace(comparison_of(*rows), over_time=True))
    assert words == "At the last checkpoint, 'c-2', the change is 0 of the norm."
