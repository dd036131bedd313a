"""Running a recipe from its first check to its record: the same call begins a run, goes on with it, or returns its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.results.run_record import RunRecord, load_run
from spectra.training.recipe.checking.checks import faults
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.printing import recipe_text
from spectra.training.recipe.reading import Draft, draft_recipe, parse_recipe
from spectra.training.recipe.run.full_disk import full_disk_in_words
from spectra.training.recipe.run.run_folder import CHECKPOINTS, FIGURES, SUMMARY, is_finished, opened_folder, run_folder
from spectra.training.sdft.run_files import process_rank

if TYPE_CHECKING:
    from spectra.training.recipe.run.run_progress import RunProgress


def run_recipe(
    recipe: Recipe | str | os.PathLike[str],
    changes: Sequence[str] = (),
    *,
    force: bool = False,
    progress: RunProgress | None = None,
    draw: Callable[[Path], object] | None = None,
) -> RunRecord:
    """Fine-tune a model as a recipe says; go on with a run that stopped, wherever that was.

    Everything is written into the recipe's ``output``. A run that was killed, or whose disk was full, goes on from its last
    checkpoint, and ends with the same weights and the same log as one that was not. After Ctrl-C and SIGTERM a checkpoint is
    written at the end of the step; after a second one nothing more is.

    Args:
        recipe: Its file, or the recipe itself.
        changes: As of :func:`~spectra.training.recipe.read_recipe`.
        force: Start over, and remove what an earlier run has made in this folder.
        progress: Told what is going on.
        draw: Makes figures and summary of the folder of a finished run, such as ``spectra.report.run_figures.draw_run``; called
            where they are missing.

    Returns:
        The record of the run; of one that is finished already, at once.

    Raises:
        InputError: Faults of the recipe, all of them; or a folder that holds another run.
        ResultsError: Another process runs it, or the disk is full.
        SourceError: A model or data that cannot be had.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as ``Terminated``.
    """
    found = _found(recipe, changes)
    rank, world = process_rank()
    if found.faults or force or found.recipe is None or not is_finished(run_folder(found.recipe)):
        found = _without_faults(found)
    assert found.recipe is not None
    recipe, folder = found.recipe, run_folder(found.recipe)
    with ExitStack() as held, full_disk_in_words(folder):
        if rank == 0:
            held.enter_context(opened_folder(recipe, num_processes=world, force=force))
        record = load_run(folder) if _is_finished(folder, rank, world) else _run(recipe, folder, progress)
        if draw is not None and rank == 0 and not ((folder / FIGURES).is_dir() and (folder / SUMMARY).is_file()):
            if progress is not None:
                progress.phase("drawing figures")
            draw(folder)
        return record


def _found(recipe: Recipe | str | os.PathLike[str], changes: Sequence[str]) -> Draft:
    if not isinstance(recipe, Recipe):
        return draft_recipe(recipe, changes)
    return Draft(parse_recipe(recipe_text(recipe), changes) if changes else recipe, ())


def _without_faults(draft: Draft) -> Draft:
    if found := faults(draft):
        count = "a fault" if len(found) == 1 else f"{len(found)} faults"
        raise InputError(f"the recipe has {count}:\n" + "\n".join(f"  {fault}" for fault in found))
    return draft


def _is_finished(folder: Path, rank: int, world: int) -> bool:
    """Ask the first process, which may have removed an earlier run, and let the others wait for it."""
    finished = is_finished(folder)
    if rank == 0 and not finished:
        from spectra.training.recipe.run.resuming import remove_torn_checkpoints

        remove_torn_checkpoints(folder / CHECKPOINTS)
    if world == 1:
        return finished
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState()
    answer: list[bool] = broadcast_object_list([finished])
    return answer[0]


def _run(recipe: Recipe, folder: Path, progress: RunProgress | None) -> RunRecord:
    from spectra.training.libraries import quiet
    from spectra.training.recipe.run.session import Session

    with quiet():
        session = Session(recipe, folder, progress)
        session.train()
        session.evaluate()
        session.save()
        return session.record()
