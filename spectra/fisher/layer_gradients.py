"""Layers whose backward pass hands over the gradient of each sample instead of adding the samples up.

Each class computes the layer as torch does and, going back, the gradient of its input as torch does. In place of the gradient
of the weight it hands over the two factors (or rows) and returns none, so that nothing is written to ``.grad`` and the product
over the whole batch is never formed. Inputs are kept by ``save_for_backward``, which gradient checkpointing knows.

Parameters come detached, as their own graph must outlive the backward pass. ``token`` is an empty tensor that requires a
gradient, so that the backward pass goes through a layer whose input requires none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spectra.fisher.contributions import Contribution, Dense, Factored, OwnRows, Rows

Arrive = Callable[[Contribution], None]


def _aside(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the operations of a backward pass from the mode that follows the model: it would be asked about each of them."""

    @wraps(backward)
    def quiet(ctx: Any, *gradients: Any) -> Any:
        saved = ctx.saved_tensors  # under the mode: gradient checkpointing may compute them here
        with torch._C.DisableTorchFunction():
            return backward(ctx, saved, *gradients)

    return quiet


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which gradients are squared and added: float32, and float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def upcast(tensor: Tensor) -> Tensor:
    """Bring a factor to the precision of the sums before anything is squared."""
    return tensor.detach().to(accumulation_dtype(tensor.dtype))


class DenseLayer(torch.autograd.Function):
    """``x @ weight.T + bias``, or ``x @ weight + bias`` when ``transposed`` (GPT-2's Conv1D)."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        token: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        transposed: bool,
        num_samples: int,
        weight_arrives: Arrive | None,
        bias_arrives: Arrive | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.transposed, ctx.num_samples = transposed, num_samples
        ctx.weight_arrives, ctx.bias_arrives = weight_arrives, bias_arrives
        return functional.linear(x, weight.t() if transposed else weight, bias)

    @staticmethod
    @_aside
    def backward(ctx: Any, saved: tuple[Tensor, ...], gradient: Tensor) -> Any:  # noqa: D102
        x, weight = saved
        into_x = None
        if ctx.needs_input_grad[1]:
            cast = weight.to(gradient.dtype)
            into_x = (gradient @ (cast.t() if ctx.transposed else cast)).to(x.dtype)
        outputs = upcast(gradient).reshape(ctx.num_samples, 1, -1, gradient.shape[-1])
        if ctx.weight_arrives is not None:
            inputs = upcast(x).reshape(ctx.num_samples, 1, -1, x.shape[-1])
            left, right = (inputs, outputs) if ctx.transposed else (outputs, inputs)
            ctx.weight_arrives(Factored(left, right, weight.shape))
        if ctx.bias_arrives is not None:
            ctx.bias_arrives(Dense(outputs.sum((1, 2)), outputs.shape[-1:]))
        return None, into_x, None, None, None, None, None, None


class ConvolutionLayer(torch.autograd.Function):
    """A convolution in one to three dimensions; its windows play the part of tokens."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        token: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
        weight_arrives: Arrive | None,
        bias_arrives: Arrive | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, dilation, groups)
        ctx.weight_arrives, ctx.bias_arrives = weight_arrives, bias_arrives
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[weight.ndim - 3]
        output: Tensor = convolve(x, weight, bias, stride, padding, dilation, groups)
        return output

    @staticmethod
    @_aside
    def backward(ctx: Any, saved: tuple[Tensor, ...], gradient: Tensor) -> Any:  # noqa: D102
        x, weight = saved
        stride, padding, dilation, groups = ctx.geometry
        into_x = None
        if ctx.needs_input_grad[1]:
            into_x = torch.ops.aten.convolution_backward(
                gradient,
                x,
                weight.to(x.dtype),
                None,
                stride,
                padding,
                dilation,
                False,
                [0] * len(stride),
                groups,
                [True, False, False],
            )[0]
        outputs = upcast(gradient).flatten(2)  # (B, channels out, windows)
        if ctx.weight_arrives is not None:
            left = outputs.reshape(len(x), groups, -1, outputs.shape[2]).transpose(2, 3)
            right = windows(upcast(x), weight.shape[2:], stride, padding, dilation, groups)
            ctx.weight_arrives(Factored(left, right, weight.shape))
        if ctx.bias_arrives is not None:
            ctx.bias_arrives(Dense(outputs.sum(2), outputs.shape[1:2]))
        return None, into_x, None, None, None, None, None, None, None, None


def windows(x: Tensor, kernel: torch.Size, stride: list[int], padding: list[int], dilation: list[int], groups: int) -> Tensor:
    """Cut the input of a convolution into the windows its kernel meets.

    Args:
        x: Shape ``(B, channels, ...)``.
        kernel: Sizes of the kernel, one per spatial dimension.
        stride: One per spatial dimension, as are ``padding`` and ``dilation``.
        padding: Zeros on both sides.
        dilation: Distance of the kernel's points.
        groups: Of channels.

    Returns:
        Shape ``(B, groups, windows, channels / groups * kernel points)``.
    """
    dimensions = len(kernel)
    x = functional.pad(x, [amount for one in reversed(padding) for amount in (one, one)])
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        x = x.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    # (B, channels, windows..., kernel...) -> (B, groups, windows, channels / groups, kernel...)
    x = x.flatten(2, 1 + dimensions)
    x = x.reshape(len(x), groups, -1, *x.shape[2:]).transpose(2, 3)
    return x.flatten(3)


class EmbeddingLayer(torch.autograd.Function):
    """Rows of a table, looked up by the ids of each sample."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, token: Tensor, ids: Tensor, table: Tensor, padding_idx: int | None, num_samples: int, arrives: Arrive
    ) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding_idx, ctx.num_samples, ctx.arrives = table.shape, padding_idx, num_samples, arrives
        return functional.embedding(ids, table)

    @staticmethod
    @_aside
    def backward(ctx: Any, saved: tuple[Tensor, ...], gradient: Tensor) -> Any:  # noqa: D102
        (ids,) = saved
        rows = upcast(gradient).reshape(ctx.num_samples, -1, gradient.shape[-1])
        ids = ids.reshape(ctx.num_samples, -1)
        if ctx.padding_idx is not None:  # torch gives the padding row no gradient
            rows = rows.masked_fill((ids == ctx.padding_idx % ctx.shape[0]).unsqueeze(-1), 0.0)
        ctx.arrives(Rows(ids, rows, ctx.shape))
        return None, None, None, None, None, None


class SpreadOverSamples(torch.autograd.Function):
    """A tensor without a batch dimension, handed to every sample: it meets the batch in a broadcast operation."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, token: Tensor, tensor: Tensor, shape: tuple[int, ...], num_samples: int, arrives: Arrive
    ) -> Tensor:
        ctx.shape, ctx.arrives = tensor.shape, arrives
        return tensor.reshape(shape).expand(num_samples, *shape[1:])

    @staticmethod
    @_aside
    def backward(ctx: Any, saved: tuple[Tensor, ...], gradient: Tensor) -> Any:  # noqa: D102
        ctx.arrives(Dense(upcast(gradient), ctx.shape))
        return None, None, None, None, None


class RowPerSample(torch.autograd.Function):
    """A tensor that already has one row per sample, though it was computed from parameters alone."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, tensor: Tensor, arrives: Arrive) -> Tensor:  # noqa: D102
        ctx.arrives = arrives
        return tensor.view_as(tensor)

    @staticmethod
    @_aside
    def backward(ctx: Any, saved: tuple[Tensor, ...], gradient: Tensor) -> Any:  # noqa: D102
        ctx.arrives(OwnRows(upcast(gradient)))
        return None, None, None
