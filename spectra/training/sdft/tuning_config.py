"""The options of fine-tuning on responses: their only definition, with the source of every value.

Yang et al. (2024), arXiv 2402.13669, train on rewritten responses as on any others. Where the paper is silent, so is the
reference code (sail-sg/sdft), which leaves the rest to its framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from spectra.errors import InputError, did_you_mean
from spectra.policies.policy_options import PolicyOptions, Rule, number, one_of, option
from spectra.training.diagnostic_flags import plain_option

ALL_LINEAR = "all-linear"  # peft's word

_PAPER = "Yang et al. (2024), arXiv 2402.13669, and the reference code (sail-sg/sdft)"
_FLAG = "our addition; the paper has none"


class Schedule(StrEnum):
    """What becomes of the learning rate, from the first step on, without warm-up."""

    COSINE = "cosine"
    """Half a cosine, to zero: the paper's."""
    LINEAR = "linear"
    """A line, to zero."""
    CONSTANT = "constant"
    """Nothing."""


def _count(least: int) -> Rule:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError
        return value

    return Rule(f"a whole number of at least {least}", read)


def _read_targets(value: Any) -> tuple[str, ...] | str | None:
    if value is None:
        return None
    if value == ALL_LINEAR:
        return ALL_LINEAR
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError
    return names


def _read_switch(value: Any) -> bool | None:
    if not isinstance(value, bool | None):
        raise TypeError
    return value


def _read_lora(value: Any) -> LoraOptions | None:
    if not isinstance(value, LoraOptions | None):
        raise TypeError
    return value


_POSITIVE = number("a number above 0", lambda value: value > 0.0)
_SHARE = number("a share in [0, 1)", lambda value: 0.0 <= value < 1.0)
_TARGETS = Rule(f"names of modules, '{ALL_LINEAR}' or none", _read_targets)
_LORA = Rule("options by name, or none", _read_lora)
_ANYTHING = Rule("", lambda value: value)  # what it belongs to checks it


@dataclass(frozen=True, kw_only=True)
class LoraOptions(PolicyOptions):
    """Options of the adapter.

    The metadata of each field say what it means and where it comes from.

    Attributes:
        rank: Of the change of a weight.
        alpha: The change is multiplied by ``alpha / rank``.
        dropout: Drop probability of what goes into the adapter.
        targets: Names of the modules that are adapted, in full or by their ends; ``"all-linear"``: all linear layers but the
            head. Default: the projections to queries and values, ``q_proj`` and ``v_proj``; for models that call them
            otherwise, the layers that peft would adapt.

    Raises:
        InputError: Values that cannot be; all are named.
    """

    rank: int = option(8, "rank of the change of a weight", _PAPER, _count(1))
    alpha: float = option(
        16.0,
        "the change is multiplied by alpha / rank",
        "framework of the reference code: twice the rank; paper: silent",
        _POSITIVE,
    )
    dropout: float = option(
        0.0, "drop probability before the adapter", "reference code, main branch; 'reproduce': 0.1; paper: silent", _SHARE
    )
    targets: tuple[str, ...] | Literal["all-linear"] | None = option(
        None, "modules that are adapted; none: projections to queries and values", _PAPER, _TARGETS
    )


@dataclass(frozen=True, kw_only=True)
class ResponseTuningConfig(PolicyOptions):
    """Options of :func:`~spectra.training.sdft.fine_tuning.response_trainer`.

    The metadata of each field say what it means and where it comes from. Names are those of ``TrainingArguments`` where it has
    the same.

    Attributes:
        learning_rate: At the first step.
        lr_scheduler_type: ``"cosine"``, ``"linear"`` or ``"constant"``, without warm-up.
        num_train_epochs: Passes through the data. Default 2, as the paper for most of its data; 5 for GSM8K and OpenFunctions.
        per_device_train_batch_size: Examples at a time.
        gradient_accumulation_steps: Batches of an optimizer step: 8 examples on one device.
        max_length: Most tokens of prompt and response together; what goes beyond is cut off. What the model takes, if less.
        bf16: Compute in bfloat16. Default: where the GPU does it.
        seed: Of the adapter's first values, of the order of the examples, and of dropout.
        lora: The adapter that is trained: a :class:`LoraOptions`, or its options by name. ``None`` adds none: all weights are
            trained, or, of a model that has an adapter already, that.
        tempbalance: Balance learning rates, too: what :class:`~spectra.training.TempBalanceCallback` takes, such as
            ``{"policy": "recommended"}``; or the name of a preset.
        guided_dropout: Drop probabilities, too: what :class:`~spectra.training.GuidedDropout` takes, such as a plan's file.

    Raises:
        InputError: Values that cannot be; all are named.
    """

    learning_rate: float = option(1e-4, "learning rate at the first step", _PAPER, _POSITIVE)
    lr_scheduler_type: str = option(Schedule.COSINE, "schedule of the learning rate", _PAPER, one_of(Schedule))
    num_train_epochs: float = option(2.0, "passes through the data", f"{_PAPER}: most of its data sets", _POSITIVE)
    per_device_train_batch_size: int = option(2, "examples at a time", _PAPER, _count(1))
    gradient_accumulation_steps: int = option(4, "batches of an optimizer step", _PAPER, _count(1))
    max_length: int = option(1024, "most tokens of prompt and response", "framework of the reference code", _count(2))
    bf16: bool | None = option(
        None,
        "compute in bfloat16; none: where the GPU does it",
        "reference code: yes",
        Rule("true, false or none", _read_switch),
    )
    seed: int = option(
        42, "of the adapter, the order of the examples, and dropout", "transformers; the rest is silent", _count(0)
    )
    lora: LoraOptions | None = option(LoraOptions(), "the adapter that is trained", _PAPER, _LORA)  # noqa: RUF009 - a field
    tempbalance: Any = option(None, "options of TempBalance", _FLAG, _ANYTHING)  # noqa: RUF009
    guided_dropout: Any = option(None, "a plan of guided dropout", _FLAG, _ANYTHING)  # noqa: RUF009

    def __post_init__(self) -> None:
        given: Any = self.lora
        if isinstance(given, Mapping):
            try:
                object.__setattr__(self, "lora", LoraOptions.from_dict(given))
            except InputError as error:
                raise InputError(f"lora: {error}") from None
        super().__post_init__()

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values that YAML and JSON can hold."""
        return {name: plain_option(value) for name, value in super().to_dict().items()}


RECIPES: Mapping[str, Mapping[str, Any]] = {
    "alpaca": {},
    "dolly": {},
    "gsm8k": {"num_train_epochs": 5},
    "gsm8k-full": {"learning_rate": 1e-5, "num_train_epochs": 1, "lora": None},
    "lima": {},
    "magicoder": {},
    "openfunctions": {"num_train_epochs": 5},
    "openhermes": {},
}
"""What the paper trained with, by data set, as far as it differs from the defaults.

Source: the scripts of the reference code, one folder a data set. ``gsm8k-full`` trains all weights; its script ran on two
devices, so that a step had 16 examples.
"""


def reference_tuning(dataset: str, **changes: Any) -> ResponseTuningConfig:
    """Return the options that the paper trained with.

    Args:
        dataset: One of ``RECIPES``.
        **changes: Options by name.

    Returns:
        The options; the metadata of their fields, and ``RECIPES``, say where each comes from.

    Raises:
        InputError: An unknown data set or option, or values that cannot be.

    Example:
        >>> reference_tuning("gsm8k").num_train_epochs
        5.0
    """
    if dataset not in RECIPES:
        raise InputError(f"unknown data set '{dataset}'.{did_you_mean(dataset, RECIPES)} Known: {', '.join(RECIPES)}.")
    return ResponseTuningConfig.from_dict({**RECIPES[dataset], **changes})


def tuning_config(given: ResponseTuningConfig | str | Mapping[str, Any] | None = None, **changes: Any) -> ResponseTuningConfig:
    """Take options and changes to them.

    Args:
        given: Options, some of them by name, or the name of one of ``RECIPES``. Default: the reference's for most data.
        **changes: Options by name.

    Returns:
        The options.

    Raises:
        InputError: An unknown name, or values that cannot be.
    """
    if isinstance(given, str):
        return reference_tuning(given, **changes)
    if not isinstance(given, ResponseTuningConfig | Mapping | None):
        raise InputError(f"config: expected a ResponseTuningConfig, a data set's name or options by name, got {given!r}.")
    options = vars(given) if isinstance(given, ResponseTuningConfig) else given or {}
    return ResponseTuningConfig.from_dict({**options, **changes})
