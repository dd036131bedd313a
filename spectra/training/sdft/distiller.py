"""Rewriting a data set's responses by the model that will be tuned on them: generate, select, write, resume.

This is the SDFT of Yang et al. (2024), arXiv 2402.13669: responses are rewritten once, offline, before plain fine-tuning. The
later method of the same name (arXiv 2601.19897: on-policy, the model with a demonstration in its context is the teacher) is
another one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectra.errors import InputError
from spectra.results.distill_records import DistillRecord
from spectra.results.selection_report import SelectionReport
from spectra.training.sdft.config import DistillConfig, distill_config
from spectra.training.sdft.generation import Backend
from spectra.training.sdft.groups import groups_of
from spectra.training.sdft.mixing import mixed_in, mixing_notes
from spectra.training.sdft.record_runs import Progress, all_records, refuse_input
from spectra.training.sdft.rewriting import Rewriting
from spectra.training.sdft.row_files import encoded_rows, write_rows
from spectra.training.sdft.run_files import RunFiles, publishing
from spectra.training.sdft.samples import TrainingData, read_training_data
from spectra.training.sdft.templates import check_rendering


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """A data set with the responses that were selected.

    Attributes:
        rows: As given, in their order, with other responses where a candidate was accepted.
        records: What became of every response, in the order of the data.
        path: Where the rows are written.
        read_as: How the rows were read, by name: ``turns``, ``prompt_column``, ``response_column``.
        mixed: ``mix_ratio``, and how many responses were accepted and how many of these are used.
    """

    rows: list[dict[str, Any]]
    records: tuple[DistillRecord, ...]
    path: Path | None = None
    read_as: Mapping[str, Any] = field(default_factory=dict)
    mixed: Mapping[str, float] = field(default_factory=dict)

    def report(self, *, group_by: str | None = None) -> SelectionReport:
        """Count decisions and reasons.

        Args:
            group_by: A column: count for each of its values, too.

        Returns:
            The report.

        Raises:
            InputError: No such column.
        """
        report = SelectionReport.of(self.records, groups=groups_of(self.rows, self.records, group_by))
        return dataclasses.replace(report, notes=(*report.notes, *mixing_notes(self.mixed)))


class ResponseDistiller:
    """Rewrites responses in a model's own words, and keeps the originals where what it says does not agree with them.

    .. code-block:: python

        distiller = ResponseDistiller("path/to/model", task="math")
        done = distiller.distill("gsm8k.json", "gsm8k-own-words.jsonl")
        print(done.report())

    A run that stopped, however it stopped, goes on when it is called again with the same arguments. Under ``torchrun`` or
    ``accelerate launch`` every process takes its part, without waiting for the others.

    Args:
        model: Path or hub id of a causal language model; a backend of :mod:`spectra.training.sdft.backends`; or a model of
            transformers, with its tokenizer.
        tokenizer: Of a model of transformers.
        config: Options.
        batch_size: Responses at a time, for a path or a model.
        **changes: Options by name; see :class:`~spectra.training.sdft.DistillConfig`.

    Attributes:
        config: The options.
        backend: What writes.

    Raises:
        InputError: Options that cannot be, or a template that the model's chat template breaks.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        config: DistillConfig | Mapping[str, Any] | None = None,
        *,
        batch_size: int = 32,
        **changes: Any,
    ) -> None:
        self.config = distill_config(config, **changes)
        self.backend = _backend(model, tokenizer, batch_size)
        if (render := getattr(self.backend, "render", None)) is not None:
            check_rendering(self.config.rewriting(), render)

    def distill(
        self,
        data: Any,
        output: str | os.PathLike[str] | None = None,
        *,
        prompt_column: str | None = None,
        response_column: str | None = None,
        turns: str = "last",
        limit: int | None = None,
        mix_ratio: float = 1.0,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Distillation | None:
        """Rewrite the responses of a data set.

        Args:
            data: A file (JSON lines, JSON, CSV, TSV, Parquet), rows, or a ``datasets.Dataset``; of prompts and completions,
                messages, or instructions, inputs and outputs.
            output: Where rows go: ``.jsonl``, ``.json`` or ``.csv``. Records lie beside it while they are made, in
                ``NAME.records.jsonl``; ``None``: nothing is written, and nothing survives an interruption.
            prompt_column: Where prompts are, in data of another form.
            response_column: Where responses are.
            turns: ``"last"`` rewrites the last turn of the assistant in each conversation, ``"all"`` each of them, on the
                original history.
            limit: Rows taken at most, from the start.
            mix_ratio: Share of the accepted responses that are used; a smaller one gives a part of what a larger one gives.
            force: Start afresh, over the files of another run.
            progress: Called with the number of responses that are done, and of all.

        Returns:
            The data set; ``None`` in a process that ends while others are still writing: the last one writes the data set.

        Raises:
            InputError: Data without a response or of an unknown form, or no prompt that fits into the model's context.
            ResultsError: Files of another run, or another process that writes to the same.
            BackendError: The model or server gave up. What it wrote is kept.
        """
        if not 0.0 <= mix_ratio <= 1.0:
            raise InputError(f"mix_ratio: expected a share from 0 to 1, got {mix_ratio!r}.")
        read_as: dict[str, Any] = {"prompt_column": prompt_column, "response_column": response_column, "turns": turns}
        found = read_training_data(data, **read_as, limit=limit)
        self._check_tests(found)
        path = None if output is None else Path(output).expanduser()
        if path is not None:
            _check_output(path, data)
            if self.config.extractor().name == "<lambda>":
                raise InputError("task: a run knows its extractor by the name. Pass Extractor('name', 1, function).")
            encoded_rows(path, found.with_responses({}))  # what it cannot hold is refused now, and not after hours
        work = Rewriting(found.samples, self.backend, self.config)
        records = all_records(work, path, DistillRecord.from_dict, force=force, progress=progress)
        if records is None:
            return None
        seed = self.config.seed
        taken = {
            one.row_id: one.response for one in records if one.decision == "accepted" and mixed_in(one.row_id, mix_ratio, seed)
        }
        rows = found.with_responses(taken)
        accepted = sum(one.decision == "accepted" for one in records)
        mixed = {"mix_ratio": mix_ratio, "accepted": accepted, "used": len(taken)}
        if path is not None:
            with publishing(RunFiles(path), mixed):
                write_rows(path, rows)
        return Distillation(rows=rows, records=records, path=path, read_as=read_as, mixed=mixed)

    def _check_tests(self, found: TrainingData) -> None:
        column = self.config.test_column
        if column is None:
            return
        tests = [(sample.row, sample.fields.get(column)) for sample in found.samples]
        without = [row for row, value in tests if value is None or (isinstance(value, str) and not value.strip())]
        if without:
            raise InputError(
                f"row {without[0] + 1} has no tests in column '{column}' ({len(without):,} such rows). Fill it in."
            )
        wrong = next((row for row, value in tests if not isinstance(value, str)), None)
        if wrong is not None:  # the text of a list is a program that never fails
            raise InputError(f"row {wrong + 1}: column '{column}' holds no text. Join its tests to one program.")


def _check_output(output: Path, data: Any) -> None:
    refuse_input(output, data)
    if output.name.endswith(".records.jsonl"):
        raise InputError(f"output: '{output.name}' is a name of records. Choose another one, such as 'own-words.jsonl'.")


def _backend(model: Any, tokenizer: Any, batch_size: int) -> Backend:
    if isinstance(model, str | Path):
        from spectra.training.sdft.backends.transformers import load_backend

        return load_backend(str(model), batch_size=batch_size)
    if hasattr(model, "complete"):
        backend: Backend = model
        return backend
    if tokenizer is None:
        raise InputError(
            f"model: {type(model).__name__} is no path and no backend. Give a model of transformers with its tokenizer, or "
            "wrap a function: CallableBackend(function, name='...')."
        )
    from spectra.training.sdft.backends.transformers import TransformersBackend

    return TransformersBackend(model, tokenizer, batch_size=batch_size)
