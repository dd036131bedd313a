"""The penalty's gradient is that of half the squared largest singular value, and the optimizer sees it."""

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.training import SpectralNormPenalty, spectral_norm_gradient


def gapped(*shape, seed=0):
    """A weight whose largest singular value stands out."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    flat = weight.flatten(1)
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    values[0] *= 10
    return (left * values @ right).reshape(shape)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 3, 2, 2), (1, 7)], ids=str)
def test_the_gradient_is_that_of_half_the_squared_spectral_norm(shape):
    weight = gapped(*shape).requires_grad_()
    (0.5 * torch.linalg.matrix_norm(weight.flatten(1), 2) ** 2).backward()
    generator = torch.Generator().manual_seed(0)
    # The second singular value is at most a tenth: 5 iterations leave (1/10)^10 of it.
    found = spectral_norm_gradient(weight, generator=generator)
    assert torch.allclose(found, weight.grad, rtol=1e-7, atol=1e-7)


def test_the_gradient_of_a_complex_weight_is_that_of_autograd():
    generator = torch.Generator().manual_seed(0)
    left, values, right = torch.linalg.svd(
        torch.randn((6, 4), generator=generator, dtype=torch.complex128), full_matrices=False
    )
    values[0] *= 10
    weight = (left * values @ right).requires_grad_()
    (0.5 * torch.linalg.matrix_norm(weight, 2) ** 2).backward()
    found = spectral_norm_gradient(weight, generator=generator)
    assert torch.allclose(found, weight.grad, rtol=1e-7, atol=1e-7)


def test_bfloat16_weights_are_computed_in_float32():
    weight = gapped(8, 8).bfloat16()
    found = spectral_norm_gradient(weight)
    assert found.dtype == torch.bfloat16
    exact = spectral_norm_gradient(weight.double())
    assert (found.double() - exact).norm() < 0.005 * exact.norm()  # half a unit of bfloat16's eighth bit


def test_a_weight_of_zeros_has_the_gradient_zero():
    assert not spectral_norm_gradient(torch.zeros(3, 4)).any()


def test_a_step_is_that_of_the_sum_of_both_gradients():
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.copy_(gapped(3, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    penalty = SpectralNormPenalty(optimizer, strength=0.5)
    before, bias = net.weight.detach().clone(), net.bias.detach().clone()
    net(torch.ones(2, 4)).sum().backward()
    gradient, of_bias = net.weight.grad.clone(), net.bias.grad.clone()
    optimizer.step()
    expected = before - 0.1 * (gradient + 0.01 * before + 0.5 * spectral_norm_gradient(before))
    assert torch.allclose(net.weight, expected, atol=1e-5)  # float32, and two runs of the power method
    assert torch.allclose(net.bias, bias - 0.1 * (of_bias + 0.01 * bias))
    penalty.remove()
    optimizer.zero_grad()
    net(torch.ones(2, 4)).sum().backward()
    gradient = net.weight.grad.clone()
    optimizer.step()
    assert torch.equal(net.weight.grad, gradient)


@pytest.mark.parametrize("unscaled", [False, True], ids=["scaled", "unscaled before"])
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_gradient_scaler_leaves_the_penalty_as_it_is(fused, unscaled):
    after = []
    for enabled in (False, True):
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        with torch.no_grad():
            net.weight.copy_(gapped(3, 4))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, fused=fused)
        SpectralNormPenalty(optimizer, strength=0.5, generator=torch.Generator().manual_seed(0))
        scaler = torch.amp.GradScaler(device="cpu", enabled=enabled, init_scale=1024.0)
        scaler.scale(net(torch.ones(2, 4)).sum()).backward()
        if unscaled:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        after.append(net.weight.detach().clone())
    assert torch.equal(*after)  # a power of two rounds nothing


def test_a_sparse_gradient_is_refused_before_any_is_changed():
    net = nn.Sequential(nn.Linear(3, 3), nn.Embedding(5, 3, sparse=True))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    SpectralNormPenalty(optimizer)
    net[0](net[1](torch.tensor([1, 2]))).sum().backward()
    before = net[0].weight.grad.clone()
    with pytest.raises(InputError, match=r"weight of shape \(5, 3\) has a sparse gradient.* Make the layer with sparse=False"):
        optimizer.step()
    assert torch.equal(net[0].weight.grad, before)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"weight: expected two or more dimensions, got shape \(3,\)"):
        spectral_norm_gradient(torch.ones(3))
    with pytest.raises(InputError, match="num_iterations: expected a whole number of at least 1, got 0"):
        spectral_norm_gradient(torch.ones(3, 3), num_iterations=0)
    with pytest.raises(InputError, match="strength: expected a number of at least 0, got -1"):
        SpectralNormPenalty(torch.optim.SGD([torch.ones(2, 2, requires_grad=True)]), strength=-1)
    for unusable in (0, 2.5, True):
        with pytest.raises(InputError, match=f"num_iterations: expected a whole number of at least 1, got {unusable}"):
            SpectralNormPenalty(torch.optim.SGD([torch.ones(2, 2, requires_grad=True)]), num_iterations=unusable)
