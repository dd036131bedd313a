"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.alpha_pruning.allocations import ALLOCATIONS, SPARSITIES
from analysis.alpha_pruning.pruned import METHODS
from analysis.readme_tables import table, write_tables

Results = Mapping[str, Any]

_CELLS = [f"{method}, {sparsity:.0%}" for method in METHODS for sparsity in SPARSITIES]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    tables = {"blocks": _blocks(results), "block by block": _block_by_block(results["stories260K"])}
    tables |= {name: _values(of, lower_is_better=name == "stories260K") for name, of in results.items()}
    write_tables(readme, tables)


def _values(of: Results, *, lower_is_better: bool) -> str:
    rows = [[name, *(_mean(of[cell][name]) for cell in _CELLS)] for name in ALLOCATIONS]
    better = [_num_better(of[cell]["shuffled"], lower_is_better=lower_is_better) for cell in _CELLS]
    return table(["allocation", *_CELLS], [*rows, ["random orders better than alpha", *better]])


def _num_better(shuffled: Results, *, lower_is_better: bool) -> str:
    number, below = len(shuffled["draws over uniform"]), shuffled["draws below alpha"]
    return f"{below if lower_is_better else number - below} of {number}"


def _block_by_block(of: Results) -> str:
    rows = [
        [f"{allocation}, {sparsity:.0%}", _mean(of[f"wanda, {sparsity:.0%}"][allocation]), _mean(at_once)]
        for sparsity in SPARSITIES
        for allocation, at_once in of[f"wanda, block by block, {sparsity:.0%}"].items()
    ]
    return table(["allocation", "one pass through the dense model", "block by block"], rows)


def _blocks(results: Results) -> str:
    rows = []
    for model, of in results.items():
        rows += [[model, f"alpha, {name}", _numbers(values)] for name, values in of["alpha of the blocks"].items()]
        shares = {
            name: values for name, values in of["sparsity of the blocks"].items() if name.endswith(f"{SPARSITIES[-1]:.0%}")
        }
        rows += [[model, f"sparsity, {name}", _numbers(values)] for name, values in shares.items() if "uniform" not in name]
    return table(["model", "", "blocks 0, 1, 2, ..."], rows)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _mean(found: Results) -> str:
    return f"{found['mean']:.4g} ± {found['std_error']:.2g}"
