"""Ways to use a parameter that are left to the loop, with the reason that is noted."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fisher.uses import (
    HEAD_AND_3,
    THREE_BY_WIDTH,
    TOKENS,
    WIDTH,
    WORDS,
    Use,
    head,
    of,
    pictures,
    sequences,
    table,
    vectors,
    weight,
    words,
)


def _into_the_batch(m: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = m.w
    return m.head(x.mean(1))


def _into_zeros(m: Any, x: Tensor) -> Tensor:
    z = torch.zeros(x.shape, dtype=x.dtype)
    z[:, 0] = m.w
    return m.head((x + z).mean(1))


def _a_scaled_row(m: Any, x: Tensor) -> Tensor:
    w = m.w.clone()
    w[0] *= 2
    return F.linear(x, w).mean(1)


def _a_row_of_another(m: Any, x: Tensor) -> Tensor:
    w = m.w.clone()
    w[0] = m.v
    return F.linear(x, w)


def _a_written_view(m: Any, x: Tensor) -> Tensor:
    w = m.w.clone()
    w.view(-1)[::2].mul_(3.0)
    return F.linear(x, w).mean(1)


def _a_growing_state(m: Any, x: Tensor) -> Tensor:
    h = m.w.repeat(len(x), 1)
    h.add_(m.head(x))
    return m.last(h)


class Unseen(torch.autograd.Function):
    """A product that torch shows to nobody, as it does not show compiled code."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, w = ctx.saved_tensors
        return gradients[0] * w, (gradients[0] * x).sum(0)


def _with_networks_for_weights(m: Any, x: Tensor) -> Tensor:
    return torch.stack([F.linear(one, m.maker(one).view(3, WIDTH), m.b) for one in x])


def _with_filters_for_weights(m: Any, x: Tensor) -> Tensor:
    kernels = (m.maker(one.mean(0)).view(3, TOKENS, WIDTH) for one in x)
    return torch.cat([F.conv1d(one[None], kernel, m.b) for one, kernel in zip(x, kernels, strict=True)]).squeeze(2)


_NOT_THE_BATCH = "its layer's input does not begin with the batch"
_TIME_MAJOR = "does not have the samples in its first dimension"
_WRITTEN = "something computed from it is written in place"
_ATTENTION = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}
_RECURRENT = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}


def _named(module: str, names: set[str]) -> set[str]:
    return {f"{module}.{name}" for name in names}


# With what the note says, and the parameters it names.
LOOPED: dict[str, tuple[Use, str, set[str]]] = {
    "an operation without a rule": (
        of(lambda m, x: torch.einsum("bi,oi->bo", x, m.w), vectors, **THREE_BY_WIDTH), "'einsum' has no rule", {"w"}
    ),
    "a use that could be followed before one that cannot": (
        of(lambda m, x: F.linear(x, m.w) + torch.einsum("bi,oi->bo", x, m.w), vectors, **THREE_BY_WIDTH),
        "'einsum' has no rule", {"w"},
    ),
    "addmm with factors": (
        of(lambda m, x: torch.addmm(m.w, m.head(x), m.v, beta=2), vectors, **HEAD_AND_3, v=partial(weight, 3, 3)),
        "'addmm' with factors", {"w", "v"},
    ),
    "a matrix from the left": (
        of(lambda m, x: m.head((m.w @ x).mean(1)), sequences, w=partial(weight, 2, TOKENS), head=head), _NOT_THE_BATCH, {"w"}
    ),
    "a stack of matrices": (
        of(lambda m, x: (x[:, None, None] @ m.w).mean((1, 2)), vectors, w=partial(weight, 2, WIDTH, 3)),
        "stack of matrices", {"w"},
    ),
    "a recurrent network": (
        of(lambda m, x: m.head(m.cell(x)[0][:, -1]), sequences,
           cell=partial(nn.LSTM, WIDTH, 4, batch_first=True), head=partial(head, 4)),
        "'lstm' has no rule", _named("cell", _RECURRENT),
    ),
    "a recurrent network over time first": (
        of(lambda m, x: m.head(m.cell(x.transpose(0, 1))[0][-1]), sequences,
           cell=partial(nn.LSTM, WIDTH, 4), head=partial(head, 4)),
        "'lstm' has no rule", _named("cell", _RECURRENT),
    ),
    "a dense layer over time first": (
        of(lambda m, x: m.head(x.transpose(0, 1)).mean(0), sequences, head=head), _TIME_MAJOR, {"head.weight", "head.bias"}
    ),
    "a scale over time first": (
        of(lambda m, x: m.head((x.transpose(0, 1) * m.w).mean(0)), sequences, w=partial(weight, WIDTH), head=head),
        _TIME_MAJOR, {"w"},
    ),
    "an odd time first": (
        of(lambda m, x: m.head(x[:, :5].transpose(0, 1)).mean(0), sequences, head=head),
        _NOT_THE_BATCH, {"head.weight", "head.bias"},
    ),
    "torch's own attention": (
        of(lambda m, x: m.head(m.attention(x, x, x)[0].mean(1)), sequences,
           attention=partial(nn.MultiheadAttention, WIDTH, 1, batch_first=True), head=head),
        "'multi_head_attention_forward' has no rule", _named("attention", _ATTENTION),
    ),
    "a query that is a parameter": (
        of(lambda m, x: m.head(F.scaled_dot_product_attention(m.w.expand(len(x), -1, -1), x, x).mean(1)), sequences,
           w=partial(weight, 2, WIDTH), head=head),
        "it is query, key or value of an attention", {"w"},
    ),
    "a transposed convolution": (
        (lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), pictures),
        "'conv_transpose2d' has no rule", {"0.weight", "0.bias"},
    ),
    "a convolution of frames": (
        of(lambda m, x: m.filter(x.flatten(0, 1)[:, None]).view(len(x), 2, 3, -1).mean((1, 3)), pictures,
           filter=partial(nn.Conv2d, 1, 3, 3)),
        _NOT_THE_BATCH, {"filter.weight", "filter.bias"},
    ),
    "a padding that is longer on one side": (
        (lambda: nn.Sequential(nn.Conv1d(TOKENS, 3, 2, padding="same"), nn.Flatten(), head(15)), sequences),
        "pads one side more than the other", {"0.weight", "0.bias"},
    ),
    "a normalization over an odd time first": (
        of(lambda m, x: m.head(m.norm(x[:, :5].transpose(0, 1)).mean(0)), sequences,
           norm=partial(nn.LayerNorm, WIDTH), head=head),
        _NOT_THE_BATCH, {"norm.weight", "norm.bias"},
    ),
    "an odd time of words first": (
        of(lambda m, x: m.head(m.words(x[:, :5].t()).mean(0)), words, words=table, head=head),
        "its ids do not begin with the batch", {"words.weight"},
    ),
    "a table whose gradients are scaled": (
        of(lambda m, x: m.head(m.words(x).mean(1)), words, words=partial(table, scale_grad_by_freq=True), head=head),
        "scales gradients by frequency", {"words.weight"},
    ),
    "torch's lookup without its module": (
        of(lambda m, x: m.head(torch.embedding(m.w, x).mean(1)), words, w=partial(weight, WORDS, WIDTH), head=head),
        "'embedding' has no rule", {"w"},
    ),
    "torch's batch norm without its module": (
        of(lambda m, x: m.head(torch.batch_norm(x, m.w, None, m.mean, m.var, False, 0.1, 1e-5, False)), vectors,
           w=partial(weight, WIDTH), mean=partial(torch.randn, WIDTH), var=partial(torch.rand, WIDTH), head=head),
        "'batch_norm' has no rule", {"w"},
    ),
    "a row for every token of the batch": (
        of(lambda m, x: m.head(x.reshape(-1, WIDTH) + m.w.repeat(len(x), 1)).view(len(x), -1, 3).mean(1), sequences,
           w=partial(weight, TOKENS, WIDTH), head=head),
        "its rows are not the samples'", {"w"},
    ),
    "rows joined along the samples": (
        of(lambda m, x: m.head(torch.cat([m.w, x])[1:]), vectors, w=partial(weight, 1, WIDTH), head=head),
        "joined to the batch along the samples", {"w"},
    ),
    "rows chosen by the data": (
        of(lambda m, x: m.head(x[x[:, 0].argsort()][x[:, 0].argsort().argsort()]), vectors, head=head),
        "rows chosen by the data", {"head.weight", "head.bias"},
    ),
    "numbers without a batch": (
        of(lambda m, x: m.head(x) + m.w * x.detach().mean() ** 0, vectors, **HEAD_AND_3),
        "it meets no tensor that begins with the batch", {"w"},
    ),
    "written into the batch": (
        of(_into_the_batch, sequences, w=partial(weight, WIDTH), head=head), "'__setitem__' has no rule", {"w"}
    ),
    "written into zeros": (of(_into_zeros, sequences, w=partial(weight, WIDTH), head=head), _WRITTEN, {"w"}),
    "a row of a copy that is scaled": (of(_a_scaled_row, sequences, **THREE_BY_WIDTH), _WRITTEN, {"w"}),
    "a row of a copy from elsewhere": (
        of(_a_row_of_another, vectors, **THREE_BY_WIDTH, v=partial(weight, WIDTH)), _WRITTEN, {"w", "v"}
    ),
    "a view of a copy that is scaled": (of(_a_written_view, sequences, **THREE_BY_WIDTH), _WRITTEN, {"w"}),
    "a state the batch is added to": (
        of(_a_growing_state, vectors, w=partial(weight, 1, 3), head=head, last=partial(head, 3)), _WRITTEN, {"w"}
    ),
    "a function of one's own": (
        of(lambda m, x: Unseen.apply(m.head(x), m.w), vectors, **HEAD_AND_3), "a use of it was not seen", {"w"}
    ),
    "a function of one's own, and another use": (
        of(lambda m, x: Unseen.apply(m.head(x), m.w) + m.w, vectors, **HEAD_AND_3), "a use of it was not seen", {"w"}
    ),
    "samples repeated three times": (
        of(lambda m, x: m.head(x.repeat(3, 1)).view(3, len(x), 3).mean(0), vectors, head=head),
        _TIME_MAJOR, {"head.weight", "head.bias"},
    ),
    "samples that change places": (
        of(lambda m, x: m.head(x.roll(1, 0)).roll(-1, 0) + F.linear(x, m.head.weight), vectors, head=head),
        _TIME_MAJOR, {"head.weight", "head.bias"},
    ),
    "a bias next to a computed weight": (
        of(_with_networks_for_weights, vectors, maker=partial(nn.Linear, WIDTH, 3 * WIDTH), b=partial(weight, 3)),
        _NOT_THE_BATCH, {"b", "maker.weight", "maker.bias"},
    ),
    "a bias next to a computed filter": (
        of(_with_filters_for_weights, sequences, maker=partial(nn.Linear, WIDTH, 3 * TOKENS * WIDTH), b=partial(weight, 3)),
        _NOT_THE_BATCH, {"b", "maker.weight", "maker.bias"},
    ),
}  # fmt: skip
