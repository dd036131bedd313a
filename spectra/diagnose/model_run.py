"""One model under analysis: what is to be done, what is done, and its report at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spectra._version import __version__
from spectra.diagnose.assembly import Diagnosed, report_of
from spectra.diagnose.memory_need import remedy_of
from spectra.diagnose.plan import model_info, plan_analysis
from spectra.diagnose.shards import begin_shard, part_of
from spectra.diagnose.within_memory import check_that_all_fit
from spectra.matrices import WeightMatrices
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings
from spectra.results.shards import Shard
from spectra.results.store import Run, run_header
from spectra.sources import open_source

if TYPE_CHECKING:
    from spectra.sources.open import Model


class ModelRun:
    """A model whose headers were read, and its result folder, if it has one. To be closed.

    Args:
        model: As :func:`spectra.analyze` takes it.
        settings: Resolved settings.
        base: Likewise.
        output: Result folder; ``None``: the report is returned only.
        shard: Which part of the model; needs ``output``. ``None``: all of it.
        force: Write into the folder whatever it holds.
        budget: Bytes that layers in flight may take together; nothing to a finished result. Default: not looked at.

    Attributes:
        model: As given.
        base: As given.
        files: That hold its numbers, those of its base among them.
        plan: What is to be analysed.
        info: Which model it is.
        complete: The report, where the folder holds a finished one.
        done: Finished rows with their spectra, by matrix name; those of an interrupted run among them.
        started: When the work began.
        made_by: What an engine has to say of how the result was made.

    Raises:
        SourceError: The model cannot be read, or has no weight to analyse.
        InputError: A pattern that matches nothing, or a layer that does not fit into the memory: the folder is not touched.
        ResultsError: The folder holds something else, or cannot be written.
    """

    def __init__(
        self,
        model: Model,
        settings: AnalysisSettings,
        *,
        base: Model | None = None,
        output: str | os.PathLike[str] | None = None,
        shard: Shard | None = None,
        force: bool = False,
        budget: int | None = None,
    ) -> None:
        self.model, self.base = model, base
        self.made_by: dict[str, Any] = {}
        self._is_finished = False
        self.begin()
        source = open_source(model, base=base, lora=settings.lora)
        self.files = source.files
        self.plan = plan = plan_analysis(source, settings)
        self.info = model_info(source, self.plan, revision=output is not None)
        header = run_header(self.info, self.plan.settings, version=__version__)

        def check() -> None:
            if budget is not None:
                jobs = (part_of(plan, shard) if shard else plan).jobs
                check_that_all_fit(jobs, plan.need, budget, remedy=remedy_of(plan.settings))

        self._folder: Run | None = None
        if output is None:
            check()
        elif shard is not None:
            begun = begin_shard(output, shard, self.plan, self.info, header, force=force, check=check)
            self._folder, self.plan, self.info = begun.run, begun.plan, begun.model
        else:
            self._folder = Run(output, header, force=force, check=check)
        self.complete = self._folder.complete if self._folder else None
        self.done: dict[str, Diagnosed] = dict(self._folder.finished) if self._folder else {}

    @property
    def waiting(self) -> list[WeightMatrices]:
        """What is left to do, in model order."""
        return [] if self.complete or self._is_finished else [job for job in self.plan.jobs if job.matrix_name not in self.done]

    def begin(self) -> None:
        """Start the clock anew: reading headers and waiting for other models is no part of a model's time."""
        self.started, self._clock = datetime.now(UTC), time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.perf_counter() - self._clock

    def add(self, batch: Sequence[WeightMatrices], results: Sequence[Diagnosed]) -> None:
        """Take finished layers; in a folder they survive the process from here on.

        Args:
            batch: Of the plan.
            results: The row and the spectrum of each.

        Raises:
            ResultsError: The disk is full or gone.
        """
        for job, (row, values) in zip(batch, results, strict=True):
            self.done[job.matrix_name] = (row, values)
            if self._folder:
                self._folder.add(row, values)

    def finish(self, environment: Mapping[str, Any]) -> Report:
        """Put the report together, and write it into the folder.

        Args:
            environment: How the result was made.

        Returns:
            The report.

        Raises:
            ResultsError: The folder cannot be written.
        """
        report = report_of(self.plan, self.info, self.done, {**environment, **self.made_by})
        if self._folder:
            self._folder.finish(report)
        return report

    def release(self) -> None:
        """Let go of rows and spectra, once the report was taken: those of many models do not fit into memory."""
        self.close()
        self.complete, self._folder, self.done, self._is_finished = None, None, {}, True

    def close(self) -> None:
        """Close the folder; what was added stays there for the next run."""
        if self._folder:
            self._folder.close()
