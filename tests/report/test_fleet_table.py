import io

import numpy as np
import pytest
from rich.console import Console

import spectra
from spectra.report.fleet_table import fleet_table
from spectra.results.fleet import FleetModel
from tests.models import heavy_tailed


@pytest.fixture(scope="module")
def models():
    good = spectra.analyze({f"layers.{i}.weight": heavy_tailed(200, 150, i) for i in range(3)}).summary
    bad = spectra.analyze({"a.weight": heavy_tailed(60, 40), "b.weight": np.full((60, 40), np.nan)}).summary
    return [
        FleetModel("good", "/models/good", summary=good),
        FleetModel("a-model-with-a-name-that-no-column-of-any-terminal-has-room-for", "/models/long", summary=bad),
        FleetModel("gone", "/models/gone", error="no file"),
    ]


def lines(models, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(fleet_table(models, width=width))
    return console.file.getvalue().splitlines()


def test_numbers_are_those_of_the_summaries_and_failures_are_named(models):
    heading, good, bad, gone = lines(models, 140)
    alpha = models[0].summary.metrics["alpha"]
    assert heading.split() == ["model", "layers", "alpha", "median", "range", "note", "location"]
    assert good.split()[:4] == ["good", "3", f"{alpha.mean:.3f}", f"{alpha.median:.3f}"]
    assert good.split()[-1] == "/models/good"
    assert "1 layer failed" in bad
    assert gone.split()[1:] == ["–", "–", "–", "–", "not", "analysed", "/models/gone"]


@pytest.mark.parametrize("width", [60, 79, 80, 109, 110, 200])
def test_the_table_fits_its_width_with_a_line_for_each_model(models, width):
    shown = lines(models, width)
    assert len(shown) == 4
    assert max(map(len, shown)) <= width
    assert ("median" in shown[0], "location" in shown[0]) == (width >= 80, width >= 110)
    assert "has-room-for" in shown[2]
