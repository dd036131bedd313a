"""Fishers made from invented per-sample squared gradients, so that every number in them is known; shared by tests."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spectra.results.fisher import Fisher, FisherInfo, FisherTensor, SiteBlock

# name, module, kind, shape, names it is tied to, stored as (in, out); the numbers of entries differ, so that aggregates do
PARAMETERS = (
    ("embed.weight", "embed", "embedding", (7, 4), ("head.weight",), False),
    ("block.fc.weight", "block.fc", "linear", (5, 4), (), False),
    ("block.fc.bias", "block.fc", "linear", (5,), (), False),
    ("block.proj.weight", "block.proj", "linear", (5, 4), (), True),
    ("block.norm.weight", "block.norm", "norm", (4,), (), False),
    ("scale", "", "other", (), (), False),
)
SITES = (
    SiteBlock("embed.dropout", "module", "embeddings", 0.1, ("embed.weight",)),
    SiteBlock("block.dropout", "module", "mlp_output", 0.2, ("block.fc.weight", "block.fc.bias", "block.norm.weight")),
    SiteBlock("block.attention.drop_prob", "attribute", "attention_probs", 0.0, ()),
    SiteBlock("head.dropout", "module", "classifier", 0.1, ("head.weight", "embed.weight")),
)


def squared_gradients(num_samples: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    """Squares of a gradient per sample, shape ``(num_samples, *shape)``, over several decades, float64."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.uniform(-4, 2, len(PARAMETERS))
    shapes = [shape for _, _, _, shape, _, _ in PARAMETERS]
    drawn = (scale * rng.standard_normal((num_samples, *shape)) ** 2 for scale, shape in zip(scales, shapes, strict=True))
    return {name: squares for (name, *_), squares in zip(PARAMETERS, drawn, strict=True)}


def info_of(num_samples: int, keep: str = "values", **changes: object) -> FisherInfo:
    """Settings of an empirical Fisher of a tiny model."""
    known: dict[str, object] = {
        "kind": "empirical", "reduction": "token_mean", "keep": keep, "aggregate": "param_mean", "task": "causal-lm",
        "num_samples": num_samples, "num_tokens": 10 * num_samples, "num_skipped": 1, "num_draws": 1, "seed": 0,
        "model": "tiny", "num_params": 78, "dtype": "float32", "data": "ab" * 32, "version": "0.1.0",
    }  # fmt: skip
    return FisherInfo(**(known | changes))  # type: ignore[arg-type]


def fisher_of(squares: Mapping[str, np.ndarray], keep: str = "values", **changes: object) -> Fisher:
    """The Fisher of these samples, computed from the definitions; all weights are 2."""
    num_samples = len(squares["embed.weight"])
    values = {name: squares[name].mean(axis=0, dtype=np.float64).astype(np.float32) for name in squares}
    tensors = []
    for name, layer, kind, shape, aliases, transposed in PARAMETERS:
        totals = [float(sample.sum()) for sample in squares[name]]
        std_error = float(np.std(totals, ddof=1)) / math.sqrt(num_samples) if num_samples > 1 else math.nan
        trace = math.fsum(totals) / num_samples
        relative = 4.0 * trace if keep == "values" else math.nan
        count = math.prod(shape)
        tensors.append(
            FisherTensor(name, layer, kind, shape, count, trace, std_error, relative, "batched", aliases, transposed)
        )
    linear = ("block.fc.weight", "block.proj.weight")
    by_output = {"block.fc.weight": 1, "block.proj.weight": 0}  # the axis of the inputs
    sums = keep == "neurons"
    return Fisher(
        info_of(num_samples, keep, **changes),
        tuple(tensors),
        SITES,
        values=values if keep == "values" else {},
        row_sums={name: values[name].sum(axis=by_output[name]) for name in linear} if sums else {},
        col_sums={name: values[name].sum(axis=1 - by_output[name]) for name in linear} if sums else {},
    )
