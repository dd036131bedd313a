"""Meta-PEFT: a base is retrained on several tasks so that adapters fit it better; a trainer, its baselines, and adapting."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.meta_peft.adapters import TaskAdapters
    from spectra.training.meta_peft.adapting import adapt, adaptation_trainer
    from spectra.training.meta_peft.config import MetaPeftConfig, meta_peft_config
    from spectra.training.meta_peft.personas import held_out, persona_tasks, read_dialogues
    from spectra.training.meta_peft.ranking import ranking_accuracy, ranking_collator, ranking_loss, ranking_rows
    from spectra.training.meta_peft.retrained import RetrainedBase, RetrainingInfo
    from spectra.training.meta_peft.sampling import StepSampler
    from spectra.training.meta_peft.tasks import classification_tasks, read_tasks
    from spectra.training.meta_peft.trainer import MetaPeftTrainer

__all__ = [
    # retraining
    "MetaPeftConfig",
    "MetaPeftTrainer",
    "RetrainedBase",
    "RetrainingInfo",
    "StepSampler",
    "TaskAdapters",
    "meta_peft_config",
    # adapting
    "adapt",
    "adaptation_trainer",
    # tasks from files
    "classification_tasks",
    "held_out",
    "persona_tasks",
    "ranking_accuracy",
    "ranking_collator",
    "ranking_loss",
    "ranking_rows",
    "read_dialogues",
    "read_tasks",
]

_HOME = {
    "adapters": ("TaskAdapters",),
    "adapting": ("adapt", "adaptation_trainer"),
    "config": ("MetaPeftConfig", "meta_peft_config"),
    "personas": ("held_out", "persona_tasks", "read_dialogues"),
    "ranking": ("ranking_accuracy", "ranking_collator", "ranking_loss", "ranking_rows"),
    "retrained": ("RetrainedBase", "RetrainingInfo"),
    "sampling": ("StepSampler",),
    "tasks": ("classification_tasks", "read_tasks"),
    "trainer": ("MetaPeftTrainer",),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'spectra.training.meta_peft' has no attribute {name!r}")
    return getattr(import_module(f"spectra.training.meta_peft.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
