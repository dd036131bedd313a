"""How far training moved a model: the change of each weight matrix beside its spectrum, and of what the model predicts."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectra.errors import MissingPackageError
from spectra.results.csv_text import csv_text
from spectra.results.shift_summary import read_fields
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.weight_rounds import plain_json
from spectra.results.words import counted

if TYPE_CHECKING:
    import pandas as pd

MODEL_SHIFT_SCHEMA_VERSION = 1

_AGAIN = "Make it again: spectra distill shift OUT.jsonl --model MODEL --tuned MODEL"


@dataclass(frozen=True, kw_only=True)
class MatrixShift:
    """One weight matrix before and after training. Spectral columns are those of ``spectra.analyze``; NaN without a spectrum.

    Attributes:
        layer_name: Path of the module.
        matrix_name: Of the matrix; the layer's own unless a weight holds several.
        kind: As in a report: ``linear``, ``embedding``, ...
        num_params: Numbers in the matrix.
        norm_before: Frobenius norm before training.
        norm_change: Frobenius norm of what training added; NaN where the two cannot be compared.
        alpha_before: Exponent of the fitted density.
        alpha_after: Likewise.
        alpha_std_error_before: Of the fit; what the two fits have in common cancels in their difference, which is surer.
        alpha_std_error_after: Likewise.
        ks_distance_before: Kolmogorov-Smirnov distance of tail and fit.
        ks_distance_after: Likewise.
        fit_quality_before: ``good`` or ``poor``; empty without a fit.
        fit_quality_after: Likewise.
        stable_rank_before: Sum of the eigenvalues over the largest.
        stable_rank_after: Likewise.
        spectral_norm_before: Largest singular value.
        spectral_norm_after: Likewise.
        notes: What to know before trusting the row.
    """

    layer_name: str
    matrix_name: str
    kind: str
    num_params: int
    norm_before: float
    norm_change: float
    alpha_before: float = math.nan
    alpha_after: float = math.nan
    alpha_std_error_before: float = math.nan
    alpha_std_error_after: float = math.nan
    ks_distance_before: float = math.nan
    ks_distance_after: float = math.nan
    fit_quality_before: str = ""
    fit_quality_after: str = ""
    stable_rank_before: float = math.nan
    stable_rank_after: float = math.nan
    spectral_norm_before: float = math.nan
    spectral_norm_after: float = math.nan
    notes: str = ""

    @property
    def relative_change(self) -> float:
        """The norm of the change over the norm before; infinite for a matrix that was zero."""
        return _share(self.norm_change, self.norm_before)

    @property
    def alpha_change(self) -> float:
        """Alpha after training minus alpha before."""
        return self.alpha_after - self.alpha_before

    @property
    def is_reliable(self) -> bool:
        """Whether both fits are good."""
        return self.fit_quality_before == self.fit_quality_after == "good"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and what follows from them, by name; ``None`` for what is not known, ``"inf"`` for infinity."""
        derived = {"relative_change": self.relative_change, "alpha_change": self.alpha_change}
        content: dict[str, Any] = plain_json(dataclasses.asdict(self) | derived)
        return content


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The Kullback-Leibler divergence of the next token's distributions, ``KL(seed || tuned)``, over a set of texts.

    Attributes:
        mean: Nats per predicted token; each token counts the same.
        std_error: Of the mean, over the choice of texts; NaN for one text.
        num_tokens: Predicted tokens.
        num_texts: Texts with at least one of them.
    """

    mean: float
    std_error: float
    num_tokens: int
    num_texts: int

    def __str__(self) -> str:
        error = "" if math.isnan(self.std_error) else f" ± {self.std_error:.2g}"
        return f"KL(seed || tuned) {self.mean:.4g}{error} nats per token ({counted(self.num_tokens, 'token')})"


@dataclass(frozen=True, kw_only=True)
class ModelShift:
    """How far a tuned model is from its seed.

    Attributes:
        seed: Where the model before training came from.
        tuned: Where the model after training came from.
        norm_before: Norm of all parameters before training, vectors such as biases included. Tied weights count once.
        norm_change: Norm of the change of all parameters; NaN if one of them is not finite. What has no counterpart in the
            other model is in no norm and named in ``notes``.
        num_params: Parameters before training.
        num_unchanged: Matrices that did not change, which have no row.
        matrices: The others, in the order of the model. Vectors have no row.
        divergence: Of what the models predict; ``None`` unless asked for.
        settings: Of the analysis; empty without spectra.
        notes: What to know about the whole.
    """

    seed: str
    tuned: str
    norm_before: float
    norm_change: float
    num_params: int
    num_unchanged: int
    matrices: tuple[MatrixShift, ...]
    divergence: Divergence | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def relative_change(self) -> float:
        """The norm of the change over the norm before."""
        return _share(self.norm_change, self.norm_before)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it: fields by name, with a schema version."""
        fields: dict[str, Any] = plain_json({each.name: getattr(self, each.name) for each in dataclasses.fields(self)})
        return {"schema_version": MODEL_SHIFT_SCHEMA_VERSION} | fields | {
            "relative_change": plain_json(self.relative_change),
            "matrices": self.table(),
            "divergence": None if self.divergence is None else plain_json(vars(self.divergence)),
        }  # fmt: skip

    def table(self) -> list[dict[str, Any]]:
        """Return a row of plain values for each matrix that changed."""
        return [matrix.to_dict() for matrix in self.matrices]

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each matrix that changed.

        Returns:
            Its fields, the relative change and the change of alpha; NaN for what is not known.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        frame = pandas.DataFrame(self.table(), columns=_columns())
        kinds = {each.name: str(each.type) for each in dataclasses.fields(MatrixShift)}
        floats = [name for name in frame.columns if kinds.get(name, "float") == "float"]
        return frame.astype(dict.fromkeys(floats, "float64"))

    def to_csv(self) -> str:
        r"""Return a row for each matrix that changed, as text.

        Returns:
            Text with ``\n`` line ends, empty for what is not known; numbers read back to the same float64.
        """
        return csv_text(_columns(), self.table())

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write everything as JSON.

        Args:
            path: Its folder is made if missing.
            force: Replace a file of this name.

        Raises:
            ResultsError: The file exists, or cannot be written.
        """
        write_json(path, self.to_dict(), force=force)

    def __str__(self) -> str:
        moved = f"{counted(len(self.matrices), 'matrix').replace('matrixs', 'matrices')} changed, {self.num_unchanged} did not"
        first = (
            f"'{self.tuned}' is {self.relative_change:.3g} of the norm of '{self.seed}' away from it "
            f"({self.norm_change:.4g} of {self.norm_before:.4g}; {moved})"
        )
        words = [_alpha_words(self.matrices)] * bool(self.settings)
        words += [str(self.divergence)] if self.divergence else []
        return "\n".join([first, "; ".join(words)]).rstrip()


def load_model_shift(path: str | os.PathLike[str]) -> ModelShift:
    """Read what :meth:`ModelShift.save` wrote.

    Args:
        path: The file.

    Returns:
        The shift.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    return read_versioned(path, "model shift", MODEL_SHIFT_SCHEMA_VERSION, _shift, again=_AGAIN)


def _shift(content: Mapping[str, Any]) -> ModelShift:
    divergence = content["divergence"]
    return ModelShift(
        seed=str(content["seed"]),
        tuned=str(content["tuned"]),
        norm_before=_number(content["norm_before"]),
        norm_change=_number(content["norm_change"]),
        num_params=int(content["num_params"]),
        num_unchanged=int(content["num_unchanged"]),
        matrices=tuple(MatrixShift(**read_fields(MatrixShift, row)) for row in content["matrices"]),
        divergence=None if divergence is None else Divergence(**read_fields(Divergence, divergence)),
        settings=dict(content["settings"]),
        notes=tuple(map(str, content["notes"])),
    )


def _columns() -> list[str]:
    return [each.name for each in dataclasses.fields(MatrixShift)] + ["relative_change", "alpha_change"]


def _share(change: float, whole: float) -> float:
    if whole == 0.0:
        return math.inf if change > 0.0 else math.nan
    return change / whole


def _alpha_words(matrices: Sequence[MatrixShift]) -> str:
    good = [matrix for matrix in matrices if matrix.is_reliable]
    if not good:
        return "alpha: no matrix that changed has good fits before and after"
    before, after = (statistics.fmean(values) for values in zip(*((m.alpha_before, m.alpha_after) for m in good), strict=True))
    return f"alpha: mean {before:.3f} before, {after:.3f} after, over {len(good)} with good fits"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
