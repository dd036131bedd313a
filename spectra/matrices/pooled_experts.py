"""Experts that are stored one by one, as one row with the spectra of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.matrices.cuts import Entries
from spectra.matrices.weights import WeightMatrices
from spectra.sources.tensors import StoredTensor


def pool_experts(rows: Sequence[WeightMatrices]) -> list[WeightMatrices]:
    """Put the separately stored experts of a layer together, as if they were the entries of one stack.

    Args:
        rows: Rows of a report.

    Returns:
        The rows, with one for each ``stack`` of several equally shaped single matrices, at the place of its first.
    """
    stacks: dict[tuple[str, int, int], list[WeightMatrices]] = {}
    for row in rows:
        if _is_separate(row):
            stacks.setdefault(_key(row), []).append(row)
    pooled: list[WeightMatrices] = []
    for row in rows:
        experts = stacks.get(_key(row), []) if _is_separate(row) else []
        if len(experts) < 2:
            pooled.append(row)
        elif row is experts[0]:
            pooled.append(_as_stack(experts))
    return pooled


def _is_separate(row: WeightMatrices) -> bool:
    return bool(row.stack) and row.is_single and not isinstance(row.cut, Entries) and row.tensor.factors is None


def _key(row: WeightMatrices) -> tuple[str, int, int]:
    return row.stack, row.num_rows, row.num_cols


def _as_stack(experts: Sequence[WeightMatrices]) -> WeightMatrices:
    first = experts[0]

    def read(start: int, stop: int) -> NDArray[Any]:
        return np.stack([next(expert.readers())(0, expert.num_rows) for expert in experts[start:stop]])

    tensor = StoredTensor(
        name=first.stack,
        shape=(len(experts), first.num_rows, first.num_cols),
        dtype=first.tensor.dtype,
        read=read,
        unreadable=next((expert.tensor.unreadable for expert in experts if expert.tensor.unreadable), None),
        quantized=first.tensor.quantized,
        is_difference=first.tensor.is_difference,
        is_merged=any(expert.tensor.is_merged for expert in experts),
        rank=max(expert.tensor.rank for expert in experts),
        no_base=next((expert.tensor.no_base for expert in experts if expert.tensor.no_base), None),
        note="; ".join(dict.fromkeys(expert.tensor.note for expert in experts if expert.tensor.note)),
    )
    return dataclasses.replace(
        first,
        tensor=tensor,
        layer_name=first.stack,
        matrix_name=first.stack,
        num_matrices=len(experts),
        expert=None,
        stack="",
        cut=Entries(range(len(experts))),
    )
