"""The same layer in a Fisher and in a report, found by its names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from spectra.errors import InputError
from spectra.results.fisher import Fisher
from spectra.results.records import LayerDiagnostics, LayerStatus
from spectra.results.report import Report

_REMEDY = "Analyse the very model that the Fisher was measured on, so that the names agree."


@dataclass(frozen=True)
class LayerPair:
    """A layer that has a Fisher score and a fitted spectrum.

    Attributes:
        layer_name: In the Fisher.
        rows: Its rows in the report: several where a weight holds several matrices, such as queries, keys and values.
    """

    layer_name: str
    rows: tuple[LayerDiagnostics, ...]

    @property
    def alpha(self) -> float:
        """The exponent; the mean over several rows."""
        return sum(row.alpha for row in self.rows) / len(self.rows)

    @property
    def is_doubtful(self) -> bool:
        """Whether the fit of any row is poor."""
        return any(row.fit_quality == "poor" for row in self.rows)


def pair_layers(fisher: Fisher, report: Report) -> list[LayerPair]:
    """Find the fitted layers of a report in a Fisher.

    Names are equal, or one ends in the other after a dot: ``encoder.layer.0.attention.self.query`` in a checkpoint is
    ``bert.encoder.layer.0.attention.self.query`` in the model with its head. Equal names come first. A tied weight has the
    names of all its uses. Layers without partner are left out.

    Args:
        fisher: Of a model.
        report: Of the same model.

    Returns:
        The pairs, in the order of the Fisher.

    Raises:
        InputError: A name fits several layers, no name fits any, or nothing was fitted.
    """
    fitted: dict[str, list[LayerDiagnostics]] = {}
    for row in report.layers:
        if row.status == LayerStatus.OK:
            fitted.setdefault(row.layer_name, []).append(row)
    if not fitted:
        raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no alpha to draw.")
    layers = _layers_by_name(fisher)
    partners = {name: name for name in fitted if name in layers}
    taken = {layers[name] for name in partners}
    free = {name: layer for name, layer in layers.items() if layer not in taken}
    partners |= _partners_by_suffix([name for name in fitted if name not in partners], free)
    if not partners:
        measured = dict.fromkeys(layers.values())
        raise InputError(f"no layer is in both: the report has {_some(fitted)}, the Fisher has {_some(measured)}. {_REMEDY}")
    rows: dict[str, list[LayerDiagnostics]] = {name: [] for name in layers.values()}
    for name, partner in partners.items():
        rows[layers[partner]] += fitted[name]
    return [LayerPair(name, tuple(found)) for name, found in rows.items() if found]


def _layers_by_name(fisher: Fisher) -> dict[str, str]:
    """Return the layers that hold a matrix by every name a report may have for them."""
    matrices = [tensor for tensor in fisher.tensors if len(tensor.shape) >= 2]
    layers = {tensor.layer_name: tensor.layer_name for tensor in matrices}
    for tensor in matrices:
        for name in (tensor.name, *tensor.aliases):
            layers.setdefault(name.removesuffix(".weight"), tensor.layer_name)
    return layers


def _partners_by_suffix(names: Collection[str], layers: dict[str, str]) -> dict[str, str]:
    """Find for each name of the report the one name in the Fisher that ends in it, or in which it ends."""
    longer = defaultdict(list)
    for candidate in layers:
        for suffix in _suffixes(candidate):
            longer[suffix].append(candidate)
    partners: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        candidates = [*longer[name], *(suffix for suffix in _suffixes(name) if suffix in layers)]
        if len({layers[candidate] for candidate in candidates}) > 1:
            raise InputError(f"layer '{name}' of the report fits several layers of the Fisher: {_some(candidates)}. {_REMEDY}")
        if candidates:
            other = owners.setdefault(candidates[0], name)
            if other != name:
                both = _some([other, name])
                raise InputError(f"layer '{candidates[0]}' of the Fisher fits several layers of the report: {both}. {_REMEDY}")
            partners[name] = candidates[0]
    return partners


def _suffixes(name: str) -> Iterator[str]:
    """Yield the ends of a name that begin after a dot."""
    _, dot, rest = name.partition(".")
    while dot:
        yield rest
        _, dot, rest = rest.partition(".")


def _some(names: Collection[str], most: int = 3) -> str:
    quoted = [f"'{name}'" for name in names]
    return ", ".join(quoted[:most]) + (f" and {len(quoted) - most} more" if len(quoted) > most else "")
