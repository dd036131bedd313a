"""The torch route: the same numbers as NumPy's, here on torch's own CPU device, and on a GPU where there is one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import spectra
from spectra.esd.accelerator import check_device, check_solver, gram_product, refusal, shortens_float32, symmetric_eigenvalues
from tests.models import heavy_tailed

TORCH_CPU = "cpu:0"  # torch's name for what NumPy computes as "cpu"

# Two summation orders of a float64 Gram matrix of some hundred rows, and of its solver.
RTOL = 1e-11


def test_gram_of_blocks_is_the_gram_of_the_whole():
    matrix = heavy_tailed(300, 40).astype(np.float64)
    gram = gram_product([matrix[:100], matrix[100:]], TORCH_CPU, "float64").numpy()
    np.testing.assert_allclose(gram, matrix.T @ matrix, rtol=RTOL, atol=1e-12)


def test_the_gram_is_of_the_precision_asked_for_whatever_the_rows_are():
    rows = torch.from_numpy(heavy_tailed(30, 10)).bfloat16()
    double = gram_product([rows], TORCH_CPU, "float64")
    assert double.dtype == torch.float64
    np.testing.assert_allclose(double.numpy(), (exact := rows.double().numpy()).T @ exact, rtol=RTOL, atol=1e-12)
    assert gram_product([rows], TORCH_CPU, "float32").dtype == torch.float32


def test_rows_that_must_not_be_written_to_and_long_doubles_can_be_sent():
    matrix = heavy_tailed(30, 10)
    matrix.flags.writeable = False
    expected = matrix.astype(np.float64).T @ matrix
    for rows in (matrix, matrix.astype(np.longdouble), matrix[::-1]):
        np.testing.assert_allclose(gram_product([rows], TORCH_CPU, "float64").numpy(), expected, rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize(("precision", "eps"), [("float64", 2.3e-16), ("float32", 1.2e-7)])
def test_eigenvalues_of_a_stack_are_those_of_each_in_the_precision_of_the_gram(precision, eps):
    matrices = [heavy_tailed(50, 20, seed=seed) for seed in range(3)]
    grams = [gram_product([matrix], TORCH_CPU, precision) for matrix in matrices]
    for matrix, values in zip(matrices, symmetric_eigenvalues(grams, TORCH_CPU), strict=True):
        assert values.dtype == np.float64
        expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[::-1] ** 2
        np.testing.assert_allclose(values, expected, rtol=0, atol=20 * eps * expected[-1])
        assert (values == values.astype(np.float32)).all() == (precision == "float32")


def test_no_matrices_have_no_eigenvalues():
    assert symmetric_eigenvalues([], TORCH_CPU) == []


def test_a_device_solves_for_one_caller_at_a_time():
    at_work, most = [], []

    def solver(stack):
        at_work.append(1)
        most.append(len(at_work))
        values = torch.linalg.eigvalsh(stack)
        at_work.pop()
        return values

    gram = gram_product([heavy_tailed(80, 60)], TORCH_CPU, "float64")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: symmetric_eigenvalues([gram], TORCH_CPU, solver), range(40)))
    assert max(most) == 1


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
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch before 2.9")
    matrix, before = heavy_tailed(300, 40), matmul.fp32_precision
    try:
        matmul.fp32_precision = chosen
        assert shortens_float32() == (chosen == "tf32")
        gram = gram_product([matrix], TORCH_CPU, "float32").numpy()
        np.testing.assert_allclose(gram, matrix.T @ matrix, rtol=1e-5, atol=1e-3)
    finally:
        matmul.fp32_precision = before


@pytest.mark.parametrize("device", ["gpu", "cuda:77", "cuda:-3"])
def test_a_device_that_is_not_there_is_one_clear_error(device):
    with pytest.raises(spectra.InputError, match="cannot compute on"):
        check_device(device)


def test_a_device_without_the_solver_is_refused_with_what_to_use():
    check_solver(TORCH_CPU, "float64")
    with pytest.raises(spectra.InputError, match="'mps' has no eigenvalues in float64 .*Use 'cpu', or precision 'float32'"):
        check_solver("mps", "float64")
    with pytest.raises(spectra.InputError, match=r"no eigenvalues in float32 .*Use 'cpu'\.$"):
        check_solver("mps", "float32")


REFUSALS = {
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"): "too little memory on cuda:0",
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"): "too little memory on cuda:0",
    RuntimeError("DefaultCPUAllocator: can't allocate memory"): "too little memory on cuda:0",
    torch.linalg.LinAlgError("linalg.eigh: failed to converge"): "no convergence on cuda:0",
    RuntimeError("CUDA error: an illegal memory access was encountered"): "",
    MemoryError("the host's"): "",
    None: "",
}


@pytest.mark.parametrize(("error", "words"), REFUSALS.items(), ids=str)
def test_what_another_route_can_do_is_told_from_what_is_wrong(error, words):
    assert refusal(error, "cuda:0") == words


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "rel"), [("float64", 1e-8), ("float32", 1e-3)])
def test_h8_cpu_and_gpu_agree(precision, rel, demo_folder):
    here = spectra.analyze(demo_folder, precision=precision, device="cpu")
    there = spectra.analyze(demo_folder, precision=precision, device="cuda")
    for ours, theirs in zip(here.layers, there.layers, strict=True):
        assert theirs.alpha == pytest.approx(ours.alpha, rel=rel, nan_ok=True)


@pytest.mark.gpu
def test_rows_in_many_blocks_travel_through_page_locked_memory():
    matrix = heavy_tailed(4000, 60)
    gram = gram_product([matrix[start : start + 500] for start in range(0, 4000, 500)], "cuda", "float64")
    np.testing.assert_allclose(gram.cpu().numpy(), matrix.astype(np.float64).T @ matrix, rtol=1e-9, atol=1e-9)


@pytest.mark.gpu
def test_cuda_is_every_gpu_and_a_live_weight_stays_where_it_is():
    model = torch.nn.Linear(120, 60).cuda().bfloat16()
    (there,) = spectra.analyze(model, device="cuda").layers
    (here,) = spectra.analyze(model, device="cpu").layers
    assert there.alpha == pytest.approx(here.alpha, rel=1e-8)
    assert model.weight.is_cuda
