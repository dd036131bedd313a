"""``compare``: ``spectra.compare`` of two models beside ``spectra.analyze`` of both, on the demo model in memory.

Two ways to change it: every matrix (full fine-tuning, as noise of a fiftieth of its standard deviation), and queries and values
by adapters of rank 8 that are merged in float32. First, the rows before and after must be those of ``analyze``.

Processor time on one thread, in turns in one child process per case, ``python -m benchmarks.comparison CASE REPEATS``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.answers import AnswersDifferError
from benchmarks.measure import run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

_CASES = {"full": "every matrix changed", "lora": "LoRA of rank 8, merged"}
_RANK = 8


def run(repeats: int) -> list[Comparison]:
    """Measure both cases.

    Args:
        repeats: Rounds.

    Returns:
        One row per case, without a bar.

    Raises:
        AnswersDifferError: A row of the comparison is not that of the analysis.
    """
    rows = []
    for case, name in _CASES.items():
        say(f"compare: {name}")
        found = run_module("benchmarks.comparison", case, str(repeats)).output
        if found["different"]:
            raise AnswersDifferError(f"compare: {name}: not the rows of analyze: {', '.join(found['different'])}.")
        ours, both = tuple(found["compare"]), tuple(found["analyze"])
        rows.append(Comparison(f"demo model: compare, {name}", "analyze of both", "s", ours, both, ratio_of="spectra/peer"))
    return rows


def _changed(weights: Weights, case: str) -> Weights:
    import numpy as np

    rng = np.random.default_rng(0)
    matrices = {name: weight for name, weight in weights.items() if weight.ndim == 2 and weight.dtype.kind == "f"}
    if case == "lora":
        matrices = {name: weight for name, weight in matrices.items() if "query" in name or "value" in name}
    return weights | {
        name: (w + 0.02 * w.std() * _direction(rng, w.shape, case)).astype(w.dtype) for name, w in matrices.items()
    }


def _direction(rng: np.random.Generator, shape: tuple[int, ...], case: str) -> NDArray[Any]:
    if case == "full":
        return rng.standard_normal(shape)
    product: NDArray[Any] = rng.standard_normal((shape[0], _RANK)) @ rng.standard_normal((_RANK, shape[1]))
    return product / _RANK


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _main() -> None:
    from safetensors.numpy import load_file

    import spectra

    case, repeats = sys.argv[1], int(sys.argv[2])
    before: Weights = load_file(models.demo_folder() / "model.safetensors")
    after = _changed(before, case)
    comparison = spectra.compare(before, after, workers=1)
    layers = zip(spectra.analyze(before, workers=1).layers, spectra.analyze(after, workers=1).layers, strict=True)
    analyses = {first.matrix_name: (first.alpha, second.alpha) for first, second in layers}
    compared = {row.matrix_name: tuple(one.alpha for one in (row.before, row.after) if one) for row in comparison.rows}
    found: dict[str, list[Any]] = {"compare": [], "analyze": [], "different": []}
    found["different"] = [name for name, alphas in analyses.items() if repr(compared.get(name)) != repr(alphas)]
    for _ in range(repeats):
        found["analyze"].append(sum(_seconds(partial(spectra.analyze, model, workers=1)) for model in (before, after)))
        found["compare"].append(_seconds(partial(spectra.compare, before, after, workers=1)))
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
