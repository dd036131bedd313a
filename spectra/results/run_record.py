"""The record of a run of a recipe, ``results.json``: what was trained on what, what came out, and where the time went."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.weight_rounds import plain_json

RUN_SCHEMA_VERSION = 1
RESULTS = "results.json"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run that is finished.

    Attributes:
        name: Of the run.
        method: ``plain``, ``dcs``, ``sdft`` or ``meta_peft``.
        adapter: ``none`` or ``lora``.
        model: What was fine-tuned, as the recipe names it.
        task: What it predicts.
        data: Where examples come from: by ``train``, ``eval``, ``test`` or ``tasks``, those that there are.
        seed: Of everything drawn at random.
        num_train: Examples that were trained on.
        num_eval: Those that the run was evaluated on; ``None`` without.
        num_test: Those that it was evaluated on once, at the end; ``None`` without.
        num_parameters: Of the model, with its adapter.
        num_trainable: Those of them that training may change.
        num_steps: Optimizer steps.
        num_epochs: Passes through the data.
        eval_metrics: At the end, by the trainer's names, such as ``eval_accuracy``; empty without ``data.eval``.
        test_metrics: At the end, such as ``test_accuracy``; empty without ``data.test``.
        best_metric: The best value of the metric that was asked for; ``None`` if none was.
        best_step: The step at which it was reached, whose weights were kept; ``None`` if none was.
        seconds: Of each phase by name: ``assembling``, ``training`` (with the evaluations and diagnostics in it), ``spectra``
            and ``multipliers`` (the parts of it that diagnostics took), ``evaluation``, ``saving``, and what was prepared, such
            as ``fisher``.
        diagnostics_share: Of the wall time of training that went into diagnostics.
        spectra: Names of the analyses that were recorded, in their order.
        spectra_skipped: A sentence for each that was not, with its reason.
        notes: What to know of the run.
        output: Its folder.
        spectra_version: Of Spectra.
    """

    name: str
    method: str
    adapter: str
    model: str
    task: str
    data: Mapping[str, str]
    seed: int
    num_train: int
    num_eval: int | None
    num_test: int | None
    num_parameters: int
    num_trainable: int
    num_steps: int
    num_epochs: float
    eval_metrics: Mapping[str, float]
    test_metrics: Mapping[str, float]
    best_metric: float | None = None
    best_step: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    diagnostics_share: float = 0.0
    spectra: tuple[str, ...] = ()
    spectra_skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: str
    spectra_version: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON can hold it, with its schema version."""
        content: dict[str, Any] = plain_json({"schema_version": RUN_SCHEMA_VERSION} | dataclasses.asdict(self))
        return content

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``results.json``, over an earlier one: from then on the run counts as finished.

        Args:
            folder: Of the run.

        Raises:
            ResultsError: It cannot be written.
        """
        write_json(Path(folder) / RESULTS, self.to_dict())


def load_run(folder: str | os.PathLike[str]) -> RunRecord:
    """Read the record of a run.

    Args:
        folder: Of the run, or its ``results.json``.

    Returns:
        The record.

    Raises:
        ResultsError: There is none, as long as the run is not finished; or it is damaged, or of another schema version.
    """
    path = Path(folder).expanduser()
    file = path / RESULTS if path.suffix != ".json" else path
    again = "'spectra finetune RECIPE.yaml' writes it when a run is finished; the same command goes on with one that is not."
    return read_versioned(file, "record of a finished run", RUN_SCHEMA_VERSION, _record, again=again)


def _record(content: Mapping[str, Any]) -> RunRecord:
    fields = {name: value for name, value in content.items() if name != "schema_version"}
    for name in ("eval_metrics", "test_metrics", "seconds"):
        fields[name] = {key: _number(value) for key, value in fields[name].items()}
    for name in ("spectra", "spectra_skipped", "notes"):
        fields[name] = tuple(fields[name])
    fields["num_epochs"], fields["diagnostics_share"] = (_number(fields[name]) for name in ("num_epochs", "diagnostics_share"))
    return RunRecord(**fields)


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
