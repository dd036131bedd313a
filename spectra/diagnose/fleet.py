"""Analyse all layers of many models, each into a result folder of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Literal, Unpack

from spectra.diagnose.crew import crew_for
from spectra.diagnose.model_run import ModelRun
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.work import Progress, work_through
from spectra.errors import InputError, SourceError, SpectraError
from spectra.results.fleet import FleetModel, FleetReport, begin_fleet, write_fleet
from spectra.results.settings import SettingsChanges
from spectra.results.words import counted
from spectra.sources.location import absolute_location


def analyze_fleet(
    models: Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str],
    base: str | os.PathLike[str] | None = None,
    profile: str = "default",
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    max_memory: int | str | None = None,
    engine: str = "local",
    address: str | None = None,
    force: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[SettingsChanges],
) -> FleetReport:
    """Analyse many models as :func:`spectra.analyze` does each.

    A model that cannot be opened does not stop the others. They are begun in the order given, and the longest layers of each
    first; where a cluster has room for more layers than a model has left, the next model is begun.

    Args:
        models: Paths or hub ids; one that is named twice is analysed once.
        output: Gets a result folder for each model, and ``fleet.json``, which says which is where. Names of folders come from
            the ends of the paths and stay when models are added. The same call continues an interrupted run; what is finished
            is not computed again.
        base: Of every model, as for :func:`spectra.analyze`.
        profile: Likewise.
        device: Likewise.
        workers: Likewise.
        max_memory: Likewise. A model with a layer that does not fit counts as one that cannot be opened.
        engine: Likewise.
        address: Likewise.
        force: Start every model anew, whatever ``output`` holds.
        cache: As for :func:`spectra.analyze`; layers that models share are computed once.
        progress: Called after each layer, with numbers of all models together.
        **settings: As for :func:`spectra.analyze`.

    Returns:
        The fleet: of each model its folder and summary, or why it could not be analysed.

    Raises:
        SourceError: None of the models can be analysed.
        InputError: No model, one that is no location, or an argument that cannot be used.
        ResultsError: ``output`` or ``cache`` holds something else, or cannot be written.
        EngineError: The Ray cluster cannot be reached, or lacks what it needs.
    """
    locations = _locations(models)
    resolved = resolve_settings(profile, **settings)
    crew = crew_for(
        None,
        engine=engine,
        address=address,
        workers=workers,
        device=device,
        precision=resolved.precision,
        cache=cache,
        max_memory=max_memory,
    )
    fleet = begin_fleet(output, locations, force=force)
    found = {model.name: model for model in fleet.models}
    with ExitStack() as open_runs:
        names: dict[ModelRun, str] = {}
        for model in fleet.models:
            try:
                folder = fleet.folder / model.name
                run = ModelRun(model.location, resolved, base=base, output=folder, force=force, budget=crew.budget)
            except SpectraError as error:
                found[model.name] = dataclasses.replace(model, error=str(error))
                continue
            open_runs.callback(run.close)
            names[run] = model.name
        if not names:
            write_fleet(dataclasses.replace(fleet, models=tuple(found.values())))
            raise SourceError(_none_opened(list(found.values())))
        for run, report in work_through(list(names), crew, progress=progress):
            found[names[run]] = dataclasses.replace(found[names[run]], summary=report.summary)
    fleet = dataclasses.replace(fleet, models=tuple(found.values()))
    write_fleet(fleet)
    return fleet


def _locations(models: Iterable[str | os.PathLike[str]]) -> dict[str, None]:
    if isinstance(models, str | os.PathLike):
        models = [models]
    locations: dict[str, None] = {}
    for model in models:
        if not isinstance(model, str | os.PathLike):
            raise InputError(
                f"models: expected paths or hub ids, got {type(model).__name__}. A model in memory is for spectra.analyze."
            )
        locations[absolute_location(model)] = None
    if not locations:
        raise InputError("models: none given. Give paths or hub ids.")
    return locations


def _none_opened(models: Sequence[FleetModel]) -> str:
    reasons = " ".join(f"'{model.name}': {model.error}" for model in models)
    return f"none of {counted(len(models), 'model')} can be analysed. {reasons}"
