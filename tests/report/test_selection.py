import math

import matplotlib
import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures.selection import selection
from spectra.report.figures.style import write
from spectra.results.distill_records import REASONS
from tests.distilled import run_of

WIDTHS = pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
SPREAD = [0.004, 0.3, 0.99, 1.0, 1.01, 1.5, 1.5, 2.0, 40.0, 900.0]
RUNS = {
    "math": run_of(accepted=[1.5] * 70, identical=1, rejected={"mismatch": 20, "truncated": 9}),
    "every reason": run_of(accepted=SPREAD, rejected=dict.fromkeys(REASONS, 3)),
    "rejected": run_of(rejected={"no_reference": 12345}),
    "one": run_of(accepted=[1.5]),
    "identical": run_of(identical=3),
}
ALL = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def words_of(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_decisions_and_reasons_are_bars_with_their_numbers():
    axes = selection(RUNS["math"]).axes[0]
    assert words_of(axes) == ["accepted", "identical", "rejected", "mismatch", "truncated"]
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.01, 0.29, 0.2, 0.09]
    assert [text.get_text() for text in axes.texts] == ["70 (70.0%)", "1 (1.0%)", "29 (29.0%)", "20 (20.0%)", "9 (9.0%)"]
    assert axes.get_ylim() == (4.5, -0.5)
    assert axes.get_xlim() == (0.0, 1.0)
    assert axes.get_xlabel() == "% of 100 samples"


def test_decisions_differ_in_colour_and_reasons_share_one():
    colors = [bar.get_facecolor() for bar in selection(RUNS["math"]).axes[0].patches]
    assert len(set(colors[:4])) == 4
    assert colors[3] == colors[4]


def test_reasons_are_written_as_words():
    reasons = {"low_rouge_l": 3, "copy_of_prompt": 2}
    assert words_of(selection(run_of(rejected=reasons)).axes[0])[3:] == ["low ROUGE-L", "copy of prompt"]


def test_lengths_are_counted_in_quarters_of_a_doubling_with_an_edge_at_the_same_length():
    axes = selection(run_of(accepted=SPREAD)).axes[1]
    edges = [axes.patches[0].get_x(), *(bar.get_x() + bar.get_width() for bar in axes.patches)]
    places = 4.0 * np.log2(edges)
    np.testing.assert_allclose(places, np.round(places), atol=1e-9)  # of rounding, over 17 octaves
    # A plain loop; ratios of characters are exact here, and none but 1 is at an edge.
    expected = dict.fromkeys(np.round(places[:-1]).astype(int).tolist(), 0)
    for ratio in SPREAD:
        if round(100 * ratio):
            expected[math.floor(4.0 * math.log2(round(100 * ratio) / 100))] += 1
    assert [bar.get_height() for bar in axes.patches] == list(expected.values())
    assert sum(expected.values()) == 9


def test_empty_responses_have_no_place_on_the_axis_and_are_counted_below_it():
    figure = selection(run_of(accepted=[0.0, 0.0, 0.0, 2.0]))
    axes = figure.axes[1]
    assert sum(bar.get_height() for bar in axes.patches) == 1
    assert axes.get_xlabel() == "characters, accepted over original\n(not shown: 3 empty responses)"
    assert axes.get_legend().get_texts()[1].get_text() == "median 0"  # of all, as the report says
    figure.draw_without_rendering()
    assert selection(run_of(accepted=[2.0])).axes[1].get_xlabel() == "characters, accepted over original"
    assert len(selection(run_of(accepted=[0.0])).axes) == 1


def test_the_median_and_the_same_length_are_lines():
    same, median = selection(run_of(accepted=[1.5, 3.0, 4.0])).axes[1].get_lines()
    assert (same.get_xdata()[0], same.get_label()) == (1.0, "same length")
    assert (median.get_xdata()[0], median.get_label()) == (3.0, "median 3")


def test_the_axis_of_lengths_is_logarithmic_with_whole_numbers_and_fractions():
    figure = selection(run_of(accepted=[0.2, 5.0]))
    figure.draw_without_rendering()
    axes = figure.axes[1]
    low, high = axes.get_xlim()
    shown = [
        label.get_text() for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low <= tick <= high
    ]
    assert shown == ["1/4", "1/2", "1", "2", "4"]
    assert low <= 0.2 <= 5.0 <= high
    assert selection(run_of(accepted=[1.1])).axes[1].get_xlim() == (0.5, 2.0)


@WIDTHS
def test_without_an_accepted_response_there_is_no_panel_of_lengths(wide):
    figure = selection(RUNS["rejected"], wide=wide)
    assert len(figure.axes) == 1
    assert words_of(figure.axes[0]) == ["accepted", "identical", "rejected", "no reference"]


@WIDTHS
@ALL
def test_everything_stays_inside_the_figure(run, wide):
    figure = selection(run, wide=wide)
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert width == (6.75 if wide else 3.25)
    assert (box.x0 >= 0.0, box.x1 <= width, box.y0 >= 0.0, box.y1 <= height) == (True,) * 4


@WIDTHS
@ALL
def test_no_text_covers_another(run, wide):
    figure = selection(run, wide=wide)
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [label for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low <= tick <= high]
        texts = [*ticks, *axes.get_yticklabels(), *axes.texts, axes.xaxis.label]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert not any(first.overlaps(second) for i, first in enumerate(boxes) for second in boxes[i + 1 :])


def test_a_figure_of_no_records_is_refused():
    with pytest.raises(InputError, match="there are no records"):
        selection([])


@WIDTHS
def test_equal_runs_give_equal_bytes(tmp_path, wide):
    first, second = (write(selection(RUNS["math"], wide=wide), tmp_path / name, "f", ["svg"]) for name in "ab")
    assert first[0].read_bytes() == second[0].read_bytes()


def test_the_users_matplotlib_settings_stay_as_they_were():
    before = dict(matplotlib.rcParams)
    selection(RUNS["math"])
    assert dict(matplotlib.rcParams) == before
