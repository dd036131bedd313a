"""What training with sample weights (DCS) did to every sample, round by round; and its file.

One safetensors file keeps all of it: an array for each field of :class:`SampleHistory` that is one, the rest in its header.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError, MissingPackageError, ResultsError, did_you_mean
from spectra.results.hard_samples import COLUMNS, HardSample, hard_sample_row, to_csv_text
from spectra.results.weight_rounds import WeightRound, plain_json, read_round
from spectra.results.words import counted
from spectra.results.writing import made, write_whole

if TYPE_CHECKING:
    import os

    import pandas as pd

__all__ = ["SAMPLE_HISTORY_SCHEMA_VERSION", "HardSample", "SampleHistory", "WeightRound", "load_sample_history"]

SAMPLE_HISTORY_SCHEMA_VERSION = 1
ORDERS = ("weight", "mean_loss")
_HEADER = "spectra_sample_history"  # one key for all of it: safetensors writes several in random order
_ARRAYS = {
    "weights": ("float64",),
    "weights_by_round": ("float32",),
    "discordance_by_round": ("float32",),
    "losses_by_round": ("float32",),
    "predicted_by_round": ("int32",),
    "labels": ("int64", "float64"),
    "teacher_predictions": ("int64", "float64"),
}
_UNKNOWN_CLASS = -1
_AGAIN = "DCSTrainer writes one into its output folder."


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no single answer to ==
class SampleHistory:
    """Weights, discordances, losses and predictions of N samples over R rounds.

    Attributes:
        rounds: R of them, in order. Where a pass over the data has several rounds, only the last of each pass need be here.
        weights: As training goes on with them, shape ``(N,)``, float64.
        weights_by_round: After each round, shape ``(R, N)``, float32.
        discordance_by_round: Shape ``(R, N)``, float32 in [0, 1], NaN where it is not known.
        losses_by_round: Of the task, shape ``(R, N)``, float32, NaN where it is not known.
        predicted_by_round: The student's class, shape ``(R, N)``, int32, -1 where it is not known.
        labels: Shape ``(N,)``: int64 classes, or float64 numbers for regression; ``None`` where there is not one per sample.
        teacher_predictions: Likewise; ``None`` without a teacher.
        class_names: By class; empty without names.
        settings: Of the method, as plain values. In a file infinite numbers are the text ``"inf"``, tuples are lists.

    Raises:
        InputError: Arrays whose shapes or types do not fit, no sample, weights that are negative or not finite, or rounds that
            are out of order.
    """

    rounds: tuple[WeightRound, ...]
    weights: NDArray[np.float64]
    weights_by_round: NDArray[np.float32]
    discordance_by_round: NDArray[np.float32]
    losses_by_round: NDArray[np.float32]
    predicted_by_round: NDArray[np.int32]
    labels: NDArray[np.int64] | NDArray[np.float64] | None = None
    teacher_predictions: NDArray[np.int64] | NDArray[np.float64] | None = None
    class_names: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise InputError(f"these parts make no sample history: {'; '.join(faults)}.")

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.weights)

    def hardest(self, num: int | None = 20, *, by: str = "weight") -> tuple[HardSample, ...]:
        """Return the samples with the largest weights, or losses.

        Args:
            num: How many; ``None`` for all.
            by: ``"weight"``, or ``"mean_loss"`` over the rounds: the order to look through for wrong labels, which are in both
                student and teacher, so that the two need not differ there.

        Returns:
            By weight, then mean discordance, then mean loss; or by mean loss, then weight, then mean discordance; each
            downwards with what is not known last; then by index.

        Raises:
            InputError: A negative number, or an unknown order.
        """
        if num is not None and num < 0:
            raise InputError(f"num is {num}: pass how many samples to return, 0 or more, or None for all.")
        if by not in ORDERS:
            raise InputError(f"by: unknown order {by!r}.{did_you_mean(str(by), ORDERS)} Known: {', '.join(ORDERS)}.")
        discordances, losses = _known_means(self.discordance_by_round), _known_means(self.losses_by_round)
        keys = [-self.weights, _downwards(discordances), _downwards(losses)]
        first = keys if by == "weight" else [keys[2], *keys[:2]]
        order = np.lexsort(first[::-1])[:num]
        return tuple(self._sample(i, float(discordances[i]), float(losses[i])) for i in order.tolist())

    def table(self, num: int | None = None, *, by: str = "weight") -> list[dict[str, Any]]:
        """Return the hardest samples as rows of plain values.

        Args:
            num: How many; ``None`` for all.
            by: As in :meth:`hardest`.

        Returns:
            Rows by column name, in the order of :meth:`hardest`; ``None`` for what is not known.

        Raises:
            InputError: A negative number, or an unknown order.
        """
        return [hard_sample_row(sample, self.class_names) for sample in self.hardest(num, by=by)]

    def to_pandas(self, num: int | None = None, *, by: str = "weight") -> pd.DataFrame:
        """Return the table as a DataFrame.

        Args:
            num: As in :meth:`table`.
            by: As in :meth:`hardest`.

        Returns:
            Its rows; NaN, NA or ``None`` for what is not known.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        frame = pandas.DataFrame(self.table(num, by=by), columns=list(COLUMNS))
        types = {"mean_discordance": "float64", "mean_loss": "float64"}
        return frame.astype(types if self.class_names else types | {"predicted": "Int64"})

    def to_csv(self, path: str | os.PathLike[str], num: int | None = None, *, by: str = "weight", force: bool = False) -> None:
        r"""Write the table to a file, which appears whole or not at all.

        Args:
            path: Its folder is made if missing. ``\n`` ends a line; what is not known is empty.
            num: As in :meth:`table`.
            by: As in :meth:`hardest`.
            force: Replace a file of that name.

        Raises:
            ResultsError: A file is there already, or it cannot be written.
        """
        file = _free(path, force=force)
        made(file.parent)
        write_whole(file, to_csv_text(self.table(num, by=by)).encode())

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write everything into one safetensors file, which appears whole or not at all.

        Args:
            path: Must end in ``.safetensors``; its folder is made if missing.
            force: Replace a file of that name.

        Raises:
            ResultsError: Another ending, a file is there already, or it cannot be written.
        """
        from safetensors.numpy import save

        file = _free(_checked(path), force=force)
        header = {
            "schema_version": SAMPLE_HISTORY_SCHEMA_VERSION,
            "rounds": [vars(each) for each in self.rounds],
            "class_names": self.class_names,
            "settings": self.settings,
        }
        text = json.dumps(plain_json(header), allow_nan=False, default=str)
        kept = {name: array for name in _ARRAYS if (array := getattr(self, name)) is not None}
        # safetensors takes memory as it lies, whatever the strides
        content = save({name: np.ascontiguousarray(array) for name, array in kept.items()}, {_HEADER: text})
        made(file.parent)
        write_whole(file, content)

    def __str__(self) -> str:
        num_skipped = sum(each.skipped is not None for each in self.rounds)
        title = f"Weights of {counted(self.num_samples, 'sample')} over {counted(len(self.rounds), 'round')}"
        if not self.rounds:
            return title
        last = self.rounds[-1]
        facts = f"effective sample share {last.ess:.1%}, largest weight {last.v_max:.3g}"
        hardest = ", ".join(f"{sample.index} ({sample.weight:.3g})" for sample in self.hardest(5))
        return f"{title}, {num_skipped} skipped: {facts}\nhardest samples, with their weights: {hardest}"

    def _sample(self, index: int, mean_discordance: float, mean_loss: float) -> HardSample:
        known = [c for c in self.predicted_by_round[:, index].tolist() if c != _UNKNOWN_CLASS]
        return HardSample(
            index=index,
            weight=float(self.weights[index]),
            mean_discordance=mean_discordance,
            mean_loss=mean_loss,
            label=None if self.labels is None else self.labels[index].item(),
            teacher=None if self.teacher_predictions is None else self.teacher_predictions[index].item(),
            predicted=known[-1] if known else None,
            discordance=tuple(self.discordance_by_round[:, index].tolist()),
            weights=tuple(self.weights_by_round[:, index].tolist()),
        )


def load_sample_history(path: str | os.PathLike[str]) -> SampleHistory:
    """Read a sample history.

    Args:
        path: The file that ``save`` wrote.

    Returns:
        The history.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    from safetensors import SafetensorError, safe_open

    file = _checked(path)
    if not file.exists():
        raise ResultsError(f"there is no sample history at '{file}'. {_AGAIN}")
    try:
        with safe_open(file, framework="np") as opened:
            header = json.loads((opened.metadata() or {})[_HEADER])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        version = header["schema_version"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"'{file}' is no sample history, or a damaged one ({error}). {_AGAIN}") from error
    if version != SAMPLE_HISTORY_SCHEMA_VERSION:
        raise ResultsError(
            f"'{file}' has schema version {version}, this Spectra reads {SAMPLE_HISTORY_SCHEMA_VERSION}. Read it with the "
            "Spectra that wrote it."
        )
    try:
        rounds = tuple(read_round(each) for each in header["rounds"])
        about: dict[str, Any] = {"class_names": tuple(map(str, header["class_names"])), "settings": dict(header["settings"])}
        return SampleHistory(rounds=rounds, **about, **arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"'{file}' is damaged ({error}). {_AGAIN}") from error


def is_sample_history(path: str | os.PathLike[str]) -> bool:
    """Tell a sample history from other safetensors files, without reading its arrays.

    Args:
        path: Any file.

    Returns:
        ``False`` also if it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as opened:
            return _HEADER in (opened.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _checked(path: str | os.PathLike[str]) -> Path:
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise ResultsError(f"'{file}': a sample history is a file that ends in .safetensors. Choose such a name.")
    return file


def _free(path: str | os.PathLike[str], *, force: bool) -> Path:
    file = Path(path).expanduser()
    if file.exists() and not force:
        raise ResultsError(f"'{file}' exists. Choose another name, or replace it with force=True.")
    return file


def _faults(history: SampleHistory) -> list[str]:
    """Say which arrays do not fit the number of rounds and samples, and what else cannot be."""
    samples = np.size(history.weights)
    faults = []
    for name, types in _ARRAYS.items():
        array = getattr(history, name)
        shape = (len(history.rounds), samples) if name.endswith("_by_round") else (samples,)
        if array is not None and (array.dtype not in types or array.shape != shape):
            faults.append(f"'{name}' is {array.dtype} of shape {array.shape}, expected {' or '.join(types)} of shape {shape}")
    if not faults:
        given = {name: getattr(history, name) for name in ("weights", "weights_by_round")}
        bad = [name for name, array in given.items() if not (np.isfinite(array) & (array >= 0.0)).all()]
        faults += [f"'{name}' holds numbers that are negative or not finite" for name in bad]
    numbers = [each.number for each in history.rounds]
    if numbers != sorted(set(numbers)):
        faults.append(f"the numbers of the rounds do not ascend: {numbers}")
    if samples == 0:
        faults.append("there is no sample")
    return faults


def _known_means(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Average over the rounds with a value; NaN where there is none."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    sums = values.sum(axis=0, dtype=np.float64, where=known)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(sums), math.nan), where=counts > 0)
    return means


def _downwards(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return keys whose ascending order is the descending one of the values, NaN last."""
    return np.where(np.isnan(values), math.inf, -values)
