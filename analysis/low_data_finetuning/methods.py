"""What is compared: for each method the options of a recipe that make it, and whose learning rate it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLAIN, TEMPBALANCE, GUIDED, DCS, BOTH, ALPHADECAY = (
    "plain", "TempBalance", "guided dropout", "DCS", "TempBalance + guided dropout", "AlphaDecay",
)  # fmt: skip
MATCHED_DROPOUT, SHUFFLED_DROPOUT = "mean-matched dropout", "shuffled dropout"
UNIFORM, TWICE = "uniform self-distillation", "plain, twice as long"
MATCHED_DECAY = "mean-matched decay"

#: Methods whose learning rate is tuned, plain fine-tuning first.
TUNED = (PLAIN, TEMPBALANCE, GUIDED, DCS, BOTH, ALPHADECAY)

#: Controls by what they are controls of: they differ from it in one thing, and so have its learning rate.
CONTROLS: Mapping[str, str] = {
    MATCHED_DROPOUT: GUIDED,
    SHUFFLED_DROPOUT: GUIDED,
    UNIFORM: DCS,
    MATCHED_DECAY: ALPHADECAY,
}

METHODS = (PLAIN, TEMPBALANCE, GUIDED, MATCHED_DROPOUT, SHUFFLED_DROPOUT, BOTH, DCS, UNIFORM, ALPHADECAY, MATCHED_DECAY, TWICE)

#: What a method is set against: plain fine-tuning, and below that what tells its idea from all else that it changes.
AGAINST_PLAIN = tuple((method, PLAIN) for method in TUNED[1:])
AGAINST_CONTROLS = (*((method, control) for control, method in CONTROLS.items()), (DCS, TWICE))

FULL, LORA = "full", "LoRA"
ADAPTERS = (FULL, LORA)

LORA_RANK = 8  # peft's; alpha is twice the rank
FISHER_SAMPLES = 64  # all examples of the smaller size

# Mean of AlphaDecay's multipliers over the 36 layers that it scales, in the checkpoint, with an adapter or without. A table of
# the README has those that its runs had.
MEAN_DECAY = 1.498


def rate_of(method: str) -> str:
    """Return the method whose learning rate a method uses."""
    return PLAIN if method == TWICE else CONTROLS.get(method, method)


def passes(method: str) -> int:
    """Return how many times as many epochs a method takes."""
    return 2 if method == TWICE else 1


def options(method: str, adapter: str, *, interval: int, seed: int) -> dict[str, Any]:
    """Return the options of a recipe that make a method.

    Args:
        method: One of ``METHODS``.
        adapter: One of ``ADAPTERS``.
        interval: Optimizer steps between measurements of the weights.
        seed: Of the control ``shuffled``.

    Returns:
        The parts ``method``, ``adapter`` and ``diagnostics``.
    """
    balance = {"tempbalance": {"policy": "recommended", "interval": interval}}
    diagnostics: Mapping[str, Any] = {
        TEMPBALANCE: balance,
        GUIDED: _dropout("guided"),
        MATCHED_DROPOUT: _dropout("mean-matched"),
        SHUFFLED_DROPOUT: _dropout("shuffled", seed=seed),
        BOTH: balance | _dropout("guided"),
        ALPHADECAY: _decay(interval),
        # Both ends the same: all layers that AlphaDecay scales get one multiplier.
        MATCHED_DECAY: _decay(interval, r_min=MEAN_DECAY, r_max=MEAN_DECAY),
    }.get(method, {})
    distilled = {DCS: {"name": "dcs"}, UNIFORM: {"name": "dcs", "preset": "uniform"}}
    lora = {"name": "lora", "rank": LORA_RANK, "targets": "all-linear"}
    return {
        "method": distilled.get(method, {"name": "plain"}),
        "adapter": lora if adapter == LORA else {"name": "none"},
        "diagnostics": {**diagnostics, "spectra": "none"},
    }


def _dropout(control: str, **more: Any) -> dict[str, Any]:
    return {"guided_dropout": {"control": control, "samples": FISHER_SAMPLES, **more}}


def _decay(interval: int, **changes: float) -> dict[str, Any]:
    return {"alphadecay": {"policy": {"name": "alphadecay", **changes}, "interval": interval}}
