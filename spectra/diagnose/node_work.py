"""The work of a node: it is told where a checkpoint is and which matrices are wanted, and opens the checkpoint itself.

No weights travel; rows and eigenvalues come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from platform import node

from threadpoolctl import threadpool_limits

from spectra._version import __version__
from spectra.diagnose.assembly import Diagnosed
from spectra.diagnose.layer import diagnose_layers
from spectra.diagnose.plan import model_info, plan_analysis
from spectra.errors import EngineError, SourceError, SpectraError
from spectra.matrices import WeightMatrices
from spectra.results.settings import AnalysisSettings
from spectra.sources import open_source

_CHECKPOINTS_KEPT = 4  # headers, not weights: at the end of one model the next begins


@dataclass(frozen=True)
class Checkpoint:
    """Where a model is, and what must be found there.

    Attributes:
        model: Absolute path, hub id or ``"demo"``.
        base: Likewise, or ``None``.
        settings: Of the plan, with what depends on the model filled in.
        fingerprint: Of the model.
        version: Of Spectra.
        files: Names, sizes and times of the files, as they are where the work is given out: a node that opened them before they
            changed opens them again.
    """

    model: str
    base: str | None
    settings: AnalysisSettings
    fingerprint: str
    version: str
    files: tuple[tuple[str, int, int], ...] = ()


def diagnose_named(checkpoint: Checkpoint, matrix_names: Sequence[str], device: str) -> list[Diagnosed]:
    """Analyse some matrices of a checkpoint: the work of a node.

    Args:
        checkpoint: Opened here, once for many calls.
        matrix_names: Of one batch.
        device: Where spectra are computed.

    Returns:
        As :func:`spectra.diagnose.layer.diagnose_layers`, with one BLAS thread, as everywhere: the digits depend on it.

    Raises:
        SourceError: The checkpoint cannot be opened there, or is another one.
        EngineError: The node has another version of Spectra.
    """
    jobs = _jobs_by_name(checkpoint)
    if missing := [name for name in matrix_names if name not in jobs]:  # a configuration says how weights are split
        raise SourceError(
            f"on node '{node()}' '{checkpoint.model}' has no '{missing[0]}': its config.json is not the one that is here. Let "
            "all nodes read one copy."
        )
    with threadpool_limits(limits=1):
        return diagnose_layers([jobs[name] for name in matrix_names], settings=checkpoint.settings, device=device)


@lru_cache(maxsize=_CHECKPOINTS_KEPT)
def _jobs_by_name(checkpoint: Checkpoint) -> Mapping[str, WeightMatrices]:
    if checkpoint.version != __version__:
        raise EngineError(
            f"node '{node()}' has Spectra {__version__}, and {checkpoint.version} gave it work: numbers may differ. Install "
            "the same version on every node."
        )
    try:
        source = open_source(checkpoint.model, base=checkpoint.base, lora=checkpoint.settings.lora)
        plan = plan_analysis(source, checkpoint.settings)
    except SpectraError as error:
        raise SourceError(f"on node '{node()}': {error}") from error
    if model_info(source, plan, revision=False).fingerprint != checkpoint.fingerprint:
        raise SourceError(
            f"on node '{node()}' '{checkpoint.model}' holds other weights than here. Let all nodes read one copy."
        )
    return {job.matrix_name: job for job in plan.jobs}
