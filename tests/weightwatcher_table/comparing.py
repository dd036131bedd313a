"""Numbers of WeightWatcher, run in a process of its own, beside Spectra's: what the proofs of the table share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spectra
from tests.weightwatcher_table.models import MODELS
from tests.weightwatcher_table.rows import Row

FROZEN = json.loads(Path(__file__).with_name("powerlaw_1_5.json").read_text())["answers"]
DEFAULTS = "net: analyze()"
# Their numbering counts modules without weights. The Gram matrix squares the condition number: sv_min to 1e-4.
APART = {"layer_id", "sv_min"}


@dataclass(frozen=True)
class Asked:
    """The answers of WeightWatcher."""

    answers: Mapping[str, Mapping[str, Any]]

    def value(self, key: str) -> Any:
        """What it returned, or the reason to fail."""
        assert "value" in self.answers[key], self.answers[key]["error"]
        return self.answers[key]["value"]


@cache
def report_of(model: str, settings: tuple[tuple[str, Any], ...], profile: str) -> spectra.Report:
    chosen: dict[str, Any] = dict(settings)
    if "base" in chosen:
        chosen["base"] = MODELS[chosen["base"]]()
    return spectra.analyze(MODELS[model](), profile=profile, **chosen)


def report(row: Row, profile: str = "weightwatcher") -> spectra.Report:
    return report_of(row.model, tuple((row.settings or {}).items()), profile)


def our_table(row: Row, profile: str = "weightwatcher") -> list[dict[str, Any]]:
    return report(row, profile).to_weightwatcher().to_dict("records")


def assert_same(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], tolerance: float, *, but: frozenset[str] | set[str] = frozenset()
) -> None:
    assert [row["longname"] for row in ours] == [row["longname"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for column in other.keys() - APART - but:
            expected = other[column]
            if isinstance(expected, float):
                expected = pytest.approx(expected, rel=tolerance, abs=0.0)
            assert mine[column] == expected, (mine["longname"], column)
        if "sv_min" not in but:
            assert mine["sv_min"] == pytest.approx(other["sv_min"], rel=1e-4)


def values_of(name: str, model: str = "net") -> np.ndarray:
    """Eigenvalues as WeightWatcher scales them."""
    return report_of(model, (), "weightwatcher").eigenvalues(name)


def assert_same_fit(fit: Any, theirs: Mapping[str, Any], tolerance: float) -> None:
    assert (fit.alpha, fit.ks_distance, fit.xmin) == pytest.approx(
        (theirs["alpha"], theirs["D"], theirs["xmin"]), rel=tolerance
    )
    assert fit.num_tail == theirs["num_pl_spikes"]
