import dataclasses

import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures.style import write
from spectra.report.figures.trajectory import trajectory
from spectra.results.comparison import ComparedModel
from tests.comparisons import comparison_of, equal_row_of, layer_of, row_of

NAN = float("nan")
NAMES = [f"layers.{i}.fc" for i in range(4)]
STEPS = (10, 20, 40)


def alpha_of(place, time):
    return 3.0 + place + 0.1 * time * place


def run_of(**changes):
    """Four matrices at three checkpoints, alpha rising in proportion to the place in the model."""
    rows = [
        row_of(name, model=f"checkpoint-{step}", norm_change=0.8 * time, before=layer_of(name, alpha=alpha_of(place, 0)),
               after=layer_of(name, alpha=alpha_of(place, time)))
        for time, step in enumerate(STEPS, 1)
        for place, name in enumerate(NAMES)
    ]  # fmt: skip
    models = tuple(ComparedModel(name=f"checkpoint-{step}", location=f"run/checkpoint-{step}", step=step) for step in STEPS)
    return comparison_of(*rows, **{"models": models, "over_time": True, **changes})


def lines_of(axes):
    """Lines of single matrices; the median and the two quartiles come after them."""
    return np.array([line.get_xydata() for line in axes.get_lines()[: len(NAMES)]])


def middle_of(axes):
    (median,) = [line for line in axes.get_lines() if line.get_label() == "median"]
    return median.get_ydata().tolist()


def with_rows(run, change):
    return dataclasses.replace(run, rows=tuple(map(change, run.rows)))


def test_every_matrix_has_its_line_over_the_steps_and_below_its_change():
    levels, changes, bar = trajectory(run_of()).axes
    expected = np.array([[alpha_of(place, time) for time in range(4)] for place in range(4)])
    np.testing.assert_allclose(lines_of(levels)[..., 1], expected, rtol=1e-12)
    np.testing.assert_allclose(lines_of(changes)[..., 1], expected - expected[:, :1], rtol=1e-12, atol=1e-12)
    assert lines_of(levels)[0, :, 0].tolist() == [0.0, 10.0, 20.0, 40.0]
    assert (levels.get_ylabel(), changes.get_ylabel()) == (r"power-law exponent $\alpha$", "change since the base")
    assert (changes.get_xlabel(), bar.get_ylabel()) == ("step", "block")
    assert levels.get_title(loc="left") == "reliable fits of 4 of 4 matrices"


def test_median_and_quartiles_are_over_the_matrices():
    levels = trajectory(run_of()).axes[0]
    np.testing.assert_allclose(middle_of(levels), [4.5, 4.65, 4.8, 4.95])
    (band,) = [one for one in levels.collections if "FillBetween" in type(one).__name__]
    edges = {tuple(point) for point in band.get_paths()[0].vertices.round(9)}
    assert {(0.0, 3.75), (0.0, 5.25), (40.0, 3.975), (40.0, 5.925)} <= edges


def test_a_change_has_one_panel_that_starts_at_zero():
    axes, _ = trajectory(run_of(), metric="relative_change").axes
    np.testing.assert_allclose(lines_of(axes)[..., 1], [[0.0, 0.1, 0.2, 0.3]] * 4)
    assert axes.get_ylabel().startswith("change ")
    assert axes.get_title(loc="left") == "4 of 4 matrices"


def test_a_number_that_the_base_does_not_have_starts_at_the_first_model():
    axes, _ = trajectory(run_of(), metric="change_stable_rank").axes
    assert lines_of(axes)[0, :, 0].tolist() == [10.0, 20.0, 40.0]
    assert axes.get_ylabel() == "change stable rank"


def test_a_base_that_has_a_step_stands_there():
    assert lines_of(trajectory(run_of(base_step=5)).axes[0])[0, :, 0].tolist() == [5.0, 10.0, 20.0, 40.0]


def test_models_without_steps_stand_side_by_side_under_their_names():
    run = run_of()
    named = dataclasses.replace(run, models=tuple(dataclasses.replace(model, step=None) for model in run.models))
    axes = trajectory(named, metric="relative_change").axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["base", "checkpoint-10", "checkpoint-20", "checkpoint-40"]
    assert lines_of(axes)[0, :, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert axes.get_xlabel() == ""


def test_two_checkpoints_of_one_step_stand_side_by_side():
    run = run_of()
    same = dataclasses.replace(run, models=tuple(dataclasses.replace(model, step=10) for model in run.models))
    assert trajectory(same).axes[1].get_xlabel() == ""


def test_doubtful_fits_are_left_out_of_numbers_of_fits_alone():
    def doubtful(row):
        if (row.matrix_name, row.model) != (NAMES[0], "checkpoint-20"):
            return row
        return dataclasses.replace(row, after=dataclasses.replace(row.after, fit_quality="poor"))

    run = with_rows(run_of(), doubtful)
    assert trajectory(run).axes[0].get_title(loc="left") == "reliable fits of 3 of 4 matrices"
    assert trajectory(run, metric="stable_rank").axes[0].get_title(loc="left") == "4 of 4 matrices"


def test_where_no_fit_is_reliable_all_are_drawn_and_called_doubtful():
    run = with_rows(run_of(), lambda row: dataclasses.replace(row, after=dataclasses.replace(row.after, fit_quality="poor")))
    assert trajectory(run).axes[0].get_title(loc="left") == "doubtful fits of 4 of 4 matrices"


def test_counts_have_whole_numbers_on_the_axis():
    axes = trajectory(run_of(), metric="num_intruders").axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_yticks())


def test_numbers_that_differ_by_factors_take_a_logarithmic_axis():
    def spread(row):
        factor = 10.0 ** NAMES.index(row.matrix_name)
        layers = {when: dataclasses.replace(getattr(row, when), lambda_max=factor) for when in ("before", "after")}
        return dataclasses.replace(row, **layers)

    levels, changes, _ = trajectory(with_rows(run_of(), spread), metric="lambda_max").axes
    assert (levels.get_yscale(), changes.get_yscale()) == ("log", "linear")


def test_a_matrix_that_one_model_lacks_is_left_out():
    def lost(row):
        is_lost = (row.matrix_name, row.model) == (NAMES[1], "checkpoint-40")
        return dataclasses.replace(row, norm_change=NAN) if is_lost else row

    axes = trajectory(with_rows(run_of(), lost), metric="relative_change").axes[0]
    assert axes.get_title(loc="left") == "3 of 4 matrices"


def test_metrics_that_nothing_has_or_knows_are_refused():
    with pytest.raises(InputError, match="no matrix has a value of 'lambda_plus' in all models, so there is nothing to draw"):
        trajectory(run_of(), metric="lambda_plus")
    with pytest.raises(InputError, match="unknown metric 'alfa'. Did you mean 'alpha'"):
        trajectory(run_of(), metric="alfa")
    with pytest.raises(InputError, match="no matrix has a value of 'change_stable_rank'"):
        trajectory(comparison_of(equal_row_of()), metric="change_stable_rank")


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_it_is_drawn_the_same_every_time(tmp_path, wide):
    first, second = (write(trajectory(run_of(), wide=wide), tmp_path / name, "t", ["pdf"])[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()
