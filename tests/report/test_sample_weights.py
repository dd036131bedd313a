import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, StepPatch

from spectra.errors import InputError
from spectra.report.figures.sample_weights import sample_weights
from spectra.report.figures.style import write
from tests.histories import history_of, round_of, tiny_history

WIDTHS = pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])


def panels_of(history, *, wide=False):
    return sample_weights(history, wide=wide).axes[:3]


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def columns_of(axes):
    """Words beside the cells: what stands on top, weights, and the words of each row."""
    words = texts_of(axes)
    return words[:3], words[3::2], words[4::2]


def named(axes):
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_shares_and_discordances_are_drawn_by_round():
    history = history_of(5)
    share, discordance = panels_of(history)[0].get_lines()
    assert list(share.get_xdata()) == list(discordance.get_xdata()) == [0, 1, 2, 3, 4]
    assert list(share.get_ydata()) == [each.ess for each in history.rounds]
    assert list(discordance.get_ydata()) == [each.eps for each in history.rounds]


def test_a_discordance_that_is_not_known_leaves_a_gap():
    assert math.isnan(panels_of(tiny_history())[0].get_lines()[1].get_ydata()[2])


def test_quantiles_of_the_weights_and_the_largest_are_drawn_by_round():
    history = history_of(4, 300)
    outer, inner, median, largest = (p for p in panels_of(history)[1].patches if isinstance(p, StepPatch))
    ordered = np.sort(history.weights_by_round.astype(float), axis=1)

    def quantile(q):
        place = q * 299.0
        low = int(place)
        return ordered[:, low] + (place - low) * (ordered[:, min(low + 1, 299)] - ordered[:, low])

    # The figure interpolates in float32.
    for band, (low, high) in ((outer, (0.01, 0.99)), (inner, (0.1, 0.9))):
        np.testing.assert_allclose(band.get_data().values, quantile(high), rtol=1e-6)
        np.testing.assert_allclose(band.get_data().baseline, quantile(low), rtol=1e-6)
    np.testing.assert_allclose(median.get_data().values, quantile(0.5), rtol=1e-6)
    assert list(largest.get_data().values) == list(history.weights_by_round.max(axis=1))
    assert list(largest.get_data().edges) == [-0.5, 0.5, 1.5, 2.5, 3.5]


def test_rounds_that_changed_nothing_are_grey_by_reason_and_each_reason_is_named_once():
    skipped = {0: "warmup", 1: "warmup", 3: "eps >= eps_max", 5: "$x$", 6: "other"}
    axes = panels_of(history_of(8, skipped=skipped))[0]
    spans = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(span.get_x(), span.get_x() + span.get_width()) for span in spans] == [(n - 0.5, n + 0.5) for n in skipped]
    shades = [to_hex(span.get_facecolor()) for span in spans]
    assert shades[0] == shades[1]
    assert len(set(shades[1:4])) == 3
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[2:] == ["skipped: warmup", "skipped: eps >= eps_max", "skipped: $x$", "skipped: other"]
    assert not any(text.get_parse_math() for text in axes.get_legend().get_texts()[2:])


def test_a_run_without_skipped_rounds_says_nothing_of_them():
    assert len(named(panels_of(history_of(3))[0])) == 2


@WIDTHS
def test_a_run_of_which_all_rounds_were_skipped_is_a_line_at_one(wide):
    history = history_of(4, skipped=dict.fromkeys(range(4), "warmup"))
    axes = panels_of(history, wide=wide)[1]
    assert [list(patch.get_data().values) for patch in axes.patches] == [[1.0] * 4] * 4
    assert axes.get_ylim() == (0.5, 2.0)


def test_the_axis_of_weights_shows_factors_and_keeps_a_place_for_zero():
    assert panels_of(history_of(4, 300, smallest=0.25))[1].get_yscale() == "log"
    assert panels_of(history_of(4, 300, smallest=0.8))[1].get_yscale() == "linear"
    boosted = panels_of(history_of(4, 300, smallest=1e-6))[1]
    assert boosted.get_yscale() == "symlog"
    assert boosted.get_ylim()[0] == 0.0


@pytest.mark.parametrize(("num_samples", "rows"), [(1, 1), (10, 10), (20, 20), (300, 20)])
@WIDTHS
def test_the_hardest_samples_have_a_row_each_the_hardest_above(num_samples, rows, wide):
    history = history_of(3, num_samples)
    axes = panels_of(history, wide=wide)[2]
    hardest = history.hardest(20)
    [cells] = axes.collections
    np.testing.assert_array_equal(cells.get_array(), [sample.discordance for sample in hardest])
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(sample.index) for sample in hardest]
    assert axes.get_ylim() == (rows - 0.5, -0.5)
    assert axes.get_xlim() == (-0.5, 2.5)
    top, weights, _ = columns_of(axes)
    assert top == ["sample", "weight", "label → teacher"]
    assert weights == [f"{sample.weight:.2f}" for sample in hardest]
    assert axes.get_title(loc="left") == f"hardest of {num_samples} sample{'s' if num_samples > 1 else ''}"


def test_label_and_teacher_stand_beside_a_sample():
    words = columns_of(panels_of(tiny_history())[2])[2]
    assert words == ["no → yes", "no → no", "yes → yes", "maybe → maybe"]
    assert columns_of(panels_of(tiny_history(class_names=()))[2])[2] == ["0 → 2", "0 → 0", "2 → 2", "1 → 1"]
    many = tiny_history(labels=np.array([12345, 0, 7, 2]), class_names=("no",))
    assert columns_of(panels_of(many)[2])[2][:2] == ["7 → 2", "12345 → no"]


def test_numbers_of_a_regression_are_rounded():
    history = tiny_history(labels=np.array([1.0, 2.0, 3.14159, 0.0]), teacher_predictions=np.array([0.5, 2.0, -12.345, 1e-9]))
    assert columns_of(panels_of(history)[2])[2] == ["3.14 → -12.3", "1 → 0.5", "0 → 1e-09", "2 → 2"]


@pytest.mark.parametrize(
    ("unknown", "top", "words"),
    [
        (("teacher_predictions",), "label", ["no", "no", "yes", "maybe"]),
        (("labels",), "teacher", ["yes", "no", "yes", "maybe"]),
        (("labels", "teacher_predictions"), "", [""] * 4),
    ],
    ids=["no teacher", "no label", "neither"],
)
def test_only_what_is_known_is_said(unknown, top, words):
    found = columns_of(panels_of(tiny_history(**dict.fromkeys(unknown)))[2])
    assert (found[0][2], found[2]) == (top, words)


@WIDTHS
def test_long_names_of_classes_are_cut_and_stay_inside_the_figure(wide):
    names = ("a name of a class that is much too long", "another_long_name_of_a_class", "$x_1$")
    figure = sample_weights(tiny_history(class_names=names), wide=wide)
    words = columns_of(figure.axes[2])[2]
    assert words[0] == "a name of a c… → $x_1$"
    assert not any(text.get_parse_math() for text in figure.axes[2].texts)
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert (box.x0 >= 0.0, box.x1 <= figure.get_size_inches()[0]) == (True, True)
    assert figure.axes[2].get_position().width > 0.0


@WIDTHS
@pytest.mark.parametrize("num_rounds", [1, 200])
def test_no_panel_covers_another(num_rounds, wide):
    figure = sample_weights(history_of(num_rounds, 40, skipped={0: "warmup"}), wide=wide)
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, first in enumerate(boxes):
        for second in boxes[i + 1 :]:
            # The header over the numbers of the samples may stand a little to the left of them.
            across = min(first.x1, second.x1) - max(first.x0, second.x0)
            assert across < 2.0 or min(first.y1, second.y1) - max(first.y0, second.y0) < 2.0


def test_cells_that_are_not_known_are_grey_and_the_bar_says_so():
    figure = sample_weights(tiny_history())
    assert np.ma.getmaskarray(figure.axes[2].collections[0].get_array()).sum() == 4
    assert to_hex(figure.axes[2].get_facecolor()) == to_hex("0.85")
    assert figure.axes[3].get_xlabel() == "discordance\n(grey: not known)"
    assert sample_weights(history_of(3)).axes[3].get_xlabel() == "discordance"


def test_colours_mean_the_same_in_every_run():
    zeros = tiny_history(discordance_by_round=np.zeros((3, 4), np.float32))
    assert panels_of(zeros)[2].collections[0].get_clim() == (0.0, 1.0)


@WIDTHS
def test_rounds_are_counted_in_whole_numbers(wide):
    for history in (history_of(1), history_of(2)):
        for axes in panels_of(history, wide=wide):
            ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
            assert ticks == [each.number for each in history.rounds]


def test_a_round_that_stands_for_several_begins_after_the_one_before():
    history = tiny_history(rounds=tuple(round_of(number) for number in (9, 19, 24)))
    *_, largest = panels_of(history)[1].patches
    assert list(largest.get_data().edges) == [-0.5, 9.5, 19.5, 24.5]


def test_rounds_of_any_number_are_drawn_without_marks_where_they_would_touch():
    few, many = (panels_of(history_of(number)) for number in (40, 41))
    assert [line.get_marker() for line in few[0].get_lines()] == ["o", "o"]
    assert [line.get_marker() for line in many[0].get_lines()] == ["", ""]
    assert few[2].collections[0].get_linewidth() > many[2].collections[0].get_linewidth() or not len(
        many[2].collections[0].get_edgecolor()
    )


def test_a_history_without_a_round_is_refused():
    rows = {name: getattr(tiny_history(), name)[:0] for name in vars(tiny_history()) if name.endswith("_by_round")}
    with pytest.raises(InputError, match="holds no round yet, .* Try again after a pass over the data"):
        sample_weights(tiny_history(rounds=(), **rows))


@WIDTHS
def test_equal_histories_give_equal_bytes_of_the_width_that_was_asked_for(tmp_path, wide):
    figure, again = (sample_weights(tiny_history(), wide=wide) for _ in range(2))
    assert figure.get_size_inches()[0] == (6.75 if wide else 3.25)
    first, second = (write(each, tmp_path / name, "f", ["svg"]) for name, each in (("a", figure), ("b", again)))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_history_and_the_users_matplotlib_settings_stay_as_they_were():
    import matplotlib

    before, history = dict(matplotlib.rcParams), tiny_history()
    sample_weights(history)
    assert dict(matplotlib.rcParams) == before
    for name, value in vars(tiny_history()).items():
        np.testing.assert_equal(
            *([vars(each) for each in found] if name == "rounds" else found for found in (getattr(history, name), value))
        )
