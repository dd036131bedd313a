"""Ways in which a model uses its parameters: a module and its input for each, by what is special about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.fisher.models import Custom

N, TOKENS, WIDTH, WORDS = 4, 6, 5, 7

Use = tuple[Callable[[], nn.Module], Callable[[], Tensor]]


def vectors() -> Tensor:
    return torch.randn(N, WIDTH)


def sequences() -> Tensor:
    return torch.randn(N, TOKENS, WIDTH)


def words() -> Tensor:
    return torch.randint(WORDS, (N, TOKENS))


def pictures() -> Tensor:
    return torch.randn(N, 2, 6, 6)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def table(rows: int = WORDS, **settings: Any) -> nn.Embedding:
    return nn.Embedding(rows, WIDTH, **settings)


def head(inputs: int = WIDTH) -> nn.Linear:
    return nn.Linear(inputs, 3)


def of(function: Callable[[Any, Tensor], Tensor], inputs: Callable[[], Tensor], /, **parts: Callable[[], Any]) -> Use:
    """A module made of parts that are made when it is."""
    return lambda: Custom(function, **{name: make() for name, make in parts.items()}), inputs


def _twice_without_gradients(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        doubled = 2 * m.w
    return F.linear(x, doubled) + F.linear(x.pow(2), m.w)


def _into_its_memory(m: Any, x: Tensor) -> Tensor:
    m.memory[:] = x.detach().mean(0)
    m.memory.mul_(0.0)
    return m.head(x + m.memory)


def _into_the_batch(m: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = m.w
    return m.head(x.mean(1))


def _into_zeros(m: Any, x: Tensor) -> Tensor:
    z = torch.zeros(x.shape, dtype=x.dtype)
    z[:, 0] = m.w
    return m.head((x + z).mean(1))


def _with_networks_for_weights(m: Any, x: Tensor) -> Tensor:
    return torch.stack([F.linear(one, m.maker(one).view(3, WIDTH), m.b) for one in x])


def _with_filters_for_weights(m: Any, x: Tensor) -> Tensor:
    kernels = (m.maker(one.mean(0)).view(3, TOKENS, WIDTH) for one in x)
    return torch.cat([F.conv1d(one[None], kernel, m.b) for one, kernel in zip(x, kernels, strict=True)]).squeeze(2)


def _checkpointed(m: Any, x: Tensor, *, reentrant: bool) -> Tensor:
    def inside(h: Tensor) -> Tensor:
        return F.linear(torch.tanh(m.inner(h)) * (2 * m.w), m.inner.weight)

    return m.head(checkpoint(inside, m.first(x), use_reentrant=reentrant))


_INNER = {"first": partial(nn.Linear, WIDTH, 4), "inner": partial(nn.Linear, 4, 4), "head": partial(head, 4)}
_HEAD_AND_3 = {"head": head, "w": partial(weight, 3)}
_3_BY_WIDTH = {"w": partial(weight, 3, WIDTH)}

FOLLOWED: dict[str, Use] = {
    "a perceptron": (lambda: nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), head(4)), vectors),
    "a dense layer of tokens": of(lambda m, x: m.head(x).mean(1), sequences, head=head),
    "a matrix from the right": of(lambda m, x: x @ m.w, vectors, w=partial(weight, WIDTH, 3)),
    "addmm": of(lambda m, x: torch.addmm(m.b, x, m.w), vectors, w=partial(weight, WIDTH, 3), b=partial(weight, 3)),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 4), nn.Flatten()), pictures),
    "an embedding with padding": of(
        lambda m, x: m.head(m.words(x).mean(1)), words, words=partial(table, padding_idx=-5), head=head
    ),
    "a tied embedding": of(
        lambda m, x: F.linear(F.embedding(x, m.w).mean(1), m.w)[:, :3], words, w=partial(weight, WORDS, WIDTH)
    ),
    "a tied embedding that is scaled": of(
        lambda m, x: F.linear(F.embedding(x, 2 * m.w).mean(1), m.w)[:, :3], words, w=partial(weight, WORDS, WIDTH)
    ),
    "an embedding looked up twice": of(
        lambda m, x: (m.words(x) * m.words(x.flip(1))).mean(1)[:, :3], words, words=table
    ),
    "positions": of(
        lambda m, x: m.head((x + m.places(torch.arange(TOKENS))).mean(1)), sequences, places=partial(table, TOKENS), head=head
    ),
    "positions of a buffer in the type of the batch": of(
        lambda m, x: m.head((m.words(x) + m.places(m.at.to(x))).mean(1)), words,
        words=table, places=partial(table, TOKENS), at=partial(torch.arange, TOKENS), head=head,
    ),
    "a first token": of(
        lambda m, x: m.head(torch.cat([m.w.expand(len(x), -1, -1), x], dim=1).mean(1)), sequences,
        w=partial(weight, 1, 1, WIDTH), head=head,
    ),
    "as many tokens as samples": of(
        lambda m, x: m.head((x[:, :N] + m.w).mean(1)), sequences, w=partial(weight, N, WIDTH), head=head
    ),
    "scale and shift of flattened tokens": of(
        lambda m, x: (m.head(x.reshape(-1, WIDTH)) * m.w + m.shift).view(len(x), -1, 3).mean(1), sequences,
        **_HEAD_AND_3, shift=partial(weight, ()),
    ),
    "a number times one number per sample": of(
        lambda m, x: m.head((m.w * x[:, 0])[:, None]), vectors, w=partial(weight, ()), head=partial(head, 1)
    ),
    "addition in place": of(lambda m, x: m.last(m.head(x).add_(m.w)), vectors, **_HEAD_AND_3, last=partial(head, 3)),
    "a choice between parameter and batch": of(lambda m, x: torch.where(x[:, :3] > 0, m.w, m.head(x)), vectors, **_HEAD_AND_3),
    "all normalizations": (
        lambda: nn.Sequential(
            nn.Conv1d(TOKENS, 4, 3, padding=1), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(WIDTH), nn.RMSNorm(WIDTH),
            nn.Flatten(), head(20),
        ),
        sequences,
    ),
    "a normalization of flattened tokens": of(
        lambda m, x: m.head(m.norm(x.reshape(-1, WIDTH))).view(len(x), -1, 3).mean(1), sequences,
        norm=partial(nn.LayerNorm, WIDTH), head=head,
    ),
    "a parameter used twice": of(lambda m, x: F.linear(x, m.w) + F.linear(x.pow(2), m.w), vectors, **_3_BY_WIDTH),
    "halves of a parameter": of(
        lambda m, x: F.linear(x, m.w.chunk(2)[0]) + F.linear(x.pow(2), m.w.chunk(2)[1]), vectors, w=partial(weight, 6, WIDTH)
    ),
    "weight norm": (lambda: parametrizations.weight_norm(head()), vectors),
    "weight norm of a convolution": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv1d(TOKENS, 3, WIDTH)), nn.Flatten()), sequences
    ),
    "spectral norm": (lambda: parametrizations.spectral_norm(head()), vectors),
    "an orthogonal parametrization": (lambda: parametrizations.orthogonal(head()), vectors),
    "a function of two parameters": of(
        lambda m, x: F.linear(x, torch.matrix_exp(m.v) @ m.w), vectors, v=partial(weight, 3, 3), **_3_BY_WIDTH
    ),
    "a weight in the type of the batch": of(lambda m, x: F.linear(x, m.w.type_as(x)), vectors, **_3_BY_WIDTH),
    "a weight in another type": of(lambda m, x: F.linear(x.float(), m.w.float()).double(), vectors, **_3_BY_WIDTH),
    "a weight in the shape of the batch": of(lambda m, x: x[:, :3] * m.w.expand_as(x[:, :3]), vectors, w=partial(weight, 3)),
    "a weight stored column by column": of(
        lambda m, x: F.linear(x, m.w).mean(1), sequences, w=lambda: nn.Parameter(torch.randn(WIDTH, 3).t())
    ),
    "a convolution stored channels last": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), head(48)).to(memory_format=torch.channels_last), pictures
    ),
    "a weight that is detached, too": of(
        lambda m, x: F.linear(x, m.w.detach()) + F.linear(x.pow(2), m.w), vectors, **_3_BY_WIDTH
    ),
    "a weight that is used without gradients, too": of(_twice_without_gradients, vectors, **_3_BY_WIDTH),
    "a weight whose shape is used, too": of(
        lambda m, x: m.head(x) + torch.zeros_like(m.w) + m.w.new_ones(3) + m.w, vectors, **_HEAD_AND_3
    ),
    "a buffer that is added": of(
        lambda m, x: m.head((m.at.type_as(x) + x).mean(1)), sequences, at=partial(torch.randn, TOKENS, WIDTH), head=head
    ),
    "a buffer that is written": of(_into_its_memory, vectors, memory=partial(torch.zeros, WIDTH), head=head),
    "reentrant checkpointing": of(partial(_checkpointed, reentrant=True), vectors, **_INNER, w=partial(weight, 4)),
    "checkpointing": of(partial(_checkpointed, reentrant=False), vectors, **_INNER, w=partial(weight, 4)),
}  # fmt: skip

_NOT_THE_BATCH = "its layer's input does not begin with the batch"
_TIME_MAJOR = "does not have the samples in its first dimension"
_ATTENTION = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}
_RECURRENT = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}


def _named(module: str, names: set[str]) -> set[str]:
    return {f"{module}.{name}" for name in names}


# With what the note says, and the parameters it names.
LOOPED: dict[str, tuple[Use, str, set[str]]] = {
    "an operation without a rule": (
        of(lambda m, x: torch.einsum("bi,oi->bo", x, m.w), vectors, **_3_BY_WIDTH), "'einsum' has no rule", {"w"}
    ),
    "addmm with factors": (
        of(lambda m, x: torch.addmm(m.w, m.head(x), m.v, beta=2), vectors, **_HEAD_AND_3, v=partial(weight, 3, 3)),
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
        of(lambda m, x: m.head(x) + m.w * x.detach().mean() ** 0, vectors, **_HEAD_AND_3),
        "it meets no tensor that begins with the batch", {"w"},
    ),
    "written into the batch": (
        of(_into_the_batch, sequences, w=partial(weight, WIDTH), head=head), "'__setitem__' has no rule", {"w"}
    ),
    "written into zeros": (of(_into_zeros, sequences, w=partial(weight, WIDTH), head=head), "a use of it was not seen", {"w"}),
    "a bias next to a computed weight": (
        of(_with_networks_for_weights, vectors, maker=partial(nn.Linear, WIDTH, 3 * WIDTH), b=partial(weight, 3)),
        _NOT_THE_BATCH, {"b", "maker.weight", "maker.bias"},
    ),
    "a bias next to a computed filter": (
        of(_with_filters_for_weights, sequences, maker=partial(nn.Linear, WIDTH, 3 * TOKENS * WIDTH), b=partial(weight, 3)),
        _NOT_THE_BATCH, {"b", "maker.weight", "maker.bias"},
    ),
}  # fmt: skip
