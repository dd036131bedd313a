import dataclasses

import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures.compare import compare
from spectra.report.figures.style import write
from spectra.results.comparison import METRICS_ONLY
from tests.comparisons import comparison_of, equal_row_of, layer_of, row_of

NAN = float("nan")
WHITE = [1.0, 1.0, 1.0, 1.0]
ROLES = ("attn.q_proj", "mlp.down_proj")


def blocks(model="tuned", factor=1.0, **changes):
    """Two matrices in each of three blocks; none has an intruder unless it is asked for."""
    fields = {"intruders": (), **changes}
    return [
        row_of(f"layers.{i}.{role}", model=model, norm_change=0.8 * factor * (i + 1 + 2 * j), **fields)
        for i in range(3)
        for j, role in enumerate(ROLES)
    ]


def dots(axes):
    """Filled points, without the rings around some."""
    return [one for one in axes.collections if type(one).__name__ == "PathCollection" and one.get_zorder() == 3]


def rings(axes):
    found = [one for one in axes.collections if type(one).__name__ == "PathCollection" and one.get_zorder() == 4]
    return [tuple(at) for one in found for at in np.asarray(one.get_offsets())]


def labels(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_changes_of_one_model_stand_at_their_depth_side_by_side():
    figure = compare(comparison_of(*blocks()))
    changes, alphas = figure.axes
    found = [np.asarray(one.get_offsets()) for one in dots(changes)]
    np.testing.assert_allclose(found[0], [[-0.28, 0.1], [0.72, 0.2], [1.72, 0.3]], rtol=1e-12)
    np.testing.assert_allclose(found[1], [[0.28, 0.3], [1.28, 0.4], [2.28, 0.5]], rtol=1e-12)
    assert labels(figure) == [*ROLES, "before"]
    assert changes.get_title(loc="left") == "tuned: 6 of 6 matrices changed"
    assert (changes.get_xlabel(), alphas.get_xlabel()) == ("", "block")


def test_alpha_goes_from_the_tick_of_the_base_to_the_models():
    _, alphas = compare(comparison_of(row_of("layers.0.fc"), row_of("layers.1.fc"))).axes
    lines = [line.get_xydata().tolist() for line in alphas.get_lines() if len(line.get_xdata())]
    assert lines == [[[0, 3.1]], [[0, 3.1], [0, 2.6]], [[1, 3.1]], [[1, 3.1], [1, 2.6]]]
    assert [np.asarray(one.get_offsets()).tolist() for one in dots(alphas)[:2]] == [[[0, 2.6]], [[1, 2.6]]]


def test_intruders_are_ringed():
    figure = compare(comparison_of(row_of("layers.0.fc"), row_of("layers.1.fc", intruders=())))
    assert rings(figure.axes[0]) == [(0.0, 0.0625)]
    assert "intruder" in labels(figure)


def test_what_did_not_change_is_a_cross_at_the_foot_and_the_tick_of_its_alpha():
    figure = compare(comparison_of(row_of("layers.0.fc"), equal_row_of("layers.1.fc"), equal_row_of("layers.2.fc")))
    changes, alphas = figure.axes
    crosses = [line for line in changes.get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in crosses] == [[1.0, 2.0]]
    assert len(dots(alphas)[0].get_offsets()) == 1
    assert labels(figure) == ["fc", "before", "intruder", "unchanged"]
    assert changes.get_title(loc="left") == "tuned: 1 of 3 matrices changed"


def test_rounding_is_hollow_above_and_doubtful_fits_below():
    rows = [row_of("layers.0.fc", rounding=0.4), row_of("layers.1.fc", after=layer_of("b", alpha=2.0, fit_quality="poor"))]
    changes, alphas = compare(comparison_of(*rows)).axes
    assert [list(color) == WHITE for color in dots(changes)[0].get_facecolors()] == [True, False]
    assert [list(one.get_facecolors()[0]) == WHITE for one in dots(alphas)[:2]] == [False, True]


def test_metrics_without_weights_have_the_panel_of_alpha_alone():
    rows = [row_of(f"layers.{i}.fc", status=METRICS_ONLY, norm_change=NAN, norm_before=NAN, intruders=()) for i in range(2)]
    (axes,) = compare(comparison_of(*rows)).axes
    assert axes.get_ylabel() == r"exponent $\alpha$, before and after"
    assert axes.get_title(loc="left") == "tuned: 2 matrices"


def test_without_fits_there_is_the_panel_of_changes_alone():
    bare = {"before": layer_of(alpha=NAN), "after": layer_of(alpha=NAN)}
    (axes,) = compare(comparison_of(row_of("layers.0.fc", **bare), row_of("layers.1.fc", **bare))).axes
    assert axes.get_ylabel().startswith("change ")
    assert len(dots(axes)) == 1


def test_several_models_are_medians_of_blocks_side_by_side():
    figure = compare(comparison_of(*blocks("lora"), *blocks("full", factor=4.0, after=layer_of(alpha=3.6))))
    changes, alphas = figure.axes
    found = [np.asarray(one.get_offsets()) for one in dots(changes)]
    np.testing.assert_allclose(found[0], [[-0.28, 0.2], [0.72, 0.3], [1.72, 0.4]], rtol=1e-12)
    np.testing.assert_allclose(found[1], [[0.28, 0.8], [1.28, 1.2], [2.28, 1.6]], rtol=1e-12)
    np.testing.assert_allclose([np.asarray(one.get_offsets())[:, 1] for one in dots(alphas)], [[-0.5] * 3, [0.5] * 3])
    assert labels(figure) == ["lora", "full"]
    assert changes.get_title(loc="left") == "against base, medians of blocks"


def test_a_block_is_ringed_if_one_of_its_matrices_has_an_intruder():
    rows = blocks("lora")
    rows[2] = dataclasses.replace(rows[2], intruders=row_of().intruders)
    figure = compare(comparison_of(*rows, *blocks("full")))
    np.testing.assert_allclose(rings(figure.axes[0]), [(0.72, 0.3)])
    assert "intruder" in labels(figure)


def test_a_model_that_did_not_change_stands_in_the_legend_alone():
    figure = compare(comparison_of(*blocks("lora"), *(equal_row_of(row.matrix_name, model="same") for row in blocks())))
    assert [len(dots(axes)) for axes in figure.axes] == [1, 1]
    assert labels(figure) == ["lora", "same"]


def test_one_of_several_models_can_be_chosen():
    both = comparison_of(*blocks("lora"), *blocks("full"))
    assert compare(both, model="full").axes[0].get_title(loc="left") == "full: 6 of 6 matrices changed"
    with pytest.raises(InputError, match="no model 'fall' in the comparison. Did you mean 'full'"):
        compare(both, model="fall")


def test_of_a_run_the_last_checkpoint_is_drawn():
    run = comparison_of(*blocks("checkpoint-10"), *blocks("checkpoint-20"), over_time=True)
    assert compare(run).axes[0].get_title(loc="left") == "checkpoint-20: 6 of 6 matrices changed"


def test_what_did_not_change_at_all_cannot_be_drawn():
    with pytest.raises(InputError, match="no matrix of 'tuned' is known to differ from that of 'base', so there is nothing"):
        compare(comparison_of(equal_row_of()))
    lost = row_of(status="no_counterpart", norm_change=NAN, after=None)
    with pytest.raises(InputError, match="no matrix of 'a, b' is known to differ"):
        compare(comparison_of(dataclasses.replace(lost, model="a"), dataclasses.replace(lost, model="b")))


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
@pytest.mark.parametrize("models", [["tuned"], ["lora", "full"]], ids=["one", "two"])
def test_it_is_drawn_the_same_every_time(tmp_path, wide, models):
    comparison = comparison_of(*(row for model in models for row in blocks(model)))
    first, second = (write(compare(comparison, wide=wide), tmp_path / name, "compare", ["pdf"])[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_wide_panels_stand_side_by_side_and_both_name_the_depth():
    left, right = compare(comparison_of(*blocks()), wide=True).axes
    assert left.get_subplotspec().colspan.start < right.get_subplotspec().colspan.start
    assert left.get_xlabel() == right.get_xlabel() == "block"
