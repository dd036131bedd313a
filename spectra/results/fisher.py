"""The diagonal Fisher of a model: its parameters, its dropout sites, and the numbers behind them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from spectra.errors import InputError, MissingPackageError, did_you_mean
from spectra.results.csv_text import csv_text
from spectra.results.fisher_records import (
    FISHER_SCHEMA_VERSION,
    Aggregate,
    FisherInfo,
    FisherKind,
    FisherTensor,
    Keep,
    Reduction,
    SiteBlock,
)
from spectra.results.fisher_tables import (
    COLUMNS,
    Group,
    NeuronSums,
    aggregate_scores,
    group_rows,
    layer_groups,
    neuron_rows,
    plain,
    site_groups,
    tensor_rows,
)
from spectra.results.fisher_writing import COLS, ROWS, VALUES, write_fisher
from spectra.results.words import counted

if TYPE_CHECKING:
    import os

    import pandas as pd

__all__ = [
    # the record
    "Fisher", "FisherInfo", "FisherTensor", "SiteBlock", "FISHER_SCHEMA_VERSION",
    # its words
    "FisherKind", "Reduction", "Keep", "Aggregate",
    # scores
    "aggregate_scores",
]  # fmt: skip

_Arrays = Mapping[str, NDArray[Any]]
_FLOATS = ("trace", "trace_std_error", "relative", "mean", "score", "drop_prob")


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Fisher:
    """The result of :func:`spectra.fisher`.

    Attributes:
        info: Which Fisher of which model on which data.
        tensors: One per parameter, in the order of ``named_parameters()``; tied ones once.
        sites: The model's dropout sites.
        values: F by parameter name, in the parameter's shape; empty unless ``keep="values"``. A saved Fisher reads them from
            its file when asked.
        row_sums: Sums of F over the inputs of each output neuron, shape ``(out,)``, by the name of a linear weight. Given for
            ``keep="neurons"``, computed from the values when asked for ``keep="values"``, empty otherwise.
        col_sums: Sums over the outputs of each input neuron, shape ``(in,)``; likewise.
    """

    info: FisherInfo
    tensors: tuple[FisherTensor, ...]
    sites: tuple[SiteBlock, ...] = ()
    values: _Arrays = field(default_factory=dict, repr=False)
    row_sums: _Arrays = field(default_factory=dict, repr=False)
    col_sums: _Arrays = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.info.keep == Keep.VALUES:
            object.__setattr__(self, "row_sums", NeuronSums(self.tensors, self.values, "output"))
            object.__setattr__(self, "col_sums", NeuronSums(self.tensors, self.values, "input"))

    def scores(self, level: str = "tensor", aggregate: Aggregate | str | None = None) -> dict[str, float]:
        """Return one number per parameter, layer or dropout site.

        Args:
            level: ``tensor``, ``layer`` (the parameters of one module) or ``site`` (those behind a dropout site).
            aggregate: A word of :class:`Aggregate`; ``None``: the one in ``info``.

        Returns:
            Scores by name, in the model's order; NaN where there is nothing to make one of, as for a site without parameters.

        Raises:
            InputError: Unknown level or aggregate, or one that needs values which were not kept.
        """
        how = self.info.aggregate if aggregate is None else aggregate
        if level == "tensor":
            return {tensor.name: aggregate_scores([tensor], how) for tensor in self.tensors}
        return {
            title["name"]: aggregate_scores(members, how) for title, members in self._groups(level, ("tensor", "layer", "site"))
        }

    def table(self, level: str = "tensor", aggregate: Aggregate | str | None = None) -> list[dict[str, Any]]:
        """Return a table as rows of plain values.

        Args:
            level: ``tensor``, ``layer``, ``site`` or ``neuron``; the columns are documented in
                :mod:`spectra.results.fisher_tables`.
            aggregate: Makes the scores of layers and sites; ``None``: the one in ``info``. Neurons have sums whatever it is.

        Returns:
            Rows by column name, in the model's order; ``None`` for missing numbers.

        Raises:
            InputError: Unknown level or aggregate, or one that needs numbers which were not kept.
        """
        if level == "tensor":
            return [plain(row) for row in tensor_rows(self.tensors)]
        if level == "neuron":
            if self.info.keep == Keep.TRACES:
                raise InputError('this Fisher has no sums by neuron: keep="traces". Measure with keep="neurons" or "values".')
            return [plain(row) for row in neuron_rows(self.tensors, self.row_sums, self.col_sums)]
        how = self.info.aggregate if aggregate is None else aggregate
        return [plain(row) for row in group_rows(self._groups(level, tuple(COLUMNS)), how)]

    def to_pandas(self, level: str = "tensor", aggregate: Aggregate | str | None = None) -> pd.DataFrame:
        """Return a table as a DataFrame.

        Args:
            level: As in :meth:`table`.
            aggregate: As in :meth:`table`.

        Returns:
            Its rows; NaN for missing numbers, ranks as ``Int64``.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        frame = pandas.DataFrame(self.table(level, aggregate), columns=list(COLUMNS[level]))
        kinds = {**dict.fromkeys(_FLOATS, "float64"), "rank": "Int64"}
        return frame.astype({name: kind for name, kind in kinds.items() if name in frame})

    def to_csv(self, level: str = "tensor", aggregate: Aggregate | str | None = None) -> str:
        r"""Return a table as text.

        Args:
            level: As in :meth:`table`.
            aggregate: As in :meth:`table`.

        Returns:
            CSV with ``\n`` line ends, empty for missing numbers; numbers read back to the same float64.
        """
        rows = self.table(level, aggregate)
        return csv_text(COLUMNS[level], rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``fisher.json``: plain values, scores under ``info.aggregate``, no arrays."""
        sites = zip(self.sites, self.table("site"), strict=True)
        return {
            "schema_version": FISHER_SCHEMA_VERSION,
            "info": plain(dataclasses.asdict(self.info)),
            "tensors": [plain(dataclasses.asdict(tensor)) for tensor in self.tensors],
            "layers": self.table("layer"),
            "sites": [row | {"parameters": list(site.parameters)} for site, row in sites],
        }

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the arrays into a safetensors file and everything else into a JSON file beside it.

        Args:
            path: Must end in ``.safetensors``.
            force: Replace files of that name.

        Raises:
            ResultsError: Another ending, a file is there already, or it cannot be written.
        """
        arrays = {VALUES + name: self.values[name] for name in self.values}
        if self.info.keep != Keep.VALUES:  # sums that follow from the values are not stored
            arrays |= {ROWS + name: self.row_sums[name] for name in self.row_sums}
            arrays |= {COLS + name: self.col_sums[name] for name in self.col_sums}
        write_fisher(path, self.to_dict(), arrays, force=force)

    def _groups(self, level: str, known: Sequence[str]) -> list[Group]:
        if level == "layer":
            return layer_groups(self.tensors)
        if level == "site":
            return site_groups(self.tensors, self.sites)
        raise InputError(f"unknown level '{level}'.{did_you_mean(level, known)} Known: {', '.join(known)}.")

    def __repr__(self) -> str:
        return str(self)  # the fields of a small model fill pages of a notebook

    def __str__(self) -> str:
        info = self.info
        skipped = f", {info.num_skipped:,} skipped" if info.num_skipped else ""
        measured = f"{counted(info.num_samples, 'sample')}, {counted(info.num_tokens, 'target')}{skipped}"
        first = f"{info.kind.capitalize()} Fisher of '{info.model}' ({info.task}, {info.reduction}): {measured}"
        scores = {name: score for name, score in self.scores("layer").items() if not math.isnan(score)}
        if not scores:
            return f"{first}\n{info.aggregate}: no layer has a score"
        top, bottom = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
        highest, lowest = f"highest {scores[top]:.2e} in {top}", f"lowest {scores[bottom]:.2e} in {bottom}"
        return f"{first}\n{info.aggregate} by layer: {highest}, {lowest}"
