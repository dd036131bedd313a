"""What an analysis would do: the weights to analyse and the tensors to skip, from names and shapes alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from spectra.diagnose.memory_need import bytes_of
from spectra.diagnose.thresholds import MIN_EVALS_FOR_LABEL
from spectra.errors import InputError, SourceError, did_you_mean
from spectra.esd.eigenvalues import MATRIX_ERRORS
from spectra.matrices import ModelContext, WeightMatrices, matrices_of, pool_experts
from spectra.results.records import ModelInfo, SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.results.words import counted
from spectra.sources import Source
from spectra.sources.file_checks import reading
from spectra.sources.tensors import StoredTensor

_HASHED_AT_ONCE = 2**22  # numbers


@dataclass(frozen=True)
class AnalysisPlan:
    """The weights of a model that will be analysed.

    Attributes:
        jobs: In model order.
        skipped: Every other tensor of two or more dimensions, in model order, with its reason.
        settings: With what depends on the model filled in: the window of ``farms``.
        is_part: Only some of the weights: those of a shard.
    """

    jobs: tuple[WeightMatrices, ...]
    skipped: tuple[SkippedTensor, ...]
    settings: AnalysisSettings
    is_part: bool = False

    @property
    def flops(self) -> float:
        """Work of all jobs."""
        return sum(job.flops for job in self.jobs)

    def peak_bytes(self, workers: int) -> int:
        """Bound the memory in flight, if nothing else does: that of the largest weights, one per worker.

        Args:
            workers: Number of workers.

        Returns:
            Bytes on top of the idle process; see :mod:`spectra.diagnose.memory_need`.
        """
        return sum(sorted((self.need([job]) for job in self.jobs), reverse=True)[:workers])

    def need(self, batch: Sequence[WeightMatrices]) -> int:
        """Return how many bytes the analysis of some weights takes at most; see :mod:`spectra.diagnose.memory_need`."""
        return bytes_of(batch, self.settings)


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
    causes: dict[str, str] = {}  # settings that leave layers out, and the first one
    context = ModelContext.of(source)
    for tensor in source.tensors:
        if tensor.tied_to and not settings.count_ties:
            tied.setdefault(tensor.tied_to, []).append(tensor.name)
            if len(tensor.shape) >= 2:
                skipped.append(_skip(tensor, f"tied to '{tensor.tied_to}'"))
            continue
        found = matrices_of(tensor, context, settings)
        if isinstance(found, SkippedTensor):
            skipped.append(found)
        for job in found if isinstance(found, tuple) else ():
            refused = _refused_by_settings(job, settings)
            if refused:
                setting, reason = refused
                causes.setdefault(setting, f"'{tensor.name}': {reason}")
                skipped.append(_skip(tensor, reason, job))
            else:
                jobs.append(job)
    jobs = pool_experts(jobs) if settings.moe == "pool" else jobs
    if not jobs:
        if causes:
            raise InputError(
                f"the limits of {', '.join(causes)} leave no layer of '{source.location}' to analyse; "
                f"{'; '.join(causes.values())}. Loosen them; --dry-run then lists the layers."
            )
        raise SourceError(_nothing_to_analyse(source, skipped))
    names = Counter(job.matrix_name for job in jobs)
    # 'a' and 'a.weight' in one file are one layer name and two matrices.
    jobs = [
        dataclasses.replace(job, matrix_name=job.tensor.name + job.matrix_name.removeprefix(job.layer_name))
        if names[job.matrix_name] > 1
        else job
        for job in jobs
    ]
    jobs = [
        dataclasses.replace(job, tied_names=tuple(tied[job.tensor.name])) if job.tensor.name in tied else job for job in jobs
    ]
    jobs, skipped = _filtered(jobs, skipped, settings)
    place = {tensor.name: number for number, tensor in enumerate(source.tensors)}
    skipped.sort(key=lambda tensor: place[tensor.name])
    return AnalysisPlan(tuple(jobs), tuple(skipped), _with_window(settings, jobs))


def model_info(source: Source, plan: AnalysisPlan, *, revision: bool) -> ModelInfo:
    """Identify the model by a sample of its weights.

    Args:
        source: An opened model.
        plan: Its plan.
        revision: Find the revision, too; a model in memory is read once for it.

    Returns:
        Name, location, fingerprint and revision.

    Raises:
        SourceError: A file that is gone by now.
    """
    digest = hashlib.sha256()
    tensors = {job.tensor.name: job.tensor for job in plan.jobs}
    readable = [tensors[name] for name in sorted(tensors)]  # containers keep them in different orders
    stored_with: dict[str, list[StoredTensor]] = {}
    for tensor in source.tensors:
        if tensor.part_of is not None and tensor.size:
            stored_with.setdefault(tensor.part_of, []).append(tensor)
    for tensor in readable:
        digest.update(f"{tensor.name}|{tensor.shape}|{tensor.dtype}".encode())
        if tensor.size and not (tensor.unreadable or tensor.no_base):
            # One row of some quantized weights takes unpacking all of it: their scales identify them as well.
            for sampled in stored_with.get(tensor.name, [tensor]) if tensor.quantized else [tensor]:
                last = sampled.shape[0] if sampled.shape else 1
                digest.update(_numbers(sampled, 0, 1) + _numbers(sampled, last - 1, last))
    found = _revision(source, readable) if revision else ""
    return ModelInfo(source.name, source.location, source.format, digest.hexdigest(), found, source.base, source.notes)


def _revision(source: Source, tensors: Sequence[StoredTensor]) -> str:
    # The configuration says how weights are split: other heads, other rows of the report.
    digest = hashlib.sha256(json.dumps(source.config, sort_keys=True, default=str).encode())
    for file in source.files:
        with reading(file):  # another process may have taken it away since it was opened
            stat = file.stat()
        digest.update(f"{file.name}|{stat.st_size}|{stat.st_mtime_ns}|".encode())
    for tensor in [] if source.files else tensors:
        if tensor.size and not (tensor.unreadable or tensor.no_base):
            step = max(1, _HASHED_AT_ONCE // (tensor.size // tensor.shape[0]))
            for start in range(0, tensor.shape[0], step):
                digest.update(_numbers(tensor, start, min(start + step, tensor.shape[0])))
    return digest.hexdigest()


def _numbers(tensor: StoredTensor, start: int, stop: int) -> bytes:
    """Read rows to identify a weight by; what cannot be read becomes the weight's status later on."""
    try:
        return tensor.read(start, stop).tobytes()
    except MATRIX_ERRORS as error:
        return str(error).encode()


def _nothing_to_analyse(source: Source, skipped: Sequence[SkippedTensor]) -> str:
    first = f"'{skipped[0].name}': {skipped[0].reason}" if skipped else "none has two dimensions"
    dtypes = ", ".join(sorted({tensor.dtype for tensor in source.tensors})) or "none"
    return (
        f"'{source.location}' has no weight to analyse among {counted(len(source.tensors), 'tensor')} (dtypes: {dtypes}); "
        f"{first}. Give a checkpoint with floating-point matrices."
    )


def _skip(tensor: StoredTensor, reason: str, job: WeightMatrices | None = None) -> SkippedTensor:
    part = job.matrix_name.removeprefix(job.layer_name).lstrip(".") if job else ""
    return SkippedTensor(tensor.name, tensor.shape, tensor.dtype, f"{part}: {reason}" if part else reason)


def _refused_by_settings(job: WeightMatrices, settings: AnalysisSettings) -> tuple[str, str] | None:
    """Return the setting that leaves a weight out and why, or ``None``."""
    n, side = job.num_eigenvalues, max(job.num_rows, job.num_cols)
    if settings.kinds and job.kind not in settings.kinds:
        return "kinds", f"kind {job.kind}: only {', '.join(settings.kinds)} asked for"
    if settings.drop_small and n < settings.min_evals:
        return "min_evals", f"{n} eigenvalues: under the profile's limit of {settings.min_evals}"
    if settings.max_evals is not None and n > settings.max_evals:
        return "max_evals", f"{n} eigenvalues: over the profile's limit of {settings.max_evals}"
    if settings.max_side is not None and side > settings.max_side:
        return "max_side", f"side of {side}: over the profile's limit of {settings.max_side}"
    return None


def _filtered(
    jobs: list[WeightMatrices], skipped: list[SkippedTensor], settings: AnalysisSettings
) -> tuple[list[WeightMatrices], list[SkippedTensor]]:
    names = list(dict.fromkeys(name for job in jobs for name in (job.layer_name, job.matrix_name)))
    for option, patterns in (("include", settings.include), ("exclude", settings.exclude)):
        for pattern in patterns:
            if not any(_is_match(name, pattern) for name in names):
                raise _matching_nothing(option, pattern, jobs, names, skipped)
    kept = []
    for job in jobs:
        reason = None
        if settings.include and not _matches(job, settings.include):
            reason = "not included: " + ", ".join(settings.include)
        elif _matches(job, settings.exclude):
            reason = "excluded: " + ", ".join(settings.exclude)
        if reason:
            skipped.append(_skip(job.tensor, reason, job))
        else:
            kept.append(job)
    if not kept:
        raise InputError("include and exclude leave no layer to analyse. Loosen one of them; --dry-run lists the names.")
    return kept, skipped


def _matching_nothing(
    option: str, pattern: str, jobs: Sequence[WeightMatrices], names: Sequence[str], skipped: Sequence[SkippedTensor]
) -> InputError:
    for tensor in skipped:
        if any(_is_match(name, pattern) for name in (tensor.name, tensor.name.removesuffix(".weight"))):
            return InputError(f"{option} pattern '{pattern}' matches only what is skipped: '{tensor.name}': {tensor.reason}.")
    return InputError(
        f"{option} pattern '{pattern}' matches none of the {len({job.layer_name for job in jobs})} layers."
        f"{did_you_mean(pattern, names)} Patterns are globs on the whole layer name, such as '*.attention.*'; --dry-run lists "
        "the names."
    )


def _matches(job: WeightMatrices, patterns: Sequence[str]) -> bool:
    return any(_is_match(name, pattern) for pattern in patterns for name in (job.layer_name, job.matrix_name))


def _is_match(name: str, pattern: str) -> bool:
    # A name copied from the table is meant as it is: to a glob the brackets of 'experts.down_proj[3]' are a set of letters.
    return name == pattern or fnmatchcase(name, pattern)


def _with_window(settings: AnalysisSettings, jobs: Sequence[WeightMatrices]) -> AnalysisSettings:
    """Choose the window of ``farms``: one for all layers, so that all exponents come from one aspect ratio and size."""
    if settings.subsample != "farms" or settings.window_rows is not None:
        return settings
    from spectra.esd.subsample import default_window_rows

    shapes = [(job.num_rows, job.num_cols) for job in jobs if min(job.num_rows, job.num_cols) and not job.is_depthwise]
    # Output layers of a few classes and routers would shrink everybody's window to nothing.
    wide = [shape for shape in shapes if min(shape) >= MIN_EVALS_FOR_LABEL] or shapes
    return dataclasses.replace(settings, window_rows=default_window_rows(wide)) if wide else settings
