"""Weights → spectra: that of the whole weight, and the one that its fit is made on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from spectra.diagnose.kept_grams import KeptGrams
from spectra.esd.accelerator import CPU
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray, Method, Precision, singular_value_spectrum, spectra_together
from spectra.esd.gram import AnyArray, ReadRows
from spectra.esd.spectrum import Spectrum, pool
from spectra.matrices import WeightMatrices, operator_matrices
from spectra.results.settings import AnalysisSettings

# The fewest windows that cover a matrix whose sides they do not divide overlap by less than this; more is the user's choice.
_MOST_OVERLAP = 4.0


@dataclass(frozen=True)
class Found:
    """The spectra of a weight.

    Attributes:
        whole: Of all its matrices.
        fitted: What the fit is made on: the same, its inverse, or the pooled spectra of windows.
        num_pooled: Matrices, or windows of them, whose eigenvalues ``fitted`` holds.
        num_windows: How many windows were pooled; ``None`` without windows.
        window_rows: Rows of a window; ``None`` without windows.
        is_independent: ``False`` if the same weights are in several windows: the fit then has fewer values than it counts.
        replicas: Spectra of the same weights in random order, without ``conv_norm``; or why there are none.
        notes: What to know about them.
    """

    whole: Spectrum
    fitted: Spectrum
    num_pooled: int = 1
    num_windows: int | None = None
    window_rows: int | None = None
    is_independent: bool = True
    replicas: Sequence[FloatArray] | Exception = ()
    notes: tuple[str, ...] = ()


def spectra_of(
    batch: Sequence[WeightMatrices], settings: AnalysisSettings, *, device: str, grams: KeptGrams | None = None
) -> Iterator[Found | Exception]:
    """Compute the spectra of weights.

    Args:
        batch: Several single matrices of equal smaller side, or any other weights.
        settings: Resolved settings.
        device: Where Gram matrices are computed and solved.
        grams: Keeps the Gram matrices of weights that are one matrix. Default: none are kept.

    Yields:
        For each weight its spectra, or what went wrong with it, of ``MATRIX_ERRORS``.
    """
    together = partial(
        spectra_together,
        precision=cast(Precision, settings.precision),
        method=cast(Method, settings.method),
        device=device,
    )
    if all(m.is_single and m.tensor.factors is None for m in batch):
        readers = (next(_readers(m, device)) for m in batch)
        keep = (lambda place, gram, scale: grams.keep(batch[place], gram, scale)) if grams else None
        wholes: Iterator[Spectrum | Exception] = together(readers, keep=keep)
    else:
        wholes = (_pooled(m, together, settings) for m in batch)
    for matrices, whole in zip(batch, wholes, strict=True):
        yield whole if isinstance(whole, Exception) else _found(matrices, whole, settings, device)


def with_replicas(
    batch: Sequence[WeightMatrices], found: Sequence[Found | Exception], settings: AnalysisSettings, *, device: str
) -> list[Found | Exception]:
    """Add the spectra of the weights in random order, several layers in common calls of the solver.

    Args:
        batch: As for :func:`spectra_of`.
        found: What that function gave for it.
        settings: Resolved settings.
        device: Where Gram matrices are computed and solved.

    Returns:
        The same, with ``replicas`` where there are matrices to shuffle.
    """
    from spectra.esd.randomized import ShuffledLayer, randomized_together

    result = list(found)
    shuffled = [number for number, one in enumerate(found) if isinstance(one, Found) and _can_be_shuffled(batch[number], one)]
    layers = [
        ShuffledLayer(batch[number].matrix_name, partial(_arrays, batch[number]), batch[number].num_eigenvalues)
        for number in shuffled
    ]
    precision = cast(Precision, settings.precision)
    spectra = randomized_together(
        layers, seed=settings.seed, num_replicas=settings.num_replicas, precision=precision, device=device
    )
    for number, replicas in zip(shuffled, spectra, strict=True):
        result[number] = dataclasses.replace(cast(Found, found[number]), replicas=replicas)
    return result


def _can_be_shuffled(matrices: WeightMatrices, found: Found) -> bool:
    is_stored = matrices.tensor.factors is None and not matrices.is_operator
    return is_stored and not matrices.is_depthwise and bool(found.whole.eigenvalues[-1] > 0.0)


def _arrays(matrices: WeightMatrices) -> Iterator[AnyArray]:
    for read in matrices.readers():
        yield read(0, matrices.num_rows)


def scale_of(matrices: WeightMatrices, settings: AnalysisSettings) -> float:
    """Return the factor on the eigenvalues of a weight.

    Args:
        matrices: The weight.
        settings: Resolved settings.

    Returns:
        ``conv_norm`` for convolutions, over the larger side where asked for.
    """
    factor = settings.conv_norm if matrices.kind.startswith("conv") else 1.0
    return factor / max(matrices.num_rows, matrices.num_cols) if settings.normalize == "1/N" else factor


def _pooled(
    matrices: WeightMatrices, together: partial[Iterator[Spectrum | Exception]], settings: AnalysisSettings
) -> Spectrum | Exception:
    shape = (matrices.num_rows, matrices.num_cols)
    try:
        parts: list[Spectrum] = []
        for part in _parts(matrices, together, settings):
            if isinstance(part, Exception):
                raise part
            parts.append(part)
        return pool(parts, max(shape))
    except MATRIX_ERRORS as error:
        return error


def _parts(
    matrices: WeightMatrices, together: partial[Iterator[Spectrum | Exception]], settings: AnalysisSettings
) -> Iterator[Spectrum | Exception]:
    if matrices.tensor.factors is not None:
        from spectra.esd.low_rank import low_rank_spectrum

        for left, right in matrices.factors():
            yield low_rank_spectrum(left, right, precision=cast(Precision, settings.precision))
    elif matrices.is_operator:
        for matrix in operator_matrices(matrices):
            yield singular_value_spectrum(matrix, settings.precision)
    else:
        yield from together(_readers(matrices, together.keywords["device"]))


def _readers(matrices: WeightMatrices, device: str) -> Iterator[tuple[ReadRows, tuple[int, int]]]:
    """Yield matrices with their shapes; NumPy gets them tall, in as little memory as can be, a device as they are stored."""
    shape = (matrices.num_rows, matrices.num_cols)
    tall = (max(shape), min(shape))
    yield from ((read, tall) for read in matrices.tall_readers()) if device == CPU else ((r, shape) for r in matrices.readers())


def _found(matrices: WeightMatrices, whole: Spectrum, settings: AnalysisSettings, device: str) -> Found | Exception:
    scale = scale_of(matrices, settings)
    whole = whole.scaled(scale) if scale != 1.0 else whole
    if settings.inverse:
        return Found(whole, _inverse(whole), matrices.num_matrices)
    if settings.subsample != "farms":
        return Found(whole, whole, matrices.num_matrices)
    if matrices.tensor.factors is not None or matrices.is_operator or matrices.is_depthwise:
        return Found(whole, whole, matrices.num_matrices, notes=("no windows: not a stored matrix",))
    from spectra.esd.subsample import farms_eigenvalues

    try:
        pooled = farms_eigenvalues(
            matrices.readers,
            (matrices.num_rows, matrices.num_cols),
            window_rows=settings.window_rows or min(matrices.num_rows, matrices.num_cols),
            aspect_ratio=settings.window_aspect,
            windows_per_side=settings.windows_per_side,
            precision=cast(Precision, settings.precision),
            device=device,
        )
    except MATRIX_ERRORS as error:
        return error
    values = pooled.eigenvalues * scale
    fitted = Spectrum(values, pooled.null_threshold * scale, "gram", settings.precision, None, None, values[:1])
    rows, cols = pooled.window_shape
    overlap = pooled.num_windows * rows * cols / max(matrices.num_params, 1)
    return Found(
        whole,
        fitted,
        pooled.num_windows,
        num_windows=pooled.num_windows,
        window_rows=rows,
        is_independent=overlap <= _MOST_OVERLAP,
        notes=()
        if overlap <= _MOST_OVERLAP
        else (f"every weight is in {overlap:.0f} windows: not so many independent values",),
    )


def _inverse(spectrum: Spectrum) -> Spectrum:
    """Invert the eigenvalues that are not numerically zero; a profile's threshold is for the inverses, as WeightWatcher's."""
    values = spectrum.eigenvalues[spectrum.eigenvalues > spectrum.null_threshold]
    inverse = 1.0 / values[::-1]
    return dataclasses.replace(spectrum, eigenvalues=inverse, null_threshold=0.0, smallest=inverse[:1])
