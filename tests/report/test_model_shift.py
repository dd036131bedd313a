import io
import math

import numpy as np
import pytest
from rich.console import Console

from spectra.errors import InputError
from spectra.report.figures.model_shift import model_shift
from spectra.report.figures.style import write
from spectra.report.model_shift_table import model_shift_table
from tests.shifts import matrix_of, shift_of

ROLES = ("attn.q_proj", "mlp.down_proj")
BLOCKS = [matrix_of(f"layers.{i}.{role}", norm_change=0.1 * (i + 1)) for i in range(3) for role in ROLES]


def series(axes):
    """The points of each role, by its legend."""
    labels = [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")]
    return {label: np.asarray(dots.get_offsets()) for label, dots in zip(labels, scattered(axes), strict=True)}


def scattered(axes):
    return [one for one in axes.collections if type(one).__name__ == "PathCollection"]


def printed(shift, width=80, **options):
    console = Console(file=io.StringIO(), width=width)
    console.print(model_shift_table(shift, width=width, **options))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_changes_stand_at_their_depth_beside_those_of_alpha():
    changes, alphas = model_shift(shift_of(*BLOCKS)).axes
    np.testing.assert_allclose(series(changes)["attn.q_proj"], [[0, 0.0125], [1, 0.025], [2, 0.0375]], rtol=1e-12)
    assert set(series(changes)) == set(ROLES)
    np.testing.assert_allclose(series(alphas)["mlp.down_proj"], [[0, -0.25], [1, -0.25], [2, -0.25]], rtol=1e-12)
    assert changes.get_title(loc="left") == "tuned, in total 0.013"
    assert (changes.get_xlabel(), alphas.get_xlabel()) == ("", "block")


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_it_is_drawn_the_same_every_time(tmp_path, wide):
    shift = shift_of(*BLOCKS)
    first, second = (write(model_shift(shift, wide=wide), tmp_path / name, "shift", ["pdf"])[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_wide_panels_stand_side_by_side_and_both_name_the_depth():
    left, right = model_shift(shift_of(*BLOCKS), wide=True).axes
    assert left.get_subplotspec().colspan.start < right.get_subplotspec().colspan.start
    assert left.get_xlabel() == right.get_xlabel() == "block"


def test_doubtful_fits_are_hollow_in_the_panel_of_alpha_only():
    doubtful = [matrix_of("layers.0.fc"), matrix_of("layers.1.fc", fit_quality_after="poor")]
    changes, alphas = model_shift(shift_of(*doubtful)).axes
    white = [1.0, 1.0, 1.0, 1.0]
    assert [list(color) == white for color in scattered(alphas)[0].get_facecolors()] == [False, True]
    assert white not in scattered(changes)[0].get_facecolors().tolist()


def test_without_fits_there_is_one_panel():
    plain = [matrix_of(f"layers.{i}.fc", alpha_before=math.nan, alpha_after=math.nan) for i in range(2)]
    (axes,) = model_shift(shift_of(*plain, settings={})).axes
    assert axes.get_xlabel() == "block"


def test_changes_that_differ_by_factors_take_a_logarithmic_axis():
    far = [matrix_of("layers.0.fc", norm_change=1e-3), matrix_of("layers.1.fc", norm_change=1.0)]
    assert model_shift(shift_of(*far)).axes[0].get_yscale() == "log"
    near = model_shift(shift_of(*BLOCKS)).axes[0]
    assert near.get_yscale() == "linear"
    assert near.get_ylim()[0] == 0.0


def test_experts_and_heads_of_a_weight_are_one_series():
    names = [
        f"layers.{i}.{rest}" for i in range(2) for rest in ("experts.up[0]", "experts.up[1]", "q_proj.head0", "q_proj.head1")
    ]
    assert set(series(model_shift(shift_of(*map(matrix_of, names))).axes[0])) == {"experts.up", "q_proj"}


def test_ends_of_the_model_stand_before_and_after_the_blocks():
    ends = [matrix_of("embed_tokens", kind="embedding"), *BLOCKS, matrix_of("lm_head")]
    found = series(model_shift(shift_of(*ends)).axes[0])
    assert (found["embedding"][0, 0], found["lm_head"][0, 0]) == (-1, 3)


def test_what_moved_by_no_known_amount_is_not_drawn():
    unknown = [matrix_of("layers.7.fc", norm_change=math.nan), matrix_of("layers.8.fc", norm_before=0.0)]
    assert len(series(model_shift(shift_of(matrix_of(), *unknown)).axes[0])["fc"]) == 1
    with pytest.raises(InputError, match="no matrix of 'runs/tuned' changed by a known amount"):
        model_shift(shift_of(*unknown))


def test_the_table_begins_with_what_could_not_be_compared_and_what_moved_furthest():
    rows = [matrix_of("a"), matrix_of("b", norm_change=4.0), matrix_of("c", norm_change=math.nan, alpha_after=math.nan)]
    lines = printed(shift_of(*rows, matrix_of("d[0]", fit_quality_after="poor")))
    assert [line.split()[0] for line in lines] == ["matrix", "c", "b", "a", "d[0]", "*"]
    assert " ".join(lines[1].split()) == "c – 3.00 → – 12.5 → 11.2"
    assert " ".join(lines[2].split()) == "b 0.5 3.00 → 2.75 12.5 → 11.2"
    assert " ".join(lines[4].split()) == "d[0] 0.0625 3.00 → 2.75* 12.5 → 11.2"


def test_a_star_is_explained_where_there_is_one():
    star = "* of a poor fit: not to be relied on"
    poor = matrix_of("b", fit_quality_before="poor", norm_change=0.25)
    assert printed(shift_of(matrix_of("a"), poor))[-1] == star
    assert star not in printed(shift_of(matrix_of("a")))
    assert star not in printed(shift_of(matrix_of("a"), poor), max_rows=1)
    assert star not in printed(shift_of(poor, settings={}))


def test_the_table_of_norms_alone_has_no_columns_of_spectra():
    assert printed(shift_of(matrix_of("a"), settings={})) == ["matrix  change", "a       0.0625"]


def test_the_table_counts_the_rest():
    lines = printed(shift_of(*(matrix_of(f"layers.{i}.fc") for i in range(30))), max_rows=4)
    assert len(lines) == 6
    assert lines[-1] == "… 26 more"


def test_the_table_fits_its_width_and_keeps_the_end_of_names():
    lines = printed(shift_of(matrix_of("model.decoder.layers.10.self_attn.q_proj.very.long")), width=70)
    assert max(map(len, lines)) <= 70
    assert lines[1].startswith("…")
    assert "very.long" in lines[1]
