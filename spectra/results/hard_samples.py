"""The hardest samples of a training run with sample weights: those with the largest weights or losses, and a table of them.

By mean loss it is a list of labels to check. Columns of the table:

| column | meaning |
|---|---|
| ``index`` | in the data set, from 0 |
| ``weight`` | after the last round; the mean over all samples is 1 |
| ``mean_discordance`` | over the rounds in which it is known, in [0, 1] |
| ``mean_loss`` | of the task alone, over the rounds in which it is known |
| ``label`` | the class that is given (its name, where there are names), or the number of a regression |
| ``teacher`` | likewise, of the teacher |
| ``predicted`` | the student's class when it was last known |
| ``rounds_discordant`` | rounds with a discordance of at least one half |
| ``num_rounds`` | rounds in which the discordance is known |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.results.csv_text import csv_text

COLUMNS = (
    "index", "weight", "mean_discordance", "mean_loss", "label", "teacher", "predicted", "rounds_discordant", "num_rounds",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HardSample:
    """One sample and what is known of it.

    Attributes:
        index: In the data set, from 0.
        weight: After the last round.
        mean_discordance: Over the rounds in which it is known; NaN if in none.
        mean_loss: Likewise.
        label: Class or number; ``None`` where it is not known.
        teacher: Likewise, of the teacher.
        predicted: The student's class when it was last known; ``None`` if never.
        discordance: By round, NaN where it is not known.
        weights: After each round.
    """

    index: int
    weight: float
    mean_discordance: float
    mean_loss: float
    label: int | float | None
    teacher: int | float | None
    predicted: int | None
    discordance: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def num_rounds(self) -> int:
        """Rounds in which the discordance is known."""
        return sum(not math.isnan(d) for d in self.discordance)

    @property
    def rounds_discordant(self) -> int:
        """Rounds with a discordance of at least one half: where it is 0 or 1, those in which student and teacher differed."""
        return sum(d >= 0.5 for d in self.discordance)


def hard_sample_row(sample: HardSample, class_names: Sequence[str] = ()) -> dict[str, Any]:
    """Return a row of the table.

    Args:
        sample: Any.
        class_names: By class; without them the row holds numbers.

    Returns:
        Plain values by column name; ``None`` for what is not known.
    """
    row = {name: getattr(sample, name) for name in COLUMNS}
    named = {name: class_word(row[name], class_names) for name in ("label", "teacher", "predicted")}
    means = {name: None if math.isnan(row[name]) else row[name] for name in ("mean_discordance", "mean_loss")}
    return row | named | means


def class_word(value: int | float | None, class_names: Sequence[str]) -> str | int | float | None:
    """Name a class.

    Args:
        value: A class, a number of a regression, or ``None``.
        class_names: By class.

    Returns:
        The name of a class that has one; anything else as it is.
    """
    return class_names[value] if isinstance(value, int) and 0 <= value < len(class_names) else value


def to_csv_text(rows: Iterable[dict[str, Any]]) -> str:
    r"""Return rows of the table as text.

    Args:
        rows: From :func:`hard_sample_row`.

    Returns:
        CSV with ``\n`` line ends, empty for what is not known; numbers read back to the same float64.
    """
    return csv_text(COLUMNS, rows)
