"""DCS, dynamic corrective self-distillation: a trainer, and the functions under it for anybody's loop."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.dcs.boosting import Boosted, BoostingRule, boost, effective_sample_share, project, step_size
    from spectra.training.dcs.config import PRESETS, DCSConfig, dcs_config
    from spectra.training.dcs.discordances import discordance, token_discordance
    from spectra.training.dcs.losses import (
        classification_losses,
        distillation_losses,
        regression_losses,
        token_losses,
        weighted_mean,
    )
    from spectra.training.dcs.sample_weights import SampleWeights
    from spectra.training.dcs.trainer import DCSTrainer

__all__ = [
    # the trainer
    "DCSConfig",
    "DCSTrainer",
    "PRESETS",
    "dcs_config",
    # weights of samples
    "Boosted",
    "BoostingRule",
    "SampleWeights",
    "boost",
    "effective_sample_share",
    "project",
    "step_size",
    # losses of samples
    "classification_losses",
    "discordance",
    "distillation_losses",
    "regression_losses",
    "token_discordance",
    "token_losses",
    "weighted_mean",
]

_HOME = {
    "boosting": ("Boosted", "BoostingRule", "boost", "effective_sample_share", "project", "step_size"),
    "config": ("DCSConfig", "PRESETS", "dcs_config"),
    "discordances": ("discordance", "token_discordance"),
    "losses": ("classification_losses", "distillation_losses", "regression_losses", "token_losses", "weighted_mean"),
    "sample_weights": ("SampleWeights",),
    "trainer": ("DCSTrainer",),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'spectra.training.dcs' has no attribute {name!r}")
    return getattr(import_module(f"spectra.training.dcs.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
