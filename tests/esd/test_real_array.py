import numpy as np
import pytest
import torch

from spectra import InputError, eigenvalues, farms_eigenvalues, fit_power_law, vector_metrics
from spectra.esd.real_array import real_array

NUMBERS = [[1.0, -2.0], [0.5, 4.0]]  # held by every dtype below


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f8"])
def test_arrays_of_floats_are_taken_as_they_are(dtype):
    array = np.array(NUMBERS, dtype=dtype)
    assert real_array(array, "matrix") is array


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32", "float64"])
def test_tensors_of_floats_keep_every_digit(name):
    found = real_array(torch.tensor(NUMBERS).to(getattr(torch, name)).requires_grad_(name != "float8_e5m2"), "matrix")
    assert found.dtype == ("float64" if name == "float64" else "float32")
    assert found.tolist() == NUMBERS


@pytest.mark.parametrize("number", [2**30 + 1, -(2**53) + 1])
def test_integers_of_torch_keep_every_digit(number):
    # float32 has 24 bits: 2**30 + 1 would become 2**30.
    assert real_array(torch.tensor([number]), "matrix").tolist() == [number]
    assert real_array(np.array([number]), "matrix").tolist() == [number]


def test_strides_of_a_tensor_do_not_matter():
    tensor = torch.arange(24.0).reshape(4, 6).T[::2]
    assert real_array(tensor, "matrix").tolist() == tensor.tolist()


@pytest.mark.parametrize(
    "make", [np.array, torch.tensor, lambda x: torch.tensor(x).conj()], ids=["numpy", "torch", "conjugate"]
)
@pytest.mark.parametrize("call", [eigenvalues, vector_metrics, lambda x: farms_eigenvalues(x, window_rows=1)])
def test_complex_numbers_are_refused_and_not_cut(make, call):
    # torch and NumPy would drop the imaginary part, with a warning.
    with pytest.raises(InputError, match="expected real numbers, got dtype complex"):
        call(make([[1.0 + 0.0j, 2.0j], [3.0 + 1.0j, 4.0 + 0.0j]]))
    with pytest.raises(InputError, match="eigenvalues: expected real numbers"):
        fit_power_law(make([1.0 + 1.0j, 2.0 + 0.0j, 3.0 + 0.0j]))


@pytest.mark.parametrize(
    "tensor", [torch.eye(3).to_sparse(), torch.empty(3, 3, device="meta")], ids=["sparse", "without numbers"]
)
def test_tensors_that_are_not_dense_are_refused(tensor):
    with pytest.raises(InputError, match="matrix: not a dense tensor of numbers"):
        eigenvalues(tensor)


@pytest.mark.parametrize("value", ["abc", [[None, 1.0]], np.array(["1.0"])], ids=["text", "objects", "array of text"])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match="matrix: expected real numbers"):
        real_array(value, "matrix")
