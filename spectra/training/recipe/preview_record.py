"""What a preview of a recipe says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes on each device, of a model that is not sharded.

    Attributes:
        weights: Parameters and buffers, those of adapters too.
        adapters: Those of adapters.
        gradients: Of what is trained.
        optimizer_state: What the optimizer keeps; ``None`` where it does not tell without computing.
    """

    weights: int
    adapters: int
    gradients: int
    optimizer_state: int | None

    @property
    def total(self) -> int:
        """Sum of what is known."""
        return self.weights + self.gradients + (self.optimizer_state or 0)


@dataclass(frozen=True, kw_only=True)
class PlannedUnit:
    """What balancing makes of a unit.

    Attributes:
        name: Path of a block or layer.
        num_layers: It has.
        score: Its metric; ``None`` where it has none.
        multiplier: Of the learning rate or weight decay.
    """

    name: str
    num_layers: int
    score: float | None
    multiplier: float


@dataclass(frozen=True, kw_only=True)
class PlannedBalance:
    """Multipliers that training would begin with.

    Attributes:
        method: ``tempbalance`` or ``alphadecay``.
        target: ``learning_rate`` or ``weight_decay``.
        metric: What units are scored by.
        first_step: From which step on multipliers are at work; after step 0 they will be those of other weights.
        units: In the order of the model.
    """

    method: str
    target: str
    metric: str
    first_step: int
    units: tuple[PlannedUnit, ...]


@dataclass(frozen=True, kw_only=True)
class PlannedGroups:
    """Parameter groups of the optimizer that are alike before multipliers.

    Attributes:
        learning_rate: At its highest.
        weight_decay: Of all of them.
        num_groups: How many.
        num_parameters: In all of them.
    """

    learning_rate: float
    weight_decay: float
    num_groups: int
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class PlannedDropout:
    """A drop probability that would be set.

    Attributes:
        site: Its name.
        before: As the checkpoint has it.
        drop_prob: That would take its place.
    """

    site: str
    before: float
    drop_prob: float


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a recipe would do.

    Attributes:
        name: Of the run.
        model: As the recipe names it.
        method: ``plain``, ``dcs``, ``sdft`` or ``meta_peft``.
        adapter: ``none`` or ``lora``.
        output: The run folder.
        num_train: Examples to train on.
        num_eval: Examples to evaluate on while training; 0 without.
        num_test: Examples to evaluate on at the end; 0 without.
        num_steps: Optimizer steps.
        steps_per_epoch: Of these.
        num_epochs: Passes through the data.
        examples_per_step: On all devices.
        num_parameters: Of the model, adapters included.
        num_trained: Of these, what the optimizer has.
        groups: Of its parameters.
        balances: Multipliers, by TempBalance and AlphaDecay.
        dropout: Drop probabilities that are known before anything is measured.
        adapter_ranks: By module.
        memory: On each device, without activations.
        first: What a run does before it trains, in words.
        files: What it writes, in the order of its doing: name in the run folder, and what that is.
        notes: What to know, and what cannot be known yet.
    """

    name: str
    model: str
    method: str
    adapter: str
    output: str
    num_train: int
    num_eval: int
    num_test: int
    num_steps: int
    steps_per_epoch: int
    num_epochs: int
    examples_per_step: int
    num_parameters: int
    num_trained: int
    groups: tuple[PlannedGroups, ...]
    balances: tuple[PlannedBalance, ...]
    dropout: tuple[PlannedDropout, ...]
    adapter_ranks: Mapping[str, int]
    memory: MemoryEstimate
    first: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
