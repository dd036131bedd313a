"""The teacher of DCS: trained here by the same recipe, or given; a model of its own, or a second adapter over the same base."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, get_last_checkpoint

from spectra.errors import InputError, ResultsError
from spectra.fisher.tasks import without_peft

if TYPE_CHECKING:
    from peft import PeftModel

FOLDER = "teacher"
ADAPTER = "dcs_teacher"
_SEED_STEP = 10_007


class Teacher:
    """A frozen model that answers batches in eval mode and without gradients.

    Args:
        model: The teacher; or, with ``adapter``, a model of peft that holds it beside the student.
        adapter: Name of the adapter that is the teacher.
    """

    def __init__(self, model: nn.Module, adapter: str | None = None) -> None:
        self.model = model
        self.adapter = adapter

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Any]) -> Tensor:
        """Answer a batch.

        Args:
            inputs: What the model is called with.

        Returns:
            Logits.
        """
        training = self.model.training
        self.model.eval()
        try:
            with speaking(self.model, self.adapter):
                return logits_of(self.model(**inputs))
        finally:
            self.model.train(training)


def logits_of(outputs: Any) -> Tensor:
    """Take the logits out of what a model returns.

    Args:
        outputs: With ``.logits``, a mapping or tuple that holds them, or the logits themselves.

    Returns:
        The logits.

    Raises:
        InputError: There are none.
    """
    found = outputs
    if not isinstance(outputs, Tensor):
        found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
        if found is None and isinstance(outputs, tuple) and outputs:
            found = outputs[0]
    if not isinstance(found, Tensor):
        raise InputError(f"the model returns no logits, but {type(outputs).__name__}. DCS needs a model with a head.")
    return found


def teacher_arguments(args: TrainingArguments, *, select: str, has_eval_data: bool) -> TrainingArguments:
    """Turn a student's arguments into its teacher's: another seed, a folder inside, and nothing that is sent anywhere.

    Args:
        args: Of the student.
        select: ``"last"`` or ``"best"`` checkpoint.
        has_eval_data: Whether there is anything to choose the best by.

    Returns:
        A copy.

    Raises:
        InputError: The best is asked for without data to choose it by.
    """
    changed = copy.copy(args)
    changed.output_dir = str(Path(str(args.output_dir)) / FOLDER)
    changed.seed = args.seed + _SEED_STEP
    changed.data_seed = None if args.data_seed is None else args.data_seed + _SEED_STEP
    changed.report_to, changed.push_to_hub = [], False
    changed.load_best_model_at_end = select == "best"
    if select == "best":
        if not has_eval_data:
            raise InputError("teacher_select: 'best' needs eval_dataset= to choose by. Pass it, or take 'last'.")
        if args.metric_for_best_model is None:
            changed.metric_for_best_model, changed.greater_is_better = "loss", False
        evaluates, saves = IntervalStrategy(args.eval_strategy).value, SaveStrategy(args.save_strategy).value
        if evaluates != saves or evaluates == "no":
            changed.eval_strategy, changed.save_strategy = IntervalStrategy.EPOCH, SaveStrategy.EPOCH
        elif evaluates == "steps" and changed.eval_steps and changed.save_steps % changed.eval_steps:
            changed.save_steps = changed.eval_steps  # else the best would often be a state that was not saved
    return changed


def load_teacher(path: str | os.PathLike[str], student: Any) -> Teacher:
    """Load what was saved before: a model of the student's class, or an adapter over the student's own base.

    Args:
        path: A folder.
        student: Where an adapter is added, as ``dcs_teacher``.

    Returns:
        The teacher.

    Raises:
        InputError: There is nothing to load, or it does not fit.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"teacher: there is no folder '{path}'. Give a model, its folder (no name of a hub), or 'finetune'.")
    if is_peft(student):
        inside = folder / ADAPTER if (folder / ADAPTER).is_dir() else folder
        if not (inside / "adapter_config.json").is_file():
            raise InputError(f"teacher: '{folder}' holds no adapter, and the student is one over its base. Give an adapter.")
        try:
            student.load_adapter(str(inside), adapter_name=ADAPTER, is_trainable=False)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"teacher: cannot load '{folder}': {_first_line(error)}") from error
        return Teacher(student, ADAPTER)
    if not (folder / "config.json").is_file():
        models = sorted(path.parent.name for path in folder.glob("*/config.json"))
        hint = f" Give one inside: {', '.join(models[:4])}." if models else " Give the folder of a saved model."
        raise InputError(f"teacher: '{folder}' holds no model.{hint}")
    make = getattr(type(student), "from_pretrained", None)
    if make is None:
        raise InputError(f"teacher: a {type(student).__name__} cannot be loaded by path. Pass the teacher itself.")
    try:
        found = make(str(folder), local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"teacher: cannot load '{folder}': {_first_line(error)}") from error
    return Teacher(found)


def kept_copy(model: nn.Module) -> Teacher:
    """Keep a model as it is now while it goes on changing.

    Args:
        model: Any. Of peft's LoRA only the adapter is copied, as a second one over the same base.

    Returns:
        The copy.
    """
    lora: Any = model
    if not (is_peft(model) and _trains_one_lora_only(lora)):
        return Teacher(copy.deepcopy(model))
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    active = lora.active_adapter
    with _same_parameters_trained(model):
        if ADAPTER in lora.peft_config:  # the teacher of the generation before
            lora.delete_adapter(ADAPTER)
        now = {key: tensor.clone() for key, tensor in get_peft_model_state_dict(lora, adapter_name=active).items()}
        lora.add_adapter(ADAPTER, lora.peft_config[active])
        set_peft_model_state_dict(lora, now, adapter_name=ADAPTER)
    return Teacher(model, ADAPTER)


@contextmanager
def put_back(model: nn.Module) -> Iterator[None]:
    """Let a model be trained, and put it back to where it was: parameters, buffers and mode.

    Args:
        model: What it trains is kept in the memory of the host meanwhile.
    """
    training = model.training
    start = {name: tensor.detach().to("cpu", copy=True) for name, tensor in _changing(model)}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in _changing(model):
                if name in start:
                    tensor.copy_(start[name])
                tensor.grad = None
        model.train(training)


def refuse_other_answers(student: nn.Module, teacher: nn.Module) -> None:
    """Compare what two models can answer.

    Args:
        student: A model.
        teacher: Another one.

    Raises:
        InputError: They know other classes, another number of them, or another vocabulary.
    """
    here, there = (getattr(without_peft(model), "config", None) for model in (student, teacher))
    if here is None or there is None:
        return
    for name, what in {"num_labels": "labels", "vocab_size": "words"}.items():
        if name == "num_labels" and not hasattr(here, "problem_type"):
            continue
        of_student, of_teacher = getattr(here, name, None), getattr(there, name, None)
        if of_student is not None and of_teacher is not None and of_student != of_teacher:
            raise InputError(f"teacher: it knows {of_teacher} {what}, the student {of_student}. Both must know the same.")
    names = [getattr(config, "id2label", None) or {} for config in (here, there)]
    if all(_are_named(one) for one in names) and names[0] != names[1]:
        raise InputError(
            f"teacher: its labels are {_listed(names[1])}, the student's {_listed(names[0])}. Give both the same id2label."
        )


def is_peft(model: nn.Module) -> bool:
    """Say whether a model is one of peft, whose adapters can be switched."""
    return hasattr(model, "peft_config") and hasattr(model, "set_adapter") and hasattr(model, "get_base_model")


def stored_teacher(folder: Path) -> Path:
    """Return where the weights of a teacher are that was trained here.

    Args:
        folder: Output folder of the student.

    Raises:
        ResultsError: They are not there.
    """
    path = folder / FOLDER
    if not any((path / name).exists() for name in ("config.json", "adapter_config.json", ADAPTER)):
        raise ResultsError(f"'{path}': the teacher of this run is not there. Put it back, or start anew.")
    return path


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint in a trainer's folder, or ``None``.

    Args:
        folder: It may be missing.
    """
    find: Callable[[str], str | None] = get_last_checkpoint
    return find(str(folder)) if folder.is_dir() else None


@contextmanager
def speaking(model: nn.Module, adapter: str | None) -> Iterator[None]:
    """Let an adapter answer, and then the one before it again.

    Args:
        model: Of peft, if there is an adapter.
        adapter: Its name; ``None``: the model answers as it is.
    """
    if adapter is None:
        yield
        return
    switched: Any = model
    before = switched.active_adapter
    with _same_parameters_trained(model):
        switched.set_adapter(adapter, inference_mode=True)
        try:
            yield
        finally:
            switched.set_adapter(before)


@contextmanager
def _same_parameters_trained(model: nn.Module) -> Iterator[None]:
    """Undo what peft does to ``requires_grad``: switching makes all of an adapter trainable, also what the user has frozen."""
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    try:
        yield
    finally:
        for parameter in model.parameters():
            if parameter.requires_grad != (id(parameter) in trained):
                parameter.requires_grad_(id(parameter) in trained)


def _trains_one_lora_only(model: PeftModel) -> bool:
    active: Any = model.active_adapter
    config: Any = model.peft_config.get(active) if isinstance(active, str) else None
    # Other methods have one trainable adapter at most, or change the base.
    if type(config).__name__ != "LoraConfig" or config.bias != "none":
        return False
    return all(f".{active}" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


def _changing(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    yield from model.named_buffers()


def _are_named(labels: Mapping[Any, str]) -> bool:
    return bool(labels) and not all(str(name).startswith("LABEL_") for name in labels.values())


def _listed(labels: Mapping[Any, str]) -> str:
    names = [str(name) for name in labels.values()]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
