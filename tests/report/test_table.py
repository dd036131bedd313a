import io

import numpy as np
import pytest
from rich.console import Console

import spectra
from spectra.report.table import layer_table, worst_first
from spectra.results.words import conclusion, counted, headline


@pytest.fixture(scope="module")
def report():
    u = (np.arange(30) + 0.5) / 30  # of 1000: so few that even alpha 9.5 is longer than the edge of a random spectrum
    model = {}
    for name, alpha in (("fine", 3.0), ("over", 1.6), ("under", 7.0), ("worst", 9.5)):
        tail = np.concatenate([np.linspace(0.01, 0.99, 970), (1.0 - u) ** (-1.0 / (alpha - 1.0))])
        model[f"blocks.0.{name}.weight"] = np.diag(np.sqrt(tail))
    model["zero.weight"] = np.zeros((20, 20))
    model["broken.weight"] = np.full((20, 20), np.nan)
    model["ids"] = np.zeros((2, 3), dtype=int)
    return spectra.analyze(model)


def rendered(report, width, **arguments):
    out = io.StringIO()
    Console(file=out, width=width).print(layer_table(report.layers, width=width, **arguments))
    return out.getvalue()


def test_the_worst_layers_come_first(report):
    names = [row.layer_name.rsplit(".", 1)[-1] for row in worst_first(report.layers)]
    assert names == ["broken", "worst", "under", "over", "fine", "zero"]


@pytest.mark.parametrize("width", [50, 60, 80, 100, 140])
def test_the_table_fits_the_terminal(report, width):
    lines = rendered(report, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("worst" in line and "9.7" in line for line in lines)


def test_long_tables_are_cut_and_say_so(report):
    assert "… 4 more layers" in rendered(report, 100, max_rows=2)


def test_missing_numbers_are_dashes_and_reasons_are_given(report):
    line = next(line for line in rendered(report, 140).splitlines() if line.startswith("broken"))
    assert "–" in line
    assert "nonfinite" in line


def test_two_sentences_say_it_all(report):
    assert headline(report.model, report.summary) == (
        "Analysed 6 layers of 'mapping' (4 reliable fits, 0 doubtful, 1 zero, 1 nonfinite, 1 tensor skipped)"
    )
    assert conclusion(report.summary).startswith("alpha: mean ")
    assert "1 over-trained" in conclusion(report.summary)
    assert str(report) == headline(report.model, report.summary) + "\n" + conclusion(report.summary)
    assert "no layer could be fitted" in conclusion(spectra.analyze({"zero.weight": np.zeros((20, 20))}).summary)


def test_counts_agree_with_their_nouns():
    assert (counted(1, "layer"), counted(2, "layer"), counted(0, "fit")) == ("1 layer", "2 layers", "0 fits")
