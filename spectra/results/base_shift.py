"""What retraining moved: the spectrum of each matrix's change from the pretrained base, beside what theory says of retraining.

The theory (arXiv 2410.22264v2) is of linear models: :math:`T` tasks with matrices :math:`A^* + U_t U_t^T`, each
:math:`U_t` of rank :math:`k`, and a retrained base :math:`A`.

============================================================  =======================================================
retraining                                                    :math:`A - A^*`
============================================================  =======================================================
standard (Theorem 1)                                          the mean of the :math:`U_t U_t^T`, of rank :math:`kT`
LoRA-ML, three tasks or more, adapters of rank k (Theorem 3)  zero
the same, adapters of rank q > k (our derivation)             of rank at most :math:`T(q - k) / (T - 2)`
============================================================  =======================================================

Measured is :math:`A - A_0` from the pretrained base, which is not :math:`A^*`: what all tasks have in common is in it, of any
rank. It is a diagnostic, no verdict. Between two bases retrained from one, that part cancels as far as both have learned it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import MissingPackageError, ResultsError
from spectra.results.records import LayerStatus, SkippedTensor
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.weight_rounds import plain_json

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = ".base-shift.json"
BASE_SHIFT_SCHEMA_VERSION = 1

_AGAIN = "Make it again: base_shift(pretrained, retrained).save(path)"


@dataclass(frozen=True, kw_only=True)
class MatrixChange:
    """What retraining added to one weight matrix. Without a spectrum its numbers are NaN, and ``status`` says why.

    Attributes:
        layer_name: Path of the module.
        matrix_name: Of the matrix; the layer's own unless a weight holds several.
        kind: As in a report: ``linear``, ``embedding``, ...
        num_rows: Of the matrix.
        num_cols: Likewise.
        num_eigenvalues: How many directions there are; of a convolution those of all kernel positions together.
        norm_before: Frobenius norm of the pretrained matrix.
        norm_change: Frobenius norm of the change; 0 for a matrix that did not change.
        rounding: Norm of what rounding the retrained weights to their dtype may have added at most; NaN for dtypes of less
            than 16 bits.
        stable_rank: Sum of the eigenvalues of the change over the largest: its directions, weighed by how large they are.
        effective_rank: Likewise by their entropy, ``matrix_rank`` to the power of the column ``entropy`` of a report.
        matrix_rank: Singular values above round-off, ``rounding`` included: below it nothing can be told from zero.
        energy: The share of the squared norm in so many of the largest singular values, by their number.
        status: ``ok``, ``unchanged``, or why there is no spectrum, as in a report.
        notes: What to know before trusting the row.
    """

    layer_name: str
    matrix_name: str
    kind: str
    num_rows: int
    num_cols: int
    num_eigenvalues: int
    norm_before: float
    norm_change: float = math.nan
    rounding: float = math.nan
    stable_rank: float = math.nan
    effective_rank: float = math.nan
    matrix_rank: float = math.nan
    energy: Mapping[int, float]
    status: str = LayerStatus.OK.value
    notes: str = ""

    @property
    def relative_change(self) -> float:
        """The norm of the change over that of the pretrained matrix; infinite for one that was zero."""
        return _ratio(self.norm_change, self.norm_before)

    @property
    def is_reliable(self) -> bool:
        """Whether less than a tenth of the change may be rounding (our choice), which fills the tail of a spectrum."""
        return self.rounding < 0.1 * self.norm_change

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the relative change by name; ``None`` for what is not known."""
        content: dict[str, Any] = plain_json(dataclasses.asdict(self) | {"relative_change": self.relative_change})
        return content


@dataclass(frozen=True, kw_only=True)
class BaseShift:
    """What retraining moved, matrix by matrix.

    Attributes:
        pretrained: Where the base before retraining came from.
        retrained: Where the base after it came from.
        num_tasks: Tasks of retraining, T; ``None`` if not told.
        rank: Of the adapters in retraining, k; ``None`` if not told.
        top: Numbers of singular values whose share of the energy is asked for: k, kT and k(T+1), as far as they are known.
        matrices: All that both bases have, in the order of the model.
        skipped: Every other tensor of two or more dimensions, with its reason.
        notes: What to know about the whole.
    """

    pretrained: str
    retrained: str
    num_tasks: int | None
    rank: int | None
    top: tuple[int, ...]
    matrices: tuple[MatrixChange, ...]
    skipped: tuple[SkippedTensor, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[MatrixChange, ...]:
        """The matrices that changed and have a spectrum of their change."""
        return tuple(matrix for matrix in self.matrices if matrix.status == LayerStatus.OK)

    @property
    def norm_before(self) -> float:
        """Norm of all pretrained matrices whose change is known."""
        return math.hypot(*(matrix.norm_before for matrix in self.matrices if math.isfinite(matrix.norm_change)))

    @property
    def norm_change(self) -> float:
        """Norm of their change."""
        return math.hypot(*(matrix.norm_change for matrix in self.matrices if math.isfinite(matrix.norm_change)))

    @property
    def relative_change(self) -> float:
        """The one over the other."""
        return _ratio(self.norm_change, self.norm_before)

    @property
    def standard_rank(self) -> int | None:
        """Rank of A - A* after standard retraining, kT (Theorem 1); ``None`` where T or k is not known."""
        return None if self.num_tasks is None or self.rank is None else self.rank * self.num_tasks

    @property
    def leftover_rank(self) -> int | None:
        """The largest rank of A - A* after LoRA-ML, if all tasks are of rank 1; ``None`` for fewer than three tasks.

        Nothing is left over if adapters in retraining have the rank of the tasks; that is not known.
        """
        if self.num_tasks is None or self.rank is None or self.num_tasks < 3:
            return None
        return self.num_tasks * (self.rank - 1) // (self.num_tasks - 2)

    @property
    def theory(self) -> str:
        """What the theory says of A - A*, in words; empty where T or k is not known."""
        if self.standard_rank is None:
            return ""
        most = self.leftover_rank
        rest = "" if most is None else f", {f'0 to {most}' if most else '0'} after LoRA-ML"
        return f"theory, of A - A*: rank {self.standard_rank} after standard retraining{rest}"

    def median(self, column: str) -> float:
        """Compute the median of a column over the matrices that changed, each of which counts once.

        Args:
            column: Such as ``"stable_rank"``.

        Returns:
            The median of what is known; NaN if none is.
        """
        return _median(getattr(matrix, column) for matrix in self.changed)

    def energy(self, count: int) -> float:
        """Compute the median share of the energy of a change in its largest singular values.

        Args:
            count: How many of them.

        Returns:
            The median; NaN if no matrix changed, or this share was not kept.
        """
        return _median(matrix.energy.get(count, math.nan) for matrix in self.changed)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it: fields by name, with a schema version and what theory says."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        theory = {"standard_rank": self.standard_rank, "leftover_rank": self.leftover_rank}
        rows = {name: [each.to_dict() for each in getattr(self, name)] for name in ("matrices", "skipped")}
        content: dict[str, Any] = plain_json(own | {"relative_change": self.relative_change} | theory | rows)
        return {"schema_version": BASE_SHIFT_SCHEMA_VERSION} | content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> BaseShift:
        """Make a shift of what JSON gives back.

        Args:
            content: From :meth:`to_dict`.

        Returns:
            The shift.

        Raises:
            KeyError: A field is missing.
            TypeError: A field holds something else.
            ValueError: A text that is no number.
        """
        return cls(**_fields(cls, content))

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each matrix.

        Returns:
            Its fields, the relative change and whether it is reliable, with a column for each share: ``energy_1``, ...

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        derived = ("relative_change", "is_reliable")
        rows = [vars(matrix) | {name: getattr(matrix, name) for name in derived} for matrix in self.matrices]
        shares = [{f"energy_{count}": share for count, share in matrix.energy.items()} for matrix in self.matrices]
        frame = pandas.DataFrame([row | share for row, share in zip(rows, shares, strict=True)])
        return frame.drop(columns="energy", errors="ignore")

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write everything as JSON.

        Args:
            path: By custom ``NAME.base-shift.json``; its folder is made if missing.
            force: Replace a file of this name.

        Raises:
            ResultsError: The file exists, or cannot be written.
        """
        write_json(path, self.to_dict(), force=force)

    def __str__(self) -> str:
        first = (
            f"'{self.retrained}' is {self.relative_change:.3g} of the norm of '{self.pretrained}' away from it "
            f"({self.norm_change:.4g} of {self.norm_before:.4g}; {len(self.changed)} of {len(self.matrices)} matrices changed)"
        )
        if not self.changed:
            return f"{first}\nno matrix changed by a known amount, so that there is no spectrum of a change"
        shares = ", ".join(f"top {count} {self.energy(count):.0%}" for count in self.top)
        spectrum = f"median change: stable rank {self.median('stable_rank'):.3g}" + (f", energy {shares}" if shares else "")
        return f"{first}\n{'; '.join(filter(None, [spectrum, self.theory]))}"


def load_base_shift(path: str | os.PathLike[str]) -> BaseShift:
    """Read what :meth:`BaseShift.save` wrote.

    Args:
        path: The file.

    Returns:
        The shift.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    return read_versioned(path, "base shift", BASE_SHIFT_SCHEMA_VERSION, BaseShift.from_dict, again=_AGAIN)


def load_base_shifts(path: str | os.PathLike[str]) -> dict[str, BaseShift]:
    """Read a shift of a base, or all that lie in a folder, to be seen side by side.

    Args:
        path: A file, or a folder with files that end in ``.base-shift.json``.

    Returns:
        Shifts by the names of their files without that end, sorted.

    Raises:
        ResultsError: As for :func:`load_base_shift`; or a folder without one.
    """
    given = Path(path).expanduser()
    files = sorted(given.glob(f"*{SUFFIX}")) if given.is_dir() else [given]
    if not files:
        raise ResultsError(f"there is no base shift (*{SUFFIX}) in '{given}'. {_AGAIN}")
    return {file.name.removesuffix(".json").removesuffix(".base-shift"): load_base_shift(file) for file in files}


def _fields(kind: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: _READERS[str(each.type)](content[each.name]) for each in dataclasses.fields(kind)}


def _ratio(change: float, whole: float) -> float:
    if whole == 0.0:
        return math.inf if change > 0.0 else math.nan
    return change / whole


def _median(values: Iterable[float]) -> float:
    return statistics.median([value for value in values if not math.isnan(value)] or [math.nan])


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _skipped(rows: Iterable[Mapping[str, Any]]) -> tuple[SkippedTensor, ...]:
    return tuple(SkippedTensor(**{**row, "shape": tuple(row["shape"])}) for row in rows)


# By the annotation of a field.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "str": str,
    "int": int,
    "float": _number,
    "int | None": lambda value: None if value is None else int(value),
    "Mapping[int, float]": lambda shares: {int(count): _number(share) for count, share in shares.items()},
    "tuple[int, ...]": lambda counts: tuple(map(int, counts)),
    "tuple[str, ...]": lambda words: tuple(map(str, words)),
    "tuple[SkippedTensor, ...]": _skipped,
    "tuple[MatrixChange, ...]": lambda rows: tuple(MatrixChange(**_fields(MatrixChange, row)) for row in rows),
}
