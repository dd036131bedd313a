"""NumPy's route and torch's have one answer, and what a device cannot do is done elsewhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import spectra
from spectra.errors import NonFiniteWeightsError
from spectra.esd.eigenvalues import spectra_together
from tests.models import heavy_tailed
from tests.strategies import ALPHA_RTOL, matrices

TORCH_CPU = "cpu:0"


def pairs(arrays):
    return [(lambda start, stop, a=array: a[start:stop], array.shape) for array in arrays]


def limited(most, seen, error=torch.OutOfMemoryError):
    """The real solver, for stacks of so many numbers."""

    def solver(stack):
        seen.append(len(stack))
        if stack.numel() > most:
            raise error("out of memory")
        return torch.linalg.eigvalsh(stack)

    return solver


@given(matrices())
def test_a_device_of_torch_has_numpys_eigenvalues_whatever_shape_scale_and_rank(matrix):
    here, there = spectra.eigenvalues(matrix), spectra.eigenvalues(matrix, device=TORCH_CPU)
    bound = sum(matrix.shape) * np.finfo(np.float64).eps * here[-1]  # sums over the larger side, solver of the smaller one
    np.testing.assert_allclose(there, here, rtol=0, atol=bound)


@given(matrices(max_side=90))
@settings(max_examples=20)
def test_a_device_of_torch_has_numpys_rows(matrix):
    (here,), (there,) = (spectra.analyze({"a.weight": matrix}, device=d).layers for d in ("cpu", TORCH_CPU))
    assert (there.status, there.num_tail, there.matrix_rank) == (here.status, here.num_tail, here.matrix_rank)
    assert there.alpha == pytest.approx(here.alpha, rel=ALPHA_RTOL["float64"], nan_ok=True)


@pytest.mark.parametrize("shape", [(300, 120), (120, 300)], ids=str)
def test_float32_on_a_device_keeps_the_published_digits_of_alpha(shape):
    matrix = heavy_tailed(*shape)
    (exact,) = spectra.analyze({"a.weight": matrix}).layers
    (short,) = spectra.analyze({"a.weight": matrix}, device=TORCH_CPU, precision="float32").layers
    assert (short.decomposition_dtype, exact.decomposition_dtype) == ("float32", "float64")
    assert short.alpha == pytest.approx(exact.alpha, rel=1e-4)  # 8e-5 at most where it was measured
    assert short.alpha != exact.alpha


@pytest.mark.parametrize("shape", [(50, 30), (30, 50)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int16], ids=str)
def test_a_tensor_is_taken_as_it_is(shape, dtype):
    matrix = (100 * torch.from_numpy(heavy_tailed(*shape))).to(dtype)
    matrix = matrix.requires_grad_() if dtype.is_floating_point else matrix
    here, there = spectra.eigenvalues(matrix, normalize="1/N"), spectra.eigenvalues(matrix, normalize="1/N", device=TORCH_CPU)
    np.testing.assert_allclose(there, here, rtol=0, atol=80 * np.finfo(float).eps * here[-1])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(3), r"expected shape \(rows, cols\), got \(3,\)"),
        (torch.ones(2, 2, dtype=torch.complex64), "expected real numbers"),
        (torch.eye(3).to_sparse(), "not a dense tensor"),
    ],
)
def test_tensors_that_are_no_matrices_are_refused_on_a_device_too(matrix, message):
    for device in ("cpu", TORCH_CPU):
        with pytest.raises(spectra.InputError, match=message):
            spectra.eigenvalues(matrix, device=device)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30, 1e150])
def test_squares_that_leave_the_range_are_rescaled_on_a_device_too(factor, precision):
    matrix = heavy_tailed(60, 40).astype(np.float64) * factor
    (here,) = spectra_together(pairs([matrix]), precision=precision)
    (there,) = spectra_together(pairs([matrix]), precision=precision, device=TORCH_CPU)
    if isinstance(here, Exception):
        assert (type(there), str(there)) == (type(here), str(here))
    else:
        atol = 40 * np.finfo(precision).eps * here.eigenvalues[-1]
        np.testing.assert_allclose(there.eigenvalues, here.eigenvalues, rtol=0, atol=atol)


def test_a_stack_that_does_not_fit_is_halved_and_every_matrix_keeps_its_numbers():
    arrays, seen = [heavy_tailed(60 + i, 40, seed=i) for i in range(7)], []
    found = list(spectra_together(pairs(arrays), device=TORCH_CPU, solver=limited(2 * 40 * 40, seen)))
    assert seen == [7, 3, 1, 2, 4, 2, 2]
    assert [one.note for one in found] == [""] * 7
    for array, one in zip(arrays, found, strict=True):
        expected = spectra.eigenvalues(array)
        np.testing.assert_allclose(one.eigenvalues, expected, rtol=0, atol=40 * np.finfo(float).eps * expected[-1])


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (torch.OutOfMemoryError, "too little memory on cpu:0: computed on the CPU"),
        (torch.linalg.LinAlgError, "no convergence on cpu:0: computed on the CPU"),
    ],
)
def test_a_matrix_that_a_device_cannot_solve_is_computed_on_the_cpu_with_a_note(error, note):
    if error is torch.linalg.LinAlgError:

        def solver(stack):
            raise error("linalg.eigh: failed to converge")
    else:
        solver = limited(0, [])
    arrays = [heavy_tailed(60, 40, seed=i) for i in range(2)]
    for array, one in zip(arrays, spectra_together(pairs(arrays), device=TORCH_CPU, solver=solver), strict=True):
        assert one.note == note
        np.testing.assert_array_equal(one.eigenvalues, spectra.eigenvalues(array))


def test_other_errors_of_a_device_stay_with_their_stack_and_are_tried_once():
    seen = []

    def broken(stack):
        seen.append(len(stack))
        raise RuntimeError("CUDA error: unspecified launch failure")

    found = list(spectra_together(pairs([heavy_tailed(30, 20)] * 2), device=TORCH_CPU, solver=broken))
    assert [str(one) for one in found] == ["CUDA error: unspecified launch failure"] * 2
    assert seen == [2]


def test_memory_that_runs_out_while_rows_are_sent_is_the_same():
    matrix, tries = heavy_tailed(60, 40), []

    class Rows:
        def __call__(self, start, stop):
            return matrix[start:stop]

        def stored(self, start, stop):
            tries.append((start, stop))
            raise torch.OutOfMemoryError("CUDA out of memory")

    good, found = spectra_together([*pairs([matrix]), (Rows(), matrix.shape)], device=TORCH_CPU)
    assert (good.note, found.note) == ("", "too little memory on cpu:0: computed on the CPU")
    assert len(tries) == 2  # in the stack of both, and alone
    np.testing.assert_array_equal(found.eigenvalues, spectra.eigenvalues(matrix))


def test_what_is_wrong_with_one_matrix_of_a_devices_stack_stays_with_it():
    good, bad = heavy_tailed(60, 40), np.full((60, 40), np.nan)
    first, second, third = spectra_together(pairs([good, bad, good]), device=TORCH_CPU)
    assert isinstance(second, NonFiniteWeightsError)
    np.testing.assert_array_equal(first.eigenvalues, third.eigenvalues)


@pytest.mark.parametrize("shape", [(50, 30), (30, 50)], ids=str)
@pytest.mark.parametrize("method", ["gram", "svd"])
def test_rows_as_stored_are_what_a_device_reads(shape, method):
    weight = torch.from_numpy(heavy_tailed(*shape)).bfloat16()

    class Rows:
        def __call__(self, start, stop):
            raise AssertionError("the widened rows are for the CPU")

        def stored(self, start, stop):
            return weight[start:stop]

    (found,) = spectra_together([(Rows(), shape)], method=method, device=TORCH_CPU)
    expected = spectra.eigenvalues(weight, method=method)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=0, atol=30 * np.finfo(float).eps * expected[-1])
