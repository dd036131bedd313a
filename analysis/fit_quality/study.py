"""Measure how often noise is called reliable, and how much of trained networks and of planted power laws.

    python analysis/fit_quality/study.py MODELS

with a folder that holds ``stories260K/`` and ``cifar10_resnets/`` (two models more, besides the demo model of the
package). Writes ``results.json`` and ``fit_quality.png`` beside this file. Everything is seeded; two processes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: two processes on two cores

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import samples
from candidates import CANDIDATES, describe, passes, threshold

import spectra

HERE = Path(__file__).parent
STRATEGIES = ("ks", "median", "hill")
SEEDS_CHOSEN_ON, SEEDS_HELD_OUT, SEEDS_LARGE, SEEDS_SPECIAL, SEEDS_PLANTED = 16, 40, 8, 60, 60

Row = dict[str, Any]
Verdict = Callable[[Row], bool]


def aspect(shape: samples.Shape) -> float:
    """Larger over smaller side."""
    return max(shape[:2]) / min(shape[:2])


def noise_rows(seed: int, half: str) -> list[Row]:
    """Draw one matrix of each cell."""
    rows: list[Row] = []
    if half == "large":
        kinds = samples.CHOSEN_ON | samples.HELD_OUT
        cells = [(name, kinds[name], shape) for name in ("Gaussian", "uniform", "Gaussian in bf16") for shape in samples.LARGE]
    else:
        cells = list(samples.noise_cells(held_out=half == "held out"))
    for number, (name, entries, shape) in enumerate(cells):
        rng = np.random.default_rng([{"chosen on": 0, "held out": 1, "large": 2}[half], seed, number])
        rows += _described(samples.spectrum(entries, rng, shape), aspect(shape), cell=(name, str(shape)), shape=shape)
    return rows


def special_rows(seed: int) -> list[Row]:
    """Draw one matrix of each special kind and shape."""
    rows: list[Row] = []
    for number, (name, entries) in enumerate(samples.SPECIAL.items()):
        for shape in samples.SPECIAL_SHAPES:
            values = samples.spectrum(entries, np.random.default_rng([3, seed, number, *shape]), shape)
            rows += _described(values, aspect(shape), cell=(name, str(shape)), shape=shape)
    return rows


def planted_rows(seed: int) -> list[Row]:
    """Draw one spectrum of each planted power law."""
    rows: list[Row] = []
    for number, kind in enumerate(samples.PLANTED_KINDS):
        for alpha in samples.PLANTED_ALPHAS:
            for size in samples.PLANTED_SIZES:
                rng = np.random.default_rng([4, seed, number, int(10 * alpha), size])
                values = samples.planted(rng, kind, alpha, size)
                rows += _described(values, 4.0 if kind.endswith("4") else 1.0, cell=(kind, alpha, size), shape=(size, size))
    return rows


def untrained_rows(seed: int) -> list[Row]:
    """Initialise real architectures, small ones, as their libraries do."""
    import torch
    import transformers as hf

    common = {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 768}
    gpt2 = hf.GPT2Config(vocab_size=2000, n_positions=128, n_embd=192, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0)
    resnet = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [3, 3, 3], "layer_type": "basic"}
    makers = {
        "BERT": lambda: hf.BertModel(hf.BertConfig(vocab_size=2000, max_position_embeddings=256, **common)),
        "GPT-2": lambda: hf.GPT2LMHeadModel(gpt2),
        "Llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=2000, num_key_value_heads=2, **common)),
        "ViT": lambda: hf.ViTModel(hf.ViTConfig(image_size=64, patch_size=8, **common)),
        "T5": lambda: hf.T5Model(hf.T5Config(vocab_size=2000, d_model=192, d_kv=48, d_ff=768, num_layers=2, num_heads=4)),
        "ResNet": lambda: hf.ResNetForImageClassification(hf.ResNetConfig(**resnet)),
        "torch.nn": lambda: torch.nn.Sequential(
            torch.nn.LSTM(128, 128),
            torch.nn.MultiheadAttention(128, 4),
            torch.nn.Conv2d(32, 64, 5),
            torch.nn.Bilinear(32, 32, 8),
        ),
    }
    rows: list[Row] = []
    for name, make in makers.items():
        torch.manual_seed(seed)
        rows += model_rows(make(), name)
    return rows


def model_rows(model: Any, name: str) -> list[Row]:
    """Describe every layer of a model that Spectra fits."""
    report = spectra.analyze(model, workers=1)
    rows: list[Row] = []
    for layer in report.layers:
        if layer.num_tail:
            shape = (layer.num_rows, layer.num_cols, layer.num_matrices)
            values = np.asarray(report.spectra[layer.matrix_name])
            rows += _described(values, layer.aspect_ratio, cell=(name, layer.matrix_name), shape=shape)
    return rows


def _described(values: Any, aspect_ratio: float, **where: Any) -> list[Row]:
    found = []
    for strategy in STRATEGIES:
        shape = where["shape"]
        row = describe(values, aspect_ratio, strategy, shape[2] if len(shape) == 3 else 1)
        # Without a fit there is nothing to rely on; the matrix counts in the denominator all the same.
        empty = {
            "alpha": np.nan,
            "ks_distance": 1.0,
            "num_tail": 0,
            "num_matrices": 1,
            "excess": -np.inf,
            "before": False,
            "in_package": False,
        }
        found.append({**(row or empty), "strategy": strategy, **where})
    return found


def rate(rows: list[Row], accepts: Verdict, *, plausible: bool = True) -> dict[str, Any]:
    """Count rows that a rule accepts (with an alpha in [2, 6]), with the 95 % interval of Clopper and Pearson."""
    from scipy.stats import beta

    hits = sum(accepts(row) and (not plausible or 2.0 <= row["alpha"] <= 6.0) for row in rows)
    n = len(rows)
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return {"hits": hits, "of": n, "rate": _short(hits / n), "interval_95": [_short(low), _short(high)]}


def _short(x: float) -> float:
    return float(f"{x:.3g}")


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Sort rows into groups."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def before(row: Row) -> bool:
    """The rule that the specification guessed."""
    return bool(row["before"])


def summary_of_noise(rows: list[Row]) -> dict[str, Any]:
    """Rates overall, by distribution, and of the worst cells."""
    cells = {" ".join(cell): rate(group, passes) for cell, group in grouped(rows, lambda row: row["cell"]).items()}
    worst = sorted(cells.items(), key=lambda item: -item[1]["rate"])[:6]
    return {
        "before": rate(rows, before),
        "now": rate(rows, passes),
        "now, any alpha": rate(rows, passes, plausible=False),
        "now, without sparse 10 %": rate([row for row in rows if row["cell"][0] != "sparse Gaussian, 10 %"], passes),
        "now, by distribution": {k: rate(v, passes) for k, v in sorted(grouped(rows, lambda row: row["cell"][0]).items())},
        "now, worst shapes": dict(
            sorted(
                ((k, rate(v, passes)) for k, v in grouped(rows, lambda row: row["cell"][1]).items()),
                key=lambda item: -item[1]["rate"],
            )[:4]
        ),
        "now, worst cells": dict(worst),
        "cells": len(cells),
        "cells above 1 %": sum(cell["rate"] > 0.01 for cell in cells.values()),
    }


def summary_of_models(rows: list[Row]) -> dict[str, Any]:
    """Shares of layers called reliable, and of labels given, per model and strategy."""
    found: dict[str, Any] = {}
    for strategy, group in grouped(rows, lambda row: row["strategy"]).items():
        models = grouped(group, lambda row: row["cell"][0])
        found[strategy] = {name: _layers(layers) for name, layers in models.items()} | {"all": _layers(group)}
    return found


def _layers(rows: list[Row]) -> dict[str, Any]:
    def labelled(accepts: Verdict) -> dict[str, int]:
        kept = [row["alpha"] for row in rows if accepts(row) and row["num_values"] >= 50]
        return {"over-trained": sum(a < 2.0 for a in kept), "under-trained": sum(a > 6.0 for a in kept)}

    return {
        "fitted": len(rows),
        "reliable before": sum(map(before, rows)),
        "reliable now": sum(map(passes, rows)),
        "labels before": labelled(before),
        "labels now": labelled(passes),
    }


def summary_of_planted(rows: list[Row]) -> dict[str, Any]:
    """Share found reliable and median alpha, by kind, exponent and size."""
    found: dict[str, Any] = defaultdict(dict)
    for (kind, alpha, size), group in grouped(rows, lambda row: row["cell"]).items():
        found[kind][f"alpha {alpha:g}, n {size}"] = {
            "before": _short(np.mean([before(row) for row in group])),
            "now": _short(np.mean([passes(row) for row in group])),
            "median alpha": round(float(np.median([row["alpha"] for row in group])), 2),
        }
    return found


def compared_candidates(noise: list[Row], tested: list[Row], trained: list[Row]) -> dict[str, Any]:
    """Give each candidate the threshold that lets 0.5 % of the noise through, and see what else it keeps."""
    found = {}
    for name, words in CANDIDATES.items():
        least = threshold(noise, name, 0.005)

        def accepts(row: Row, name: str = name, least: float = least) -> bool:
            return passes(row, longer=False) and row[name] > least

        found[name] = {
            "what": words,
            "threshold": _short(least),
            "held-out noise": rate(tested, accepts)["rate"],
            "trained layers kept": _short(np.mean([accepts(row) for row in trained])),
        }
    return found


def ablations(noise: list[Row], trained: list[Row], planted: list[Row]) -> dict[str, Any]:
    """Leave out one part of the rule at a time."""
    found = {}
    for name, parts in (
        ("all four", {}),
        ("without KS distance", {"ks": False}),
        ("without tail size", {"tail": False}),
        ("without excess", {"longer": False}),
        ("without a value for each matrix", {"each": False}),
    ):
        found[name] = {
            "held-out noise": rate(noise, lambda row, parts=parts: passes(row, **parts))["rate"],  # type: ignore[misc]
            "trained layers kept": _short(np.mean([passes(row, **parts) for row in trained])),
            "planted tails kept": _short(np.mean([passes(row, **parts) for row in planted])),
        }
    return found


def largest_distances(**kinds: list[Row]) -> dict[str, float]:
    """Give the KS distance that one tail of ten or more values in a hundred exceeds, for each kind of spectrum."""
    return {
        name: _short(np.quantile([row["ks_distance"] for row in rows if row["num_tail"] >= 10], 0.99))
        for name, rows in kinds.items()
    }


def _compact(content: Any) -> str:
    """Write JSON with the innermost objects and lists on one line each."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    for innermost in (r"\[[^][{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda match: re.sub(r"\s+", " ", match.group()), text)
    return text


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    folder = parser.parse_args(argv).models
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        tasks = {
            "chosen on": [pool.submit(noise_rows, seed, "chosen on") for seed in range(SEEDS_CHOSEN_ON)],
            "held out": [pool.submit(noise_rows, seed, "held out") for seed in range(SEEDS_HELD_OUT)],
            "large": [pool.submit(noise_rows, seed, "large") for seed in range(SEEDS_LARGE)],
            "special": [pool.submit(special_rows, seed) for seed in range(SEEDS_SPECIAL)],
            "planted": [pool.submit(planted_rows, seed) for seed in range(SEEDS_PLANTED)],
            "untrained": [pool.submit(untrained_rows, seed) for seed in range(10)],
        }
        drawn: dict[str, list[Row]] = {}
        for name, futures in tasks.items():
            drawn[name] = [row for future in futures for row in future.result()]
            sys.stderr.write(f"{name}: {len(drawn[name])} fits, {time.perf_counter() - started:.0f} s\n")
    models = {"all-MiniLM-L6-v2": "demo", "stories260K": folder / "stories260K"}
    models |= {path.stem.split("-")[0]: path for path in sorted((folder / "cifar10_resnets").glob("*.th"))}
    trained_all = [row for name, model in models.items() for row in model_rows(model, name)]

    def of(rows: list[Row], strategy: str = "ks") -> list[Row]:
        return [row for row in rows if row["strategy"] == strategy]

    trained, tested = of(trained_all), of(drawn["held out"]) + of(drawn["large"])
    everything = [row for rows in (*drawn.values(), trained_all) for row in rows]
    results = {
        "noise the thresholds were chosen on": summary_of_noise(of(drawn["chosen on"])),
        "noise held out": {s: summary_of_noise(of(drawn["held out"], s) + of(drawn["large"], s)) for s in STRATEGIES},
        "untrained architectures": {
            s: {"before": rate(of(drawn["untrained"], s), before), "now": rate(of(drawn["untrained"], s), passes)}
            for s in STRATEGIES
        },
        "untrained, by architecture": {
            k: rate(v, passes) for k, v in grouped(of(drawn["untrained"]), lambda row: row["cell"][0]).items()
        },
        "trained": summary_of_models(trained_all),
        "planted": summary_of_planted(of(drawn["planted"])),
        "special": {
            " ".join(cell): {
                "before": rate(group, before, plausible=False)["rate"],
                "now": rate(group, passes, plausible=False)["rate"],
                "median alpha": round(float(np.median([row["alpha"] for row in group])), 2),
            }
            for cell, group in grouped(of(drawn["special"]), lambda row: row["cell"]).items()
        },
        "candidates at 0.5 % of the noise they were chosen on": compared_candidates(of(drawn["chosen on"]), tested, trained),
        "parts left out": ablations(tested, trained, [row for row in of(drawn["planted"]) if row["cell"][0] != "whole"]),
        "KS distance, 99th percentile": largest_distances(
            planted=of(drawn["planted"]),
            trained=trained,
            noise=tested,
        ),
        "the package says the same": _short(np.mean([row["in_package"] == passes(row) for row in everything])),
    }
    (HERE / "results.json").write_text(_compact(results) + "\n", encoding="utf-8")
    from figure import draw

    draw(tested, of(drawn["untrained"]), trained, results["planted"], HERE / "fit_quality.png")
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
