"""The figure and the table of a data shift."""

import io

import numpy as np
import pytest
from rich.console import Console

from spectra.report.data_shift_table import data_shift_table
from spectra.report.figures.data_shift import data_shift
from spectra.report.figures.style import write
from tests.data_shifts import sample_of, shift_of

WIDTHS = pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
RANDOM = np.random.default_rng(0).normal(-0.5, 0.3, 60).tolist()
SHIFTS = {
    "many": shift_of(*RANDOM, kept=20),
    "one": shift_of(-1.0),
    "none": shift_of(kept=3),
    "equal": shift_of(*[0.0] * 5),
    "far": shift_of(*[-0.1] * 30, 300.0),
    "tiny": shift_of(*(1e-9 * np.arange(30))),
}
ALL = pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_each_sample_counts_once_in_each_histogram_and_each_accepted_one_among_the_differences():
    upper, lower = data_shift(SHIFTS["many"]).axes
    filled = [sum(bar.get_height() for bar in container) for container in upper.containers if len(container) > 1]
    assert filled == [80.0, 80.0]
    assert sum(bar.get_height() for bar in lower.containers[0]) == 60.0
    assert upper.get_xlabel() == "nats per token of a response (80 samples)"
    assert lower.get_xlabel() == "selected − original, nats per token (60 accepted)"


def test_bars_of_differences_hold_what_lies_between_their_edges_and_one_edge_is_at_none():
    axes = data_shift(SHIFTS["many"]).axes[1]
    bars = axes.containers[0]
    edges = [bars[0].get_x(), *(bar.get_x() + bar.get_width() for bar in bars)]
    assert min(abs(edge) for edge in edges) < 1e-12  # of rounding
    for bar in bars:
        inside = [bar.get_x() <= value < bar.get_x() + bar.get_width() for value in RANDOM]
        assert bar.get_height() == sum(inside)


def test_the_mean_and_its_interval_are_those_of_the_shift():
    accepted = SHIFTS["many"].accepted
    axes = data_shift(SHIFTS["many"]).axes[1]
    assert axes.get_lines()[1].get_xdata()[0] == accepted.difference
    (band,) = [patch for patch in axes.patches if patch.get_alpha() == 0.15]
    assert band.get_x() == accepted.difference_low
    assert band.get_x() + band.get_width() == pytest.approx(accepted.difference_high, abs=1e-12)  # of rounding
    assert labels_of(axes)[0].startswith(f"mean −{-accepted.difference:.3g} (95 %: −")
    assert labels_of(data_shift(SHIFTS["one"]).axes[1]) == ["mean −1"]


def test_medians_are_lines_and_named():
    axes = data_shift(shift_of(-1.0, -1.0, -1.0)).axes[0]
    assert [line.get_xdata()[0] for line in axes.get_lines()] == pytest.approx([2.1, 1.1], rel=1e-12)
    assert labels_of(axes) == ["original, median 2.1", "selected, median 1.1"]


@WIDTHS
def test_without_an_accepted_response_there_is_one_histogram(wide):
    figure = data_shift(SHIFTS["none"], wide=wide)
    assert len(figure.axes) == 1
    assert labels_of(figure.axes[0]) == ["original, median 2"]


@WIDTHS
@ALL
def test_everything_stays_inside_the_figure(shift, wide):
    figure = data_shift(shift, wide=wide)
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert width == (6.75 if wide else 3.25)
    assert (box.x0 >= 0.0, box.x1 <= width, box.y0 >= 0.0, box.y1 <= height) == (True,) * 4


def test_equal_shifts_give_equal_bytes(tmp_path):
    first, second = (write(data_shift(SHIFTS["many"]), tmp_path / name, "f", ["svg"]) for name in "ab")
    assert first[0].read_bytes() == second[0].read_bytes()


def printed(shift):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(data_shift_table(shift))
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_the_table_shows_all_samples_and_the_accepted_ones():
    lines = printed(shift_of(*[-1.0, -0.5] * 10, kept=5))
    assert lines[0] == "samples original selected change"
    assert lines[1] == "all 25 nats per token 2.081 1.867 -10.3%"
    assert lines[2].startswith("perplexity 8.016 6.47")
    assert lines[3] == "tokens of a response 2.8 2.8 +0.0%"
    assert lines[4] == "difference per sample -0.600"
    assert lines[5].startswith("its 95 % interval -0.7")
    assert lines[6].startswith("accepted 20 nats per token 2.285 1.535")
    assert len(lines) == 11


def test_the_table_of_a_single_sample_has_no_interval_and_no_change_of_nothing():
    lines = printed(shift_of(kept=1))
    assert len(lines) == 5
    certain = printed(type(SHIFTS["one"]).of([sample_of(0, (0.0, 2), (1.0, 2))], model={}))
    assert certain[1] == "all 1 nats per token 0.000 0.500 –"
