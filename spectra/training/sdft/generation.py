"""What all writers of candidates share: how is generated, what is asked, what comes back.

A backend is whatever has the attributes and methods of :class:`Backend`; those that come with Spectra are in
:mod:`spectra.training.sdft.backends`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spectra.errors import InputError, did_you_mean

STOP, LENGTH, TOO_LONG = "stop", "length", "too_long"


def _faults(spec: GenerationSpec) -> Iterator[str]:
    expected = {
        "sampled": ("true or false", isinstance(spec.sampled, bool)),
        "temperature": ("a number above 0 (sampled=False is greedy)", is_number(spec.temperature) and spec.temperature > 0),
        "top_p": ("a number above 0 and up to 1", is_number(spec.top_p) and 0 < spec.top_p <= 1),
        "top_k": ("a whole number, 0 for all tokens", is_count(spec.top_k, 0)),
        "max_new_tokens": ("a whole number of at least 1", is_count(spec.max_new_tokens, 1)),
        "max_length": ("a whole number of at least 2, or none", spec.max_length is None or is_count(spec.max_length, 2)),
    }
    wrong = {name: what for name, (what, is_right) in expected.items() if not is_right}
    yield from (f"{name}: expected {what}, got {getattr(spec, name)!r}" for name, what in wrong.items())
    if not wrong and spec.max_length is not None and spec.max_length <= spec.max_new_tokens:
        yield (
            f"max_length ({spec.max_length} tokens of prompt and answer) must be above max_new_tokens ({spec.max_new_tokens}). "
            "Raise the one or lower the other"
        )


def is_number(value: object) -> bool:
    """Say whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object, least: int) -> bool:
    """Say whether a value is a whole number of Python's, which JSON can hold, of at least so many."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True, kw_only=True)
class GenerationSpec:
    """How answers are generated: one beam, no penalties, and nothing that a checkpoint brings along.

    The defaults are those of the reference code (sail-sg/sdft), which leaves them to its framework, and not those of the model.

    Attributes:
        sampled: Draw each token; otherwise take the most probable one, whatever temperature, top-p and top-k say.
        temperature: The logits are divided by it.
        top_p: Tokens are drawn from the fewest whose probabilities sum to this.
        top_k: Tokens are drawn from this many of the most probable ones; 0: from all.
        max_new_tokens: Where an answer is cut off.
        max_length: Most tokens of prompt and answer together; ``None``: what the model takes.

    Raises:
        InputError: Values that cannot be; all are named.
    """

    sampled: bool = True
    temperature: float = 0.95
    top_p: float = 0.7
    top_k: int = 50
    max_new_tokens: int = 512
    max_length: int | None = 1024

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InputError(f"generation: {'; '.join(faults)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return dataclasses.asdict(self)


REFERENCE = GenerationSpec()
"""What the published results were made with."""

GREEDY = GenerationSpec(sampled=False)
"""The most probable token each time: the same text for the same device, dtype and batches."""

_PRESETS = {"reference": REFERENCE, "greedy": GREEDY}


def generation_spec(given: str | GenerationSpec | Mapping[str, Any], **changes: Any) -> GenerationSpec:
    """Find out how to generate.

    Args:
        given: ``"reference"``, ``"greedy"``, values by name (those that are missing as in the reference), or a specification.
        **changes: Values that differ from it.

    Returns:
        The specification.

    Raises:
        InputError: An unknown preset or name, or a value that cannot be.
    """
    if isinstance(given, str):
        if given not in _PRESETS:
            raise InputError(f"unknown generation '{given}'.{did_you_mean(given, _PRESETS)} Known: {', '.join(_PRESETS)}.")
        given = _PRESETS[given]
    if not isinstance(given, GenerationSpec | Mapping):
        raise InputError(f"generation: expected a name or values by name, got {given!r}. Names: {', '.join(_PRESETS)}.")
    values = {**(given.to_dict() if isinstance(given, GenerationSpec) else given), **changes}
    known = [field.name for field in dataclasses.fields(GenerationSpec)]
    unknown = [f"unknown option '{name}'.{did_you_mean(str(name), known)}" for name in values if name not in known]
    if unknown:
        raise InputError(f"generation: {' '.join(unknown)} Known: {', '.join(known)}.")
    return GenerationSpec(**values)


@dataclass(frozen=True)
class Completion:
    """What was written to a request.

    Attributes:
        text: Without the request's prefix and without special tokens.
        n_tokens: How many were generated, the one that ends the text among them.
        finish_reason: ``"stop"`` (it ended), ``"length"`` (it was cut off), ``"too_long"`` (the prompt left no room, so that
            nothing was written), or what a server says.
    """

    text: str
    n_tokens: int
    finish_reason: str


@dataclass(frozen=True)
class Request:
    """What a model is asked.

    Attributes:
        messages: Each with the texts ``role`` and ``content``, and whatever else the chat template reads, such as
            ``tool_calls``; at least one is the user's.
        prefix: How the answer has to begin.
        tools: What can be called, as the chat template takes it.

    Raises:
        InputError: Messages that are none, or none of the user's.
    """

    messages: tuple[Mapping[str, Any], ...]
    prefix: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if any(not isinstance(message.get(key), str) for message in self.messages for key in ("role", "content")):
            raise InputError("a request: each message needs 'role' and 'content', both texts. Correct its messages.")
        roles = [message["role"] for message in self.messages]
        if "user" not in roles:
            raise InputError(f"a request: no message is the user's, got roles {roles}. Add what is asked.")


class Backend(Protocol):
    """A writer of candidates: a model here, a server, a function."""

    @property
    def name(self) -> str:
        """``"transformers"``, ``"vllm"``, ``"openai"`` or ``"callable"``."""

    @property
    def batch_size(self) -> int:
        """How many requests to hand over at a time."""

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and answer that the model takes; ``None``: not known."""

    @property
    def has_own_seeds(self) -> bool:
        """Whether a sampled answer depends on its own seed alone, and not on the requests beside it."""

    def identity(self) -> dict[str, str]:
        """Say in short strings what must be the same when an interrupted run goes on."""

    def lengths(self, requests: Sequence[Request]) -> list[int] | None:
        """Count the tokens of each prompt; ``None``: not known."""

    def complete(self, requests: Sequence[Request], spec: GenerationSpec, seeds: Sequence[int]) -> list[Completion]:
        """Answer requests in their order, each with the seed at its place."""


def fits(length: int, spec: GenerationSpec, context: int | None) -> bool:
    """Say whether a prompt leaves room for the longest answer.

    Args:
        length: Tokens of the prompt.
        spec: How is generated.
        context: Most tokens that the model takes, if that is known.

    Returns:
        Whether nothing would have to be cut off.
    """
    needed = length + spec.max_new_tokens
    return all(needed <= limit for limit in (spec.max_length, context) if limit is not None)


def plain_text(request: Request) -> str:
    """Write a request down for a model without a chat template: all messages, a blank line after each, then the prefix.

    Tools are left out, as such a model knows no way to call one.

    Args:
        request: What is asked.

    Returns:
        What the answer is to continue.
    """
    return "".join(f"{message['content']}\n\n" for message in request.messages) + request.prefix


def seed_of(*parts: str | int) -> int:
    """Draw a seed from names and numbers: the same on every machine, and another for any other parts.

    Args:
        *parts: Such as a run's seed, a sample's id and the number of an attempt.

    Returns:
        63 bits of their SHA-256.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
