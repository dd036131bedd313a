"""Diagnostics at work in training: multipliers, rates and noise set by name, and callbacks for trainers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.dcs.config import DCSConfig
    from spectra.training.dcs.trainer import DCSTrainer
    from spectra.training.drop_sites import apply_rates
    from spectra.training.gaussian import GaussianDropout, apply_gaussian, gaussian_dropout
    from spectra.training.guided_dropout import GuidedDropout, GuidedDropoutCallback
    from spectra.training.lr_scale import OptimizerScale
    from spectra.training.meta_peft.config import MetaPeftConfig
    from spectra.training.meta_peft.retrained import RetrainedBase
    from spectra.training.meta_peft.trainer import MetaPeftTrainer
    from spectra.training.neuron_dropout import apply_neuron_rates, channel_dropout
    from spectra.training.parameter_groups import build_parameter_groups, parameter_units, split_parameter_groups
    from spectra.training.recipe.reading import read_recipe
    from spectra.training.recipe.running import run_recipe
    from spectra.training.sdft.config import DistillConfig
    from spectra.training.sdft.distiller import ResponseDistiller
    from spectra.training.spectral_norm import SpectralNormPenalty, spectral_norm_gradient
    from spectra.training.sweep import plan_sweep, run_sweep
    from spectra.training.tempbalance import TempBalance
    from spectra.training.tempbalance_callback import TempBalanceCallback, split_by_policy
    from spectra.training.tempbalance_config import TempBalanceConfig
    from spectra.training.verify_dropout import verify_sites

__all__ = [
    # balanced learning rates and weight decays
    "TempBalance",
    "TempBalanceCallback",
    "TempBalanceConfig",
    "split_by_policy",
    # multipliers by hand
    "OptimizerScale",
    "build_parameter_groups",
    "parameter_units",
    "split_parameter_groups",
    # a student that corrects itself by its teacher
    "DCSConfig",
    "DCSTrainer",
    # responses in the model's own words
    "DistillConfig",
    "ResponseDistiller",
    # a base that adapters fit better
    "MetaPeftConfig",
    "MetaPeftTrainer",
    "RetrainedBase",
    # any of it, as a recipe says
    "read_recipe",
    "run_recipe",
    "plan_sweep",
    "run_sweep",
    # a penalty to compare them with
    "SpectralNormPenalty",
    "spectral_norm_gradient",
    # guided dropout
    "GuidedDropout",
    "GuidedDropoutCallback",
    "apply_rates",
    "verify_sites",
    # other noise by name
    "GaussianDropout",
    "apply_gaussian",
    "apply_neuron_rates",
    "channel_dropout",
    "gaussian_dropout",
]

_HOME = {
    "TempBalance": "spectra.training.tempbalance",
    "TempBalanceCallback": "spectra.training.tempbalance_callback",
    "TempBalanceConfig": "spectra.training.tempbalance_config",
    "split_by_policy": "spectra.training.tempbalance_callback",
    "DCSConfig": "spectra.training.dcs.config",
    "DCSTrainer": "spectra.training.dcs.trainer",
    "DistillConfig": "spectra.training.sdft.config",
    "ResponseDistiller": "spectra.training.sdft.distiller",
    "MetaPeftConfig": "spectra.training.meta_peft.config",
    "MetaPeftTrainer": "spectra.training.meta_peft.trainer",
    "RetrainedBase": "spectra.training.meta_peft.retrained",
    "read_recipe": "spectra.training.recipe.reading",
    "run_recipe": "spectra.training.recipe.running",
    "plan_sweep": "spectra.training.sweep",
    "run_sweep": "spectra.training.sweep",
    "SpectralNormPenalty": "spectra.training.spectral_norm",
    "spectral_norm_gradient": "spectra.training.spectral_norm",
    "OptimizerScale": "spectra.training.lr_scale",
    "build_parameter_groups": "spectra.training.parameter_groups",
    "parameter_units": "spectra.training.parameter_groups",
    "split_parameter_groups": "spectra.training.parameter_groups",
    "GaussianDropout": "spectra.training.gaussian",
    "apply_gaussian": "spectra.training.gaussian",
    "apply_neuron_rates": "spectra.training.neuron_dropout",
    "channel_dropout": "spectra.training.neuron_dropout",
    "gaussian_dropout": "spectra.training.gaussian",
    "GuidedDropout": "spectra.training.guided_dropout",
    "GuidedDropoutCallback": "spectra.training.guided_dropout",
    "apply_rates": "spectra.training.drop_sites",
    "verify_sites": "spectra.training.verify_dropout",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spectra.training' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
