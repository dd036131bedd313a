"""Scores and tables of a Fisher: by parameter, by layer, by dropout site and by neuron.

| level | a row is | its score |
|---|---|---|
| tensor | a parameter | its trace, mean and relative trace, side by side |
| layer | the parameters of one module: weight and bias | under the aggregate |
| site | the parameters behind one dropout site | under the aggregate |
| neuron | one output or input of a linear weight | sum of F over the weights at it |

The columns of a table of parameters are the fields of :class:`~spectra.results.fisher_records.FisherTensor` and ``mean``,
which is trace / num_params. Those of layers and sites:

| column | meaning |
|---|---|
| ``name`` | of the module or site |
| ``kind``, ``role``, ``drop_prob`` | of the site |
| ``num_tensors``, ``num_params`` | parameters, and entries in them, that were measured |
| ``score`` | under the aggregate |
| ``trace`` | sum of F |
| ``rank`` | 0 for the lowest score; equal scores rank in order |

Those of neurons: ``name`` of the weight, ``layer_name``, ``side`` (output or input), ``index`` on that side, ``score``.
Standard errors are given of single parameters only: those of sums over several would need their covariances.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.results.fisher_records import Aggregate, FisherTensor, SiteBlock, known_word

Group = tuple[Mapping[str, Any], Sequence[FisherTensor]]  # what a row is called, and the parameters it stands for

_SHARED_COLUMNS = ("num_tensors", "num_params", "score", "trace", "rank")
COLUMNS = {
    "tensor": (*(f.name for f in dataclasses.fields(FisherTensor)), "mean"),
    "layer": ("name", *_SHARED_COLUMNS),
    "site": ("name", "kind", "role", "drop_prob", *_SHARED_COLUMNS),
    "neuron": ("name", "layer_name", "side", "index", "score"),
}


def aggregate_scores(tensors: Sequence[FisherTensor], how: Aggregate | str) -> float:
    r"""Make one score of several parameters.

    With :math:`F_{ij}` the Fisher of entry j of parameter i, which has :math:`n_i` entries, :math:`\theta_{ij}` its weight,
    and :math:`s_i = \sum_j F_{ij} / n_i`:

    ================== ===================================================
    ``param_mean``     :math:`\sum_{ij} F_{ij} / \sum_i n_i`
    ``mean_of_means``  mean of :math:`s_i`
    ``trace``          :math:`\sum_{ij} F_{ij}`
    ``matrices_mean``  mean of :math:`s_i` over those with two or more dimensions
    ``relative``       :math:`\sum_{ij} F_{ij} \theta_{ij}^2`
    ================== ===================================================

    Source: ``mean_of_means`` is the rule of the code behind arXiv 2406.14005. It gives a normalization vector the weight of
    a matrix with thousands of times its entries, which is why the others are here.

    Args:
        tensors: Parameters of one layer or site, in any order.
        how: A word of :class:`Aggregate`.

    Returns:
        The score; NaN if there is no parameter it could be made of.

    Raises:
        InputError: Unknown word, or ``relative`` for a Fisher whose values were not kept.
    """
    match known_word(Aggregate, how, "aggregate"):
        case Aggregate.PARAM_MEAN:
            return _ratio([t.trace for t in tensors], sum(t.num_params for t in tensors))
        case Aggregate.MEAN_OF_MEANS:
            return _ratio([t.mean for t in tensors], len(tensors))
        case Aggregate.TRACE:
            return math.fsum(t.trace for t in tensors) if tensors else math.nan
        case Aggregate.MATRICES_MEAN:
            means = [t.mean for t in tensors if len(t.shape) >= 2]
            return _ratio(means, len(means))
        case Aggregate.RELATIVE:
            return _relative(tensors)


def layer_groups(tensors: Sequence[FisherTensor]) -> list[Group]:
    """Group parameters by the module that holds them.

    Args:
        tensors: All parameters.

    Returns:
        A group per layer, in the order of their first parameters.
    """
    layers: dict[str, list[FisherTensor]] = {}
    for tensor in tensors:
        layers.setdefault(tensor.layer_name, []).append(tensor)
    return [({"name": name}, members) for name, members in layers.items()]


def site_groups(tensors: Sequence[FisherTensor], sites: Sequence[SiteBlock]) -> list[Group]:
    """Collect the parameters behind each site.

    Args:
        tensors: All parameters.
        sites: Their parameters may be named by any alias; those that were not measured are left out.

    Returns:
        A group per site, in order; each parameter counts once in it.
    """
    by_name = {name: tensor for tensor in tensors for name in (tensor.name, *tensor.aliases)}
    groups: list[Group] = []
    for site in sites:
        members = {by_name[name].name: by_name[name] for name in site.parameters if name in by_name}
        title = {"name": site.name, "kind": site.kind, "role": site.role, "drop_prob": site.drop_prob}
        groups.append((title, list(members.values())))
    return groups


def tensor_rows(tensors: Sequence[FisherTensor]) -> list[dict[str, Any]]:
    """Return the table of parameters.

    Args:
        tensors: All parameters.

    Returns:
        Every field of each, and its mean; the shape as ``"768x3072"``.
    """
    texts = ({"shape": "x".join(map(str, t.shape)), "aliases": ", ".join(t.aliases), "mean": t.mean} for t in tensors)
    return [dataclasses.asdict(tensor) | text for tensor, text in zip(tensors, texts, strict=True)]


def group_rows(groups: Sequence[Group], how: Aggregate | str) -> list[dict[str, Any]]:
    """Return the table of layers or sites.

    Args:
        groups: From :func:`layer_groups` or :func:`site_groups`.
        how: A word of :class:`Aggregate`.

    Returns:
        A row per group; rank 0 is the lowest score, equal scores rank in order, a missing score has none.
    """
    scores = [aggregate_scores(members, how) for _, members in groups]
    ascending = sorted((i for i, score in enumerate(scores) if not math.isnan(score)), key=lambda i: scores[i])
    ranks = {i: rank for rank, i in enumerate(ascending)}
    return [
        {
            **title,
            "num_tensors": len(members),
            "num_params": sum(t.num_params for t in members),
            "score": scores[i],
            "trace": aggregate_scores(members, Aggregate.TRACE),
            "rank": ranks.get(i),
        }
        for i, (title, members) in enumerate(groups)
    ]


def neuron_rows(
    tensors: Sequence[FisherTensor], row_sums: Mapping[str, NDArray[Any]], col_sums: Mapping[str, NDArray[Any]]
) -> list[dict[str, Any]]:
    """Return the table of neurons.

    Args:
        tensors: All parameters.
        row_sums: Sums over inputs, by parameter name.
        col_sums: Sums over outputs, of the same parameters.

    Returns:
        For each weight with sums, a row per output neuron and then one per input neuron.
    """
    return [
        {"name": tensor.name, "layer_name": tensor.layer_name, "side": side, "index": i, "score": score}
        for tensor in tensors
        if tensor.name in row_sums
        for side, sums in (("output", row_sums), ("input", col_sums))
        for i, score in enumerate(sums[tensor.name].tolist())
    ]


class NeuronSums(Mapping[str, NDArray[np.float64]]):
    """Sums of the Fisher over the weights at each neuron, by parameter name, each computed when it is asked for.

    Args:
        tensors: All parameters; those with neurons have sums.
        values: The Fisher by parameter name.
        side: ``output`` (sums over inputs) or ``input`` (sums over outputs).
    """

    def __init__(self, tensors: Sequence[FisherTensor], values: Mapping[str, NDArray[Any]], side: str) -> None:
        self._tensors = {tensor.name: tensor for tensor in tensors if tensor.has_neurons}
        self._values = values
        self._side = side

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        # A weight is (out, in), a transposed one (in, out); the sums of output neurons go over the inputs.
        axis = int((self._side == "output") != self._tensors[name].transposed)
        return np.asarray(self._values[name].sum(axis=axis, dtype=np.float64))

    def __contains__(self, name: object) -> bool:
        return name in self._tensors  # without computing it

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: ``None`` for NaN and lists for tuples, inside dictionaries, too.

    Args:
        value: A number, a text, or a container of them.

    Returns:
        The plain value.
    """
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _ratio(terms: Sequence[float], count: int) -> float:
    return math.fsum(terms) / count if count else math.nan


def _relative(tensors: Sequence[FisherTensor]) -> float:
    unknown = next((t.name for t in tensors if math.isnan(t.relative)), None)
    if unknown is not None:
        raise InputError(
            f"'{unknown}' has no relative score: its values were not kept. "
            'Measure with keep="values", or choose another aggregate.'
        )
    return math.fsum(t.relative for t in tensors) if tensors else math.nan
