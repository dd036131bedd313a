"""Guided dropout at work: a plan of drop probabilities, applied to a model or to a whole training run.

Source: Information Guided Regularization for Fine-tuning Language Models, arXiv 2406.14005. There, rates go to modules by their
position, which changes with the version of transformers; here they go by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import nn

from spectra.errors import InputError, MissingPackageError
from spectra.policies.drop_prob import check_rates
from spectra.policies.dropout_plan import DropoutPlan, load_dropout_plan
from spectra.policies.plan_file import read_plan_file, save_plan_file
from spectra.training.drop_sites import AppliedRates, apply_rates, fits
from spectra.training.verify_dropout import verify_sites

try:
    from accelerate.utils import extract_model_from_parallel, send_to_device
    from transformers import TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
except ImportError as error:
    raise MissingPackageError(
        'GuidedDropout needs transformers and accelerate: pip install "spectra-nn[train]". apply_rates does without them.'
    ) from error

# Beside the weights of a checkpoint.
PLAN_FILE = "guided_dropout.json"


class GuidedDropout:
    """Drop probabilities for a model, ready to be applied.

    Args:
        plan: A plan; its file, or a checkpoint's folder with ``guided_dropout.json``; or rates by site, as from a preset.

    Attributes:
        plan: The plan, or ``None`` if only rates were given.
        rates: Drop probability by site.

    Raises:
        InputError: No rates by site, rates outside ``[0, 1)``, or none at all.
        ResultsError: The file cannot be read, or is no plan.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))
        >>> with GuidedDropout({"1": 0.25}).apply(model):
        ...     model[1].p
        0.25
    """

    def __init__(self, plan: DropoutPlan | str | os.PathLike[str] | Mapping[str, float]) -> None:
        given: DropoutPlan | Mapping[str, float]
        if isinstance(plan, str | os.PathLike):
            file = _plan_file(Path(plan).expanduser())
            given, where = _read(file), f"'{file}', rates"
        else:
            given, where = plan, "plan"
        self.plan = given if isinstance(given, DropoutPlan) else None
        rates = given.rates if isinstance(given, DropoutPlan) else given
        check_rates(rates, where)
        if not rates:
            raise InputError(f"{where}: there is no site. Give at least one drop probability.")
        self.rates = dict(rates)

    def apply(self, model: nn.Module, *, verify: Any = None) -> AppliedRates:
        """Set the rates.

        Args:
            model: As in ``apply_rates``. Where no name fits a model of peft, they are taken for those of the model inside it,
                as a plan has them that was made before ``get_peft_model``.
            verify: A batch: each site is tried on it before any rate is set, see ``verify_sites``. Default: no trial.

        Returns:
            What puts the old rates back; see ``apply_rates``.

        Raises:
            InputError: Names that are no sites of the model, sites without effect, or no batch to verify on.
        """
        _check_batch(verify)
        base_model = getattr(model, "get_base_model", None)
        if base_model is not None and not fits(model, self.rates):
            model = base_model()
        if verify is not None:
            verify_sites(model, verify, self.rates)
        return apply_rates(model, self.rates)

    def callback(self, *, restore: bool = True, verify: Any = None) -> GuidedDropoutCallback:
        """Return a callback for transformers' ``Trainer``.

        Args:
            restore: Put the old rates back when training ends.
            verify: A batch, on any device: each site is tried on it when training begins. Default: no trial.

        Returns:
            The callback.

        Raises:
            InputError: No batch to verify on.
        """
        return GuidedDropoutCallback(self, restore=restore, verify=verify)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the plan, or the rates where there is no plan, as a file that ``GuidedDropout(path)`` reads.

        Args:
            path: The file, YAML for ``.yaml`` and ``.yml``, else JSON; its folder is made if it is missing.
            force: Replace an existing file.

        Raises:
            ResultsError: The file exists, or cannot be written.
        """
        if self.plan:
            self.plan.save(path, force=force)
        else:
            save_plan_file({"rates": self.rates}, path, force=force)


class GuidedDropoutCallback(TrainerCallback):
    """Sets drop probabilities when training begins, and puts the old ones back when it ends.

    The plan goes into the output folder and into every checkpoint as ``guided_dropout.json``: rates are not part of the
    weights. ``GuidedDropout(checkpoint)`` reads it again. A trainer does not say when training breaks off; in a ``with``
    block the old rates come back then, too:

    .. code-block:: python

        with GuidedDropout("plan.json").callback() as guided:
            Trainer(model, args, train_dataset=data, callbacks=[guided]).train()

    Args:
        guided: What is applied, or what :class:`~spectra.training.guided_dropout.GuidedDropout` takes.
        restore: Put the old rates back when training ends. ``False`` leaves them; ``restore()`` or the end of a ``with`` block
            puts them back.
        verify: A batch, on any device: each site is tried on it when training begins, see ``verify_sites``. Default: no trial.

    Raises:
        InputError: No batch to verify on, or as in :class:`~spectra.training.guided_dropout.GuidedDropout`.
    """

    def __init__(
        self,
        guided: GuidedDropout | DropoutPlan | str | os.PathLike[str] | Mapping[str, float],
        *,
        restore: bool = True,
        verify: Any = None,
    ) -> None:
        _check_batch(verify)
        self.guided = guided if isinstance(guided, GuidedDropout) else GuidedDropout(guided)
        self._restores_at_end = restore
        self._verify = verify
        self._applied: AppliedRates | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        """Set the rates of the model inside all wrappers for parallel and compiled runs."""
        self.restore()  # of a run that broke off
        inside = extract_model_from_parallel(model, keep_torch_compile=False)
        self._applied = self.guided.apply(inside, verify=send_to_device(self._verify, args.device))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the plan into the checkpoint."""
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        # A hyperparameter search saves elsewhere: a folder with nothing but a plan would pass for a checkpoint.
        if state.is_world_process_zero and folder.is_dir():
            self.guided.save(folder / PLAN_FILE, force=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the plan into the output folder, and put the old rates back."""
        if self._restores_at_end:
            self.restore()
        if state.is_world_process_zero:
            self.guided.save(Path(args.output_dir) / PLAN_FILE, force=True)

    def restore(self) -> None:
        """Put the old rates back, if any were set; a second call does nothing."""
        if self._applied is not None:
            self._applied.restore()
            self._applied = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.restore()


def _check_batch(verify: object) -> None:
    if isinstance(verify, bool):
        raise InputError(f"verify: pass a batch to try the sites on, got {verify}.")


def _plan_file(path: Path) -> Path:
    return path / PLAN_FILE if path.is_dir() else path


def _read(file: Path) -> DropoutPlan | dict[str, float]:
    found = read_plan_file(file, "a dropout plan", "Make one with dropout_plan.")
    if isinstance(found.content, dict) and set(found.content) == {"rates"} and isinstance(found.content["rates"], dict):
        return found.content["rates"]
    return load_dropout_plan(file)
