"""The options of TempBalance in training: which policy, how often, and what it may cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spectra.errors import InputError, did_you_mean
from spectra.policies.learning_rate import ScalePolicy
from spectra.policies.presets import scale_policy


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class TempBalanceConfig:
    """Options of :class:`~spectra.training.tempbalance.TempBalance`: their only definition.

    Attributes:
        policy: Name of a preset, a policy, or its options by name: what is measured, and how it becomes multipliers. One whose
            target is ``weight_decay`` makes this AlphaDecay.
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

    policy: str | ScalePolicy | Mapping[str, Any] = _option("recommended", "name of a preset, or a policy")  # noqa: RUF009 - a field with words
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
    log: str | None = _option(None, "JSON-lines file for scores and multipliers of every update")

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise InputError(f"TempBalanceConfig: {'; '.join(faults)}.")

    @property
    def resolved_policy(self) -> ScalePolicy:
        """The policy itself, where its name or its options were given."""
        return ScalePolicy.from_dict(self.policy) if isinstance(self.policy, Mapping) else scale_policy(self.policy)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, the policy written out."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"policy": self.resolved_policy.to_dict()}


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
    known = [f.name for f in dataclasses.fields(TempBalanceConfig)]
    given = dict(config) if isinstance(config, Mapping) else {}
    unknown = [name for name in (*given, *changes) if name not in known]
    if unknown:
        raise InputError(f"unknown option {unknown[0]!r}.{did_you_mean(unknown[0], known)} Known: {', '.join(known)}.")
    start = config if isinstance(config, TempBalanceConfig) else TempBalanceConfig(**given)
    return dataclasses.replace(start, **changes)


def _faults(config: TempBalanceConfig) -> list[str]:
    faults = []
    whole = {"parts": 1, "start_step": 0, "max_staleness": 1}
    for name, least in whole.items():
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            faults.append(f"{name}: expected a whole number of at least {least}, got {value!r}")
    if not 0.0 <= config.skip_below < 1.0:
        faults.append(f"skip_below: expected a relative change in [0, 1), got {config.skip_below!r}")
    if not 0.0 <= config.ema < 1.0:
        faults.append(f"ema: expected a weight in [0, 1), got {config.ema!r}")
    return faults
