import io

import numpy as np
import pytest
from rich.console import Console

import spectra
from spectra.report.table import expert_table, layer_table, skipped_lines, worst_first
from spectra.results.records import SkippedTensor
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


def test_the_headline_says_why_layers_have_no_fit():
    weights = {"few.weight": np.diag(np.arange(1.0, 6.0)), "equal.weight": np.eye(40)}
    report = spectra.analyze(weights)
    assert headline(report.model, report.summary) == (
        "Analysed 2 layers of 'mapping' (0 reliable fits, 0 doubtful, 1 with too few eigenvalues, 1 without a tail)"
    )


def test_the_headline_names_the_base_of_a_difference():
    weights = {"a.weight": np.diag(np.arange(1.0, 41.0))}
    report = spectra.analyze(weights, base={"a.weight": np.eye(40)})
    assert headline(report.model, report.summary).startswith("Analysed 1 layer of 'mapping' with base 'mapping of 1 tensors' (")


def test_counts_agree_with_their_nouns():
    assert (counted(1, "layer"), counted(2, "layer"), counted(0, "fit")) == ("1 layer", "2 layers", "0 fits")


@pytest.mark.parametrize("width", [60, 80, 100, 119])
def test_a_doubtful_fit_takes_one_line_of_a_narrow_terminal(width):
    rng = np.random.default_rng(0)
    doubtful = spectra.analyze({f"blocks.{i}.self_attention.output.weight": rng.standard_normal((40, 30)) for i in range(5)})
    assert {len(row.notes) > 20 for row in doubtful.layers} == {True}
    assert len(rendered(doubtful, width).splitlines()) == 6
    assert max(map(len, rendered(doubtful, width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_of_experts_takes_one_line_each(width):
    rng = np.random.default_rng(0)
    name = "model.layers.{}.block_sparse_moe.experts.{}.gate_projection.weight"
    report = spectra.analyze({name.format(i, e): rng.standard_normal((40, 30)) for i in range(3) for e in range(2)})
    out = io.StringIO()
    Console(file=out, width=width).print(expert_table(report.experts, width=width))
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert all(line.split()[0].endswith("experts.*.gate_projection"[-14:]) for line in lines[1:])
    assert ("stable rank mean" in lines[0]) == (width >= 100)


def test_reasons_to_skip_that_differ_in_names_only_are_one_line():
    skipped = [SkippedTensor(f"{i}.scales", (2, 3), "float16", f"stored with '{i}.weight'") for i in range(3)]
    others = [SkippedTensor(f"{i}.mask", (2, 3), "int64", f"reason {i}") for i in range(7)]
    lines = skipped_lines(skipped + others)
    assert lines[:2] == ["0.scales (2×3) and 2 more: stored with '0.weight'", "0.mask (2×3): reason 0"]
    assert lines[4:] == ["3.mask (2×3): reason 3", "… 3 more tensors"]
    assert skipped_lines([]) == []
