"""What an analysis would do: the weights to analyse and the tensors to skip, from names and shapes alone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from spectra.errors import InputError, SourceError, did_you_mean
from spectra.esd.eigenvalues import block_rows
from spectra.matrices import WeightMatrices, matrices_of
from spectra.results.records import AnalysisSettings, ModelInfo, SkippedTensor
from spectra.sources import Source

_HASHED_AT_ONCE = 2**22  # numbers
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class AnalysisPlan:
    """The weights of a model that will be analysed.

    Attributes:
        jobs: In model order.
        skipped: Every other tensor of two or more dimensions, in model order, with its reason.
    """

    jobs: tuple[WeightMatrices, ...]
    skipped: tuple[SkippedTensor, ...]

    @property
    def flops(self) -> float:
        """Work of all jobs."""
        return sum(job.flops for job in self.jobs)

    def peak_bytes(self, workers: int) -> int:
        """Bound the memory in flight: per worker the tensor or a block of it, three Gram-sized arrays and the blocks.

        Args:
            workers: Number of workers.

        Returns:
            Bytes on top of the idle process.
        """
        return sum(sorted((_job_bytes(job) for job in self.jobs), reverse=True)[:workers])


def plan_analysis(source: Source, settings: AnalysisSettings) -> AnalysisPlan:
    """Choose the weights to analyse.

    Args:
        source: An opened model.
        settings: Resolved settings.

    Returns:
        The plan.

    Raises:
        InputError: A pattern of ``include`` or ``exclude`` that matches no layer, or nothing left.
        SourceError: No weight that could be analysed.
    """
    jobs: list[WeightMatrices] = []
    skipped: list[SkippedTensor] = []
    tied: dict[str, list[str]] = {}
    for tensor in source.tensors:
        if tensor.tied_to and not settings.count_ties:
            tied.setdefault(tensor.tied_to, []).append(tensor.name)
            if len(tensor.shape) >= 2:
                skipped.append(SkippedTensor(tensor.name, tensor.shape, tensor.dtype, f"tied to '{tensor.tied_to}'"))
            continue
        found = matrices_of(tensor, source.config)
        if isinstance(found, WeightMatrices):
            reason = _reason_by_size(found, settings)
            found = SkippedTensor(tensor.name, tensor.shape, tensor.dtype, reason) if reason else found
        if isinstance(found, WeightMatrices):
            jobs.append(found)
        elif found is not None:
            skipped.append(found)
    if not jobs:
        dtypes = ", ".join(sorted({tensor.dtype for tensor in source.tensors})) or "none"
        first = f"'{skipped[0].name}': {skipped[0].reason}" if skipped else "none has two dimensions"
        raise SourceError(
            f"'{source.location}' has no weight to analyse among {len(source.tensors)} tensors (dtypes: {dtypes}); {first}. "
            "Give a checkpoint with floating-point matrices."
        )
    layers = Counter(job.layer_name for job in jobs)
    jobs = [
        dataclasses.replace(
            job,
            tied_names=tuple(tied.get(job.tensor.name, ())),
            # 'a' and 'a.weight' in one file are one layer name and two matrices.
            matrix_name=job.tensor.name if layers[job.layer_name] > 1 else job.matrix_name,
        )
        for job in jobs
    ]
    plan = _filtered(jobs, skipped, settings)
    place = {tensor.name: number for number, tensor in enumerate(source.tensors)}
    return AnalysisPlan(plan.jobs, tuple(sorted(plan.skipped, key=lambda tensor: place[tensor.name])))


def model_info(source: Source, plan: AnalysisPlan, *, revision: bool) -> ModelInfo:
    """Identify the model by a sample of its weights.

    Args:
        source: An opened model.
        plan: Its plan.
        revision: Find the revision, too; a model in memory is read once for it.

    Returns:
        Name, location, fingerprint and revision.
    """
    digest = hashlib.sha256()
    for job in sorted(plan.jobs, key=lambda job: job.tensor.name):  # containers keep them in different orders
        tensor = job.tensor
        digest.update(f"{tensor.name}|{tensor.shape}|{tensor.dtype}".encode())
        if tensor.size and not tensor.unreadable:
            last = tensor.shape[0]
            digest.update(tensor.read(0, 1).tobytes() + tensor.read(last - 1, last).tobytes())
    found = _revision(source, plan) if revision else ""
    return ModelInfo(source.name, source.location, source.format, digest.hexdigest(), found)


def _revision(source: Source, plan: AnalysisPlan) -> str:
    digest = hashlib.sha256()
    for file in source.files:
        stat = file.stat()
        digest.update(f"{file.name}|{stat.st_size}|{stat.st_mtime_ns}|".encode())
    for tensor in [] if source.files else sorted((job.tensor for job in plan.jobs), key=lambda tensor: tensor.name):
        if tensor.size and not tensor.unreadable:
            step = max(1, _HASHED_AT_ONCE // (tensor.size // tensor.shape[0]))
            for start in range(0, tensor.shape[0], step):
                digest.update(tensor.read(start, min(start + step, tensor.shape[0])).tobytes())
    return digest.hexdigest()


def _reason_by_size(job: WeightMatrices, settings: AnalysisSettings) -> str | None:
    n, side = job.num_eigenvalues, max(job.num_rows, job.num_cols)
    if settings.drop_small and n < settings.min_evals:
        return f"{n} eigenvalues: under the profile's limit of {settings.min_evals}"
    if settings.max_evals is not None and n > settings.max_evals:
        return f"{n} eigenvalues: over the profile's limit of {settings.max_evals}"
    if settings.max_side is not None and side > settings.max_side:
        return f"side of {side}: over the profile's limit of {settings.max_side}"
    return None


def _filtered(jobs: list[WeightMatrices], skipped: list[SkippedTensor], settings: AnalysisSettings) -> AnalysisPlan:
    names = [job.layer_name for job in jobs]
    for option, patterns in (("include", settings.include), ("exclude", settings.exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InputError(
                    f"{option} pattern '{pattern}' matches none of the {len(names)} layers.{did_you_mean(pattern, names)} "
                    "Patterns are globs on the whole layer name, such as '*.attention.*'; --dry-run lists the names."
                )
    kept = []
    for job in jobs:
        reason = None
        if settings.include and not _matches(job.layer_name, settings.include):
            reason = "not included: " + ", ".join(settings.include)
        elif _matches(job.layer_name, settings.exclude):
            reason = "excluded: " + ", ".join(settings.exclude)
        if reason:
            skipped.append(SkippedTensor(job.tensor.name, job.tensor.shape, job.tensor.dtype, reason))
        else:
            kept.append(job)
    if not kept:
        raise InputError("include and exclude leave no layer to analyse. Loosen one of them; --dry-run lists the names.")
    return AnalysisPlan(tuple(kept), tuple(skipped))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _job_bytes(job: WeightMatrices) -> int:
    small = min(job.num_rows, job.num_cols)
    stored = job.tensor.size * max(4, _BYTES.get(job.tensor.dtype, 4))
    by_blocks = job.num_matrices == 1 and job.num_rows >= job.num_cols  # tall matrices are never held whole
    block = min(block_rows(small), max(job.num_rows, job.num_cols)) * small if small else 0
    # As read (float32 at least) and in working precision; the Gram matrix, a partial sum and the solver's copy.
    return (0 if by_blocks else stored) + (4 + 8) * block + 24 * small**2
