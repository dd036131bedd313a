"""Running a sweep: its folder, its cells that are not finished, and the table of them all.

``recipe.yaml`` is written first, and ``sweep.json``, which makes a folder a sweep's, second.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from spectra.errors import InputError
from spectra.results.run_locks import locked
from spectra.results.sweep_record import (
    FINISHED,
    LOGS,
    RUNS,
    SWEEP,
    SweepCell,
    SweepRecord,
    SweepRun,
    load_sweep,
    read_cells,
    read_run,
    write_cells,
    write_table,
)
from spectra.results.temporary_files import remove_leftovers
from spectra.results.writing import made
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.printing import write_recipe
from spectra.training.recipe.reading import draft_recipe, read_recipe
from spectra.training.recipe.run.run_folder import refuse_other_files, run_folder
from spectra.training.sweep.cells import (
    cell_of,
    checked_recipes,
    common_recipe,
    differences,
    recipe_of_cell,
    same_run,
)
from spectra.training.sweep.grid import grid_points, read_settings
from spectra.training.sweep.processes import WORKER, run_side_by_side

_RECIPE, _LOCK = "recipe.yaml", "sweep.lock"


class SweepProgress(Protocol):
    """Is told how a sweep goes on."""

    def began(self, cell: SweepCell, done: int, total: int) -> None:
        """A run begins, or goes on; so many of so many are done."""

    def ended(self, run: SweepRun, done: int, total: int) -> None:
        """A run is finished, or has failed."""

    def stopping(self) -> None:
        """Ctrl-C: the runs save a checkpoint and end."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep is to run.

    Attributes:
        recipe: Path of the recipe, as it was given.
        folder: Of the sweep.
        common: What all runs have in common.
        asked: The cells that were asked for, in the order in which they run.
        recipes: Theirs, by name.
        cells: All of the folder, those of earlier grids included.
    """

    recipe: str
    folder: Path
    common: Recipe
    asked: tuple[SweepCell, ...]
    recipes: Mapping[str, Recipe]
    cells: tuple[SweepCell, ...]


def plan_sweep(
    recipe: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    grid: Mapping[str, Sequence[Any]] | None = None,
    settings: str | os.PathLike[str] | None = None,
    seeds: Sequence[int] | None = None,
    changes: Sequence[str] = (),
) -> SweepPlan:
    """Make the cells of a sweep and check their recipes; nothing is written, downloaded or trained.

    Args:
        recipe: YAML.
        output: Folder of the sweep. One that has cells of the same recipe keeps them; a cell that is there is not made again.
        grid: Values by option of the recipe, such as ``{"training.learning_rate": [1e-4, 3e-4]}``; all combinations are run.
        settings: File of settings by name, each with changes of its own, as of
            :func:`~spectra.training.sweep.grid.read_settings`; all of them with all combinations.
        seeds: One run of each setting for each. Default: the recipe's.
        changes: To the recipe, before all others: ``"training.max_steps=100"``.

    Returns:
        The plan.

    Raises:
        InputError: Faults of recipes, all of them; or the folder is of another sweep.
        ResultsError: The folder is damaged.
    """
    folder = Path(output).expanduser()
    named = None if settings is None else read_settings(settings)
    points = grid_points(grid or {}, [_own_seed(recipe, changes)] if seeds is None else seeds, named)
    recipes = checked_recipes(recipe, changes, points, folder)
    common = common_recipe(recipe, changes, folder)
    cells = tuple(cell_of(point, one, common) for point, one in zip(points, recipes, strict=True))
    by_name = {cell.name: one for cell, one in zip(cells, recipes, strict=True)}
    return _joined(SweepPlan(recipe=os.fspath(recipe), folder=folder, common=common, asked=cells, recipes=by_name, cells=cells))


def run_sweep(plan: SweepPlan, *, jobs: int = 1, progress: SweepProgress | None = None, worker: str = WORKER) -> SweepRecord:
    """Run what a sweep is to run, each run in a process of its own.

    The same call goes on with a sweep that stopped: what is finished is taken as it is, what has begun goes on from its
    checkpoint, what failed is tried again. With the same seed all settings see the same examples in the same order.

    Args:
        plan: What :func:`plan_sweep` returns.
        jobs: Runs at a time, which share the processors. How many threads a run has changes the last digits of its sums.
        progress: Is told.
        worker: Module that is started for each run. That of the command line draws its figures, too.

    Returns:
        All runs of the folder; those that failed say why.

    Raises:
        InputError: Jobs below 1, or another process has made the folder that of another sweep.
        ResultsError: The folder cannot be written, or another process runs it. What is finished stays.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as ``Terminated``. What is finished stays, and the others have a checkpoint.
    """
    if jobs < 1:
        raise InputError(f"jobs: expected at least 1, got {jobs}.")
    with locked(made(plan.folder) / _LOCK, plan.folder):
        _Sweep(_joined(plan), progress).run(jobs, worker)
        return load_sweep(plan.folder)


class _Sweep:
    """A sweep at work, the only writer of its folder."""

    def __init__(self, plan: SweepPlan, progress: SweepProgress | None) -> None:
        self._folder, self._plan, self._progress = plan.folder, plan, progress
        self._cells = {cell.name: cell for cell in plan.cells}
        self._done = 0

    def run(self, jobs: int, worker: str) -> None:
        """Run what is not finished."""
        remove_leftovers(self._folder)
        if not (self._folder / SWEEP).exists():
            write_recipe(self._plan.common, self._folder / _RECIPE)
        self._write()
        for inner in (RUNS, LOGS):
            made(self._folder / inner)
        self._refuse_other_files()
        states = {name: read_run(self._folder, self._cells[name]).state for name in self._plan.recipes}
        left = {name: recipe for name, recipe in self._plan.recipes.items() if states[name] != FINISHED}
        self._done = len(states) - len(left)
        try:
            run_side_by_side(
                left,
                self._folder / LOGS,
                jobs=jobs,
                worker=worker,
                began=self._began,
                ended=self._ended,
                stopping=self._stopping,
            )
        finally:
            self._write()

    def _refuse_other_files(self) -> None:
        """Runs are compared: all must have seen the same data."""
        digests: dict[str, str] = {}
        for name, cell in self._cells.items():
            if read_run(self._folder, cell).state == FINISHED:
                recipe = self._plan.recipes.get(name) or recipe_of_cell(self._plan.common, cell, self._folder)
                refuse_other_files(recipe, run_folder(recipe), digests)

    def _began(self, name: str) -> None:
        self._cells[name] = dataclasses.replace(self._cells[name], error=None)
        if self._progress is not None:
            self._progress.began(self._cells[name], self._done, len(self._plan.asked))

    def _ended(self, name: str, error: str | None) -> None:
        self._cells[name] = dataclasses.replace(self._cells[name], error=error)
        self._write()
        self._done += 1
        if self._progress is not None:
            self._progress.ended(read_run(self._folder, self._cells[name]), self._done, len(self._plan.asked))

    def _stopping(self) -> None:
        if self._progress is not None:
            self._progress.stopping()

    def _write(self) -> None:
        write_cells(self._folder, self._plan.recipe, self._cells.values())
        write_table(self._folder, load_sweep(self._folder))


def _own_seed(path: str | os.PathLike[str], changes: Sequence[str]) -> int:
    recipe = draft_recipe(path, [*changes, "output=any"]).recipe
    return Recipe.seed if recipe is None else recipe.seed


def _joined(plan: SweepPlan) -> SweepPlan:
    """Join what is asked for and what the folder holds."""
    folder, found = plan.folder, plan.folder / _RECIPE
    if not (folder / SWEEP).exists():
        if folder.is_dir() and any(_is_foreign(entry.name) for entry in folder.iterdir()):
            raise InputError(f"'{folder}' holds files, and no sweep. Choose another --output.")
        return plan
    if others := differences(plan.common, read_recipe(found)):
        raise InputError(f"'{folder}' is a sweep of another recipe ({'; '.join(others)}). Choose another --output.")
    _, cells = read_cells(folder)
    recorded = {cell.name: recipe_of_cell(plan.common, cell, folder) for cell in cells}
    known = {same_run(recorded[cell.name]): cell for cell in cells}
    asked: list[SweepCell] = []
    recipes: dict[str, Recipe] = {}
    renamed: dict[str, Mapping[str, Any]] = {}
    for cell in plan.asked:
        old = known.get(same_run(plan.recipes[cell.name]))
        if old is None and cell.name in recorded:
            others = differences(plan.recipes[cell.name], recorded[cell.name])
            raise InputError(_another_setting(folder, cell, others))
        if old is not None:  # under whatever name it ran; its seeds that are not asked for now are of the same setting
            renamed[_key(old)] = {**old.options, **cell.options}
        one = cell if old is None else old
        asked.append(one)
        recipes[one.name] = recorded.get(one.name, plan.recipes[cell.name])
    merged = {cell.name: dataclasses.replace(cell, options=renamed.get(_key(cell), cell.options)) for cell in (*cells, *asked)}
    return dataclasses.replace(
        plan, asked=tuple(merged[cell.name] for cell in asked), recipes=recipes, cells=tuple(merged.values())
    )


def _is_foreign(name: str) -> bool:
    return name not in (_LOCK, _RECIPE) and not name.startswith(".")  # a sweep that was killed when it began leaves no more


def _another_setting(folder: Path, cell: SweepCell, others: Sequence[str]) -> str:
    return (
        f"'{cell.setting}' is another setting in '{folder}' ({'; '.join(others)}). Give it another name, or choose another "
        "--output."
    )


def _key(cell: SweepCell) -> str:
    return json.dumps(cell.options, sort_keys=True)
