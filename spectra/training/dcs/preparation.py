"""Getting a teacher and what it says about the training data, once, before the student is trained."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from spectra.errors import InputError, ResultsError
from spectra.fisher.tasks import task_of
from spectra.results.writing import made, write_whole
from spectra.training.dcs.answers import (
    CACHE_FILE,
    Answers,
    CachedLogits,
    CachedTopK,
    Live,
    write_all_logits,
    write_all_top_k,
)
from spectra.training.dcs.config import dcs_config
from spectra.training.dcs.recipe_fingerprint import recipe_fingerprint
from spectra.training.dcs.sample_pass import every_sample
from spectra.training.dcs.teacher import (
    Teacher,
    is_peft,
    kept_copy,
    last_checkpoint,
    load_teacher,
    put_back,
    refuse_other_answers,
    speaking,
    stored_teacher,
    teacher_arguments,
)
from spectra.training.dcs.teacher_logits import TeacherLogits, teacher_fingerprint
from spectra.training.dcs.top_k_logits import TopKLogits
from spectra.training.ended_training import end_where_it_ended
from spectra.training.sharded_layers import exchanged, shards_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectra.training.dcs.saved_state import SavedState


RECIPE_FILE = "recipe.json"  # beside a teacher that is trained here


def prepare_answers(
    trainer: Any, dataset: str, saved: SavedState | None, *, goes_on: bool
) -> tuple[Answers | None, Mapping[str, str]]:
    """Find the teacher's answers, or make them.

    Args:
        trainer: A ``DCSTrainer``: whose teacher it is.
        dataset: Fingerprint of the training data.
        saved: What the run continues from.
        goes_on: Continue a teacher that was not finished.

    Returns:
        The answers, ``None`` where no teacher is needed; and the fingerprint of what is kept of them.

    Raises:
        InputError: A teacher that does not fit the student.
        ResultsError: The run that continues had a teacher that is gone.
    """
    config = trainer.config
    if not config.needs_teacher:
        return None, {}
    form = _form(trainer)
    path = Path(trainer.args.output_dir) / CACHE_FILE
    wanted = _wanted(trainer, dataset, saved, form)
    found = None if form == "off" or wanted is None else _opened(path, form, wanted)
    if found is not None:
        say(trainer, f"the teacher's answers are in {path}")
        return found, wanted or {}
    if saved is not None and form != "off" and wanted is not None:
        raise ResultsError(
            f"'{path}': the answers of the teacher that this run began with are not there. Put the file back, or start anew."
        )
    with _teacher(trainer, wanted, goes_on=goes_on, is_continued=saved is not None, stays=form == "off") as teacher:
        refuse_other_answers(trainer.model, teacher.model)
        if form == "off":
            if trainer.teacher == "finetune" or shards_of(teacher.model):
                return Live(teacher), {}
            wanted = _fingerprint_of(teacher, trainer, dataset, form)
            _refuse_another_teacher(wanted, saved)
            return Live(teacher), wanted
        if wanted is None:  # a given teacher is known by its weights, which had to be loaded
            wanted = _fingerprint_of(teacher, trainer, dataset, form)
            _refuse_another_teacher(wanted, saved)
            found = _opened(path, form, wanted)
        if found is None:
            say(trainer, f"asking the teacher about {len(trainer.train_dataset)} samples")
            _write(trainer, teacher, path, form, wanted)
            found = _opened(path, form, wanted)
    if found is None:
        raise ResultsError(f"'{path}': the teacher's answers cannot be read on this machine. Use a folder that all share.")
    return found, wanted


def say(trainer: Any, what: str) -> None:
    """Tell what is going on, where progress is shown: a run has several trainings and passes.

    Args:
        trainer: Which shows progress or does not.
        what: In a few words.
    """
    if trainer.is_world_process_zero() and not trainer.args.disable_tqdm:
        sys.stderr.write(f"DCS: {what}\n")


def _form(trainer: Any) -> str:
    asked: str = trainer.config.cache
    kind = trainer.objective.kind
    if asked == "auto":
        return "off" if kind == "token" else "logits"
    if (asked == "logits") == (kind == "token") and asked != "off":
        fitting = "'top_k' or 'off'" if kind == "token" else "'logits' or 'off'"
        raise InputError(f"cache: {asked!r} does not fit the task of this model. Use {fitting}.")
    if asked == "top_k" and task_of(trainer.model) == "masked-lm":
        raise InputError("cache: masks are drawn anew in each epoch, and the answers would be about others. Use 'off'.")
    if asked == "top_k" and trainer.accelerator.num_processes > 1:
        raise InputError("cache: 'top_k' is written by one process. Make it in a run of one process, or use 'off'.")
    return asked


def _wanted(trainer: Any, dataset: str, saved: SavedState | None, form: str) -> dict[str, str] | None:
    """What the file must be of; ``None`` where only the teacher's weights tell."""
    if trainer.teacher != "finetune":
        return None
    if saved is not None:
        return dict(saved.teacher)
    # The teacher's weights follow from where it starts and from the recipe, and need not be made again to be known.
    start = teacher_fingerprint(trainer.model, dataset, _max_length(trainer))
    return start | {"recipe": recipe_fingerprint(trainer, _teacher_config(trainer).to_dict())} | _kept(trainer, form)


def _fingerprint_of(teacher: Teacher, trainer: Any, dataset: str, form: str) -> dict[str, str]:
    model: Any = teacher.model
    with speaking(model, teacher.adapter):
        return teacher_fingerprint(model, dataset, _max_length(trainer)) | _kept(trainer, form)


def _kept(trainer: Any, form: str) -> dict[str, str]:
    return {"top_k": str(trainer.config.top_k), "tau": str(trainer.config.tau)} if form == "top_k" else {}


def _max_length(trainer: Any) -> int | None:
    return getattr(trainer.processing_class, "model_max_length", None)


def _opened(path: Path, form: str, wanted: Mapping[str, str]) -> CachedLogits | CachedTopK | None:
    """Open the file if every process can: disks of their own may differ, and those that miss it would wait for the others."""
    found = _read(path, form, wanted)
    return found if all(exchanged([found is not None])) else None


def _read(path: Path, form: str, wanted: Mapping[str, str]) -> CachedLogits | CachedTopK | None:
    if form == "logits":
        logits = TeacherLogits.open(path, wanted)
        return None if logits is None else CachedLogits(logits)
    words = TopKLogits.open(path, wanted)
    return None if words is None else CachedTopK(words)


def _write(trainer: Any, teacher: Teacher, path: Path, form: str, wanted: Mapping[str, str]) -> None:
    made(path.parent)
    number = len(trainer.train_dataset)
    if form == "top_k":
        shift = getattr(trainer.objective, "shift", False)
        write_all_top_k(
            path, teacher, every_sample(trainer), number, wanted,
            shift=shift, tau=trainer.config.tau, number=trainer.config.top_k,
        )  # fmt: skip
        return
    gather = trainer.accelerator.gather
    writes = trainer.accelerator.is_local_main_process
    write_all_logits(path, teacher, every_sample(trainer), gather, number, wanted, writes=writes)
    trainer.accelerator.wait_for_everyone()


def _refuse_another_teacher(wanted: Mapping[str, str], saved: SavedState | None) -> None:
    if saved is not None and dict(saved.teacher) != dict(wanted):
        raise ResultsError("teacher: this run began with another one. Pass that one, or start anew.")


@contextmanager
def _teacher(
    trainer: Any, wanted: Mapping[str, str] | None, *, goes_on: bool, is_continued: bool, stays: bool
) -> Iterator[Teacher]:
    """Get hold of the teacher, for as long as it is asked, or for good."""
    if trainer.teacher == "finetune" and not is_continued:
        with _finetuned(trainer, wanted, goes_on=goes_on, stays=stays) as teacher:
            yield teacher
        return
    teacher = _given(trainer, is_continued=is_continued)
    yield teacher
    if teacher.adapter is not None and not stays:
        holder: Any = teacher.model  # the student, or a copy
        holder.delete_adapter(teacher.adapter)


def _given(trainer: Any, *, is_continued: bool) -> Teacher:
    if isinstance(trainer.teacher, nn.Module):
        own = {id(parameter) for parameter in trainer.model.parameters() if parameter.requires_grad}
        if any(id(parameter) in own for parameter in trainer.teacher.parameters()):
            raise InputError("teacher: it shares parameters with the student, which change. Pass a copy.")
        teacher = Teacher(trainer.teacher)
    else:
        by_path = trainer.teacher != "finetune" or not is_continued
        path = trainer.teacher if by_path else stored_teacher(Path(trainer.args.output_dir))
        is_copy = _is_divided(trainer) and is_peft(trainer.model)
        teacher = load_teacher(path, copy.deepcopy(trainer.model) if is_copy else trainer.model)
    teacher.model.to(trainer.args.device)
    return teacher


def _is_divided(trainer: Any) -> bool:
    """Say whether the model will be divided over processes: once, and with parameters that are trained or not for good."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


@contextmanager
def _finetuned(trainer: Any, wanted: Mapping[str, str] | None, *, goes_on: bool, stays: bool) -> Iterator[Teacher]:
    """Train the model itself by the same recipe, let it answer, and put it back to where it started.

    So there is one model in memory, and of adapters one base: the teacher is a copy, or a second adapter, only if it stays.
    A model that is divided over processes for one training cannot be for a second one: there it is always a copy.

    Yields:
        The teacher.

    Raises:
        InputError: Optimizers were given, which hold the student's parameters.
    """
    if trainer.has_own_optimizers:
        raise InputError(
            "optimizers: they hold the student's parameters, and the teacher needs its own. "
            "Pass optimizer_cls_and_kwargs=, or a teacher."
        )
    student = trainer.model
    is_copy = _is_divided(trainer)
    model = copy.deepcopy(student) if is_copy else student
    with nullcontext() if is_copy else put_back(student):
        nested = _nested(trainer, model)
        folder = Path(nested.args.output_dir)
        unfinished = _unfinished(folder, wanted, nested)
        say(trainer, f"training the teacher, in {folder}")
        start = unfinished if goes_on else None
        if start is not None:
            end_where_it_ended(nested, int(start.rpartition("-")[2]))
        nested.train(resume_from_checkpoint=start)
        if nested.args.save_strategy != "no":
            nested.save_model(str(folder))
        nested.accelerator.free_memory()
        inside = nested.accelerator.unwrap_model(nested.model, keep_fp32_wrapper=False)
        teacher = Teacher(inside) if is_copy or not stays else kept_copy(inside)
        if not stays:
            yield teacher
        _remove_checkpoints(folder, nested)
    if stays:
        yield teacher


def _remove_checkpoints(folder: Path, nested: Any) -> None:
    """Remove what only an unfinished teacher needs, optimizer states for the most part: its weights are in the folder."""
    nested.accelerator.wait_for_everyone()
    if nested.args.should_save:
        for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(checkpoint, ignore_errors=True)


def _unfinished(folder: Path, wanted: Mapping[str, str] | None, nested: Any) -> str | None:
    """Return the last checkpoint of a teacher by the same recipe; else remove those of another, and note the recipe."""
    note, text = folder / RECIPE_FILE, json.dumps(dict(wanted or {}), sort_keys=True)
    is_same = note.is_file() and note.read_text(encoding="utf-8") == text
    if all(exchanged([is_same])):  # all have read before one writes
        return last_checkpoint(folder)
    _remove_checkpoints(folder, nested)  # else the next time would go on from one that has more steps
    write_whole(made(folder) / RECIPE_FILE, text.encode())
    return None


def _nested(trainer: Any, model: nn.Module) -> Any:
    args = teacher_arguments(trainer.args, select=trainer.config.teacher_select, has_eval_data=trainer.eval_dataset is not None)
    return trainer.make_teacher_trainer(model, args, _teacher_config(trainer))


def _teacher_config(trainer: Any) -> Any:
    """A plain run; with several generations, the student of the one before."""
    config = trainer.config
    if config.generations > 1:
        return replace(config, generations=config.generations - 1)
    return dcs_config("plain", tempbalance=config.tempbalance, guided_dropout=config.guided_dropout)
