r"""One matrix of one model beside the same matrix of a base: a row of a comparison."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.results.records import LayerDiagnostics, LayerStatus
from spectra.results.weight_rounds import plain_json

# Statuses of a row beside those of ``LayerStatus``.
NO_COUNTERPART = "no_counterpart"  #: The model has no such weight, or one of another shape.
METRICS_ONLY = "metrics_only"  #: One of the two is a saved report, which holds no weights: metrics, no change.

_SHAPE = ("expert", "num_rows", "num_cols", "num_matrices", "num_params", "num_eigenvalues")
#: The numeric columns of ``spectra.analyze``, each of which has a value before, one after, and a change.
METRICS: tuple[str, ...] = tuple(
    f.name for f in dataclasses.fields(LayerDiagnostics) if f.type in ("float", "int | None", "int") and f.name not in _SHAPE
)

#: Columns of a change: what they are for the base itself.
CHANGE_METRICS: Mapping[str, float] = {
    "relative_change": 0.0,
    "norm_change": 0.0,
    "change_spectral_norm": 0.0,
    "change_stable_rank": math.nan,
    "change_effective_rank": math.nan,
    "change_rank": 0.0,
    "scale": 1.0,
    "overlap_left": 1.0,
    "overlap_right": 1.0,
    "largest_angle_left": 0.0,
    "largest_angle_right": 0.0,
    "num_intruders": 0.0,
}


#: Properties of a row that are written beside its fields.
DERIVED = (
    "relative_change",
    "alpha_change",
    "overlap_left",
    "overlap_right",
    "largest_angle_left",
    "largest_angle_right",
    "num_intruders",
    "is_reliable",
)


class Finding(StrEnum):
    """What is said of one matrix; several may hold. Thresholds: :mod:`spectra.diagnose.thresholds`."""

    UNCHANGED = "unchanged"
    """Equal numbers: the change is exactly zero."""
    ROUNDING = "rounding"
    """The change is no larger than rounding to the stored dtype explains; nothing else is said of it."""
    RESCALED = "rescaled"
    """The change is almost a multiple of the matrix itself: directions and alpha are kept."""
    LOW_RANK = "low-rank"
    """Few directions carry the change: its rank above rounding is small beside the side."""
    INTRUDERS = "intruders"
    """New leading singular vectors (arXiv 2410.21228)."""
    TURNED = "turned"
    """The leading subspace has turned away, on the left or on the right."""
    HEAVIER_TAIL = "heavier tail"
    """Alpha fell by more than the errors of the fits explain, both of them good."""
    LIGHTER_TAIL = "lighter tail"
    """Alpha rose likewise."""


@dataclass(frozen=True, kw_only=True)
class Intruder:
    """A leading singular vector that the base does not have (arXiv 2410.21228).

    Attributes:
        position: Among the singular vectors of the model's matrix; 0 is the leading one.
        singular_value: That belongs to it.
        similarity: Its largest absolute cosine to any left singular vector of the base's matrix.
    """

    position: int
    singular_value: float
    similarity: float


@dataclass(frozen=True, kw_only=True)
class MatrixComparison:
    """One matrix of one model beside the base's.

    Attributes:
        model: Name of the model that is compared with the base; unique in the comparison.
        layer_name: Path of the module, in the base.
        matrix_name: Of the matrix; the layer's own unless a weight holds several.
        kind: As in a report: ``linear``, ``embedding``, ...
        num_rows: Of the base's matrix, as stored.
        num_cols: Likewise.
        num_eigenvalues: Of the base's matrix; of a convolution those of all kernel positions together.
        num_params: Numbers in it.
        status: ``ok``, ``unchanged``, or why there are no numbers of the change: a value of ``LayerStatus``,
            ``no_counterpart`` or ``metrics_only``.
        notes: What to know before trusting the row.
        before: The base's row of ``spectra.analyze``.
        after: The model's; ``None`` where it has no such matrix.
        norm_before: Frobenius norm of the base's matrix.
        norm_change: Frobenius norm of the change, in float64.
        rounding: Norm of what rounding the model's numbers to their dtype may have added at most; 0 for a product of
            adapters, NaN for dtypes of less than 16 bits.
        scale: The multiple of the base's matrix that comes closest to the model's (least squares).
        scale_share: Share of the squared norm of the change that such a multiple explains, in [0, 1].
        change_spectral_norm: Largest singular value of the change.
        change_stable_rank: Sum of its eigenvalues over the largest.
        change_effective_rank: Likewise by their entropy.
        change_rank: Singular values of the change above round-off, ``rounding`` included.
        energy: Share of the squared norm of the change in so many of its largest singular values, by their number.
        num_directions: k, size of the leading subspaces; less than asked for where a rank or a side is smaller.
        principal_angles_left: Between the k leading left singular subspaces before and after: radians, ascending.
        principal_angles_right: Likewise.
        intruders: Leading left singular vectors that are new, by position.
        findings: What holds.
        verdict: The same in a short phrase, such as ``"rank 2, 1 intruder"``.
    """

    model: str
    layer_name: str
    matrix_name: str
    kind: str
    num_rows: int
    num_cols: int
    num_eigenvalues: int
    num_params: int
    status: str = LayerStatus.OK.value
    notes: str = ""
    before: LayerDiagnostics | None = None
    after: LayerDiagnostics | None = None
    norm_before: float = math.nan
    norm_change: float = math.nan
    rounding: float = math.nan
    scale: float = math.nan
    scale_share: float = math.nan
    change_spectral_norm: float = math.nan
    change_stable_rank: float = math.nan
    change_effective_rank: float = math.nan
    change_rank: int | None = None
    energy: Mapping[int, float] = field(default_factory=dict)
    num_directions: int = 0
    principal_angles_left: tuple[float, ...] = ()
    principal_angles_right: tuple[float, ...] = ()
    intruders: tuple[Intruder, ...] = ()
    findings: tuple[Finding, ...] = ()
    verdict: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether the change is known and not zero."""
        return self.norm_change > 0.0

    @property
    def relative_change(self) -> float:
        """The norm of the change over that of the base's matrix; infinite for one that was zero."""
        return share(self.norm_change, self.norm_before)

    @property
    def alpha_change(self) -> float:
        """Alpha of the model minus alpha of the base."""
        return self.change("alpha")

    @property
    def overlap_left(self) -> float:
        r"""Mean :math:`\cos^2` of the left principal angles: 1 for equal subspaces, 0 for orthogonal ones; NaN without."""
        return _mean_squared_cosine(self.principal_angles_left)

    @property
    def overlap_right(self) -> float:
        """Likewise on the right."""
        return _mean_squared_cosine(self.principal_angles_right)

    @property
    def largest_angle_left(self) -> float:
        """The largest of the left principal angles; NaN without."""
        return self.principal_angles_left[-1] if self.principal_angles_left else math.nan

    @property
    def largest_angle_right(self) -> float:
        """Likewise on the right."""
        return self.principal_angles_right[-1] if self.principal_angles_right else math.nan

    @property
    def num_intruders(self) -> int | None:
        """How many leading singular vectors are new; ``None`` where they were not looked for."""
        return len(self.intruders) if self.num_directions else None

    @property
    def has_good_fits(self) -> bool:
        """Whether alpha can be relied on, before and after."""
        return all(layer is not None and layer.fit_quality == "good" for layer in (self.before, self.after))

    @property
    def is_reliable(self) -> bool:
        """Whether less than a tenth of the change may be rounding, as for :class:`~spectra.results.base_shift.MatrixChange`."""
        return self.norm_change == 0.0 or self.rounding < 0.1 * self.norm_change

    def value(self, metric: str) -> float:
        """Return a number of the model: a column of ``spectra.analyze``, or one of its change.

        Args:
            metric: One of ``METRICS`` or ``CHANGE_METRICS``.

        Returns:
            The number; NaN where there is none.

        Raises:
            InputError: No such metric.
        """
        check_metric(metric)
        if self.status == LayerStatus.UNCHANGED and metric in CHANGE_METRICS:
            return CHANGE_METRICS[metric]
        return _number(getattr(self, metric) if metric in CHANGE_METRICS else getattr(self.after, metric, None))

    def value_at_base(self, metric: str) -> float:
        """Return the same number of the base itself: 0 for its change.

        Args:
            metric: One of ``METRICS`` or ``CHANGE_METRICS``.

        Returns:
            The number; NaN where there is none.

        Raises:
            InputError: No such metric.
        """
        check_metric(metric)
        return CHANGE_METRICS[metric] if metric in CHANGE_METRICS else _number(getattr(self.before, metric, None))

    def change(self, metric: str) -> float:
        """Return how much a column of ``spectra.analyze`` changed.

        Args:
            metric: One of ``METRICS``.

        Returns:
            After minus before; NaN where one of them is missing.

        Raises:
            InputError: No such metric.
        """
        check_metric(metric, METRICS)
        return self.value(metric) - self.value_at_base(metric)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and what follows from them, as JSON can hold it; ``before``, ``after`` and ``change`` by column."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain |= {
            "before": self.before and self.before.to_dict(),
            "after": self.after and self.after.to_dict(),
            "change": {metric: self.change(metric) for metric in METRICS} if self.before and self.after else None,
            "energy": {str(count): share for count, share in self.energy.items()},
            "intruders": [dataclasses.asdict(intruder) for intruder in self.intruders],
            "findings": [finding.value for finding in self.findings],
        }
        derived = {name: getattr(self, name) for name in DERIVED}
        content: dict[str, Any] = plain_json(plain | derived)
        return content


def change_key(model: str, matrix_name: str, part: str) -> str:
    """Return the name of an array in ``changes.safetensors``.

    Args:
        model: Name of the model.
        matrix_name: Of the matrix.
        part: ``eigenvalues``, ``left``, ``singular_values`` or ``right``.

    Returns:
        The three with slashes between them.
    """
    return f"{model}/{matrix_name}/{part}"


def check_metric(metric: str, known: tuple[str, ...] | None = None) -> None:
    """Refuse a metric that no row has.

    Args:
        metric: Its name.
        known: What is allowed. Default: ``METRICS`` and ``CHANGE_METRICS``.

    Raises:
        InputError: It is none of them.
    """
    known = (*METRICS, *CHANGE_METRICS) if known is None else known
    if metric not in known:
        raise InputError(
            f"unknown metric {metric!r}.{did_you_mean(metric, known)} Such as: alpha, stable_rank, relative_change."
        )


def share(part: float, whole: float) -> float:
    """Divide norms.

    Args:
        part: Of a change.
        whole: Of what it changed.

    Returns:
        The quotient; infinite where something was added to nothing, NaN for nothing to nothing.
    """
    if whole == 0.0:
        return math.inf if part > 0.0 else math.nan
    return part / whole


def _mean_squared_cosine(angles: tuple[float, ...]) -> float:
    return math.fsum(math.cos(angle) ** 2 for angle in angles) / len(angles) if angles else math.nan


def _number(value: float | int | None) -> float:
    return math.nan if value is None else float(value)
