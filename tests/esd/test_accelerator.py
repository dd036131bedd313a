"""The torch route: the same numbers as NumPy's, here on torch's own CPU device, and on a GPU where there is one."""

import numpy as np
import pytest

import spectra
from spectra.esd.accelerator import check_device, gram_product, shortens_float32, symmetric_eigenvalues
from tests.models import heavy_tailed

TORCH_CPU = "cpu:0"  # torch's name for what NumPy computes as "cpu"

# Two summation orders of a float64 Gram matrix of some hundred rows, and of its solver.
RTOL = 1e-11


def test_gram_of_blocks_is_the_gram_of_the_whole():
    matrix = heavy_tailed(300, 40).astype(np.float64)
    gram = gram_product([matrix[:100], matrix[100:]], TORCH_CPU, "float64").numpy()
    np.testing.assert_allclose(gram, matrix.T @ matrix, rtol=RTOL, atol=1e-12)


def test_gram_keeps_the_blocks_dtype():
    assert gram_product([heavy_tailed(30, 10)], TORCH_CPU).dtype == np.float32


def test_eigenvalues_of_a_stack_are_those_of_each():
    grams = [(m := heavy_tailed(50, 20, seed=seed).astype(np.float64)).T @ m for seed in range(3)]
    for gram, values in zip(grams, symmetric_eigenvalues(grams, TORCH_CPU), strict=True):
        np.testing.assert_allclose(values, np.linalg.eigvalsh(gram), rtol=1e-9, atol=1e-12 * values[-1])


@pytest.mark.parametrize("shape", [(200, 60), (60, 200), (60, 60)], ids=str)
def test_a_device_of_torch_gives_the_same_eigenvalues(shape):
    matrix = heavy_tailed(*shape)
    expected = spectra.eigenvalues(matrix)
    np.testing.assert_allclose(spectra.eigenvalues(matrix, device=TORCH_CPU), expected, rtol=1e-9, atol=1e-12 * expected[-1])


def test_a_tiny_scale_is_handled_on_a_device_too():
    matrix = heavy_tailed(80, 30).astype(np.float64)
    values = spectra.eigenvalues(matrix * 1e-145, device=TORCH_CPU)
    np.testing.assert_allclose(values / values[-1], (e := spectra.eigenvalues(matrix)) / e[-1], rtol=1e-9, atol=1e-12)


def test_a_whole_model_on_a_device_of_torch_has_the_same_rows():
    weights = {f"layers.{i}.weight": heavy_tailed(120, 60, seed=i) for i in range(4)}
    here, there = spectra.analyze(weights), spectra.analyze(weights, device=TORCH_CPU)
    assert there.environment["device"] == TORCH_CPU
    for ours, theirs in zip(here.layers, there.layers, strict=True):
        assert theirs.alpha == pytest.approx(ours.alpha, rel=1e-9)
        assert theirs.num_tail == ours.num_tail


@pytest.mark.parametrize("chosen", ["tf32", "ieee"])
def test_a_users_choice_of_short_products_costs_no_digits(chosen):
    # torch 2.9's setting, after which reading the older allow_tf32 raises.
    import torch

    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch before 2.9")
    matrix, before = heavy_tailed(300, 40), matmul.fp32_precision
    try:
        matmul.fp32_precision = chosen
        assert shortens_float32() == (chosen == "tf32")
        np.testing.assert_allclose(gram_product([matrix], TORCH_CPU), matrix.T @ matrix, rtol=1e-5, atol=1e-3)
    finally:
        matmul.fp32_precision = before


@pytest.mark.parametrize("device", ["gpu", "cuda:77", "cuda:-3"])
def test_a_device_that_is_not_there_is_one_clear_error(device):
    with pytest.raises(spectra.InputError, match="cannot compute on"):
        check_device(device)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "rel"), [("float64", 1e-8), ("float32", 1e-3)])
def test_h8_cpu_and_gpu_agree(precision, rel, demo_folder):
    here = spectra.analyze(demo_folder, precision=precision, device="cpu")
    there = spectra.analyze(demo_folder, precision=precision, device="cuda")
    for ours, theirs in zip(here.layers, there.layers, strict=True):
        assert theirs.alpha == pytest.approx(ours.alpha, rel=rel, nan_ok=True)
