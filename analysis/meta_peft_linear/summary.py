"""What the cells say: mean, standard error and band over seeds, and how many directions a base has wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median, stdev
from typing import Any

from analysis.meta_peft_linear.protocol import PANELS, Cell, Setting

RECOVERED = 1e-3  # relative error of a base; noise leaves 2e-4 at N = 100 and less with more samples
WRONG = 0.1  # a singular value of A - A*: noise leaves 0.07 at N = 100 and 0.01 at N = 5000, the largest of A* is about 4
LEARNED = 0.01  # of the risk that the new task has without an adapter over A*

Found = Mapping[Cell, Mapping[str, Any]]


def results_of(cells: Iterable[Cell], found: Found) -> list[dict[str, Any]]:
    """Summarise cells, one entry for each setting."""
    return [
        {"setting": asdict(setting), "arms": _summarised(setting, of["arms"])}
        for cell in cells
        for setting, of in zip(cell.settings, found[cell]["found"], strict=True)
    ]


def result(results: Sequence[Mapping[str, Any]], setting: Setting) -> Mapping[str, Any]:
    """Find what was found of a setting, by arm."""
    arms: Mapping[str, Any] = next(one["arms"] for one in results if Setting(**one["setting"]) == setting)
    return arms


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean, standard error, median, least and most."""
    band = {"median": median(values), "min": min(values), "max": max(values)}
    return _mean(values) | {name: _short(value) for name, value in band.items()}


def _mean(values: Sequence[float]) -> dict[str, float]:
    return {"mean": _short(fmean(values)), "std_error": _short(stdev(values) / math.sqrt(len(values)))}


def _summarised(setting: Setting, arms: Mapping[str, Any]) -> dict[str, Any]:
    alone = [of[0] for of in arms["oracle"]["reachable"]]  # what the new task asks for, over the right base
    return {arm: _arm(setting, of, alone) for arm, of in arms.items()}


def _arm(setting: Setting, of: Mapping[str, Any], alone: Sequence[float]) -> dict[str, Any]:
    wrong = [sum(value > WRONG for value in values) for values in of["singular values"]]
    needed = [_needed(risks, LEARNED * whole) for risks, whole in zip(of["reachable"], alone, strict=True)]
    found = {
        "error": spread(of["error"]),
        "recovered": sum(error < RECOVERED for error in of["error"]),
        "seeds": len(wrong),
        "retraining risk": spread(of["retraining risk"]),
        "singular values": [_short(fmean(values)) for values in zip(*of["singular values"], strict=True)],
        "wrong directions": sorted(wrong),
        "needed rank": sorted(needed),
        "reachable": [_mean(risks) for risks in zip(*of["reachable"], strict=True)],
        "risk": {str(rank): spread(of[f"risk, rank {rank}"]) for rank in setting.ranks},
    }
    return found | {"curve": of["curve"]} if any(setting in panel for panel in PANELS.values()) else found


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _needed(risks: Sequence[float], enough: float) -> int:
    """Return the least rank with which an adapter can come below a risk; one more than was looked at if none does."""
    return next((rank for rank, risk in enumerate(risks) if risk <= enough), len(risks))
