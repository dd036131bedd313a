"""Scores to multipliers, against hand values, plain loops and what has to hold for all scores."""

import math
import warnings
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.policies.learning_rate import Normalize, ScaleMap, ScalePolicy, scales, scales_of, unit_scales
from tests.layer_rows import row

MAPS = [entry.value for entry in ScaleMap]
ALPHAS = (2.0, 3.0, 4.0, 5.5)

# Alphas as fits give them, and those of orthogonal weights; whole thousandths, so that a difference is one.
ALPHA = st.integers(1_001, 20_000).map(lambda n: n / 1000) | st.sampled_from([1e3, 1e6, 1e15])
LISTS = st.lists(ALPHA, min_size=2, max_size=30)


def by_unit(values):
    return {f"block.{place}": value for place, value in enumerate(values)}


def values_of(scores, **options):
    return list(scales(by_unit(scores), **options).values())


def plain_sigmoid(values, s_below, s_above, tau):
    """Equations 3 and 4 of arXiv 2410.12178 as they stand; exp overflows for the alphas of orthogonal weights."""
    mean = sum(values) / len(values)
    result = []
    for value in values:
        s = s_above if value > mean else s_below
        result.append(10 ** (s * (1 / (1 + math.exp(-tau * (value - mean))) - 0.5)))
    return result


@pytest.mark.parametrize(
    ("options", "learning_rates"),
    [
        ({"map": "linear"}, (5.0e-4, 7.857142857e-4, 1.0714285714e-3, 1.5e-3)),
        ({"map": "sigmoid"}, (3.1622782983e-4, 3.1763381782e-4, 2.9993188025e-3, 3.1622776078e-3)),
        ({"map": "rank"}, (5.0e-4, 7.5e-4, 1.0e-3, 1.25e-3)),
    ],
)
def test_hand_values_at_a_base_rate_of_a_thousandth(options, learning_rates):
    # The hand values have ten to eleven digits.
    assert [1e-3 * scale for scale in values_of(ALPHAS, **options)] == pytest.approx(learning_rates, rel=2e-10)


def test_the_roots_and_logarithms_are_shares_of_their_sum():
    roots = [math.sqrt(alpha) for alpha in ALPHAS]
    logs = [math.log(alpha) / math.log(2.0) for alpha in ALPHAS]
    # A few roundings.
    assert values_of(ALPHAS, map="sqrt") == pytest.approx([4.0 * root / sum(roots) for root in roots], rel=1e-15)
    assert values_of(ALPHAS, map="log2") == pytest.approx([4.0 * log / sum(logs) for log in logs], rel=1e-15)


@given(st.lists(st.floats(1.01, 20.0), min_size=2, max_size=20), st.floats(0.1, 2.0), st.floats(0.1, 2.0), st.floats(0.5, 10.0))
def test_the_sigmoid_is_the_formula_of_the_paper(values, s_below, s_above, tau):
    assume(max(values) - min(values) > 1e-6)
    found = values_of(values, s_below=s_below, s_above=s_above, tau=tau)
    # Roundings of alpha and of the mean, times tau; where a score is at the mean a rounding decides on the side.
    assert found == pytest.approx(plain_sigmoid(values, s_below, s_above, tau), rel=1e-12)


@pytest.mark.parametrize(("s", "low", "high"), [(1.0, 0.316228, 3.162278), (1.25, 0.237137, 4.216965), (2.0, 0.1, 10.0)])
def test_the_bounds_of_the_sigmoid_are_powers_of_ten(s, low, high):
    found = values_of([1.0, 1e12], s_below=s, s_above=s)
    assert found == pytest.approx([low, high], rel=2e-6)  # the expected values have six digits


def test_the_sides_of_the_mean_have_their_own_strengths():
    found = values_of([1.0, 9.0], s_below=2.0, s_above=1.0)
    assert found == pytest.approx([0.1, 10.0**0.5], rel=1e-14)


def test_a_deviation_of_four_tenths_has_nearly_the_full_effect():
    phi = math.log10(values_of([3.0, 3.8])[1])
    assert phi / 0.5 == pytest.approx(0.96, abs=0.005)  # stated to two digits


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [2.5] * 7, [4.0, 4.0 + 1e-12], [1e15] * 3])
def test_equal_scores_and_a_single_unit_change_nothing(name, values):
    assert values_of(values, map=name) == [1.0] * len(values)
    assert values_of(values, map=name, normalize="geometric") == [1.0] * len(values)


def test_no_units_have_no_multipliers():
    assert scales({}) == {}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_a_unit_without_score_gets_one_and_changes_no_other(name, missing):
    scores = by_unit(ALPHAS)
    found = scales({"head": missing, **scores}, map=name)
    assert found == {"head": 1.0, **scales(scores, map=name)}
    assert list(found) == ["head", *scores]
    assert scales({"head": missing}, map=name) == {"head": 1.0}


@pytest.mark.parametrize("name", MAPS)
def test_very_large_alphas_neither_overflow_nor_warn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in ([2.0, 3.0, 1e300], [2.0, 1e15, 1e16], [1.5, 2.0, 1e100, 1e100], [2.0, 1e308, 1e308, 1.7e308]):
            assert all(math.isfinite(scale) and scale >= 0.0 for scale in values_of(values, map=name))


ANY_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
LARGE_LISTS = st.lists(ANY_FLOAT | st.sampled_from([1e308, -1e308, 1.7976931348623157e308, 5e-324]), min_size=2, max_size=8)


@given(LARGE_LISTS)
def test_linear_is_right_for_all_floats(values):
    exact = [Fraction(value) for value in values]
    spread = max(exact) - min(exact)
    assume(spread > Fraction(2e-9) * max(map(abs, exact)))  # under half of it they count as equal
    expected = [0.5 + float((value - min(exact)) / spread) for value in exact]
    # Scores that are nearly equal lose digits in their difference, up to nine of them.
    assert values_of(values, map="linear") == pytest.approx(expected, abs=1e-6)


@given(LARGE_LISTS)
def test_the_sides_of_the_sigmoid_are_right_for_all_floats(values):
    exact = [Fraction(value) for value in values]
    average = sum(exact) / len(exact)
    for value, scale in zip(exact, values_of(values), strict=True):
        assert 0.316 < scale < 3.163
        if abs(value - average) > 1e-9 * max(map(abs, exact)):  # nearer to the mean its rounding decides; and equal scores
            assert (scale >= 1.0) if value > average else (scale <= 1.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("linear", [0.875, 1.5, 0.5]), ("rank", [0.5 + 1 / 3, 0.5 + 2 / 3, 0.5]), ("sigmoid", [10**-0.5, 10**0.5, 10**-0.5])],
)
def test_scores_whose_sum_is_no_float_have_multipliers(name, expected):
    # The sum would be 2.2e308; the mean, 0.73e308, is over the first one.
    assert values_of([0.6e308, 1.6e308, 0.0], map=name) == pytest.approx(expected, rel=1e-14)


def test_multipliers_whose_sum_is_no_float_have_a_mean():
    found = values_of([2.0, 3.0, 3.0, 3.0], map="linear", r_min=0.0, r_max=1e308, normalize="arithmetic")
    assert found == pytest.approx([0.0, 4 / 3, 4 / 3, 4 / 3], rel=1e-14)


def test_a_multiplier_of_zero_has_no_geometric_mean():
    with pytest.raises(InputError, match="normalize: the lowest multiplier is 0, which makes every geometric mean 0"):
        values_of([0.0, 4.0], map="sqrt", normalize="geometric")


@given(LISTS, st.sampled_from(["linear", "rank"]), st.floats(0.0, 1.0), st.floats(1.0, 5.0))
def test_linear_and_rank_stay_within_their_bounds(values, name, r_min, r_max):
    found = values_of(values, map=name, r_min=r_min, r_max=r_max)
    assert all(r_min <= scale <= r_max for scale in found)
    if name == "linear" and len(set(values)) > 1:
        # The sum that makes the largest may miss it by a rounding.
        assert (min(found), max(found)) == (r_min, pytest.approx(r_max, rel=1e-15))


@given(LISTS, st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_the_sigmoid_stays_within_its_bounds(values, s_below, s_above):
    found = values_of(values, s_below=s_below, s_above=s_above)
    # One rounding of the power.
    assert all(10 ** (-s_below / 2) * (1 - 1e-15) <= scale <= 10 ** (s_above / 2) * (1 + 1e-15) for scale in found)


@given(LISTS, st.sampled_from(MAPS), st.sampled_from(list(Normalize)))
def test_a_higher_score_never_has_a_lower_multiplier_and_an_equal_one_the_same(values, name, normalize):
    found = values_of(values, map=name, normalize=normalize)
    pairs = sorted(zip(values, found, strict=True))
    for (score, scale), (next_score, next_scale) in pairwise(pairs):
        assert scale == next_scale if score == next_score else scale <= next_scale


@given(LISTS, st.sampled_from(MAPS), st.randoms(use_true_random=False))
def test_the_order_of_the_units_does_not_matter(values, name, random):
    shuffled = list(by_unit(values).items())
    random.shuffle(shuffled)
    # Sums are exact to one rounding in any order, and so are the multipliers.
    assert scales(dict(shuffled), map=name) == scales(by_unit(values), map=name)


@given(
    st.lists(st.integers(2, 64), min_size=2, max_size=20), st.integers(1, 1000), st.sampled_from(["linear", "rank", "sigmoid"])
)
def test_adding_a_number_to_all_scores_changes_nothing(values, shift, name):
    moved = [value + shift for value in values]
    # The mean of whole numbers is rounded anew; times tau.
    assert values_of(moved, map=name) == pytest.approx(values_of(values, map=name), rel=1e-11)


@given(st.lists(st.integers(2, 64), min_size=2, max_size=20), st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_unit_of_the_scores_does_not_matter_to_linear_sqrt_and_rank(values, factor):
    for name in ("linear", "sqrt", "rank"):
        scaled = [factor * value for value in values]
        assert values_of(scaled, map=name) == pytest.approx(values_of(values, map=name), rel=1e-14)


@given(LISTS, st.sampled_from(["sqrt", "log2"]))
def test_the_roots_and_logarithms_keep_the_mean(values, name):
    assert math.fsum(values_of(values, map=name)) == pytest.approx(len(values), rel=1e-14)


@given(LISTS, st.sampled_from(MAPS))
def test_normalizing_makes_the_mean_one_and_keeps_the_ratios(values, name):
    plain = values_of(values, map=name)
    arithmetic = values_of(values, map=name, normalize="arithmetic")
    geometric = values_of(values, map=name, normalize="geometric")
    assert math.fsum(arithmetic) == pytest.approx(len(values), rel=1e-13)
    assert math.fsum(map(math.log, geometric)) == pytest.approx(0.0, abs=1e-12 * len(values))
    for found in (arithmetic, geometric):
        assert [scale / found[0] for scale in found] == pytest.approx([scale / plain[0] for scale in plain], rel=1e-13)


def test_equal_scores_among_others_share_their_mean_rank():
    # Ranks 0, 1.5, 1.5 and 3 of 4.
    assert values_of([2.0, 3.0, 3.0, 5.0], map="rank") == [0.5, 0.875, 0.875, 1.25]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("sqrt", [-0.5, 2.0], "map: 'sqrt' needs scores of at least 0, and the lowest is -0.5"),
        ("log2", [1.0, 2.0], "map: 'log2' needs scores above 1, and the lowest is 1"),
    ],
)
def test_scores_that_a_map_is_not_defined_for_are_refused(name, values, message):
    with pytest.raises(InputError, match=message):
        values_of(values, map=name)


def test_a_score_of_zero_has_a_root():
    assert values_of([0.0, 4.0], map="sqrt") == [0.0, 2.0]


def test_unknown_maps_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match="Did you mean 'linear'?"):
        scales(by_unit(ALPHAS), map="liner")


def test_every_unit_of_a_model_has_a_multiplier():
    rows = [
        row("embed", 3.0, kind="embedding"), row("layers.0.fc", 2.0), row("layers.1.fc", 4.0), row("layers.2.fc"),
        row("layers.3.fc", 5.5), row("lm_head", 9.0),
    ]  # fmt: skip
    found = unit_scales(rows, ScalePolicy(map="linear"))
    assert found.scores == {"layers.0": 2.0, "layers.1": 4.0, "layers.3": 5.5}
    assert found.scales == {"layers.0": 0.5, "layers.1": pytest.approx(0.5 + 2.0 / 3.5), "layers.2": 1.0, "layers.3": 1.5}
    assert list(found.scales) == list(found.members)
    assert found.left_out == {"embed": "embedding", "layers.2.fc": "too_few_evals", "lm_head": "in no block"}


def test_a_policy_and_its_options_give_the_same():
    policy = ScalePolicy(map="linear", r_min=0.6, r_max=1.4, normalize="arithmetic")
    scores = by_unit(ALPHAS)
    assert scales_of(scores, policy) == scales(scores, map="linear", r_min=0.6, r_max=1.4, normalize="arithmetic")
