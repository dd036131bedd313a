import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spectra import InputError, NonFiniteWeightsError
from spectra.esd import randomized
from spectra.esd.marchenko_pastur import fit_marchenko_pastur
from spectra.esd.randomized import (
    compare_randomized,
    jensen_shannon_distance,
    log_wasserstein_distance,
    randomized_spectra,
    shuffled_entries,
)
from tests.strategies import matrices, spectra


def structured(rows=60, cols=40, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((rows, cols)) + 3.0 * np.outer(rng.standard_normal(rows), rng.standard_normal(cols)) / 8.0
    ).astype(dtype)


def draw(matrix_list, *, seed=0, name="layer", **arguments):
    number = sum(min(m.shape) for m in matrix_list)
    return randomized_spectra(lambda: matrix_list, seed=seed, name=name, num_eigenvalues=number, **arguments)


# The shuffle.
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (40, 40)])
def test_shuffle_keeps_every_entry_and_its_dtype(shape, dtype):
    matrix = np.arange(shape[0] * shape[1], dtype=dtype).reshape(shape)
    before = matrix.copy()
    shuffled = shuffled_entries(matrix, np.random.default_rng(0))
    assert shuffled.shape == (max(shape), min(shape))
    assert shuffled.dtype == dtype
    np.testing.assert_array_equal(np.sort(shuffled.ravel()), np.sort(before.ravel()))
    np.testing.assert_array_equal(matrix, before)


def test_large_arrays_keep_every_entry():
    matrix = np.random.default_rng(0).standard_normal((2100, 600)).astype(np.float32)
    shuffled = shuffled_entries(matrix, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(shuffled.ravel()), np.sort(matrix.ravel()))
    assert abs(np.corrcoef(shuffled.ravel(), matrix.ravel())[0, 1]) < 5.0 / math.sqrt(matrix.size)


@pytest.mark.parametrize(
    ("limit", "block", "bins"), [(2**20, 2**16, 256), (1, 2, 3), (2, 3, 16)], ids=["direct", "binned", "sparse"]
)
def test_all_orders_are_equally_likely(monkeypatch, limit, block, bins):
    # Chi-square over the 24 orders of four values; with 6000 draws, the 99.9 % quantile of 23 degrees is 49.7.
    monkeypatch.setattr(randomized, "_SHUFFLED_AT_ONCE", limit)
    monkeypatch.setattr(randomized, "_BLOCK", block)
    monkeypatch.setattr(randomized, "_NUM_BINS", bins)
    generator = np.random.default_rng(7)
    start = np.arange(4.0).reshape(4, 1)
    codes = [tuple(shuffled_entries(start, generator).ravel()) for _ in range(6000)]
    _, counts = np.unique(codes, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 250.0) ** 2 / 250.0).sum() < 49.7


def test_values_of_a_large_array_go_everywhere_alike():
    # Where each sixteenth of the values goes, sixteenth by sixteenth: 225 degrees of freedom, 99.99 % quantile 314.
    size = 2**20 + 5000  # more than is shuffled at once
    labels = (np.arange(size) * 16 // size).astype(np.float32).reshape(-1, 1)
    shuffled = shuffled_entries(labels, np.random.default_rng(3)).ravel()
    table = np.histogram2d(labels.ravel(), shuffled, bins=16)[0]
    expected = table.sum(axis=0) * table.sum(axis=1)[:, None] / size
    assert ((table - expected) ** 2 / expected).sum() < 314


# The spectra.
def test_eigenvalues_are_those_of_the_shuffled_matrix():
    matrix = structured()
    (values,) = draw([matrix], num_replicas=1)
    assert values.sum() == pytest.approx((matrix.astype(np.float64) ** 2).sum(), rel=1e-12)
    assert np.all(np.diff(values) >= 0)
    # The structure is gone: the largest eigenvalue falls to the edge of noise.
    assert values[-1] < 0.7 * np.linalg.svd(matrix, compute_uv=False)[0] ** 2


def test_replicas_are_those_of_a_plain_loop():
    matrix = structured()
    replicas = draw([matrix], num_replicas=3, seed=5, name="a.b")
    import hashlib

    words = np.frombuffer(hashlib.sha256(b"a.b").digest(), dtype="<u4")
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([5, *map(int, words)], spawn_key=(0,))))
    for values in replicas:
        entries = matrix.astype(np.float64).ravel()
        generator.shuffle(entries)
        expected = np.linalg.svd(entries.reshape(60, 40), compute_uv=False)[::-1] ** 2
        np.testing.assert_allclose(values, expected, rtol=1e-9)


# H16.
def test_same_seed_and_name_give_the_same_bits():
    first, second = (draw([structured(), structured(seed=1)], seed=3, num_replicas=2) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_and_name_change_the_order():
    base = draw([structured()])[0]
    assert not np.array_equal(base, draw([structured()], seed=1)[0])
    assert not np.array_equal(base, draw([structured()], name="other")[0])


def test_first_replica_does_not_depend_on_their_number():
    pair = [structured(), structured(seed=1)]
    np.testing.assert_array_equal(draw(pair, num_replicas=1)[0], draw(pair, num_replicas=4)[0])


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw([structured()])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(("cols", "number"), [(99, 5), (100, 1)])
def test_number_of_replicas_is_weightwatchers(cols, number):
    assert len(draw([structured(120, cols)])) == number


def test_matrices_are_read_once_and_pooled():
    reads = []

    def read():
        reads.append(1)
        yield from (structured(30, 20, seed) for seed in range(3))

    replicas = randomized_spectra(read, seed=0, name="conv", num_replicas=4, num_eigenvalues=60)
    assert [len(r) for r in replicas] == [60] * 4
    assert len(reads) == 1


def test_float32_gram_keeps_six_digits():
    double, single = (draw([structured()], precision=p)[0] for p in ("float64", "float32"))
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-6 * double[-1])


@settings(max_examples=20)
@given(matrices())
def test_sum_of_eigenvalues_is_kept(matrix):
    for values in draw([matrix]):
        assert values.sum() == pytest.approx((matrix**2).sum(), rel=1e-10)


def test_a_zero_matrix_stays_zero():
    assert draw([np.zeros((5, 4))], num_replicas=1)[0].tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"seed": -1}, "seed"), ({"num_replicas": 0}, "num_replicas"), ({"precision": "float16"}, "unknown precision")],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        draw([structured()], **arguments)


@pytest.mark.parametrize("scale", [1e-150, 1e140])
def test_deviations_over_replicas_scale_where_their_squares_do_not(scale):
    values = draw([structured()], num_replicas=5)
    ordinary = compare_randomized(values[0], values, (60, 40))
    scaled = compare_randomized(values[0] * scale**2, [v * scale**2 for v in values], (60, 40))
    assert ordinary.rand_lambda_max_std == pytest.approx(np.std([v[-1] for v in values], ddof=1), rel=1e-12)
    assert scaled.rand_lambda_max_std / scale / scale == pytest.approx(ordinary.rand_lambda_max_std, rel=1e-10)
    assert scaled.rand_distance_std == pytest.approx(ordinary.rand_distance_std, rel=1e-8)


def test_another_number_of_eigenvalues_is_refused():
    with pytest.raises(InputError, match="'layer': expected 7 eigenvalues, its matrices have 40"):
        randomized_spectra(lambda: [structured()], seed=0, name="layer", num_eigenvalues=7)


def test_nan_weights_are_refused():
    with pytest.raises(NonFiniteWeightsError, match="1 NaN"):
        draw([np.array([[1.0, np.nan], [0.0, 1.0]])])


# Distances.
@given(spectra(min_size=2), st.integers(0, 2**32 - 1))
def test_jensen_shannon_distance_is_weightwatchers(values, seed):
    # RMT_Util.jensen_shannon_distance, line by line.
    from scipy.stats import entropy

    others = np.sort(np.random.default_rng(seed).exponential(size=len(values)))
    middle = (values + others) / 2
    divergence = (entropy(values, middle) + entropy(others, middle)) / 2
    # The divergence is a difference of numbers of order one: 1e-15 of it, and the root of that where it vanishes.
    assert jensen_shannon_distance(values, others) ** 2 == pytest.approx(divergence, rel=1e-10, abs=1e-14)


@given(spectra(), st.integers(-300, 300))
def test_equal_spectra_have_no_distance_at_any_scale(values, exponent):
    assert jensen_shannon_distance(values, values) == pytest.approx(0.0, abs=1e-7)
    scaled = np.ldexp(values, exponent)
    assert jensen_shannon_distance(scaled, scaled) == jensen_shannon_distance(values, values)


@given(spectra(), spectra())
def test_wasserstein_distance_is_scipys(values, others):
    from scipy.stats import wasserstein_distance

    assume(min(values[0] / values[-1], others[0] / others[-1]) > 1e-12)  # nothing under the resolution
    expected = wasserstein_distance(np.log(values), np.log(others))
    assert log_wasserstein_distance(values, others, (300, 300)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_wasserstein_distance_leaves_numerical_zeros_out():
    values = np.array([0.0, 1e-18, 1.0, 2.0])
    assert log_wasserstein_distance(values, np.array([1.0, 2.0]), (4, 4)) == 0.0
    assert math.isnan(log_wasserstein_distance(np.zeros(2), values, (4, 4)))


# All of it.
def test_metrics_of_one_replica():
    matrix = structured(300, 200)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[::-1] ** 2
    replicas = draw([matrix])
    found = compare_randomized(values, replicas, matrix.shape)
    bulk = fit_marchenko_pastur(replicas[0], matrix.shape)
    assert found.to_dict() == pytest.approx(
        {
            "rand_lambda_max": replicas[0][-1],
            "rand_lambda_max_std": math.nan,
            "rand_lambda_plus": bulk.lambda_plus,
            "rand_lambda_minus": bulk.lambda_minus,
            "rand_mp_sigma_rescaled": bulk.sigma_rescaled,
            "rand_mp_scale": bulk.scale,
            "rand_mp_soft_rank": bulk.soft_rank,
            "num_traps": 0,
            "rand_distance": jensen_shannon_distance(values, replicas[0]),
            "rand_distance_std": math.nan,
            "rand_wasserstein": log_wasserstein_distance(values, replicas[0], matrix.shape),
            "rand_soft_rank": replicas[0][-1] / values[-1],
            "rand_gap": values[-1] - replicas[0][-1],
        },
        rel=1e-14,
        nan_ok=True,
    )
    assert bulk.sigma == pytest.approx(matrix.std(), rel=0.02)  # nothing but noise is left


def test_spread_over_replicas_is_given():
    matrix = structured(60, 40)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[::-1] ** 2
    replicas = draw([matrix])
    found = compare_randomized(values, replicas, matrix.shape)
    largest = [r[-1] for r in replicas]
    distances = [jensen_shannon_distance(values, r) for r in replicas]
    assert len(replicas) == 5
    assert found.rand_lambda_max == max(largest)
    assert found.rand_lambda_max_std == pytest.approx(np.std(largest, ddof=1), rel=1e-14)
    assert found.rand_distance == pytest.approx(np.mean(distances), rel=1e-14)
    assert found.rand_distance_std == pytest.approx(np.std(distances, ddof=1), rel=1e-14)
    assert found.rand_soft_rank == pytest.approx(np.mean(largest) / values[-1], rel=1e-14)
    assert found.rand_gap == pytest.approx(values[-1] - np.mean(largest), rel=1e-14)


def test_a_huge_weight_is_a_trap_in_each_replica():
    matrix = structured(60, 40, seed=2)
    matrix[3, 4] = 60.0
    replicas = draw([matrix])
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[::-1] ** 2
    assert len(replicas) == 5
    assert compare_randomized(values, replicas, matrix.shape).num_traps == 1
    # WeightWatcher counts over all replicas together.
    assert compare_randomized(values, replicas, matrix.shape, mp_method="kde_compat", tw_level="ww").num_traps == 5


def test_zero_matrices_have_no_ratios():
    found = compare_randomized(np.zeros(4), [np.zeros(4)], (5, 4))
    assert math.isnan(found.rand_soft_rank)
    assert math.isnan(found.rand_distance)
    assert math.isnan(found.rand_wasserstein)
    assert math.isnan(found.rand_lambda_plus)
    assert found.num_traps is None
    assert found.rand_lambda_max == found.rand_gap == 0.0


@pytest.mark.parametrize("replicas", [[], [np.ones(3)], [np.ones(4), np.ones(5)]])
def test_replicas_of_another_length_are_refused(replicas):
    with pytest.raises(InputError, match="at least one of 4 eigenvalues"):
        compare_randomized(np.arange(1.0, 5.0), replicas, (4, 4))
