import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, NonFiniteWeightsError, eigenvalues
from spectra.esd.localization import localization, vector_metrics
from tests.esd.ask_weightwatcher import ask
from tests.strategies import matrices


def reader(matrix):
    return lambda start, stop: matrix[start:stop]


def metrics_one_by_one(vector):
    """The definitions, and WeightWatcher's histogram entropy line by line (RMT_Util.discrete_entropy)."""
    size = np.abs(vector)
    centred = size - np.mean(size)
    share = np.histogram(centred, density=True, bins=100)[0] + 1e-10
    share = share / np.sqrt(2 * np.pi)
    share = share / np.sum(share)
    return size.sum() / size.max(), (size**2).sum() ** 0.5 / (size**4).sum() ** 0.25, -np.sum(share * np.log(share))


@given(st.integers(2, 500), st.integers(0, 2**32 - 1), st.booleans())
def test_metrics_of_unit_vectors_are_those_of_a_plain_loop(length, seed, with_ties):
    vectors = np.random.default_rng(seed).standard_normal((5, length))
    if with_ties:  # entries on the edges of bins
        vectors = np.round(vectors, 1) + 1e-3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = vector_metrics(vectors)
    for i, vector in enumerate(vectors):
        ratio, participation, entropy = metrics_one_by_one(vector)
        assert found.localization_ratio[i] == pytest.approx(ratio, rel=1e-13)
        assert found.participation_ratio[i] == pytest.approx(participation, rel=1e-13)
        if not with_ties:  # a tie on an edge may go either way in the last digit
            assert found.entropy[i] == pytest.approx(entropy, rel=1e-9)


def test_extreme_vectors_have_the_extreme_ratios():
    found = vector_metrics([[0.0, 0.0, -3.0, 0.0], [2.0, -2.0, 2.0, 2.0]])
    np.testing.assert_allclose(found.localization_ratio, [1.0, 4.0], rtol=1e-15)
    np.testing.assert_allclose(found.participation_ratio, [1.0, math.sqrt(2.0)], rtol=1e-15)


def test_noise_has_the_published_ratios():
    # |v|_2 / |v|_4 of n Gaussian entries: (n / 3)**(1/4); |v|_1 / |v|_inf: n sqrt(2 / pi) / E max|v|.
    vectors = np.random.default_rng(0).standard_normal((200, 1000))
    found = vector_metrics(vectors)
    assert found.participation_ratio.mean() == pytest.approx((1000 / 3) ** 0.25, rel=0.005)
    expected_max = np.abs(np.random.default_rng(1).standard_normal((2000, 1000))).max(axis=1).mean()
    assert found.localization_ratio.mean() == pytest.approx(1000 * math.sqrt(2 / math.pi) / expected_max, rel=0.02)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.sampled_from([1e-200, 1e-3, 1.0, 1e200]))
def test_length_and_sign_do_not_matter(length, seed, scale):
    vectors = np.random.default_rng(seed).standard_normal((3, length))
    found, scaled = vector_metrics(vectors), vector_metrics(-scale * vectors)
    np.testing.assert_allclose(scaled.localization_ratio, found.localization_ratio, rtol=1e-13)
    np.testing.assert_allclose(scaled.participation_ratio, found.participation_ratio, rtol=1e-13)
    np.testing.assert_allclose(scaled.entropy, found.entropy, rtol=1e-9)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_ratios_lie_within_their_bounds(length, seed):
    found = vector_metrics(np.random.default_rng(seed).standard_cauchy((4, length)))
    assert np.all((found.localization_ratio >= 1.0) & (found.localization_ratio <= length))
    assert np.all((found.participation_ratio >= 1.0 - 1e-15) & (found.participation_ratio <= length**0.25 * (1 + 1e-15)))
    assert np.all((found.entropy >= 0.0) & (found.entropy <= math.log(100)))


def test_one_vector_may_come_without_its_axis():
    assert vector_metrics([3.0, 4.0]).localization_ratio.tolist() == [1.75]


def test_zero_vectors_have_no_metrics():
    found = vector_metrics([[0.0, 0.0], [1.0, 1.0]])
    assert np.isnan(found.localization_ratio).tolist() == [True, False]
    assert np.isnan(found.participation_ratio).tolist() == [True, False]
    assert np.isnan(found.entropy).tolist() == [True, False]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, np.nan]], "row 0"),
        ([[1.0], [np.inf]], "row 1"),
        (np.ones((2, 2, 2)), "shape"),
        ([[1j]], "real"),
        ([[]], "shape"),
    ],
)
def test_what_is_no_vector_is_refused(vectors, message):
    with pytest.raises(InputError, match=message):
        vector_metrics(vectors)


def by_side(values, xmin, columns):
    """Means and variances over bulk and tail."""
    expected = {}
    for name, column in columns.items():
        for side, chosen in (("bulk", values < xmin), ("tail", values >= xmin)):
            expected[f"{side}_mean_{name}"] = np.mean(np.array(column)[chosen])
            expected[f"{side}_var_{name}"] = np.var(np.array(column)[chosen])
    return expected


@pytest.mark.parametrize("shape", [(50, 30), (30, 50), (40, 40)])
def test_bulk_and_tail_are_those_of_the_singular_vectors(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    vectors = right if shape[0] > shape[1] else left.T
    values = singular**2
    xmin = np.sort(values)[20]
    loops = np.array([metrics_one_by_one(v) for v in vectors]).T
    expected = by_side(values, xmin * (1 - 1e-9), dict(zip(("loc_ratio", "part_ratio", "vec_entropy"), loops, strict=True)))
    found = dataclasses.asdict(localization(reader(matrix), shape, xmin * (1 - 1e-9)))
    # Vectors of two solvers agree to eps over the gap of eigenvalues, here about 1e-13.
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.slow
def test_metrics_are_weightwatchers(tmp_path):
    rng = np.random.default_rng(1)
    cases = {
        "tall": rng.standard_normal((150, 100)),
        "wide": rng.standard_normal((60, 90)),
        "heavy": rng.standard_t(2, (120, 120)),
    }
    np.savez(tmp_path / "matrices.npz", **cases)
    for name, theirs in ask("vectors", tmp_path / "matrices.npz").items():
        values = np.array(theirs.pop("eigenvalues"))
        xmin = float(values[len(values) // 2] + values[len(values) // 2 + 1]) / 2.0
        found = dataclasses.asdict(localization(reader(cases[name]), cases[name].shape, xmin))
        assert found == pytest.approx(by_side(values, xmin, theirs), rel=1e-7), name


@pytest.mark.parametrize("shape", [(50, 30), (30, 50), (40, 40)])
def test_vector_of_xmin_itself_belongs_to_the_tail(shape):
    matrix = np.random.default_rng(4).standard_normal(shape)
    for xmin in eigenvalues(matrix):
        found = localization(reader(matrix), shape, xmin)
        assert str(found) == str(localization(reader(matrix), shape, xmin * (1.0 - 1e-7)))  # NaN without a bulk


def test_several_matrices_are_pooled():
    pair = [np.random.default_rng(i).standard_normal((20, 10)) for i in range(2)]
    each = [dataclasses.asdict(localization(reader(m), (20, 10), 0.0)) for m in pair]
    both = localization([reader(m) for m in pair], (20, 10), 0.0)
    assert both.tail_mean_loc_ratio == pytest.approx((each[0]["tail_mean_loc_ratio"] + each[1]["tail_mean_loc_ratio"]) / 2)
    assert math.isnan(both.bulk_mean_loc_ratio)
    assert math.isnan(both.bulk_var_part_ratio)


@given(matrices())
def test_any_matrix_gets_its_metrics(matrix):
    found = localization(reader(matrix), matrix.shape, 0.0)
    assert 1.0 <= found.tail_mean_loc_ratio <= min(matrix.shape) * (1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_huge_and_tiny_weights_do_not_overflow(scale):
    matrix = np.random.default_rng(0).standard_normal((20, 10))
    expected = localization(reader(matrix), (20, 10), 0.0)
    assert localization(reader(scale * matrix), (20, 10), 0.0).tail_mean_part_ratio == pytest.approx(
        expected.tail_mean_part_ratio
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_weights_are_refused(bad):
    matrix = np.ones((3, 2))
    matrix[1, 1] = bad
    with pytest.raises(NonFiniteWeightsError):
        localization(reader(matrix), (3, 2), 1.0)
