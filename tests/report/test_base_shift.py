import io
import math

import numpy as np
import pytest
from rich.console import Console

from spectra.errors import InputError
from spectra.report.base_shift_table import base_shift_table
from spectra.report.figures.base_shift import base_shift
from spectra.report.figures.style import write
from tests.base_shifts import base_shift_of, change_of

STILL = change_of("still", norm_change=0.0, stable_rank=math.nan, energy={1: math.nan}, status="unchanged")
WHITE = [1.0, 1.0, 1.0, 1.0]


def blocks(*ranks, **changes):
    """Two blocks of so many matrices each."""
    rows = [change_of(f"layers.{i}.{j}.fc", stable_rank=rank + i, **changes) for i in range(2) for j, rank in enumerate(ranks)]
    return base_shift_of(*rows)


def printed(shifts, width=100, **options):
    console = Console(file=io.StringIO(), width=width)
    console.print(base_shift_table(shifts, width=width, **options))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def named_lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def dots(axes):
    return [one for one in axes.collections if type(one).__name__ == "PathCollection"]


def marks(axes):
    """Labelled vertical lines: where, by label."""
    return {text.get_text(): text.xy[0] for text in axes.texts}


def test_energy_is_the_median_over_matrices_with_the_band_of_the_middle_half():
    shares = [{1: 0.1 * i, 8: 0.5 + 0.1 * i, 32: 1.0} for i in range(5)]
    energy, _ = base_shift({"ml": base_shift_of(*(change_of(f"layers.{i}.fc", energy=e) for i, e in enumerate(shares)))}).axes
    np.testing.assert_allclose(named_lines(energy)["ml"], [[1, 0.2], [8, 0.7], [32, 1.0]], rtol=1e-12)
    (band,) = [one for one in energy.collections if "FillBetween" in type(one).__name__]
    edges = {tuple(point) for point in band.get_paths()[0].vertices.round(9)}
    assert {(1.0, 0.1), (1.0, 0.3), (8.0, 0.6), (8.0, 0.8)} <= edges
    assert energy.get_xscale() == "log"


def test_stable_ranks_are_medians_over_a_block_side_by_side():
    _, depth = base_shift({"standard": blocks(2.0, 3.0, 7.0), "ml": blocks(1.0, 1.5, 2.0)}).axes
    found = [np.asarray(one.get_offsets()) for one in dots(depth)]
    np.testing.assert_allclose(found[0], [[-0.15, 3.0], [0.85, 4.0]], rtol=1e-12)
    np.testing.assert_allclose(found[1], [[0.15, 1.5], [1.15, 2.5]], rtol=1e-12)
    assert list(named_lines(depth)) == ["standard", "ml"]
    assert depth.get_xlabel() == "block"


def test_one_base_stands_where_its_blocks_are():
    _, depth = base_shift({"ml": blocks(2.0)}).axes
    assert [x for x, _ in dots(depth)[0].get_offsets()] == [0.0, 1.0]


def test_ends_of_the_model_are_joined_to_no_block():
    ends = [change_of("embed", kind="embedding"), *blocks(2.0, 3.0).matrices, change_of("head")]
    _, depth = base_shift({"ml": base_shift_of(*ends)}).axes
    joined = [line.get_xdata().tolist() for line in depth.get_lines() if len(line.get_xdata())]
    assert joined == [[-1.0], [0.0, 1.0], [2.0]]


def test_what_may_be_rounding_is_hollow():
    rows = [change_of("layers.0.fc"), change_of("layers.1.fc", rounding=0.4)]
    _, depth = base_shift({"ml": base_shift_of(*rows)}).axes
    assert [list(color) == WHITE for color in dots(depth)[0].get_facecolors()] == [False, True]


def test_ranks_that_differ_by_factors_take_a_logarithmic_axis():
    assert base_shift({"ml": blocks(1.0, 20.0)}).axes[1].get_yscale() == "log"
    near = base_shift({"ml": blocks(2.0, 3.0)}).axes[1]
    assert (near.get_yscale(), near.get_ylim()[0]) == ("linear", 0.0)


def test_lines_stand_at_the_ranks_of_the_theory():
    shift = blocks(2.0)
    assert marks(base_shift({"a": shift, "b": shift}).axes[0]) == {"$k$": 2, "$kT$": 6, "$k(T+1)$": 8}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_tasks": 20}, {"$k$": 2}),
        ({"num_tasks": 1}, {"$k$": 2, "$k(T+1)$": 4}),
        ({"num_tasks": None}, {}),
        ({"rank": None}, {}),
    ],
    ids=["more than directions", "one task", "no tasks", "no rank"],
)
def test_lines_that_would_say_nothing_are_left_out(changes, expected):
    assert marks(base_shift({"ml": base_shift_of(change_of(), **changes)}).axes[0]) == expected


def test_bases_of_different_ranks_have_no_lines():
    assert marks(base_shift({"a": base_shift_of(change_of()), "b": base_shift_of(change_of(), rank=4)}).axes[0]) == {}


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_it_is_drawn_the_same_every_time(tmp_path, wide):
    shifts = {"standard": blocks(2.0, 3.0), "ml": blocks(1.0, 2.0)}
    first, second = (write(base_shift(shifts, wide=wide), tmp_path / name, "shift", ["pdf"])[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_wide_panels_stand_side_by_side():
    left, right = base_shift({"ml": blocks(2.0)}, wide=True).axes
    assert left.get_subplotspec().colspan.start < right.get_subplotspec().colspan.start


def test_a_base_that_did_not_change_cannot_be_drawn():
    with pytest.raises(InputError, match="no matrix of 'still' changed by a known amount, so there is nothing to draw"):
        base_shift({"ml": blocks(2.0), "still": base_shift_of(STILL)})
    with pytest.raises(InputError, match="there is no base, so there is nothing to draw"):
        base_shift({})


def test_the_table_has_medians_of_each_base_and_the_matrices_that_moved_furthest():
    rows = [change_of("a", stable_rank=1.5), change_of("b[0]", norm_change=2.0), STILL]
    lines = printed({"standard": base_shift_of(*rows), "lora-ml": base_shift_of(change_of("a", norm_change=math.nan))})
    cells = [" ".join(line.split()) for line in lines]
    assert cells[:6] == [
        "change stable rank rank top 2 top 6 top 8",
        "standard, median of 2 0.156 2 30 60% 85% 90%",
        "b[0] 0.25 2.5 30/32 60% 85% 90%",
        "a 0.0625 1.5 30/32 60% 85% 90%",
        "still unchanged",
        "lora-ml, median of 1 – 2.5 30 60% 85% 90%",
    ]
    assert "rank 6 after standard retraining, 0 to 3 after LoRA-ML" in " ".join(cells[-3:])
    assert "The pretrained base is not A*" in " ".join(cells[-3:])


def test_the_table_begins_with_what_has_no_spectrum():
    rows = [change_of("a"), change_of("b", norm_change=math.nan, status="nonfinite")]
    lines = printed({"ml": base_shift_of(*rows)})
    assert [line.split() for line in lines[2:4]] == [["b", "nonfinite"], ["a", "0.0625", "2.5", "30/32", "60%", "85%", "90%"]]


def test_a_star_marks_what_may_be_rounding():
    assert printed({"ml": base_shift_of(change_of("a", rounding=0.4))})[2].split()[1] == "0.0625*"


def test_shares_that_a_base_does_not_have_are_dashes():
    lines = printed({"a": base_shift_of(change_of(), top=(2,)), "b": base_shift_of(change_of(energy={3: 0.7}), top=(3,))})
    assert lines[0].split()[-4:] == ["top", "2", "top", "3"]
    assert (lines[1].split()[-2:], lines[3].split()[-2:]) == (["60%", "–"], ["–", "70%"])


def test_the_table_of_what_is_not_compared_with_theory_has_no_lines_under_it():
    assert len(printed({"ml": base_shift_of(change_of(), num_tasks=None, rank=None)})) == 3


def test_the_table_counts_the_rest_and_fits_its_width():
    lines = printed(
        {"ml": base_shift_of(*(change_of(f"model.encoder.layers.{i}.attention.query") for i in range(9)))}, width=80
    )
    assert max(map(len, lines)) <= 80
    assert lines[2].strip().startswith("…")
    assert "attention.query" in lines[2]
    assert lines[7] == "  … 4 more"
