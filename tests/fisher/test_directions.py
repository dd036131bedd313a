import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectra.fisher.directions import filter_normalized, gaussian


def weight_of(*shape, seed=1, dtype=torch.float32):
    """Rows of very different size."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-3, 2, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) if shape else torch.tensor(3.0)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def rows(tensor, kind, transposed):
    """The rows of a tensor, one by one."""
    if tensor.dim() < 2:
        return [tensor.flatten()]
    if transposed:
        tensor = tensor.transpose(0, 1) if kind == "convolution" else tensor.transpose(-1, -2)
    return [row.flatten() for row in (tensor if kind == "convolution" else tensor.reshape(-1, tensor.shape[-1]))]


CASES = {
    "linear": ((5, 7), "linear", False),
    "Conv1D of GPT-2": ((7, 5), "linear", True),
    "embedding": ((9, 4), "embedding", False),
    "convolution": ((6, 3, 2, 2), "convolution", False),
    "transposed convolution": ((6, 3, 2, 2), "convolution", True),
    "experts": ((3, 4, 5), "other", False),
    "bias": ((8,), "linear", False),
    "scalar": ((), "other", False),
}


@pytest.mark.parametrize(("shape", "kind", "transposed"), CASES.values(), ids=CASES)
def test_rows_have_the_norms_of_the_weights_rows(shape, kind, transposed):
    weight = weight_of(*shape)
    drawn = gaussian(shape, 0, 0, 0)
    direction = filter_normalized(drawn, weight, kind=kind, transposed=transposed)
    triples = zip(*(rows(tensor, kind, transposed) for tensor in (direction, weight, drawn)), strict=True)
    for row, weights, before in triples:
        # float32 entries: rounding of 6e-8 each, and the guard of 1e-10
        torch.testing.assert_close(row.double().norm(), weights.double().norm(), rtol=1e-6, atol=0.0)
        torch.testing.assert_close(row, before * (weights.norm() / before.norm()), rtol=1e-5, atol=0.0)


def test_long_rows_keep_their_norm():
    weight = weight_of(2, 100_000)
    direction = filter_normalized(gaussian((2, 100_000), 0, 0, 0), weight)
    torch.testing.assert_close(direction.double().norm(dim=1), weight.double().norm(dim=1), rtol=1e-6, atol=0.0)


def test_rows_of_zeros_stand():
    weight = weight_of(4, 3)
    weight[1] = 0.0
    direction = filter_normalized(gaussian((4, 3), 0, 0, 0), weight)
    assert (direction[1] == 0.0).all()
    assert (direction[[0, 2, 3]] != 0.0).all()


@pytest.mark.parametrize("shape", [(8,), ()])
def test_vectors_stand_if_asked_to(shape):
    direction = filter_normalized(gaussian(shape, 0, 0, 0), weight_of(*shape), include_vectors=False)
    assert direction.shape == shape
    assert (direction == 0.0).all()


def test_vectors_are_not_asked_about_matrices():
    weight, drawn = weight_of(4, 3), gaussian((4, 3), 0, 0, 0)
    assert torch.equal(filter_normalized(drawn, weight, include_vectors=False), filter_normalized(drawn, weight))


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_directions_are_at_least_float32(dtype, expected):
    weight = weight_of(4, 300, dtype=dtype)
    direction = filter_normalized(gaussian((4, 300), 0, 0, 0), weight)
    assert direction.dtype == expected
    torch.testing.assert_close(direction.double().norm(dim=1), weight.double().norm(dim=1), rtol=1e-6, atol=0.0)


@given(factor=st.sampled_from([-4.0, -0.25, 0.5, 2.0, 1024.0]), seed=st.integers(0, 2**32))
def test_a_direction_scales_with_its_weight(factor, seed):
    weight, drawn = weight_of(4, 3), gaussian((4, 3), seed, 0, 0)
    scaled = filter_normalized(drawn, weight * factor)
    assert torch.equal(scaled, filter_normalized(drawn, weight) * abs(factor))  # powers of two are exact


def test_a_draw_depends_on_its_arguments_and_on_nothing_else():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = gaussian((4, 3), 5, 1, 7)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.randn(10)
    assert torch.equal(first, gaussian((4, 3), 5, 1, 7))
    for other in [(6, 1, 7), (5, 0, 7), (5, 1, 8)]:
        assert not torch.equal(first, gaussian((4, 3), *other))


def test_draws_are_standard_normal_and_independent():
    first, second = (gaussian((200_000,), 0, number, 0).double() for number in (0, 1))
    # Five standard errors of 1 / sqrt(200000) = 0.0022; of a variance sqrt(2) times that.
    for drawn in (first, second):
        assert abs(drawn.mean()) < 0.012
        assert abs(drawn.var() - 1.0) < 0.016
    assert abs((first * second).mean()) < 0.012
