"""Each layer computes what torch computes, forwards and back to its input, and hands over the gradient of every sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from spectra.fisher.layer_gradients import (
    ConvolutionLayer,
    DenseLayer,
    EmbeddingLayer,
    RowPerSample,
    SpreadOverSamples,
    accumulation_dtype,
    upcast,
    windows,
)

close = torch.testing.assert_close  # of float64: 1e-7 relative, where 1e-15 is seen


def token():
    return torch.empty(0, requires_grad=True)


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def by_sample(layer, *tensors, x, output_gradient):
    """Gradients of tensors, sample by sample, as autograd gives them for a batch of one."""
    rows = []
    for n in range(len(x)):
        copies = [tensor.clone().requires_grad_() for tensor in tensors]
        output = layer(x[n : n + 1], *copies)
        rows.append(torch.autograd.grad(output, copies, output_gradient[n : n + 1]))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def compared(layer, plain, *tensors, x, arrived):
    """Run a layer and torch's own on the same input; compare all that comes out of both passes."""
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    output, expected = layer(ours), plain(theirs, *tensors)
    close(output, expected)
    output_gradient = numbers(*output.shape)
    output.backward(output_gradient)
    expected.backward(output_gradient)
    close(ours.grad, theirs.grad)
    for contribution, rows in zip(arrived, by_sample(plain, *tensors, x=x, output_gradient=output_gradient), strict=True):
        (found,) = contribution
        close(torch.stack([found.of_sample(n) for n in range(len(x))]), rows)


@settings(max_examples=20)
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), outputs=st.integers(1, 4), transposed=st.booleans())
def test_dense_layers(shape, outputs, transposed):
    torch.manual_seed(0)
    x, bias = numbers(*shape), numbers(outputs)
    weight = numbers(shape[-1], outputs) if transposed else numbers(outputs, shape[-1])
    arrived = [], []

    def layer(x):
        return DenseLayer.apply(token(), x, weight, bias, transposed, shape[0], arrived[0].append, arrived[1].append)

    def plain(x, weight, bias):
        return F.linear(x, weight.t() if transposed else weight, bias)

    compared(layer, plain, weight, bias, x=x, arrived=arrived)


@settings(max_examples=40)
@given(data=st.data(), spatial=st.integers(1, 3), groups=st.integers(1, 2), seed=st.integers(0, 100))
def test_convolutions_of_any_geometry(data, spatial, groups, seed):
    torch.manual_seed(seed)
    drawn = [[data.draw(st.integers(*bounds)) for _ in range(spatial)] for bounds in ((1, 3), (1, 3), (0, 2), (1, 2))]
    kernel, stride, padding, dilation = drawn
    sizes = [gap * (size - 1) + 1 + data.draw(st.integers(0, 3)) for size, gap in zip(kernel, dilation, strict=True)]
    channels_in, channels_out = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    x, weight, bias = (
        numbers(2, channels_in, *sizes), numbers(channels_out, channels_in // groups, *kernel), numbers(channels_out)
    )  # fmt: skip
    convolve = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    arrived = [], []

    def layer(x):
        geometry = (stride, padding, dilation, groups)
        return ConvolutionLayer.apply(token(), x, weight, bias, *geometry, arrived[0].append, arrived[1].append)

    def plain(x, weight, bias):
        return convolve(x, weight, bias, stride, padding, dilation, groups)

    compared(layer, plain, weight, bias, x=x, arrived=arrived)


def test_the_windows_of_a_picture_are_those_torch_unfolds():
    torch.manual_seed(0)
    x = numbers(2, 3, 7, 6)
    found = windows(x, torch.Size((3, 2)), [2, 1], [1, 0], [1, 2], groups=1)
    expected = F.unfold(x, (3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1)).transpose(1, 2)
    close(found, expected.unsqueeze(1))


@pytest.mark.parametrize("padding_idx", [None, 1, -2])
def test_lookups_give_padding_no_gradient(padding_idx):
    torch.manual_seed(0)
    table, ids, output_gradient = numbers(5, 3), torch.randint(5, (4, 6)), numbers(4, 6, 3)
    arrived = []
    EmbeddingLayer.apply(token(), ids, table, padding_idx, 4, arrived.append).backward(output_gradient)
    (rows,) = by_sample(lambda ids, table: F.embedding(ids, table, padding_idx), table, x=ids, output_gradient=output_gradient)
    (found,) = arrived
    close(torch.stack([found.of_sample(n) for n in range(4)]), rows)


def test_a_tensor_spread_over_samples_hands_over_what_each_sends_back():
    torch.manual_seed(0)
    tensor, x, output_gradient = numbers(3, 1), numbers(4, 3, 2), numbers(4, 3, 2)
    arrived = []
    spread = SpreadOverSamples.apply(token(), tensor, (1, 3, 1), 4, arrived.append)
    (x * spread).backward(output_gradient)
    (rows,) = by_sample(torch.mul, tensor, x=x, output_gradient=output_gradient)
    (found,) = arrived
    close(torch.stack([found.of_sample(n) for n in range(4)]), rows)


def test_a_row_per_sample_belongs_to_it_alone():
    torch.manual_seed(0)
    tensor, output_gradient = numbers(4, 3), numbers(4, 3)
    arrived = []
    RowPerSample.apply(token(), tensor, arrived.append).backward(output_gradient)
    (found,) = arrived
    for n in range(4):
        expected = torch.zeros(4, 3, dtype=torch.float64)
        expected[n] = output_gradient[n]
        close(found.of_sample(n), expected)


@pytest.mark.parametrize("needs", ["weight", "bias", "neither"])
def test_what_nobody_waits_for_is_not_formed(needs):
    arrived = []
    arrivals = (arrived.append if needs == "weight" else None, arrived.append if needs == "bias" else None)
    x = numbers(2, 3)
    DenseLayer.apply(token(), x, numbers(4, 3), numbers(4), False, 2, *arrivals).sum().backward()
    assert len(arrived) == (needs != "neither")
    arrived.clear()
    ConvolutionLayer.apply(
        token(), numbers(2, 1, 5), numbers(4, 1, 3), numbers(4), [1], [0], [1], 1, *arrivals
    ).sum().backward()  # fmt: skip
    assert len(arrived) == (needs != "neither")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_factors_are_brought_to_the_precision_of_the_sums(dtype):
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert accumulation_dtype(dtype) == expected
    tensor = torch.ones(2, dtype=dtype, requires_grad=True)
    assert upcast(tensor).dtype == expected
    assert not upcast(tensor).requires_grad
