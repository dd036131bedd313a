"""The options of TempBalance in training: which policy, how often, and what it may cost."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spectra.errors import InputError, did_you_mean
from spectra.policies.learning_rate import ScaleMap, ScalePolicy, ScaleTarget
from spectra.policies.policy_options import is_number
from spectra.policies.presets import SCALE_PRESETS, scale_policy
from spectra.training.update_clock import interval_faults


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class TempBalanceConfig:
    """Options of :class:`~spectra.training.tempbalance.TempBalance`: their only definition.

    Attributes:
        policy: What is measured, and how it becomes multipliers: the name of a preset (neurips2023, emnlp2024-glue,
            emnlp2024-sciml, farms, recommended, or alphadecay, which makes this AlphaDecay); a
            :class:`~spectra.policies.learning_rate.ScalePolicy`; or some of its options by name, as changes to the preset that
            ``name`` says, or else to ``recommended``.
        interval: Optimizer steps between updates, or ``"auto"``: as often as ``budget`` allows.
        budget: Share of the time that updates may take. Default 0.05: our choice.
        parts: Each update measures one of so many parts of the layers in turn, so that no step pays for all. Default 1: all.
        skip_below: A layer whose weight has changed by less than this since it was last measured, relative to its norm, is not
            measured again; estimated on a few rows. Default 0: every layer is measured.
        ema: Weight of a unit's old score in its new one, in [0, 1). Default 0: the new score alone, as published.
        start_step: Step before which multipliers are 1, such as the end of the warm-up. Default 0, as in the published runs.
        norms_follow: With units that are layers: normalization layers follow the layer before them.
        keep_lr_times_wd: Divide weight decay by the multiplier of the learning rate, for optimizers that multiply the two.
        asynchronous: Measure a copy of the weights in a thread while training goes on.
        max_staleness: Steps after which a measurement in a thread is waited for.
        deterministic: Never measure in a thread, whatever ``asynchronous`` says.
        log: JSON-lines file for scores and multipliers of every update. Default: no file.
    """

    policy: str | ScalePolicy | Mapping[str, Any] = _option(  # noqa: RUF009 - dataclasses.field with words
        "recommended", "name of a preset, a policy, or changes to the preset that they name"
    )
    interval: int | Literal["auto"] = _option("auto", "optimizer steps between updates, or auto")
    budget: float = _option(0.05, "share of the time that updates may take, for auto")
    parts: int = _option(1, "each update measures one of so many parts of the layers in turn")
    skip_below: float = _option(0.0, "relative change of a weight under which it is not measured again")
    ema: float = _option(0.0, "weight of a unit's old score in its new one")
    start_step: int = _option(0, "step before which multipliers are 1")
    norms_follow: bool = _option(False, "normalization layers follow the layer before them")
    keep_lr_times_wd: bool = _option(False, "divide weight decay by the multiplier of the learning rate")
    asynchronous: bool = _option(False, "measure a copy of the weights in a thread")
    max_staleness: int = _option(50, "steps after which a measurement in a thread is waited for")
    deterministic: bool = _option(False, "never measure in a thread")
    log: str | os.PathLike[str] | None = _option(  # noqa: RUF009 - dataclasses.field with words
        None, "JSON-lines file for scores and multipliers of every update"
    )

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise InputError(f"TempBalanceConfig: {'; '.join(faults)}.")
        policy = self.resolved_policy
        if (
            policy.target == ScaleTarget.LEARNING_RATE
            and policy.r_min == 0.0
            and policy.map in (ScaleMap.LINEAR, ScaleMap.RANK)
        ):
            raise InputError("r_min: a unit whose learning rate is 0 would never move. Give a number above 0.")
        if policy.target == ScaleTarget.WEIGHT_DECAY and self.keep_lr_times_wd:
            raise InputError("keep_lr_times_wd: it is for policies of learning rates, not of weight decays. Leave it out.")

    @property
    def resolved_policy(self) -> ScalePolicy:
        """The policy itself, where its name or some of its options were given."""
        if isinstance(self.policy, Mapping):
            name = str(self.policy.get("name"))
            return scale_policy(name if name in SCALE_PRESETS else "recommended", **self.policy)
        if not isinstance(self.policy, str | ScalePolicy):
            raise InputError(
                f"policy: expected a preset's name, a ScalePolicy or its options, got {type(self.policy).__name__}. A plan "
                "that was saved is set with OptimizerScale."
            )
        return scale_policy(self.policy)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, the policy written out."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        log = None if self.log is None else os.fspath(self.log)
        return fields | {"policy": self.resolved_policy.to_dict(), "log": log}


def tempbalance_config(config: TempBalanceConfig | Mapping[str, Any] | None = None, **changes: Any) -> TempBalanceConfig:
    """Take options and changes to them.

    Args:
        config: Options, or those that differ from the defaults. Default: none does.
        **changes: Options by name.

    Returns:
        The options.

    Raises:
        InputError: An unknown option, or a value that cannot be; all are named.
    """
    if not isinstance(config, TempBalanceConfig | Mapping | None):
        raise InputError(
            f"config: expected a TempBalanceConfig or options by name, got {config!r}. Name a preset by policy='recommended'."
        )
    known = [f.name for f in dataclasses.fields(TempBalanceConfig)]
    given = dict(config) if isinstance(config, Mapping) else {}
    unknown = next((name for name in (*given, *changes) if name not in known), None)
    if unknown in {f.name for f in dataclasses.fields(ScalePolicy)}:
        raise InputError(f"unknown option {unknown!r}: it is one of the policy's. Write policy={{{unknown!r}: ...}}.")
    if unknown is not None:
        raise InputError(f"unknown option {unknown!r}.{did_you_mean(unknown, known)} Known: {', '.join(known)}.")
    start = config if isinstance(config, TempBalanceConfig) else TempBalanceConfig(**given)
    return dataclasses.replace(start, **changes)


def _faults(config: TempBalanceConfig) -> list[str]:
    faults = list(interval_faults(config.interval, config.budget))
    for name, least in {"parts": 1, "start_step": 0, "max_staleness": 1}.items():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            faults.append(f"{name}: expected a whole number of at least {least}, got {value!r}")
    for name, what in {"skip_below": "relative change", "ema": "weight"}.items():
        value = getattr(config, name)
        if not (is_number(value) and 0.0 <= value < 1.0):
            faults.append(f"{name}: expected a {what} in [0, 1), got {value!r}")
    switches = ("norms_follow", "keep_lr_times_wd", "asynchronous", "deterministic")
    wrong = [name for name in switches if not isinstance(getattr(config, name), bool)]
    faults.extend(f"{name}: expected True or False, got {getattr(config, name)!r}" for name in wrong)
    log: object = config.log
    if not isinstance(log, str | os.PathLike | None):
        faults.append(f"log: expected a file, got {log!r}")
    return faults
