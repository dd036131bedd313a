import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, NonFiniteWeightsError, eigenvalues, fit_power_law
from spectra.esd.subsample import default_window_rows, farms_eigenvalues, farms_windows
from tests.strategies import matrices


def gaussian(rows, cols, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols))


def readers_of(*arrays):
    return lambda: (lambda start, stop, a=array: a[start:stop] for array in arrays)


def by_a_plain_loop(matrix, window_rows, per_side):
    """Square windows, one NumPy SVD each, anchors from linspace."""
    rows, cols = matrix.shape
    first_rows = np.floor(np.linspace(0, rows - window_rows, per_side) + 1e-9).astype(int)
    first_cols = np.floor(np.linspace(0, cols - window_rows, per_side) + 1e-9).astype(int)
    values = []
    for row in first_rows:
        for col in first_cols:
            window = matrix[row : row + window_rows, col : col + window_rows]
            values += list(np.linalg.svd(window, compute_uv=False) ** 2)
    return np.sort(values)


# The Gram route is exact to n * eps * lambda_max in each eigenvalue (spectra/esd/eigenvalues.py).
@pytest.mark.parametrize("shape", [(60, 60), (97, 41), (41, 130)])
@pytest.mark.parametrize("per_side", [1, 2, 5])
def test_pooled_spectrum_equals_a_plain_loop_over_windows(shape, per_side):
    matrix = gaussian(*shape)
    found = farms_eigenvalues(matrix, window_rows=20, windows_per_side=per_side)
    expected = by_a_plain_loop(matrix, 20, per_side)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=0, atol=20 * np.finfo(float).eps * expected[-1])
    assert (found.num_windows, found.window_shape) == (per_side**2, (20, 20))


def test_window_of_a_model_is_its_smallest_side_up_to_a_limit():
    assert default_window_rows([(768, 3072), (50257, 768), (200, 900)]) == 200
    assert default_window_rows(iter([(8192, 4096)])) == 2048
    with pytest.raises(InputError, match="at least one shape"):
        default_window_rows([])
    with pytest.raises(InputError, match="sides of at least 1"):
        default_window_rows([(3, 4), (0, 4)])


def test_windows_of_a_band_matrix_by_hand():
    # Entries 1 to 6 on the diagonal; anchors 0, 2 and 4 in both directions, so only the three diagonal windows hold any.
    found = farms_eigenvalues(np.diag(np.arange(1.0, 7.0)), window_rows=2)
    assert found.num_windows == 9
    assert found.eigenvalues[:12].tolist() == [0.0] * 12
    assert found.eigenvalues[12:].tolist() == [1.0, 4.0, 9.0, 16.0, 25.0, 36.0]


@pytest.mark.parametrize("shape", [(30, 30), (30, 45), (45, 30)])
@pytest.mark.parametrize("per_side", [None, 7])
def test_a_matrix_of_one_window_has_its_own_spectrum(shape, per_side):
    matrix = gaussian(*shape)
    found = farms_eigenvalues(matrix, window_rows=shape[0], aspect_ratio=shape[1] / shape[0], windows_per_side=per_side)
    assert found.num_windows == 1
    np.testing.assert_array_equal(found.eigenvalues, eigenvalues(matrix))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 120), st.floats(0.2, 4.0), st.none() | st.integers(1, 40))
def test_windows_lie_inside_reach_the_far_edge_and_cover_what_they_can(rows, cols, window_rows, aspect_ratio, per_side):
    plan = farms_windows(rows, cols, window_rows=window_rows, aspect_ratio=aspect_ratio, windows_per_side=per_side)
    height, width = plan.window_shape
    assert len(set(plan.anchors)) == len(plan.anchors)
    for side, window, firsts in (
        (rows, height, sorted({row for row, _ in plan.anchors})),
        (cols, width, sorted({col for _, col in plan.anchors})),
    ):
        assert 1 <= window <= side
        assert firsts[0] == 0
        assert firsts[-1] <= side - window
        covered = {index for first in firsts for index in range(first, first + window)}
        enough = per_side is None or per_side * window >= side
        if enough:
            assert covered == set(range(side))
        if per_side is not None and per_side > 1:
            assert firsts[-1] + window == side
        if per_side is None:
            assert len(firsts) == -(-side // window)
        steps = np.diff(firsts)
        assert len(steps) == 0 or steps.max() - steps.min() <= 1
    can_cover = per_side is None or (per_side * height >= rows and per_side * width >= cols)
    assert plan.covers_matrix == can_cover


def test_the_last_rows_are_covered_where_the_released_code_leaves_them_out():
    # Released code: stride (100 - 30) // (6 - 1) = 14; (107 - 30) // 5 = 15, whose last window ends at row 105 of 107.
    plan = farms_windows(107, 100, window_rows=30, windows_per_side=6)
    assert max(row for row, _ in plan.anchors) + 30 == 107
    assert plan.covers_matrix


def test_too_few_windows_to_cover_the_matrix_say_so():
    plan = farms_windows(100, 100, window_rows=10, windows_per_side=3)
    assert not plan.covers_matrix
    assert {row for row, _ in plan.anchors} == {0, 45, 90}


def test_more_windows_than_places_are_not_repeated():
    plan = farms_windows(21, 20, window_rows=20, windows_per_side=15)
    assert plan.anchors == ((0, 0), (1, 0))


@pytest.mark.parametrize(
    ("shape", "window_rows", "aspect_ratio", "expected"),
    [
        ((50, 200), 100, 1.0, (50, 50)),
        ((200, 50), 100, 1.0, (50, 50)),
        ((200, 50), 100, 2.0, (25, 50)),
        ((50, 200), 100, 2.0, (50, 100)),
        ((200, 200), 100, 0.57, (100, 57)),
        ((200, 57), 100, 0.57, (100, 57)),
        ((5, 1), 3, 10.0, (1, 1)),
    ],
)
def test_a_window_longer_than_a_side_shrinks_with_its_aspect_ratio(shape, window_rows, aspect_ratio, expected):
    plan = farms_windows(*shape, window_rows=window_rows, aspect_ratio=aspect_ratio)
    assert plan.window_shape == expected


def test_matrices_of_a_layer_are_pooled_by_the_same_rule():
    kernel = [gaussian(40, 30, seed) for seed in range(4)]
    found = farms_eigenvalues(readers_of(*kernel), (40, 30), window_rows=15)
    each = [farms_eigenvalues(matrix, window_rows=15) for matrix in kernel]
    np.testing.assert_array_equal(found.eigenvalues, np.sort(np.concatenate([one.eigenvalues for one in each])))
    assert found.num_matrices == 4
    assert found.num_windows == sum(one.num_windows for one in each)


def test_the_weight_is_left_as_it_was():
    matrix = gaussian(50, 40)
    before = matrix.copy()
    matrix.flags.writeable = False
    farms_eigenvalues(matrix, window_rows=16, windows_per_side=4)
    np.testing.assert_array_equal(matrix, before)


def test_no_more_rows_than_a_window_has_are_read_at_a_time():
    longest = 0

    def read(start, stop):
        nonlocal longest
        longest = max(longest, stop - start)
        return gaussian(stop - start, 64, seed=start)

    found = farms_eigenvalues(lambda: [read], (1000, 64), window_rows=64)
    assert longest == 64
    assert found.num_windows == 16


def test_random_windows_follow_their_seed_and_stay_inside():
    matrix = gaussian(90, 70)
    one = farms_eigenvalues(matrix, window_rows=20, windows_per_side=4, seed=1)
    same = farms_eigenvalues(matrix, window_rows=20, windows_per_side=4, seed=1)
    other = farms_eigenvalues(matrix, window_rows=20, windows_per_side=4, seed=2)
    np.testing.assert_array_equal(one.eigenvalues, same.eigenvalues)
    assert not np.array_equal(one.eigenvalues, other.eigenvalues)
    assert one.num_windows == 16
    plan = farms_windows(90, 70, window_rows=20, windows_per_side=30, generator=np.random.default_rng(0))
    rows, cols = zip(*plan.anchors, strict=True)
    assert (min(rows), max(rows), min(cols), max(cols)) == (0, 70, 0, 50), "900 draws reach both ends"


def test_random_windows_draw_new_places_for_each_matrix():
    matrix = gaussian(60, 60)
    twice = farms_eigenvalues(readers_of(matrix, matrix), (60, 60), window_rows=10, windows_per_side=2, seed=0)
    assert len(np.unique(twice.eigenvalues)) > 4 * 10


@given(matrices(), st.integers(1, 20), st.integers(-30, 30))
def test_scaling_by_a_power_of_two_scales_every_eigenvalue(matrix, window_rows, exponent):
    plain = farms_eigenvalues(matrix, window_rows=window_rows)
    scaled = farms_eigenvalues(matrix * 2.0**exponent, window_rows=window_rows)
    np.testing.assert_allclose(scaled.eigenvalues, plain.eigenvalues * 4.0**exponent, rtol=1e-12, atol=0)


@given(matrices(), st.integers(1, 20), st.none() | st.integers(1, 4))
def test_transposing_matrix_and_window_changes_nothing(matrix, window_rows, per_side):
    plain = farms_eigenvalues(matrix, window_rows=window_rows, windows_per_side=per_side)
    turned = farms_eigenvalues(matrix.T, window_rows=window_rows, windows_per_side=per_side)
    bound = 4 * max(plain.window_shape) * np.finfo(float).eps * plain.eigenvalues[-1]
    np.testing.assert_allclose(turned.eigenvalues, plain.eigenvalues, rtol=0, atol=bound)


def test_float32_keeps_alpha():
    matrix = gaussian(300, 200).astype(np.float32)
    double, single = (
        fit_power_law(farms_eigenvalues(matrix, window_rows=100, precision=p).eigenvalues, "median").alpha
        for p in ("float64", "float32")
    )
    assert single == pytest.approx(double, rel=2e-5)  # tests/strategies.py, ALPHA_RTOL


def test_zeros_constants_and_single_numbers_have_their_spectra():
    assert farms_eigenvalues(np.zeros((6, 6)), window_rows=3).eigenvalues.tolist() == [0.0] * 12
    constant = farms_eigenvalues(np.full((6, 6), 2.0), window_rows=3)
    np.testing.assert_allclose(constant.eigenvalues[-4:], 36.0, rtol=1e-14)
    assert np.count_nonzero(constant.eigenvalues > constant.null_threshold) == 4
    assert farms_eigenvalues([[3.0]], window_rows=7).eigenvalues.tolist() == [9.0]


@pytest.mark.parametrize("factor", [1e-150, 1e140])
def test_weights_whose_squares_leave_float64_are_decomposed(factor):
    plain, scaled = (farms_eigenvalues(gaussian(30, 30) * f, window_rows=10).eigenvalues for f in (1.0, factor))
    np.testing.assert_allclose(scaled, plain * factor * factor, rtol=1e-9)


# The claim of arXiv 2506.06280, on matrices without any structure: six seeds a shape. The plain alpha doubles from a square
# to 8 : 1; that of windows moves by 0.02, the difference between one window and several.
def test_alpha_of_windows_hardly_depends_on_the_aspect_ratio_of_gaussian_matrices():
    shapes = [(128, 128), (256, 128), (512, 128), (1024, 128), (128, 1024)]

    def mean_alpha(spectrum_of):
        fits = [[fit_power_law(spectrum_of(gaussian(*s, seed)), "median").alpha for seed in range(6)] for s in shapes]
        return np.mean(fits, axis=1)

    plain = mean_alpha(eigenvalues)
    windows = mean_alpha(lambda matrix: farms_eigenvalues(matrix, window_rows=128).eigenvalues)
    assert plain.max() - plain.min() > 2.0
    assert windows.max() - windows.min() < 0.04
    assert np.all(np.diff(plain[:4]) > 0.4)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ((np.zeros((0, 4)),), {}, r"shape \(0, 4\) has no window"),
        ((np.zeros(4),), {}, r"got \(4,\)"),
        ((np.zeros((4, 4), complex),), {}, "got dtype complex128"),
        ((np.zeros((4, 4)), (4, 5)), {}, r"shape \(4, 5\), got \(4, 4\)"),
        ((list,), {}, "shape: needed"),
        ((list, (4, 4)), {}, "at least one matrix"),
        ((np.eye(4),), {"window_rows": 0}, "window_rows: expected at least 1, got 0"),
        ((np.eye(4),), {"aspect_ratio": 0.0}, "aspect_ratio: expected a positive"),
        ((np.eye(4),), {"aspect_ratio": np.nan}, "aspect_ratio: expected a positive"),
        ((np.eye(4),), {"windows_per_side": 0}, "windows_per_side: expected at least 1, got 0"),
        ((np.eye(4),), {"precision": "float16"}, "unknown precision 'float16'"),
    ],
)
def test_what_cannot_be_subsampled_is_refused(arguments, changes, message):
    with pytest.raises(InputError, match=message):
        farms_eigenvalues(*arguments, **{"window_rows": 2, **changes})


def test_nan_in_a_window_is_refused():
    matrix = gaussian(20, 20)
    matrix[19, 19] = np.nan
    with pytest.raises(NonFiniteWeightsError, match="1 NaN"):
        farms_eigenvalues(matrix, window_rows=8)
