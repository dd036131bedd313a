"""How scores order layers and dropout sites, and how far two orders agree."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import spectra

AGGREGATES = ("mean_of_means", "param_mean", "trace", "matrices_mean", "relative")
LEVELS = ("layer", "site")

# Lowest score first; source: the code of arXiv 2406.14005.
PUBLISHED_ORDER = ("attention_probs", "attention_output", "mlp_output", "embeddings")

Scores = Mapping[str, float]


def scores(fisher: spectra.Fisher, level: str, aggregate: str) -> dict[str, float]:
    """Return scores by name, without the head, which was made for this study; what has no score is left out."""
    heads = {"bert.pooler.dense", "classifier", *(site.name for site in fisher.sites if site.role == "classifier")}
    found = fisher.scores(level, aggregate)
    return {name: score for name, score in found.items() if name not in heads and not math.isnan(score)}


def agreement(first: Scores, second: Scores) -> float:
    """Return Spearman's rank correlation over the names that both have."""
    names = [name for name in first if name in second]
    return float(spearmanr([first[name] for name in names], [second[name] for name in names]).statistic)


def agreements(pairs: Sequence[tuple[spectra.Fisher, spectra.Fisher]]) -> dict[str, dict[str, Any]]:
    """Compare pairs of Fishers under every aggregate, by layer and by site."""
    return {
        aggregate: {
            level: summary(agreement(*(scores(fisher, level, aggregate) for fisher in pair)) for pair in pairs)
            for level in LEVELS
        }
        for aggregate in AGGREGATES
    }


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Return mean, standard error of the mean, and the values."""
    found = [float(value) for value in values]
    error = float(np.std(found, ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None
    return {"mean": short(np.mean(found)), "std_error": None if error is None else short(error), "values": [*map(short, found)]}


def short(value: Any) -> float:
    """Round to four digits, and what rounding left of 0 to 0."""
    return float(f"{round(float(value), 12):.4g}")


def site_types(fishers: Sequence[spectra.Fisher]) -> dict[str, Any]:
    """Say for every aggregate where the types of dropout sites stand among all, from 0 for the lowest score."""
    roles = {site.name: site.role for site in fishers[0].sites}
    found: dict[str, Any] = {}
    for aggregate in AGGREGATES:
        ranks = [_ranks(scores(fisher, "site", aggregate)) for fisher in fishers]
        of_role = {
            role: [short(np.mean([rank for name, rank in of.items() if roles[name] == role])) for of in ranks]
            for role in PUBLISHED_ORDER
        }
        number = sum(role == "attention_probs" for role in roles.values())
        found[aggregate] = {
            "mean rank": {role: short(np.mean(of)) for role, of in of_role.items()},
            "order": sorted(of_role, key=lambda role: float(np.mean(of_role[role]))),
            f"of the lowest {number}, attention_probs": [
                sum(roles[name] == "attention_probs" and rank < number for name, rank in of.items()) for of in ranks
            ],
            "ranks": _by_role(ranks[0], roles),
        }
    return found


def by_role(of_layers: Scores) -> list[dict[str, float]]:
    """Divide layers of the blocks by their name within the block, such as ``attention.self.query``."""
    roles: dict[str, dict[str, float]] = {}
    for name, value in of_layers.items():
        roles.setdefault(re.sub(r"^.*\.layer\.\d+\.", "", name), {})[name] = value
    return list(roles.values())


def without_norms(fisher: spectra.Fisher) -> spectra.Fisher:
    """Leave out what the published rule is suspected of favouring."""
    return dataclasses.replace(fisher, tensors=tuple(tensor for tensor in fisher.tensors if tensor.kind != "norm"))


def shares(fisher: spectra.Fisher) -> dict[str, dict[str, float]]:
    """Say how much of the mean-of-means score of each type of site comes from norms, and from vectors of any kind."""
    tensors = {tensor.name: tensor for tensor in fisher.tensors}
    found: dict[str, dict[str, float]] = {}
    for role in PUBLISHED_ORDER:
        blocks = [[tensors[name] for name in site.parameters] for site in fisher.sites if site.role == role]
        found[role] = {
            "norms": _share(blocks, lambda tensor: tensor.kind == "norm"),
            "vectors": _share(blocks, lambda tensor: len(tensor.shape) < 2),
        }
    return found


def median_relative_error(fisher: spectra.Fisher) -> float:
    """Return the standard error of a tensor's trace over the trace: the median over the tensors that move the loss."""
    # The keys' biases do not, in exact arithmetic: what is measured of them is rounding.
    counted = [tensor for tensor in fisher.tensors if not tensor.name.endswith("key.bias")]
    return float(np.median([tensor.trace_std_error / tensor.trace for tensor in counted]))


def _share(blocks: Sequence[Sequence[Any]], counts: Callable[[Any], bool]) -> float:
    of_blocks = [sum(t.mean for t in block if counts(t)) / sum(t.mean for t in block) for block in blocks]
    return short(np.mean(of_blocks))


def _ranks(found: Scores) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(sorted(found, key=found.__getitem__))}


def _by_role(ranks: Mapping[str, int], roles: Mapping[str, str]) -> dict[str, list[int]]:
    """List the ranks of a type's sites in the order of the model."""
    return {
        role: [rank for name in roles if (rank := ranks.get(name)) is not None and roles[name] == role]
        for role in PUBLISHED_ORDER
    }
