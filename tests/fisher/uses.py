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

N, TOKENS, WIDTH, WORDS = 4, 6, 5, 7


class Custom(nn.Module):
    """A module that is a function of itself and its input; keyword arguments are its modules, parameters and buffers."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


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


def _a_recurrence(m: Any, x: Tensor) -> Tensor:
    h = m.w.expand(len(x), -1)
    for t in range(x.shape[1]):
        h = torch.tanh(m.head(x[:, t]) + m.last(h))
    return h


def _checkpointed(m: Any, x: Tensor, *, reentrant: bool) -> Tensor:
    def inside(h: Tensor) -> Tensor:
        return F.linear(torch.tanh(m.inner(h)) * (2 * m.w), m.inner.weight)

    return m.head(checkpoint(inside, m.first(x), use_reentrant=reentrant))


_INNER = {"first": partial(nn.Linear, WIDTH, 4), "inner": partial(nn.Linear, 4, 4), "head": partial(head, 4)}
HEAD_AND_3 = {"head": head, "w": partial(weight, 3)}
THREE_BY_WIDTH = {"w": partial(weight, 3, WIDTH)}

FOLLOWED: dict[str, Use] = {
    "a perceptron": (lambda: nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), head(4)), vectors),
    "a dense layer of tokens": of(lambda m, x: m.head(x).mean(1), sequences, head=head),
    "a matrix from the right": of(lambda m, x: x @ m.w, vectors, w=partial(weight, WIDTH, 3)),
    "addmm": of(lambda m, x: torch.addmm(m.b, x, m.w), vectors, w=partial(weight, WIDTH, 3), b=partial(weight, 3)),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 4), nn.Flatten()), pictures),
    "a convolution that keeps the length": (
        lambda: nn.Sequential(nn.Conv1d(TOKENS, 3, 3, padding="same", dilation=2), nn.Flatten(), head(15)), sequences
    ),
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
        **HEAD_AND_3, shift=partial(weight, ()),
    ),
    "a number times one number per sample": of(
        lambda m, x: m.head((m.w * x[:, 0])[:, None]), vectors, w=partial(weight, ()), head=partial(head, 1)
    ),
    "addition in place": of(lambda m, x: m.last(m.head(x).add_(m.w)), vectors, **HEAD_AND_3, last=partial(head, 3)),
    "a choice between parameter and batch": of(lambda m, x: torch.where(x[:, :3] > 0, m.w, m.head(x)), vectors, **HEAD_AND_3),
    "all normalizations": (
        lambda: nn.Sequential(
            nn.Conv1d(TOKENS, 4, 3, padding=1), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(WIDTH), nn.RMSNorm(WIDTH),
            nn.Flatten(), head(20),
        ),
        sequences,
    ),
    "a normalization that does not shift": of(
        lambda m, x: m.head(F.group_norm(x, 2, m.w).mean(1)), sequences, w=partial(weight, TOKENS), head=head
    ),
    "a normalization of flattened tokens": of(
        lambda m, x: m.head(m.norm(x.reshape(-1, WIDTH))).view(len(x), -1, 3).mean(1), sequences,
        norm=partial(nn.LayerNorm, WIDTH), head=head,
    ),
    "a recurrence, written out": of(
        _a_recurrence, sequences, w=partial(weight, 1, 3), head=head, last=partial(head, 3)
    ),
    "a parameter used twice": of(lambda m, x: F.linear(x, m.w) + F.linear(x.pow(2), m.w), vectors, **THREE_BY_WIDTH),
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
        lambda m, x: F.linear(x, torch.matrix_exp(m.v) @ m.w), vectors, v=partial(weight, 3, 3), **THREE_BY_WIDTH
    ),
    "a weight in the type of the batch": of(lambda m, x: F.linear(x, m.w.type_as(x)), vectors, **THREE_BY_WIDTH),
    "a weight in another type": of(lambda m, x: F.linear(x.float(), m.w.float()).double(), vectors, **THREE_BY_WIDTH),
    "a weight in the shape of the batch": of(lambda m, x: x[:, :3] * m.w.expand_as(x[:, :3]), vectors, w=partial(weight, 3)),
    "a weight stored column by column": of(
        lambda m, x: F.linear(x, m.w).mean(1), sequences, w=lambda: nn.Parameter(torch.randn(WIDTH, 3).t())
    ),
    "a convolution stored channels last": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), head(48)).to(memory_format=torch.channels_last), pictures
    ),
    "a weight that is detached, too": of(
        lambda m, x: F.linear(x, m.w.detach()) + F.linear(x.pow(2), m.w), vectors, **THREE_BY_WIDTH
    ),
    "a weight that is used without gradients, too": of(_twice_without_gradients, vectors, **THREE_BY_WIDTH),
    "a weight whose shape is used, too": of(
        lambda m, x: m.head(x) + torch.zeros_like(m.w) + m.w.new_ones(3) + m.w, vectors, **HEAD_AND_3
    ),
    "a buffer that is added": of(
        lambda m, x: m.head((m.at.type_as(x) + x).mean(1)), sequences, at=partial(torch.randn, TOKENS, WIDTH), head=head
    ),
    "a buffer that is written": of(_into_its_memory, vectors, memory=partial(torch.zeros, WIDTH), head=head),
    "reentrant checkpointing": of(partial(_checkpointed, reentrant=True), vectors, **_INNER, w=partial(weight, 4)),
    "checkpointing": of(partial(_checkpointed, reentrant=False), vectors, **_INNER, w=partial(weight, 4)),
}  # fmt: skip
