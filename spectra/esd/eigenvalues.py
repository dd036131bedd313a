r"""Eigenvalues :math:`\lambda_i = \sigma_i^2` of a matrix, by its Gram matrix or by its singular values.

Two routes, one answer:

=========  =============================================  ===========================================
route      how                                            what it can resolve
=========  =============================================  ===========================================
``gram``   :math:`W^T W` over blocks of rows, then a       :math:`\lambda > n\,\epsilon\,\lambda_{max}`
           symmetric eigensolver; 2 to 4 times faster
``svd``    singular values (of the triangular factor,      :math:`\sigma > N\,\epsilon\,\sigma_{max}`
           for a matrix taller than one block)
=========  =============================================  ===========================================

with ``n`` the smaller and ``N`` the larger side and eps that of the working precision. ``auto`` takes the Gram
route and falls back to the singular values when an eigenvalue lies under the Gram's resolution and ranks are wanted.
Block sizes are fixed, so that the digits do not depend on the machine's memory or the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError, SpectraError, did_you_mean
from spectra.esd.accelerator import CPU, check_device, check_solver, own_stream, refusal, symmetric_eigenvalues
from spectra.esd.gram import AnyArray, ReadRows, blocks_of, check_finite, safe_gram, scale_of, transposed_reader
from spectra.esd.real_array import real_array
from spectra.esd.spectrum import Spectrum, spectrum_of_singular_values, unscaled
from spectra.esd.stacks import stack_size_on

if TYPE_CHECKING:
    import torch

    from spectra.esd.accelerator import Solver

FloatArray = NDArray[np.float64]
KeepGram = Callable[[int, FloatArray, float], None]
Result = TypeVar("Result")
Precision = Literal["float64", "float32"]
Method = Literal["auto", "gram", "svd"]
Normalize = Literal["none", "1/N"]

PRECISIONS: tuple[Precision, ...] = ("float64", "float32")
METHODS: tuple[Method, ...] = ("auto", "gram", "svd")
NORMALIZATIONS: tuple[Normalize, ...] = ("none", "1/N")

# What may go wrong with one matrix while the others are fine (RuntimeError: torch's word for most of its errors).
MATRIX_ERRORS = (SpectraError, OSError, MemoryError, RuntimeError, np.linalg.LinAlgError)

# In the place of a Gram matrix whose eigenvalues are known: the other route needs the room.
_RELEASED = np.empty((0, 0))


def eigenvalues(
    matrix: ArrayLike | torch.Tensor,
    *,
    precision: Precision = "float64",
    method: Method = "auto",
    normalize: Normalize = "none",
    device: str = CPU,
) -> FloatArray:
    r"""Compute the eigenvalues :math:`\lambda_i = \sigma_i^2` of the smaller Gram matrix.

    Args:
        matrix: Shape ``(rows, cols)``, floating point, any layout; a NumPy array or a torch tensor.
        precision: Arithmetic of the Gram product or of the singular values. float32 halves the time of the product and
            keeps alpha to about 1e-5. On a device of torch's the eigensolver works in float32, too, and keeps alpha to about
            1e-4: measured 8e-5, on matrices of up to 4096 rows.
        method: ``"auto"``, ``"gram"`` or ``"svd"``, see the module's description. By the Gram route eigenvalues under
            ``min(rows, cols) * eps * largest`` carry no correct digit.
        normalize: ``"1/N"`` divides by the larger side, as theory papers do (arXiv 1810.01075 has X = WᵀW / N).
        device: Where Gram matrices are computed and solved: ``"cpu"`` (NumPy), or a device of torch's such as ``"cuda"``.

    Returns:
        Shape ``(min(rows, cols),)``, float64, ascending, not divided by a dimension unless asked. Negative round-off is
        set to 0.

    Raises:
        InputError: Not two-dimensional, complex, an unknown precision, method or normalization, or no such device.
        NonFiniteWeightsError: A NaN or infinite entry.

    Example:
        >>> import numpy as np
        >>> eigenvalues(np.diag([3.0, 1.0, 2.0]))
        array([1., 4., 9.])
    """
    array: Any = matrix if device != CPU and _is_dense_tensor(matrix) else real_array(matrix, "matrix")
    if array.ndim != 2:
        raise InputError(f"matrix: expected shape (rows, cols), got {tuple(array.shape)}. Pass one 2-D slice at a time.")
    _check_choice("normalize", normalize, NORMALIZATIONS)
    _check_choice("precision", precision, PRECISIONS)
    check_solver(check_device(device), precision)
    found = spectrum(
        lambda start, stop: array[start:stop],
        tuple(array.shape),
        precision=precision,
        method=method,
        device=device,
    )
    return found.eigenvalues / max(array.shape) if normalize == "1/N" else found.eigenvalues


def _is_dense_tensor(matrix: Any) -> bool:
    """Tell what a device of torch's takes as it is, from where it is."""
    return hasattr(matrix, "detach") and matrix.is_floating_point() and "strided" in str(matrix.layout)


def spectrum(
    read: ReadRows,
    shape: tuple[int, int],
    *,
    precision: Precision = "float64",
    method: Method = "auto",
    device: str = CPU,
) -> Spectrum:
    """Compute the spectrum of a matrix that is read by blocks of rows.

    Args:
        read: ``read(start, stop)`` returns those rows as a float16, float32 or float64 array. May be called more than
            once for the same rows.
        shape: ``(rows, cols)`` of the matrix.
        precision: Arithmetic of the Gram product or of the singular values.
        method: ``"auto"``, ``"gram"`` or ``"svd"``.
        device: Where Gram matrices are computed and solved.

    Returns:
        The spectrum. In float32, ``auto`` does not fall back (that would cost what float32 gains): ranks are then
        ``None`` when an eigenvalue lies under the Gram's resolution.

    Raises:
        InputError: An unknown precision or method.
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    (found,) = spectra_together([(read, shape)], precision=precision, method=method, device=device)
    if isinstance(found, Exception):
        raise found
    return found


def spectra_together(
    matrices: Iterable[tuple[ReadRows, tuple[int, int]]],
    *,
    precision: Precision = "float64",
    method: Method = "auto",
    device: str = CPU,
    keep: KeepGram | None = None,
    solver: Solver | None = None,
) -> Iterator[Spectrum | Exception]:
    """Compute the spectra of several matrices of equal smaller side, small ones in common calls of the solver.

    NumPy's eigensolver lets other threads run only during calls of more than 500 rows in all: one matrix of 384 rows at a
    time, two workers took as long as one. Stacks change no digit. On a device of torch's they are larger; where memory runs out
    or the solver does not converge, a stack is halved, and a matrix for which that does not help is computed on the CPU.

    Args:
        matrices: Pairs of ``read`` and ``shape``, as :func:`spectrum` takes them. A ``read`` with an attribute ``stored`` is
            read by that on a device: it gives the same rows as a torch tensor of any floating-point dtype.
        precision: Arithmetic of the Gram product or of the singular values.
        method: ``"auto"``, ``"gram"`` or ``"svd"``.
        device: Where Gram matrices are computed and solved.
        keep: Called with the position of a matrix, its Gram matrix in float64 and the scale, as :func:`safe_gram` gives them;
            not for what took another route, or another device.
        solver: As for :func:`spectra.esd.accelerator.symmetric_eigenvalues`; of a device only.

    Yields:
        For each matrix, in order, its spectrum; or what went wrong with this one, of ``MATRIX_ERRORS``: a
        ``NonFiniteWeightsError``, what its ``read`` raised, too little memory, no convergence.

    Raises:
        InputError: An unknown precision or method.
    """
    _check_choice("precision", precision, PRECISIONS)
    _check_choice("method", method, METHODS)
    iterator, done = iter(matrices), 0
    for read, shape in iterator:
        chunk = [(read, shape), *islice(iterator, stack_size_on(device, shape, precision) - 1)]
        if device != CPU:
            yield from _on_device(chunk, precision, method, device, solver)
            continue
        prepared = [_or_error(_prepared, read, shape, precision, method, device) for read, shape in chunk]
        for position, problem in enumerate(prepared, done):
            if keep and isinstance(problem, _GramProblem) and precision == "float64":
                keep(position, problem.gram, problem.scale)
        done += len(prepared)
        values = _or_error(_solved, _grams(prepared))
        yield from _answers([_without_gram(problem) for problem in prepared], values, method)


def _on_device(
    chunk: Sequence[tuple[ReadRows, tuple[int, int]]], precision: Precision, method: Method, device: str, solver: Solver | None
) -> Iterator[Spectrum | Exception]:
    """Compute the spectra of a stack on a device, or of its halves, or at the end of one matrix on the CPU.

    On the CPU and not as a failure: a report without its largest layers answers less than one that came later, and the
    numbers are the same.

    Yields:
        As :func:`spectra_together`.
    """
    with own_stream(device):
        prepared = [_or_error(_prepared, getattr(r, "stored", r), shape, precision, method, device) for r, shape in chunk]
        reason = next(filter(None, (refusal(found, device) for found in prepared)), "")
        values = [] if reason else _or_error(symmetric_eigenvalues, _grams(prepared), device, solver)
    reason = reason or refusal(values, device)
    if not reason:
        yield from _answers([_without_gram(problem) for problem in prepared], values, method)
        return
    del prepared, values  # and with them what they hold on the device
    if len(chunk) > 1:
        half = len(chunk) // 2
        yield from _on_device(chunk[:half], precision, method, device, solver)
        yield from _on_device(chunk[half:], precision, method, device, solver)
        return
    for found in spectra_together(chunk, precision=precision, method=method):
        yield found if isinstance(found, Exception) else replace(found, note=f"{reason}: computed on the CPU")


def _grams(prepared: Sequence[_GramProblem | Spectrum | Exception]) -> list[AnyArray]:
    return [problem.gram for problem in prepared if isinstance(problem, _GramProblem)]


def _without_gram(problem: _GramProblem | Spectrum | Exception) -> _GramProblem | Spectrum | Exception:
    if isinstance(problem, _GramProblem):
        problem.gram = _RELEASED
    return problem


def _answers(
    prepared: Sequence[_GramProblem | Spectrum | Exception], values: Sequence[FloatArray] | Exception, method: Method
) -> Iterator[Spectrum | Exception]:
    solved = repeat(values) if isinstance(values, Exception) else iter(values)
    for problem in prepared:
        if not isinstance(problem, _GramProblem):
            yield problem
        elif isinstance(found := next(solved), Exception):
            yield found
        else:
            yield _or_error(_finished, problem, found, method)


@dataclass
class _GramProblem:
    """A Gram matrix to be decomposed, where it was computed, of ``scale`` times a matrix that ``read`` gives as a tall one."""

    gram: AnyArray
    scale: float
    read: ReadRows
    large: int
    precision: Precision


def _prepared(
    read: ReadRows, shape: tuple[int, int], precision: Precision, method: Method, device: str
) -> _GramProblem | Spectrum:
    rows, cols = shape
    small, large = min(shape), max(shape)
    if small == 0:
        return Spectrum(np.empty(0), 0.0, "gram", precision, 0, 0, np.empty(0))
    if rows < cols:  # the small side must be the columns: read whole, as stored, and walk over the transpose
        read = transposed_reader(read(0, rows))
    if method == "svd":
        # float32 may not hold the weights: 1e-50 would be a zero matrix.
        scale = scale_of(read, large, small) if precision == "float32" else 1.0
        return _by_singular_values(read, large, small, precision, scale)
    gram, scale = safe_gram(read, large, small, precision, device=device)
    return _GramProblem(gram, scale, read, large, precision)


def _solved(grams: Sequence[AnyArray]) -> Sequence[FloatArray]:
    # Always in float64: OpenBLAS' solver takes as long in float32 (768 rows: 36 ms against 32), and keeps fewer digits.
    if len(grams) < 2:  # np.stack would copy
        return [_zeros_or_eigenvalues(gram.astype(np.float64, copy=False)) for gram in grams]
    return list(np.linalg.eigvalsh(np.stack(grams, dtype=np.float64)))


def _zeros_or_eigenvalues(gram: FloatArray) -> FloatArray:
    # Of sums of squares only those of a zero matrix are zero: a scale kept all others from vanishing.
    return np.asarray(np.linalg.eigvalsh(gram), dtype=np.float64) if np.trace(gram) else np.zeros(len(gram))


def _finished(problem: _GramProblem, values: FloatArray, method: Method) -> Spectrum:
    values = np.maximum(values, 0.0)
    small, eps = len(values), float(np.finfo(problem.precision).eps)
    resolution = small * eps * float(values[-1])
    resolved = bool(values[0] > resolution) or values[-1] == 0.0
    if not resolved and method == "auto" and problem.precision == "float64":
        return _by_singular_values(problem.read, problem.large, small, problem.precision, problem.scale)
    rank: int | None = None
    if resolved:
        singular = np.sqrt(values)
        rank = int(np.count_nonzero(singular > singular[-1] * problem.large * eps))
    rank_loss = None if rank is None else small - rank
    found = Spectrum(values, resolution, "gram", problem.precision, rank, rank_loss, values[:1])
    return unscaled(found, problem.scale)


def _or_error(function: Callable[..., Result], *arguments: Any) -> Result | Exception:
    try:
        return function(*arguments)
    except MATRIX_ERRORS as error:
        return error


def singular_value_spectrum(matrix: AnyArray, precision: str) -> Spectrum:
    """Compute the spectrum of a small matrix, real or complex, by its singular values.

    Args:
        matrix: Shape ``(rows, cols)``, in memory, both sides at least 1.
        precision: Arithmetic of the singular values.

    Returns:
        The spectrum.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    check_finite(matrix)
    return _from_factor(matrix, max(matrix.shape), precision, 1.0)


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"unknown {name} {value!r}.{did_you_mean(str(value), known)} Known: {', '.join(known)}.")


def _by_singular_values(read: ReadRows, large: int, small: int, precision: str, scale: float) -> Spectrum:
    factor: AnyArray | None = None
    for block in blocks_of(read, large, small, precision, scale):
        check_finite(block)
        if len(block) == large:
            factor = block
        else:  # singular values of a stack are those of the triangular factor of its blocks, one after the other
            factor = block if factor is None else np.concatenate([factor, block])
            del block  # the factorization makes copies of what it is given
            factor = cast(AnyArray, np.linalg.qr(factor, mode="r"))
    assert factor is not None
    return _from_factor(factor, large, precision, scale)


def _from_factor(factor: AnyArray, large: int, precision: str, scale: float) -> Spectrum:
    """Return the spectrum of ``1 / scale`` times a matrix, or of one with this triangular factor."""
    singular = np.linalg.svd(factor, compute_uv=False).astype(np.float64)[::-1]
    return spectrum_of_singular_values(singular, large, precision, scale)
