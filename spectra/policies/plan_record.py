"""The record of a plan: one number per unit of a model, and all that says where it comes from."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectra._version import __version__
from spectra.errors import InputError
from spectra.policies.adapter_rank import AdapterRanks
from spectra.policies.plan_checks import plan_faults
from spectra.policies.plan_file import plain, save_plan_file
from spectra.results.words import counted

PLAN_SCHEMA_VERSION = 1

#: What the values of a plan are, by target.
NOUNS = {
    "learning_rate": "learning-rate multiplier",
    "weight_decay": "weight-decay multiplier",
    "sparsity": "sparsity",
    "adapter_rank": "adapter rank",
}

_IN_TRAINING = (
    "Apply in training, before a scheduler is made:",
    "  import spectra",
    "  from spectra.training import OptimizerScale, parameter_units, split_parameter_groups",
    '  plan = spectra.load_plan("{name}")',
    "  split_parameter_groups(optimizer, model, parameter_units(model, plan.members))",
    "  OptimizerScale(optimizer).set(plan.values, target=plan.target)",
)
_COMMENTS = {
    "learning_rate": ("The learning rate of each unit is multiplied by its value; 1 leaves it as it is.", *_IN_TRAINING),
    "weight_decay": ("The weight decay of each unit is multiplied by its value; 1 leaves it as it is.", *_IN_TRAINING),
    "sparsity": (
        "Of the weights of each unit this share is set to zero, 0 to below 1.",
        "Apply: spectra prune MODEL --plan {name} -o OUT",
    ),
    "adapter_rank": (
        "Each layer gets a LoRA adapter of this rank, a whole number; 0 is no adapter.",
        "Apply:",
        "  import peft, spectra",
        '  config = peft.LoraConfig(**spectra.load_plan("{name}").lora_arguments())',
    ),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One number per unit, and everything that says where it comes from.

    Attributes:
        policy: One of ``tempbalance``, ``alphadecay``, ``alphapruning`` and ``adapter-rank``.
        target: What the numbers are: ``learning_rate`` and ``weight_decay`` (multipliers), ``sparsity`` or ``adapter_rank``.
        values: The number of each unit, in model order.
        scores: What it was made of; units without a score are missing.
        members: Names of the layers of each unit: in the order of the modules for a live model, of the names for a file.
        left_out: Layers that enter no score, and why.
        settings: All options of the policy, plain values.
        model: Name of the model.
        fingerprint: Of its weights, as in ``report.model``.
        notes: What to know before trusting the plan.
        version: Of Spectra.

    Raises:
        InputError: A number that its target cannot have, units without members, or a layer in two units; all are named.
    """

    policy: str
    target: str
    model: str = ""
    fingerprint: str = ""
    version: str = __version__
    notes: tuple[str, ...] = ()
    values: Mapping[str, float]
    scores: Mapping[str, float]
    settings: Mapping[str, Any]
    members: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", plain(self.settings))  # equal to what comes back from a file
        faults = plan_faults(self.to_dict())
        if faults:
            raise InputError(f"no plan: {'; '.join(faults)}.")

    @property
    def mean(self) -> float:
        """Mean over the units, each counting once."""
        return math.fsum(self.values.values()) / len(self.values)

    def by_layer(self) -> dict[str, float]:
        """Return the number of every layer: that of its unit.

        Returns:
            Values by layer name, in the order of ``members``.
        """
        return {layer: self.values[unit] for unit, layers in self.members.items() for layer in layers}

    def lora_arguments(self, lora_alpha_over_r: float = 1.0) -> dict[str, Any]:
        """Return arguments of ``peft.LoraConfig`` that give each layer its rank.

        Args:
            lora_alpha_over_r: The scale of every adapter, as in
                :meth:`~spectra.policies.adapter_rank.AdapterRanks.lora_arguments`.

        Returns:
            ``r``, ``lora_alpha``, ``rank_pattern``, ``alpha_pattern`` and ``target_modules``.

        Raises:
            InputError: A plan of something else, all ranks are 0, or the scale is no positive number.
        """
        if self.target != "adapter_rank":
            raise InputError(f"this plan is one of '{self.target}', and has no ranks. Make one with policy='adapter-rank'.")
        ranks = {layer: int(rank) for layer, rank in self.by_layer().items()}
        # Neither number of parameters is known of ranks that were edited, nor needed.
        return AdapterRanks(ranks, self.scores, num_params=0, budget=0).lora_arguments(lora_alpha_over_r)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file: plain values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"schema_version": PLAN_SCHEMA_VERSION, **{name: plain(value) for name, value in fields.items()}}

    def how_to_apply(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Return the lines with which a file of a plan is applied, those of Python indented.

        Args:
            path: As it is to stand in them.

        Returns:
            The lines.
        """
        return tuple(line.replace("{name}", os.fspath(path)) for line in _COMMENTS[self.target][1:])

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the plan, atomically.

        Args:
            path: The file: YAML (``.yaml``, ``.yml``) or JSON (``.json``). Its folder is made if it is missing.
            force: Replace an existing file.

        Raises:
            ResultsError: Another ending, the file exists, or it cannot be written.
        """
        first = _COMMENTS[self.target][0]
        edit = "Edit the numbers under 'values', or move layers under 'members'; the rest records where they come from."
        lines = (f"A plan by Spectra. {first}", edit, *self.how_to_apply(os.path.basename(path)))
        save_plan_file(self.to_dict(), path, force=force, comments=lines)

    def __str__(self) -> str:
        lowest, highest = min(self.values, key=self.values.__getitem__), max(self.values, key=self.values.__getitem__)
        num_layers = sum(map(len, self.members.values()))
        of_layers = "" if num_layers == len(self.values) else f" of {counted(num_layers, 'layer')}"
        of_model = f" of '{self.model}'" if self.model else ""
        return (
            f"{self.policy}{of_model}: {NOUNS[self.target]} of {counted(len(self.values), 'unit')}{of_layers}, "
            f"mean {self.mean:.4g}\n"
            f"from {self.values[lowest]:.4g} at '{lowest}' to {self.values[highest]:.4g} at '{highest}'"
        )
