"""``gpu``: spectra and fits of large matrices on a device, beside plain torch in a loop there, and beside the CPU.

The loops do what somebody would write without Spectra: send the matrix, ``eigvalsh(W.T @ W)`` (or ``svdvals(W)``, of two
matrices only), bring the values back, fit; one matrix after the other. How far alpha is from the CPU's in float64 is said
beneath the table.

All is timed in one child process, ``python -m benchmarks.gpu_spectra DEVICE REPEATS SHAPES``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.measure import ChildError, run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    import torch

DEVICE = "cuda"
SHAPES = "32x4096x4096,8x11008x4096"
_PRECISIONS = ("float64", "float32")
_ON_CPU = 4  # matrices of each shape: some ten seconds each
_BY_SVD = 2


def run(repeats: int, device: str, shapes: str) -> tuple[list[Comparison], list[str]]:
    """Measure on a device.

    Args:
        repeats: Rounds.
        device: Of torch's.
        shapes: ``COUNTxROWSxCOLS``, several between commas.

    Returns:
        The rows, in seconds per matrix, and how far the alphas are apart, in words.

    Raises:
        ChildError: The device is not there, or the shapes are not to be understood.
    """
    say(f"gpu: {shapes} on {device}")
    result = run_module("benchmarks.gpu_spectra", device, str(repeats), shapes).output
    if "refusal" in result:
        raise ChildError(f"gpu: {result['refusal']}")
    rows = [
        Comparison(f"{case['shape']}, {case['precision']} on {device}", peer, "s", tuple(case["spectra"]), tuple(samples))
        for case in result["cases"]
        for peer, samples in case["peers"].items()
    ]
    lines = [
        f"gpu: {case['shape']}, {case['precision']}: alpha of {case['compared']} matrices within {case['error']:.1e} of that "
        f"of the CPU in float64; {case['moved']} of {case['count']} went to the CPU"
        for case in result["cases"]
    ]
    return rows, [*lines, f"gpu: {result['name']}"]


def _shape(words: str) -> tuple[int, int, int]:
    count, rows, cols = (int(word) for word in words.split("x"))
    if min(count, rows, cols) < 1:
        raise ValueError(words)
    return count, rows, cols


def _seconds(work: Callable[[], Any], matrices: int) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / matrices


def _case(count: int, shape: tuple[int, int], precision: str, device: str, repeats: int) -> dict[str, Any]:
    import torch

    import spectra

    weights = {f"layers.{number}.weight": _heavy_tailed(*shape, seed=number) for number in range(count)}
    few = dict(list(weights.items())[:_ON_CPU])
    dtype = getattr(torch, precision)

    def loop(some: list[torch.Tensor], values_of: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for weight in some:
            spectra.fit_power_law(values_of(weight.to(device, dtype)).double().cpu().clamp(min=0).numpy())

    everything = list(weights.values())
    loops: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], list[torch.Tensor]]] = {
        "eigvalsh(W.T @ W) in a loop": (lambda w: torch.linalg.eigvalsh(w.T @ w), everything),
        "svdvals(W) in a loop": (lambda w: torch.linalg.svdvals(w) ** 2, everything[:_BY_SVD]),
    }
    # Once for the answers, and because loading kernels and finding memory takes a moment.
    report = spectra.analyze(weights, device=device, precision=precision)
    loop(everything[:1], loops["eigvalsh(W.T @ W) in a loop"][0])
    here: list[Any] = []
    on_cpu = [_seconds(lambda: here.append(spectra.analyze(few)), len(few))]
    ours: list[float] = []
    peers: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeats):
        ours.append(_seconds(lambda: spectra.analyze(weights, device=device, precision=precision), count))
        for name, (values_of, some) in loops.items():
            peers[name].append(_seconds(partial(loop, some, values_of), len(some)))
    pairs = zip(here[0].layers, report.layers, strict=False)
    return {
        "shape": "×".join(map(str, shape)),
        "precision": precision,
        "count": count,
        "spectra": ours,
        "peers": peers | {"Spectra on the CPU, float64": on_cpu},
        "compared": len(few),
        "error": max(abs(there.alpha / cpu.alpha - 1.0) for cpu, there in pairs),
        "moved": sum("computed on the CPU" in row.notes for row in report.layers),
    }


def _heavy_tailed(rows: int, cols: int, seed: int) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed)
    lengths = (1.0 - torch.rand(cols, generator=generator)) ** (-1.0 / 3.0)
    return torch.randn(rows, cols, generator=generator) * lengths


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


def _main() -> None:
    from spectra.errors import InputError
    from spectra.esd.accelerator import check_device

    device, repeats = sys.argv[1], int(sys.argv[2])
    try:
        shapes = [_shape(words) for words in sys.argv[3].split(",")]
        check_device(device)
    except ValueError as error:
        reason = str(error) if isinstance(error, InputError) else f"cannot read the shapes '{sys.argv[3]}'."
        print(json.dumps({"refusal": f"{reason} For a walk through the code: --device cpu:0 --shapes 3x200x100."}))
        return
    cases = [_case(count, (rows, cols), p, device, repeats) for count, rows, cols in shapes for p in _PRECISIONS]
    print(json.dumps({"cases": cases, "name": _name(device)}))


if __name__ == "__main__":
    _main()
