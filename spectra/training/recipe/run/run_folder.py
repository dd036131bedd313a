"""The folder of a run: who may write to it, whether it is of the same recipe, and starting over in it.

``recipe.yaml`` is written first, then ``environment.json``: a folder that has both is a run's. A run is finished when
``results.json`` is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spectra.errors import InputError, SpectraWarning
from spectra.results.run_locks import locked
from spectra.results.run_metrics import METRICS
from spectra.results.run_record import RESULTS
from spectra.results.temporary_files import remove_leftovers
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.writing import made
from spectra.training.recipe.options import Key
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.printing import recipe_text, write_recipe
from spectra.training.recipe.reading import read_recipe
from spectra.training.recipe.run.environment import ENVIRONMENT_SCHEMA_VERSION, differences, environment

RECIPE, ENVIRONMENT = "recipe.yaml", "environment.json"
CHECKPOINTS, MODEL, DIAGNOSTICS, FIGURES, SUMMARY = "checkpoints", "model", "diagnostics", "figures", "summary.md"

# What a run makes beside the two. Starting over removes these and nothing else.
_MADE = (
    RESULTS, METRICS, SUMMARY, "dropout-plan.yaml", "rank-plan.yaml", "tempbalance.jsonl", "alphadecay.jsonl",
    "responses.*", ".responses.*", CHECKPOINTS, MODEL, DIAGNOSTICS, FIGURES,
)  # fmt: skip
_LOCK = ".lock"
# Of a recipe, and no part of what a run computes; nor is by which path its folder is found.
_NAMES_ONLY: tuple[Key, ...] = (("name",), ("report_to",), ("output",))
_LENGTH: tuple[Key, ...] = (("training", "num_train_epochs"), ("training", "max_steps"))
_CHANGED, _INPUTS, _RESUMED = "changed", "inputs", "resumed_at"  # in the environment, beside what it is


def run_folder(recipe: Recipe) -> Path:
    """Return where a recipe's run is."""
    return Path(recipe.output).expanduser()


def is_finished(folder: Path) -> bool:
    """Say whether a run is finished."""
    return (folder / RESULTS).is_file()


@contextmanager
def opened_folder(recipe: Recipe, *, num_processes: int = 1, force: bool = False) -> Iterator[Path]:
    """Begin a run in its folder, or go on with it, as the only one who writes there.

    Args:
        recipe: Of the run. Another name, other trackers and another path to the same folder make no other run.
        num_processes: That train together.
        force: Start over: what a run has made is removed, and other files are left alone.

    Yields:
        The folder.

    Raises:
        InputError: It is a file, holds a run of another recipe or number of processes, or something else.
        ResultsError: Another process writes to it, or it cannot be written.
    """
    folder = run_folder(recipe)
    _refuse_strangers(recipe, folder)
    with locked(made(folder) / _LOCK, folder):
        remove_leftovers(folder)
        if force or not (folder / ENVIRONMENT).exists():
            _start(recipe, folder, num_processes)
        else:
            _go_on(recipe, folder, num_processes)
        yield folder


def environment_notes(folder: Path) -> tuple[str, ...]:
    """Say what has changed since a run began that numbers may depend on.

    Args:
        folder: Of the run.

    Returns:
        A sentence, or nothing.
    """
    changed = _environment(folder).get(_CHANGED, [])
    return (f"The run went on with another environment: {'; '.join(changed)}.",) if changed else ()


def _refuse_strangers(recipe: Recipe, folder: Path) -> None:
    if not folder.exists():
        return
    where = recipe.where("output")
    if not folder.is_dir():
        raise InputError(f"{where}: '{folder}' is a file. Choose a folder for the run.")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if {RECIPE, ENVIRONMENT} <= names or not names or _is_begun(recipe, folder):
        return
    missing = ENVIRONMENT if RECIPE in names else RECIPE
    raise InputError(
        f"{where}: '{folder}' holds '{min(names)}' and no '{missing}', so that it is no run's. Choose another folder."
    )


def _is_begun(recipe: Recipe, folder: Path) -> bool:
    """Say whether a start of this very run, or a removal, was killed; a recipe of the user's own is not the whole text."""
    file = folder / RECIPE
    return file.is_file() and file.read_bytes() == recipe_text(recipe).encode()


def _start(recipe: Recipe, folder: Path, num_processes: int) -> None:
    # In this order: half of an earlier run must never look like a run that can go on.
    (folder / ENVIRONMENT).unlink(missing_ok=True)
    write_recipe(recipe, folder / RECIPE)
    for path in [path for pattern in _MADE for path in sorted(folder.glob(pattern))]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_json(folder / ENVIRONMENT, environment(num_processes) | {_INPUTS: _digests(recipe)})


def _go_on(recipe: Recipe, folder: Path, num_processes: int) -> None:
    file = folder / RECIPE
    try:
        before = read_recipe(file)
    except InputError as error:
        raise InputError(f"{error} It is of an earlier run. Choose another output, or start over with --force.") from error
    _refuse_another(before, recipe, folder)
    if not is_finished(folder):
        _compare_environments(folder, num_processes)
        refuse_other_files(recipe, folder)
    elif changed := _changed_files(recipe, folder, {}):
        warnings.warn(
            f"'{changed[0]}' is not what it was when the run in '{folder}' began: its results are of the earlier one. "
            "Choose another output, or start over with --force.",
            SpectraWarning,
            stacklevel=2,
        )
    if recipe_text(before) != recipe_text(recipe):
        write_recipe(recipe, file)


def _refuse_another(before: Recipe, now: Recipe, folder: Path) -> None:
    old, new = (dict(_flat(recipe.to_dict())) for recipe in (before, now))
    changed = [key for key in old | new if key not in _NAMES_ONLY and old.get(key) != new.get(key)]
    if not changed:
        return
    words = [f"{now.where(*key)}: {_shown(old, key)} there, {_shown(new, key)} now" for key in changed]
    remedy = "Choose another output, or start over with --force."
    if set(changed) <= set(_LENGTH):
        remedy = (
            "Learning rates depend on the length of a run, so that it cannot be made longer or shorter. Choose another output; "
            f"with model: {folder / MODEL} a new run trains on from the end of this one. Or start over with --force."
        )
    raise InputError(f"'{folder}' holds a run of another recipe ({'; '.join(words)}). {remedy}")


def _compare_environments(folder: Path, num_processes: int) -> None:
    """Note that the run goes on, and what has changed; another number of processes would take other steps."""
    before, now = _environment(folder), environment(num_processes)
    if before["num_processes"] != num_processes:
        raise InputError(
            f"'{folder}' holds a run that began with {before['num_processes']} processes, here are {num_processes}: its steps "
            "would be of other examples. Start as many, choose another output, or start over with --force."
        )
    changed = list(dict.fromkeys([*before.get(_CHANGED, []), *differences(before, now)]))
    resumed = [*before.get(_RESUMED, []), now["began_at"]]
    write_json(folder / ENVIRONMENT, {**before, **({_CHANGED: changed} if changed else {}), _RESUMED: resumed})


def refuse_other_files(recipe: Recipe, folder: Path, known: dict[str, str] | None = None) -> None:
    """Refuse to go on with a run, or to put one beside it, if the files that it reads have changed since it began.

    Args:
        recipe: Of the run.
        folder: Of the run.
        known: Digests of files by path, for several runs of the same files; what is missing is added.

    Raises:
        InputError: One has changed.
    """
    if changed := _changed_files(recipe, folder, {} if known is None else known):
        raise InputError(
            f"'{changed[0]}' is not what it was when the run in '{folder}' began. Put it back, choose another output, or start "
            "over with --force."
        )


def _changed_files(recipe: Recipe, folder: Path, known: dict[str, str]) -> list[str]:
    if not (folder / ENVIRONMENT).is_file():
        return []
    before, now = _environment(folder).get(_INPUTS, {}), _digests(recipe, known)
    return [path for path in now if path in before and before[path] != now[path]]


def _digests(recipe: Recipe, known: dict[str, str] | None = None) -> dict[str, str]:
    """Tell the files that a run reads from others of the same name."""
    known = {} if known is None else known
    guided = recipe.diagnostics.guided_dropout
    named = [recipe.data.train, recipe.data.eval, recipe.data.test, recipe.data.tasks, recipe.adapter.ranks]
    named += [None if guided is None else guided.plan]
    found: dict[str, str] = {}
    for place in (Path(name).expanduser() for name in named if name is not None):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                if str(path) not in known:
                    with path.open("rb") as file:
                        known[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
                found[str(path)] = known[str(path)]
    return found


def _environment(folder: Path) -> Mapping[str, Any]:
    again = "Choose another output."
    return read_versioned(folder / ENVIRONMENT, "environment of a run", ENVIRONMENT_SCHEMA_VERSION, _checked, again=again)


def _checked(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**content, "num_processes": int(content["num_processes"]), "packages": dict(content["packages"])}


def _flat(content: Mapping[str, Any], above: Key = ()) -> Iterable[tuple[Key, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*above, name))
        else:
            yield (*above, name), value


def _shown(values: Mapping[Key, Any], key: Key) -> str:
    return json.dumps(values[key]) if key in values else "missing"
