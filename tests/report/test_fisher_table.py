"""The table of a Fisher: order, columns and width."""

import io

import pytest
from rich.console import Console

from spectra.report.fisher_table import fisher_table
from spectra.results.fisher import Fisher
from tests.fishers import fisher_of, squared_gradients


@pytest.fixture
def fisher():
    return fisher_of(squared_gradients())


def shown(fisher: Fisher, level: str, *, width: int = 120, max_rows: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(fisher_table(fisher, level, width=width, max_rows=max_rows))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("level", ["layer", "tensor"])
def test_rows_are_those_of_the_level_highest_first(fisher, level):
    _, *rows = shown(fisher, level)
    scores = fisher.scores(level)
    names = sorted(scores, key=scores.__getitem__, reverse=True)
    assert [row.split()[0] for row in rows] == [name or row.split()[0] for name, row in zip(names, rows, strict=True)]
    assert [row.split()[-1] for row in rows] == [f"{scores[name]:.2e}" for name in names]


def test_the_heading_names_the_aggregate(fisher):
    assert shown(fisher, "layer")[0].split() == ["layer", "parameters", "param_mean"]
    assert shown(fisher, "neuron")[0].split() == ["weight", "side", "index", "sum"]


def test_sites_come_with_role_and_rate_and_those_without_a_score_last(fisher):
    heading, *rows = shown(fisher, "site")
    assert heading.split() == ["site", "role", "drop", "prob", "parameters", "param_mean"]
    assert rows[-1].split() == ["block.attention.drop_prob", "attention_probs", "0", "0", "–"]
    assert any(row.split()[:3] == ["block.dropout", "mlp_output", "0.2"] for row in rows)


def test_tensors_come_with_their_standard_error(fisher):
    heading, *rows = shown(fisher, "tensor")
    assert heading.split() == ["tensor", "shape", "trace", "±", "se", "param_mean"]
    tensor = next(tensor for tensor in fisher.tensors if tensor.name == "block.fc.weight")
    row = next(row for row in rows if row.startswith("block.fc.weight"))
    assert row.split()[1:] == ["5x4", f"{tensor.trace:.2e}", f"{tensor.trace_std_error:.2e}", f"{tensor.mean:.2e}"]


def test_rows_beyond_those_wanted_are_counted(fisher):
    lines = shown(fisher, "neuron", max_rows=2)
    assert lines[3] == "… 16 more neurons"
    assert len(lines) == 4


def test_long_names_are_cut_at_their_start_and_the_table_keeps_its_width(fisher):
    lines = shown(fisher, "site", width=38)
    assert max(map(len, lines)) <= 38
    assert lines[-1].split() == ["…ck.attention.drop_prob", "–"]


@pytest.mark.parametrize(
    ("level", "width", "heading"),
    [
        ("site", 80, ["site", "role", "drop", "prob", "param_mean"]),
        ("site", 70, ["site", "role", "param_mean"]),
        ("tensor", 80, ["tensor", "shape", "trace", "param_mean"]),
        ("tensor", 50, ["tensor", "param_mean"]),
        ("neuron", 40, ["weight", "side", "index", "sum"]),
    ],
)
def test_what_a_narrow_terminal_has_no_room_for_is_left_out(fisher, level, width, heading):
    lines = shown(fisher, level, width=width)
    assert lines[0].split() == heading
    assert max(map(len, lines)) <= width
