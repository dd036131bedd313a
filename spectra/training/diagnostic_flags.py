"""Diagnostics as options of a trainer: balanced learning rates and guided dropout, each by one word."""

from __future__ import annotations

import os
from typing import Any


def attach_diagnostics(trainer: Any, *, tempbalance: Any = None, guided_dropout: Any = None, model: Any = None) -> None:
    """Put diagnostics to work in a trainer that is not training yet.

    Args:
        trainer: Of transformers.
        tempbalance: What :class:`~spectra.training.TempBalanceCallback` takes, or the name of a preset; ``None``: none.
        guided_dropout: What :class:`~spectra.training.GuidedDropout` takes, such as a plan's file; ``None``: none.
        model: What is balanced, where the trainer's model is built around it.
    """
    if tempbalance is not None:
        from spectra.training.tempbalance_callback import TempBalanceCallback

        options = {"policy": tempbalance} if isinstance(tempbalance, str) else tempbalance
        TempBalanceCallback(options, model=model).attach(trainer)
    if guided_dropout is not None:
        from spectra.training.guided_dropout import GuidedDropoutCallback

        trainer.add_callback(GuidedDropoutCallback(guided_dropout))


def plain_option(value: Any) -> Any:
    """Return an option of a trainer as YAML and JSON can hold it.

    Args:
        value: Options of their own, a path, or a plain value.

    Returns:
        Plain values.
    """
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
