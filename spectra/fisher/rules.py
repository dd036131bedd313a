"""The operations in which a parameter may meet the batch, and what takes their place so that samples can be told apart.

A rule gets the operation as torch was asked for it. Dense layers, convolutions and embeddings become those of
:mod:`spectra.fisher.layer_gradients`; in elementwise operations, normalizations, concatenations and attention biases the
parameter is handed to every sample first. A rule that does not fit raises ``NotFollowedError`` with the reason, before anything
is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spectra.fisher.layer_gradients import ConvolutionLayer, DenseLayer, EmbeddingLayer, RowPerSample, SpreadOverSamples
from spectra.fisher.meetings import Meetings, NotFollowedError
from spectra.fisher.provenance import Expression, Provenance, mark, named

Rule = Callable[[Meetings, Any, tuple[Any, ...], dict[str, Any]], Any]

_NOT_THE_BATCH = "its layer's input does not begin with the batch"


def _linear(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(input: Any, weight: Any, bias: Any = None) -> Tensor:  # noqa: A002 - torch's own names, here and below
        return _dense(met, input, weight, bias, transposed=False)

    return bound(*args, **kwargs)


def _addmm(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    if kwargs or len(args) != 3:
        raise NotFollowedError("the operation 'addmm' with factors has no rule")
    return _dense(met, args[1], args[2], args[0], transposed=True)


def _matmul(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    if kwargs or len(args) != 2:
        raise NotFollowedError("the operation 'matmul' with an output has no rule")
    return _dense(met, args[0], args[1], None, transposed=True)


def _dense(met: Meetings, x: Any, weight: Any, bias: Any, *, transposed: bool) -> Tensor:
    if not met.is_batched(x):
        raise NotFollowedError(_NOT_THE_BATCH)
    if weight.ndim != 2 or (bias is not None and bias.ndim != 1):
        raise NotFollowedError("it is a stack of matrices")
    _refuse_made_by_the_batch(met, weight, bias)
    arrivals = (met.register(found, x) if (found := met.expression(one)) else None for one in (weight, bias))
    detached = (None if one is None else one.detach() for one in (weight, bias))
    return DenseLayer.apply(met.token, x, *detached, transposed, met.num_samples, *arrivals)  # type: ignore[no-any-return,no-untyped-call]


def _refuse_made_by_the_batch(met: Meetings, *operands: Any) -> None:
    """Leave a weight that a network computes from its input to autograd: the layers here give gradients to parameters only."""
    if any(one is not None and isinstance(met.origin(one), Provenance) for one in operands):
        raise NotFollowedError("its layer's weight or bias depends on the batch")


def _convolution(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(
        input: Any,  # noqa: A002
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if not met.is_batched(input) or input.ndim != weight.ndim or input.shape[0] != met.num_samples:
            raise NotFollowedError(_NOT_THE_BATCH)
        _refuse_made_by_the_batch(met, weight, bias)
        sizes = weight.shape[2:]
        steps, gaps = _per_dimension(stride, len(sizes)), _per_dimension(dilation, len(sizes))
        margins = (
            _same_padding(sizes, gaps)
            if padding == "same"
            else _per_dimension(0 if padding == "valid" else padding, len(sizes))
        )
        arrivals = (met.register(found, input) if (found := met.expression(one)) else None for one in (weight, bias))
        detached = (None if one is None else one.detach() for one in (weight, bias))
        return ConvolutionLayer.apply(met.token, input, *detached, steps, margins, gaps, groups, *arrivals)  # type: ignore[no-any-return,no-untyped-call]

    return bound(*args, **kwargs)


def _per_dimension(value: Any, dimensions: int) -> list[int]:
    return [value] * dimensions if isinstance(value, int) else list(value) * (dimensions if len(value) == 1 else 1)


def _same_padding(sizes: Iterable[int], gaps: list[int]) -> list[int]:
    widths = [gap * (size - 1) for gap, size in zip(gaps, sizes, strict=True)]
    if any(width % 2 for width in widths):
        raise NotFollowedError("its convolution pads one side more than the other")
    return [width // 2 for width in widths]


def _embedding(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(
        input: Any,  # noqa: A002
        weight: Any,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Tensor:
        if max_norm is not None or scale_grad_by_freq:
            raise NotFollowedError("its embedding renormalizes rows or scales gradients by frequency")
        expression = met.expression(weight)
        if expression is None or not met.is_batched(input):
            raise NotFollowedError("its ids do not begin with the batch")
        arrives = met.register_lookup(expression, input)
        return EmbeddingLayer.apply(met.token, input, weight.detach(), padding_idx, met.num_samples, arrives)  # type: ignore[no-any-return,no-untyped-call]

    return bound(*args, **kwargs)


def _elementwise(met: Meetings, func: Any, args: Any, kwargs: Any) -> Any:
    """Apply an elementwise operation, with the expressions handed to every sample."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    out = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))  # type: ignore[no-untyped-call]
    partners = [one for one in tensors if met.is_batched(one) and one.ndim == len(out) and one.shape[0] == out[0]]
    if not partners or out[0] % met.num_samples:
        raise NotFollowedError("it meets no tensor that begins with the batch")
    rows = out[0] // met.num_samples  # samples times tokens in one dimension: cut it in two, and join it again

    def adapted(value: Any) -> Any:
        expression = met.expression(value)
        if expression is not None:
            return _spread(met, expression, partners[0], len(out), rows)
        if rows > 1 and isinstance(value, Tensor) and value.ndim == len(out) and value.shape[0] == out[0]:
            return value.view(met.num_samples, rows, *value.shape[1:])
        return value

    result = func(*map(adapted, args), **{key: adapted(value) for key, value in kwargs.items()})
    return result.flatten(0, 1) if rows > 1 else result


def _spread(met: Meetings, expression: Expression, partner: Tensor, num_dimensions: int, rows: int) -> Tensor:
    tensor = expression.tensor
    if tensor.ndim == num_dimensions and tensor.shape[0] != 1:
        if rows > 1 or tensor.shape[0] != met.num_samples:
            raise NotFollowedError("its rows are not the samples'")
        return RowPerSample.apply(met.token, tensor.detach(), met.register(expression, partner))  # type: ignore[no-any-return,no-untyped-call]
    # (1, ...) or (...) -> (B, 1, ..., ...); with rows > 1 the samples stand before the dimension that was cut.
    shape = (1,) * (num_dimensions + (rows > 1) - tensor.ndim) + tuple(tensor.shape)
    arrives = met.register(expression, partner)
    return SpreadOverSamples.apply(met.token, tensor.detach(), shape, met.num_samples, arrives)  # type: ignore[no-any-return,no-untyped-call]


def _cat(met: Meetings, func: Any, args: Any, kwargs: Any) -> Any:
    """Join expressions that have a row per sample with batched tensors, along another dimension than the samples'."""
    pieces, dim = args[0], kwargs.get("dim", args[1] if len(args) > 1 else 0)
    partners = [piece for piece in pieces if met.is_batched(piece) and piece.shape[0] == met.num_samples]
    if not partners or dim % partners[0].ndim == 0:
        raise NotFollowedError("it is joined to the batch along the samples")
    expressions = [met.expression(piece) for piece in pieces]
    joined = [
        piece if found is None else _spread(met, found, partners[0], found.tensor.ndim, 1)
        for piece, found in zip(pieces, expressions, strict=True)
    ]
    return func(joined, dim)


def _attention(met: Meetings, func: Any, args: Any, kwargs: Any) -> Any:
    """Apply attention with a bias computed from parameters, as T5's relative positions."""
    names = ("query", "key", "value", "attn_mask")
    bound = {**dict(zip(names, args, strict=False)), **kwargs}
    bias = met.expression(bound.get("attn_mask"))
    others = [bound[name] for name in names[:3]]
    if bias is None or len(args) > len(names) or not all(map(met.is_batched, others)):
        raise NotFollowedError("it is query, key or value of an attention")
    if others[0].shape[0] != met.num_samples:  # windows of the samples, as in Swin
        raise NotFollowedError(_NOT_THE_BATCH)
    return func(**{**bound, "attn_mask": _spread(met, bias, others[0], others[0].ndim, 1)})


def _layer_norm(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:  # noqa: A002
        return _scaled(met, functional.layer_norm(input, normalized_shape, None, None, eps), weight, bias)

    return bound(*args, **kwargs)


def _rms_norm(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:  # noqa: A002
        return _scaled(met, functional.rms_norm(input, normalized_shape, None, eps), weight, None)

    return bound(*args, **kwargs)


def _group_norm(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:  # noqa: A002
        normalized = functional.group_norm(input, num_groups, None, None, eps)
        return _scaled(met, normalized, _per_channel(met, input, weight), _per_channel(met, input, bias))

    return bound(*args, **kwargs)


def _batch_norm(met: Meetings, _: Any, args: Any, kwargs: Any) -> Tensor:
    def bound(
        input: Any,  # noqa: A002
        running_mean: Any,
        running_var: Any,
        weight: Any = None,
        bias: Any = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if training or running_mean is None:
            raise NotFollowedError("its batch norm mixes the samples")
        normalized = functional.batch_norm(input, running_mean, running_var, None, None, False, momentum, eps)
        return _scaled(met, normalized, _per_channel(met, input, weight), _per_channel(met, input, bias))

    return bound(*args, **kwargs)


def _per_channel(met: Meetings, x: Tensor, operand: Any) -> Any:
    """Give a vector of channels the dimensions that follow them, so that it broadcasts."""
    if operand is None:
        return None
    shaped = operand.reshape(-1, *(1,) * (x.ndim - 2))
    expression = met.expression(operand)
    return shaped if expression is None else Expression(shaped, expression.sources, expression.is_selection)


def _scaled(met: Meetings, normalized: Tensor, weight: Any, bias: Any) -> Tensor:
    """Apply the scale and shift of a normalization as broadcast operations."""
    for func, operand in ((torch.mul, weight), (torch.add, bias)):
        if operand is None:
            continue
        mark(normalized, Provenance.BATCHED)
        expression = operand if isinstance(operand, Expression) else met.expression(operand)
        if expression is None:
            normalized = func(normalized, operand)
        elif met.is_batched(normalized):
            rows = normalized.shape[0] // met.num_samples
            cut = normalized.view(met.num_samples, rows, *normalized.shape[1:]) if rows > 1 else normalized
            normalized = func(cut, _spread(met, expression, normalized, normalized.ndim, rows)).view(normalized.shape)
        else:
            raise NotFollowedError(_NOT_THE_BATCH)
    return normalized


_ELEMENTWISE = named(
    "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__rsub__", "__isub__", "mul", "mul_",
    "__mul__", "__rmul__", "__imul__", "div", "div_", "__truediv__", "__rtruediv__", "__itruediv__", "multiply", "divide",
    "subtract", "where", "addcmul", "lerp", "maximum", "minimum", "pow", "__pow__",
)  # fmt: skip

RULES: dict[Any, Rule] = {
    function: rule
    for functions, rule in (
        (named("linear"), _linear),
        (named("addmm"), _addmm),
        (named("matmul", "mm", "__matmul__"), _matmul),
        (named("conv1d", "conv2d", "conv3d"), _convolution),
        ({functional.embedding}, _embedding),  # here and below not torch's function of the same name: its arguments differ
        (named("scaled_dot_product_attention"), _attention),
        ({functional.layer_norm}, _layer_norm),
        (named("rms_norm"), _rms_norm),
        ({functional.group_norm}, _group_norm),
        ({functional.batch_norm}, _batch_norm),
        (named("cat", "concat", "concatenate"), _cat),
        (_ELEMENTWISE, _elementwise),
    )
    for function in functions
}
