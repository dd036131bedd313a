"""The schema of a Fisher: which one it is, its parameters, and the dropout sites with the parameters behind them.

A field of :class:`FisherTensor`, a column of the table of tensors and a key of ``fisher.json`` are the same word. Missing
numbers are NaN in memory, ``null`` in JSON and empty in CSV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from spectra.errors import InputError, did_you_mean

FISHER_SCHEMA_VERSION = 1

_Choice = TypeVar("_Choice", bound=StrEnum)


class FisherKind(StrEnum):
    """Where the labels come from, whose log-likelihood is differentiated."""

    EMPIRICAL = "empirical"
    """The data. Equals the true Fisher only where the data follow the model."""
    SAMPLED = "sampled"
    """Drawn from the model: an unbiased estimate of the true Fisher."""
    EXACT = "exact"
    """All labels, weighted by the model's probabilities: the true Fisher of the inputs seen."""


class Reduction(StrEnum):
    """How the tokens of a sample enter its squared gradient."""

    TOKEN_MEAN = "token_mean"  # noqa: S105 - no secret
    """Gradient of the mean over target tokens, squared."""
    SEQUENCE_SUM = "sequence_sum"
    """Gradient of the sum over target tokens, squared: the joint log-likelihood."""
    TOKEN = "token"  # noqa: S105 - likewise
    """Sum of the squared gradients of the single target tokens."""


class Keep(StrEnum):
    """How much detail is kept."""

    VALUES = "values"
    """A number per entry of every parameter."""
    NEURONS = "neurons"
    """Sums by output and input neuron of linear weights, and the totals."""
    TRACES = "traces"
    """One total per parameter."""


class Aggregate(StrEnum):
    """How the numbers of several parameters become one score."""

    PARAM_MEAN = "param_mean"
    """Sum of F / number of entries."""
    MEAN_OF_MEANS = "mean_of_means"
    """Unweighted mean of the parameters' means, as the published ordering was made."""
    TRACE = "trace"
    """Sum of F."""
    MATRICES_MEAN = "matrices_mean"
    """``mean_of_means`` of the parameters with two or more dimensions; NaN if there are none."""
    RELATIVE = "relative"
    """Sum of F_j theta_j^2, which does not change when a parameter is written in other units."""


def known_word(choices: type[_Choice], word: str, name: str) -> _Choice:
    """Return the member of a choice that a word stands for.

    Args:
        choices: The enumeration.
        word: One of its members or their values.
        name: Of the argument, for the message.

    Returns:
        The member.

    Raises:
        InputError: The word is none of them.
    """
    known = [member.value for member in choices]
    if word not in known:
        raise InputError(f"unknown {name} '{word}'.{did_you_mean(str(word), known)} Known: {', '.join(known)}.")
    return choices(word)


@dataclass(frozen=True)
class FisherTensor:
    """The diagonal Fisher of one parameter, summed; tied parameters stand once, under their first name.

    Attributes:
        name: As in ``named_parameters()``.
        layer_name: The module that holds it, as in ``named_modules()``.
        kind: Of that module: ``linear``, ``embedding``, ``convolution``, ``norm`` or ``other``; biases share it.
        shape: As stored.
        num_params: Number of entries.
        trace: Sum of F over the entries, averaged over samples.
        trace_std_error: Standard error of ``trace`` over samples; NaN below two samples.
        relative: Sum of F_j theta_j^2; NaN unless the values are kept.
        route: How it was measured: ``batched``, ``loop``, or ``mixed`` where merged parts differ.
        aliases: Other names of the same parameter.
        transposed: A linear weight stored as (in, out).
    """

    name: str
    layer_name: str
    kind: str
    shape: tuple[int, ...]
    num_params: int
    trace: float
    trace_std_error: float
    relative: float
    route: str
    aliases: tuple[str, ...] = ()
    transposed: bool = False

    @property
    def mean(self) -> float:
        """``trace / num_params``; NaN for a parameter without entries."""
        return self.trace / self.num_params if self.num_params else math.nan

    @property
    def has_neurons(self) -> bool:
        """Whether its rows and columns are neurons: a two-dimensional weight of a linear layer."""
        return self.kind == "linear" and len(self.shape) == 2


@dataclass(frozen=True)
class SiteBlock:
    """A place where a model drops out, and the parameters behind it.

    Attributes:
        name: Path of the module, followed by the attribute where the site is one.
        kind: How its rate is set, a word of ``spectra.fisher.sites.SiteKind``.
        role: What it drops, a word of ``spectra.fisher.sites.SiteRole``.
        drop_prob: The rate found in the model.
        parameters: Names of the parameters behind it.
    """

    name: str
    kind: str
    role: str
    drop_prob: float
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class FisherInfo:
    """Everything that says which Fisher this is.

    Attributes:
        kind: A word of :class:`FisherKind`.
        reduction: A word of :class:`Reduction`.
        keep: A word of :class:`Keep`.
        aggregate: A word of :class:`Aggregate`, for scores where nobody asks for another.
        task: What the model predicts, a word of ``spectra.fisher.outputs.TASKS`` or of the caller's.
        num_samples: Samples averaged over.
        num_tokens: Target tokens in them.
        num_skipped: Samples without a target, which enter nothing.
        num_draws: Labels drawn per target, for a sampled Fisher.
        seed: Of the draws.
        model: Which model.
        num_params: Its number of parameters, tied ones once.
        dtype: Of the parameters.
        data: SHA-256 over the batches, in hex.
        version: Of Spectra.
        notes: What to know before trusting it.
    """

    kind: str
    reduction: str
    keep: str
    aggregate: str
    task: str
    num_samples: int
    num_tokens: int
    num_skipped: int
    num_draws: int
    seed: int
    model: str
    num_params: int
    dtype: str
    data: str
    version: str
    notes: tuple[str, ...] = ()
