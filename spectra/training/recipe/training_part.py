"""The part of a recipe that says how long, how fast and in which steps is trained: options of ``TrainingArguments``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spectra.training.recipe.options import (
    AT_LEAST_0,
    COUNT_OR_NONE,
    OPTIONS,
    POSITIVE,
    SWITCH,
    TEXT,
    TEXT_OR_NONE,
    Part,
    Rule,
    count,
    one_of,
    option,
    options_of,
    or_none,
)

# transformers' SchedulerType, but for one that needs a metric; a test compares them.
SCHEDULES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay",
)  # fmt: skip

_STRATEGIES = ("no", "steps", "epoch")

_OURS = "our choice"
_HF = "transformers"


def _read_steps(value: Any) -> int | float:
    is_share = isinstance(value, float) and 0.0 < value < 1.0
    return value if is_share else int(count(1).read(value))


def _read_warmup(value: Any) -> int | float:
    return 0 if value == 0 and not isinstance(value, bool) else _read_steps(value)


_STEPS = or_none(Rule("a number of steps, or a share of them below 1", _read_steps))
_WARMUP = Rule("0, a number of steps, or a share of them below 1", _read_warmup)


@dataclass(frozen=True, kw_only=True)
class TrainingPart(Part):
    """How long, how fast and in which steps: options of ``TrainingArguments`` under their own names.

    Neither ``seed`` nor ``output_dir`` are here: a recipe has one ``seed`` and one ``output``.
    """

    learning_rate: float = option("at its highest", _HF, POSITIVE, 5e-5)
    num_train_epochs: float | None = option(
        "passes through the data; null: max_steps say", f"{_HF}: 3", or_none(POSITIVE), None
    )
    max_steps: int | None = option("optimizer steps, in place of epochs", _HF, COUNT_OR_NONE, None)
    per_device_train_batch_size: int = option("examples at a time", _HF, count(1), 8)
    per_device_eval_batch_size: int = option("examples at a time when evaluating", _HF, count(1), 8)
    gradient_accumulation_steps: int = option("batches of an optimizer step", _HF, count(1), 1)
    warmup_steps: int | float = option("steps of a rising learning rate, or their share below 1", _HF, _WARMUP, 0)
    lr_scheduler_type: str = option("what becomes of the learning rate", _HF, one_of(SCHEDULES), "linear")
    weight_decay: float = option("of all but biases and normalizations", _HF, AT_LEAST_0, 0.0)
    optim: str = option("optimizer, by its word in transformers", f"{_HF}, up to torch 2.7", TEXT, "adamw_torch")
    max_grad_norm: float = option("norm that gradients are cut to; 0: none", _HF, AT_LEAST_0, 1.0)
    bf16: bool = option("compute in bfloat16", _HF, SWITCH, False)
    eval_strategy: str | None = option(
        "no, steps or epoch; null: as save_strategy where there is data.eval", _OURS, or_none(one_of(_STRATEGIES)), None
    )
    eval_steps: int | float | None = option("steps between evaluations; null: logging_steps", _HF, _STEPS, None)
    save_strategy: str = option(
        "no, steps or epoch: from there an interrupted run goes on", _OURS, one_of(_STRATEGIES), "epoch"
    )
    save_steps: int | float | None = option("steps between checkpoints; null: 500", _HF, _STEPS, None)
    save_total_limit: int | None = option("checkpoints that are kept; null: all", _HF, COUNT_OR_NONE, None)
    logging_steps: int | float = option("steps between log lines", "our choice: small runs have few", _STEPS, 10)
    metric_for_best_model: str | None = option("metric by which a state is kept; null: the last", _HF, TEXT_OR_NONE, None)
    greater_is_better: bool | None = option("of that metric; null: unless it is a loss", _HF, or_none(SWITCH), None)
    arguments: Mapping[str, Any] = field(
        default_factory=dict, metadata={"rule": OPTIONS, "meaning": "further TrainingArguments by name", "source": ""}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_train_epochs is None and self.max_steps is None:
            object.__setattr__(self, "num_train_epochs", 3.0)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """Yield options that others exclude, each with a sentence."""
        if self.num_train_epochs is not None and self.max_steps is not None:
            yield "max_steps", "training ends by these or by num_train_epochs. Leave one out."
        for event in ("eval", "save"):
            strategy = getattr(self, f"{event}_strategy") or self.save_strategy
            if getattr(self, f"{event}_steps") is not None and strategy != "steps":
                yield f"{event}_steps", f"it counts with {event}_strategy 'steps' only, got '{strategy}'."
        if self.metric_for_best_model is None:
            if self.greater_is_better is not None:
                yield "greater_is_better", "it is of metric_for_best_model, and none is given. Give one, or leave it out."
        elif self.save_strategy == "no" or self.eval_strategy not in (None, self.save_strategy):
            yield "metric_for_best_model", "the best state needs save_strategy and eval_strategy alike, and not 'no'."
        yield from _misplaced(self.arguments)


# What TrainingArguments has and a recipe calls otherwise.
_HOMES = {
    "output_dir": "output",
    "seed": "seed",
    "data_seed": "seed",
    "run_name": "name",
    "report_to": "report_to",
    "load_best_model_at_end": "training.metric_for_best_model",
    "use_cpu": "model.device",
    "warmup_ratio": "training.warmup_steps",
}


# A run could not go on from its checkpoints; the second makes callbacks anew, without what they were doing.
_NEVER = ("save_only_model", "restore_callback_states_from_checkpoint")


def _misplaced(arguments: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    own = {f.name: f"training.{f.name}" for f in options_of(TrainingPart)}
    for name, value in arguments.items():
        if value and name in _NEVER:
            yield f"arguments.{name}", "a run could not go on from its checkpoints. Leave it out."
        if home := (own | _HOMES).get(name):
            yield f"arguments.{name}", f"it has a place of its own. Give {home}."
