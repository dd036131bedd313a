"""TempBalance under transformers' ``Trainer`` and whatever is built on it, such as TRL's ``SFTTrainer``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.balanced_layers import balanced_layers
from spectra.training.lr_scale import split_for_target
from spectra.training.parameter_groups import DECAY_UNIT, UNIT, parameter_units, unwrapped_optimizer
from spectra.training.scale_checks import refuse_other_split
from spectra.training.tempbalance import TempBalance
from spectra.training.tempbalance_config import TempBalanceConfig, tempbalance_config


class TempBalanceCallback(TrainerCallback, ExportableState):
    """Balances learning rates (or weight decays) under a ``Trainer``; see :class:`~spectra.training.tempbalance.TempBalance`.

    .. code-block:: python

        trainer = Trainer(model, args, train_dataset=data)
        TempBalanceCallback(policy="recommended").attach(trainer)
        trainer.train()

    ``attach`` is needed, and ``callbacks=[...]`` is not enough: the optimizer's parameter groups must be split before the
    trainer makes the scheduler, and a callback is called after that. Multipliers and their cost appear in the trainer's log,
    and so in whatever ``report_to`` names. Checkpoints hold the state: a run that is resumed goes on exactly.

    Args:
        config: Options; see :class:`~spectra.training.tempbalance_config.TempBalanceConfig`.
        write_log: Keep a log in the trainer's output folder: ``tempbalance.jsonl``, or ``alphadecay.jsonl`` for weight decays.
        strict: Refuse a checkpoint of a run with other units or another policy; else go on with what fits of its multipliers.
        model: Looked at in the place of the trainer's model, where that is built around what is balanced. It holds the
            same parameters, all that the optimizer has.
        **changes: Options by name.

    Attributes:
        balance: At work since training began; ``None`` before.

    Raises:
        InputError: Options that cannot be.
    """

    def __init__(
        self,
        config: TempBalanceConfig | Mapping[str, Any] | None = None,
        *,
        write_log: bool = False,
        strict: bool = True,
        model: nn.Module | None = None,
        **changes: Any,
    ) -> None:
        self.config = tempbalance_config(config, **changes)
        self.balance: TempBalance | None = None
        self._writes_log = write_log
        self._is_strict = strict
        self._model = model
        self._restored: Mapping[str, Any] | None = None

    def attach(self, trainer: Any) -> TempBalanceCallback:
        """Add this callback to a trainer, and split the parameter groups when the trainer makes its optimizer.

        Args:
            trainer: A ``Trainer`` that is not training yet. Nothing but this object is changed.

        Returns:
            The callback.

        Raises:
            InputError: No trainer, or one with a scheduler already, which counts the groups as they are.
        """
        if not all(hasattr(trainer, name) for name in ("create_optimizer", "callback_handler", "add_callback")):
            raise InputError(
                f"trainer: expected a transformers Trainer, got {type(trainer).__name__}. Pass the trainer itself."
            )
        if trainer.optimizer is not None:
            if trainer.lr_scheduler is not None:
                raise InputError(
                    "the trainer has a scheduler already, and its parameter groups cannot be split any more. Split them first: "
                    "spectra.training.split_by_policy(optimizer, model), then make the scheduler."
                )
            split_by_policy(trainer.optimizer, self._looked_at(trainer.model), self.config)
        make = trainer.create_optimizer

        @wraps(make)
        def create_optimizer(*arguments: Any, **options: Any) -> Any:
            _put_first(trainer)  # again: a trainer that restores callbacks from a checkpoint puts them last
            is_new = trainer.optimizer is None
            made = make(*arguments, **options)
            if is_new:
                model = arguments[0] if arguments else options.get("model")
                split_by_policy(trainer.optimizer, self._looked_at(trainer.model if model is None else model), self.config)
            return made

        trainer.create_optimizer = create_optimizer
        trainer.add_callback(self)
        _put_first(trainer)
        return self

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        """Measure the model, and set the multipliers; in a run that is resumed, those of the checkpoint."""
        assert model is not None
        looked_at = self._looked_at(model)
        if self.balance is not None:
            self.balance.remove()
        config = self.config
        if self._writes_log and config.log is None:
            config = tempbalance_config(config, log=str(Path(args.output_dir) / f"{config.resolved_policy.method}.jsonl"))
        stored = (self._restored or self._stored(state)) if state.global_step else None
        try:
            self.balance = TempBalance(looked_at, optimizer, config, resume=stored, strict=self._is_strict)
        except ResultsError as error:  # of another run in the same folder
            warnings.warn(f"TempBalance: no log is written: {error}", SpectraWarning, stacklevel=2)
            self.balance = TempBalance(looked_at, optimizer, self.config, resume=stored, strict=self._is_strict)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step, and update where that is due."""
        if self.balance is not None:
            self.balance.step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add scores, multipliers and cost to what is logged."""
        # The summary at the end of training has no learning rate.
        if self.balance is not None and logs is not None and "learning_rate" in logs:
            numbers = self.balance.logs()
            logs.update(numbers)
            state.log_history[-1].update(numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the multipliers off the optimizer."""
        if self.balance is not None:
            self.balance.remove()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        saved = self.balance.state_dict() if self.balance is not None else None
        arguments = {"config": self.config.to_dict(), "write_log": self._writes_log, "strict": self._is_strict}
        return {"args": arguments, "attributes": {"_restored": saved}}

    def _looked_at(self, model: nn.Module) -> nn.Module:
        return model if self._model is None else self._model

    def _stored(self, state: Any) -> Mapping[str, Any] | None:
        """What the checkpoint keeps of a callback with this policy's target: the trainer reads it with its own state."""
        found = (getattr(state, "stateful_callbacks", None) or {}).get(type(self).__name__, [])
        saved = [one.get("attributes", {}).get("_restored") for one in (found if isinstance(found, list) else [found])]
        target = self.config.resolved_policy.target
        return next((one for one in reversed(saved) if one and one["config"]["policy"]["target"] == target), None)


def split_by_policy(
    optimizer: Optimizer, model: nn.Module, config: TempBalanceConfig | Mapping[str, Any] | None = None, **changes: Any
) -> None:
    """Split an optimizer's parameter groups as TempBalance needs them, before a scheduler is made.

    Args:
        optimizer: Changed in place; its state, if any, stays.
        model: Whose parameters it has.
        config: Options, as for :class:`~spectra.training.tempbalance.TempBalance`.
        **changes: Options by name.

    Raises:
        InputError: As for :class:`~spectra.training.tempbalance.TempBalance`.
    """
    options = tempbalance_config(config, **changes)
    policy = options.resolved_policy
    units = parameter_units(model, balanced_layers(model, policy, optimizer).members, norms_follow=options.norms_follow)
    inner = unwrapped_optimizer(optimizer)
    is_new = not any({UNIT, DECAY_UNIT} & group.keys() for group in inner.param_groups)
    split_for_target(optimizer, model, units, policy.target)
    if is_new:  # a trainer loads a checkpoint before it tells its callbacks
        inner.register_load_state_dict_pre_hook(lambda one, state: refuse_other_split(one.param_groups, state["param_groups"]))


def _put_first(trainer: Any) -> None:
    """Put our callbacks first in line, so that what they add to a log reaches the callbacks that report it."""
    trainer.callback_handler.callbacks.sort(key=lambda one: not isinstance(one, TempBalanceCallback))
