"""What retraining leaves: a base without adapters, under its original names, ready to be adapted to a task it has not seen."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from spectra.training.libraries import imported
from spectra.training.meta_peft.adapters import TaskAdapters
from spectra.training.meta_peft.base_weights import WEIGHTS, from_folder, read_tensors, save_base
from spectra.training.meta_peft.outlines import filled
from spectra.training.meta_peft.retraining_info import RetrainingInfo, read_info, write_info

__all__ = ["RetrainedBase", "RetrainingInfo", "retrained_base"]


@dataclass
class RetrainedBase:
    """A base that was retrained.

    Attributes:
        model: Without adapters, in evaluation mode. Where every task had a head of its own, its head is the one it began with.
        info: How it was retrained.
    """

    model: nn.Module
    info: RetrainingInfo

    def save(self, folder: str | os.PathLike[str], tokenizer: Any = None) -> None:
        """Write the base; of transformers, as ``from_pretrained`` reads it.

        Args:
            folder: New or existing.
            tokenizer: Of the model, to be written beside it.

        Raises:
            ResultsError: It cannot be written.
        """
        folder = Path(folder)
        save_base(self.model, self.model.state_dict(), folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        write_info(folder, self.info)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], model: nn.Module | None = None) -> RetrainedBase:
        """Read what :meth:`save` wrote.

        Args:
            folder: That it wrote.
            model: Of the same class, for models that are not of transformers; its weights are replaced.

        Returns:
            The base.

        Raises:
            InputError: The model is needed.
            ResultsError: A file is missing, damaged, or of another model.
        """
        folder = Path(folder)
        info = read_info(folder)
        if model is None or isinstance(model, imported("transformers").PreTrainedModel):
            return cls(from_folder(folder, None if model is None else type(model)).eval(), info)
        model.load_state_dict(read_tensors(folder / WEIGHTS, model.state_dict()))
        return cls(model.eval(), info)

    def adapt(self, dataset: Any, peft_config: Any, args: Any, **options: Any) -> Any:
        """Adapt a copy of the base to a new task; see :func:`~spectra.training.meta_peft.adapting.adapt`.

        Args:
            dataset: Of the new task.
            peft_config: Of peft, or ``None`` to train the output layer alone.
            args: ``TrainingArguments``.
            **options: Of that function, by name.

        Returns:
            A ``PeftModel``, in evaluation mode.
        """
        from spectra.training.meta_peft.adapting import adapt

        return adapt(self, dataset, peft_config, args, **options)


def retrained_base(adapters: TaskAdapters, info: RetrainingInfo) -> RetrainedBase:
    """Take the base out of a model that is being trained.

    Args:
        adapters: Around the base; they are not changed.
        info: How it was retrained.

    Returns:
        A copy of the base.
    """
    return RetrainedBase(filled(adapters.outline, adapters.base_state_dict()).eval(), info)
