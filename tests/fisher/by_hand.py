"""A Fisher record made of given numbers, for tests of what is done with one."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from spectra.fisher.parameters import measured_parameters
from spectra.results.fisher import Fisher, FisherInfo, FisherTensor

INFO = FisherInfo(
    kind="empirical", reduction="token_mean", keep="values", aggregate="param_mean", task="classification", num_samples=4,
    num_tokens=4, num_skipped=0, num_draws=1, seed=0, model="toy", num_params=0, dtype="float32", data="", version="0",
)  # fmt: skip


def fisher_by_hand(model, value_of, *, keep="values"):
    """The Fisher of a model whose values are ``value_of(name, shape)``, a number or an array."""
    values = {}
    for parameter in measured_parameters(model, include="*"):
        shape = tuple(parameter.tensor.shape)
        values[parameter.name] = np.broadcast_to(value_of(parameter.name, shape), shape).astype(np.float32)
    tensors = tuple(
        FisherTensor(
            name=p.name,
            layer_name=p.layer_name,
            kind=p.kind,
            shape=tuple(p.tensor.shape),
            num_params=p.tensor.numel(),
            trace=float(values[p.name].sum(dtype=np.float64)),
            trace_std_error=math.nan,
            relative=math.nan,
            route="loop",
            aliases=p.aliases,
            transposed=p.transposed,
        )
        for p in measured_parameters(model, include="*")
    )
    return Fisher(dataclasses.replace(INFO, keep=keep), tensors, values=values if keep == "values" else {})


def random_fisher(model, seed=0):
    """A Fisher of random positive values."""
    rng = np.random.default_rng(seed)
    return fisher_by_hand(model, lambda name, shape: rng.random(shape))
