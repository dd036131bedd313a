"""Scores to sparsities: the formula, the exact global share, the limit, and what is never pruned."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.policies.sparsity import SparsityPolicy, allocate_sparsities, layer_sparsities
from tests.layer_rows import row

SCORE = st.integers(1_001, 20_000).map(lambda n: n / 1000)
UNITS = st.lists(st.tuples(SCORE, st.integers(1, 10**9)), min_size=1, max_size=40)
SPARSITY = st.floats(0.0, 0.99)
EPSILON = st.floats(0.0, 0.95)


def allocated(units, sparsity, **options):
    scores = {str(place): score for place, (score, _) in enumerate(units)}
    sizes = {str(place): size for place, (_, size) in enumerate(units)}
    return allocate_sparsities(scores, sizes, sparsity, **options)


def published(units, sparsity, epsilon):
    """The code of AlphaPruning in a loop: no limit."""
    low, high = min(score for score, _ in units), max(score for score, _ in units)
    ratios = [(1 - epsilon) + 2 * epsilon * (score - low) / (high - low) for score, _ in units]
    total = sum(size for _, size in units)
    scaler = total * sparsity / sum(ratio * size for ratio, (_, size) in zip(ratios, units, strict=True))
    return [scaler * ratio for ratio in ratios]


def filled_by_bisection(units, sparsity, epsilon, limit):
    """The same with the limit, found by trying factors."""
    ratios = published(units, 1.0, epsilon)
    target = sparsity * sum(size for _, size in units)
    least, most = 0.0, 1e6
    for _ in range(200):
        factor = (least + most) / 2
        reached = sum(min(factor * ratio, limit) * size for ratio, (_, size) in zip(ratios, units, strict=True))
        least, most = (factor, most) if reached < target else (least, factor)
    return [min(least * ratio, limit) for ratio in ratios]


def test_hand_values():
    # r = 0.7, 0.9, 1.3 with sizes 100, 200, 100: sum of n r is 380, c = 0.5 * 400 / 380.
    found = allocated([(2.0, 100), (3.0, 200), (5.0, 100)], 0.5)
    assert list(found.values()) == pytest.approx([0.7 * 200 / 380, 0.9 * 200 / 380, 1.3 * 200 / 380], rel=1e-15)


@given(UNITS, SPARSITY, EPSILON)
def test_the_global_share_is_exact_and_no_unit_is_over_the_limit(units, sparsity, epsilon):
    found = allocated(units, sparsity, epsilon=epsilon)
    total = sum(size for _, size in units)
    pruned = math.fsum(share * size for share, (_, size) in zip(found.values(), units, strict=True))
    assert pruned / total == pytest.approx(sparsity, abs=1e-12)
    assert all(0.0 <= share <= 0.99 for share in found.values())


@given(UNITS, SPARSITY, EPSILON)
def test_a_higher_score_is_never_denser_and_an_equal_one_the_same(units, sparsity, epsilon):
    found = list(allocated(units, sparsity, epsilon=epsilon).values())
    pairs = sorted((score, share) for (score, _), share in zip(units, found, strict=True))
    for (score, share), (next_score, next_share) in pairwise(pairs):
        assert share == next_share if score == next_score else share <= next_share


@given(UNITS, SPARSITY, SPARSITY, EPSILON)
def test_more_global_sparsity_makes_no_unit_denser(units, one, other, epsilon):
    less, more = sorted((one, other))
    sparser = allocated(units, more, epsilon=epsilon).values()
    # A few roundings of numbers up to 1.
    assert all(a <= b + 1e-13 for a, b in zip(allocated(units, less, epsilon=epsilon).values(), sparser, strict=True))


@given(st.lists(st.tuples(SCORE, st.integers(1, 1000)), min_size=2, max_size=10, unique_by=lambda unit: unit[0]), SPARSITY)
def test_it_is_the_published_formula_where_that_stays_under_the_limit(units, sparsity):
    expected = published(units, sparsity, 0.3)
    if max(expected) <= 0.99:
        assert list(allocated(units, sparsity).values()) == pytest.approx(expected, rel=1e-13)


@given(
    st.lists(st.tuples(SCORE, st.integers(1, 1000)), min_size=2, max_size=10, unique_by=lambda unit: unit[0]), SPARSITY, EPSILON
)
def test_it_is_what_trying_factors_finds(units, sparsity, epsilon):
    found = list(allocated(units, sparsity, epsilon=epsilon).values())
    # At the very limit many factors do; elsewhere bisection ends at a few roundings of the factor.
    assert found == pytest.approx(filled_by_bisection(units, sparsity, epsilon, 0.99), abs=1e-9)


def test_a_unit_at_the_limit_leaves_its_share_to_the_others():
    # Published: c = 0.8 / 1, 0.8 * 1.3 = 1.04 of the second unit.
    found = allocated([(2.0, 100), (5.0, 100)], 0.8)
    assert found == {"0": pytest.approx(0.61, rel=1e-14), "1": 0.99}


@given(st.floats(1.001, 20.0), st.lists(st.integers(1, 10**9), min_size=1, max_size=10), SPARSITY)
def test_equal_scores_are_pruned_alike(score, sizes, sparsity):
    found = allocated([(score, size) for size in sizes], sparsity)
    assert list(found.values()) == pytest.approx([sparsity] * len(sizes), rel=1e-14)


def test_units_without_a_score_lie_in_the_middle():
    found = allocate_sparsities({"a": 2.0, "b": 4.0, "c": math.nan}, {"a": 100, "b": 100, "c": 100, "d": 100}, 0.5)
    assert found == pytest.approx({"a": 0.35, "b": 0.65, "c": 0.5, "d": 0.5}, rel=1e-15)


@pytest.mark.parametrize("sparsity", [0.0, 0.99])
def test_nothing_and_everything_are_the_same_for_all(sparsity):
    # What a small unit gets is the difference of two large numbers.
    assert list(allocated([(2.0, 7), (3.0, 1000), (9.0, 13)], sparsity).values()) == pytest.approx([sparsity] * 3, abs=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": 2.0}, {"a": 1}, 0.995), r"sparsity: expected a number in \[0, max_sparsity = 0.99\], got 0.995"),
        (({"a": 2.0}, {"a": 1}, "0.5"), r"sparsity: expected a number in .* got '0.5'"),
        (({"a": 2.0}, {"a": 0}, 0.5), "sizes: expected at least one unit, and at least 1 weight in each"),
        (({}, {}, 0.5), "sizes: expected at least one unit"),
        (({"a": 2.0, "b": 3.0}, {"a": 1}, 0.5), "sizes: 1 of 2 scored units have none, such as 'b'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        allocate_sparsities(*arguments)


def test_a_spread_of_one_is_refused():
    with pytest.raises(InputError, match=r"epsilon: expected a number in \[0, 1\), got 1"):
        allocated([(2.0, 1)], 0.5, epsilon=1.0)
    with pytest.raises(InputError, match=r"max_sparsity: expected a number in \(0, 1\], got 1.2"):
        allocated([(2.0, 1)], 0.5, max_sparsity=1.2)


ROWS = [
    row("embed", 9.0, kind="embedding", num_params=1000),
    row("layers.0.q", 2.0), row("layers.0.mlp", num_params=300),
    row("layers.1.qkv", 3.0, part="q"), row("layers.1.qkv", 5.0, part="k"), row("layers.1.mlp", 4.0, num_params=200),
    row("layers.2.mlp"),
    row("lm_head", 9.0, num_params=1000),
]  # fmt: skip


def test_all_layers_of_a_block_have_its_sparsity_and_the_rest_is_not_pruned():
    found = layer_sparsities(ROWS, 0.5, SparsityPolicy())
    assert found.scores == {"layers.0": 2.0, "layers.1": 4.0}
    assert found.units == pytest.approx({"layers.0": 0.35, "layers.1": 0.65}, rel=1e-15)
    assert found.sparsities == {
        "embed": 0.0,
        "layers.0.q": found.units["layers.0"],
        "layers.0.mlp": found.units["layers.0"],
        "layers.1.qkv": found.units["layers.1"],
        "layers.1.mlp": found.units["layers.1"],
        "layers.2.mlp": 0.0,
        "lm_head": 0.0,
    }
    assert list(found.sparsities) == list(dict.fromkeys(row.layer_name for row in ROWS))
    assert found.left_out["layers.2.mlp"] == "too_few_evals"
    assert found.sparsity == 0.5


@given(st.floats(0.0, 0.95), st.sampled_from(["alpha", "uniform", "reversed"]))
def test_the_share_of_the_weights_that_count_is_exact(sparsity, allocation):
    found = layer_sparsities(ROWS, sparsity, SparsityPolicy(allocation=allocation))
    pruned = math.fsum(found.sparsities[row.layer_name] * row.num_params for row in ROWS)
    assert pruned / 800 == pytest.approx(sparsity, abs=1e-12)


def test_the_controls_are_uniform_and_reversed():
    assert layer_sparsities(ROWS, 0.5, SparsityPolicy(allocation="uniform")).units == {"layers.0": 0.5, "layers.1": 0.5}
    found = layer_sparsities(ROWS, 0.5, SparsityPolicy(allocation="reversed"))
    assert found.units == pytest.approx({"layers.0": 0.65, "layers.1": 0.35}, rel=1e-15)
    assert found.scores == {"layers.0": 2.0, "layers.1": 4.0}


def test_a_model_without_scores_is_refused():
    with pytest.raises(InputError, match=r"no unit has a score \(alpha\)"):
        layer_sparsities([row("fc1", 2.0)], 0.5, SparsityPolicy())
