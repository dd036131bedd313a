"""One model pruned in every way: the same for both models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.alpha_pruning.allocations import Plans, of_seed
from spectra.policies.plan import Plan
from spectra.training.pruning import input_norms, prune_module

METHODS = ("magnitude", "wanda")

Batches = Sequence[Mapping[str, Tensor]]
Row = dict[str, Any]


def rows_of(
    model: nn.Module,
    plans: Plans,
    calibration: Batches,
    measure: Callable[[], float],
    *,
    seed: int,
    block_by_block: bool = False,
) -> list[Row]:
    """Prune the model by each plan and method, measure, and put the weights back."""
    dense = copy.deepcopy(model.state_dict())
    layers = next(iter(plans.values()))[0].by_layer()
    norms = input_norms(model, calibration, layers)
    rows: list[Row] = [{"seed": seed, "method": "none", "allocation": "dense", "sparsity": 0.0, "value": measure()}]
    for (sparsity, allocation), drawn in of_seed(plans, seed).items():
        for method in METHODS:
            values, missed = [], []
            for plan in drawn:
                report = prune_module(model, plan, method=method, input_norms=norms if method == "wanda" else None)
                found = _zero_share(model, layers)
                assert found == report.reached
                missed.append(abs(found - sparsity))
                values.append(measure())
                model.load_state_dict(dense)
            rows.append({**_row(seed, method, allocation, sparsity, values), "missed": max(missed)})
        if block_by_block and allocation == "uniform":
            _prune_block_by_block(model, drawn[0], calibration)
            rows.append(_row(seed, "wanda, block by block", allocation, sparsity, [measure()]))
            model.load_state_dict(dense)
    return rows


def _row(seed: int, method: str, allocation: str, sparsity: float, values: list[float]) -> Row:
    return {
        "seed": seed, "method": method, "allocation": allocation, "sparsity": sparsity,
        "value": float(np.mean(values)), "draws": values,
    }  # fmt: skip


def _prune_block_by_block(model: nn.Module, plan: Plan, calibration: Batches) -> None:
    """As the code of the Wanda paper does: the inputs of a block are measured behind pruned ones."""
    for unit, names in plan.members.items():
        norms = input_norms(model, calibration, names)
        prune_module(model, dict.fromkeys(names, plan.values[unit]), method="wanda", input_norms=norms)


def _zero_share(model: nn.Module, layers: Mapping[str, float]) -> float:
    """Count zeros without asking the report."""
    weights = [model.get_parameter(f"{name}.weight") for name in layers]
    zeros = sum(int(torch.sum(weight == 0)) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)
