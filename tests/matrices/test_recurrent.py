"""Recurrent layers are split into their gates, in the order in which torch computes them."""

import numpy as np
import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.matrices import ModelContext
from spectra.matrices.recurrent import gates_of
from tests.matrices.rows import matrix, rows_of, skipped_of

LSTM, GRU = ["input", "forget", "cell", "output"], ["reset", "update", "new"]
GATES = {nn.LSTM: LSTM, nn.LSTMCell: LSTM, nn.GRU: GRU, nn.GRUCell: GRU, nn.RNN: [""], nn.RNNCell: [""]}


@pytest.mark.parametrize("kept", ["module", "state dict"])
@pytest.mark.parametrize("build", GATES)
def test_every_gate_is_a_row(build, kept):
    torch.manual_seed(0)
    layer = build(7, 12)
    rows = rows_of(layer if kept == "module" else layer.state_dict())
    suffix = "" if build.__name__.endswith("Cell") else "_l0"
    assert [row.layer_name for row in rows] == [f"weight_{w}{suffix}" for w in ("ih", "hh") for _ in GATES[build]]
    for weight, chosen in ((f"weight_ih{suffix}", rows[: len(rows) // 2]), (f"weight_hh{suffix}", rows[len(rows) // 2 :])):
        chunks = getattr(layer, weight).detach().chunk(len(GATES[build]))
        for row, gate, chunk in zip(chosen, GATES[build], chunks, strict=True):
            assert (row.kind, row.part, row.matrix_name) == ("recurrent", gate, f"{weight}.{gate}".rstrip("."))
            np.testing.assert_array_equal(matrix(row), chunk)


def scale_gate(cell, name, factor):
    """Multiply what a gate sees, before its nonlinearity: both its weights and both its biases."""
    with torch.no_grad():
        for row in rows_of(cell):
            if row.part == name:
                interval = slice(row.cut.rows.start, row.cut.rows.start + row.cut.rows.width)
                cell.get_parameter(row.tensor.name)[interval] *= factor
                cell.get_parameter(row.tensor.name.replace("weight", "bias"))[interval] *= factor


def test_the_gates_of_an_lstm_are_the_ones_that_its_equations_name():
    torch.manual_seed(0)
    cell, x, h, c = nn.LSTMCell(7, 12), torch.randn(3, 7), torch.randn(3, 12), torch.randn(3, 12)
    scale_gate(cell, "forget", 0.0)  # sigmoid(0): half of the cell is kept
    scale_gate(cell, "cell", 0.0)  # tanh(0): nothing new is written
    scale_gate(cell, "output", 0.0)  # half of it is shown
    hidden, state = cell(x, (h, c))
    torch.testing.assert_close(state, 0.5 * c)
    torch.testing.assert_close(hidden, 0.5 * torch.tanh(0.5 * c))


def test_the_gates_of_a_gru_are_the_ones_that_its_equations_name():
    torch.manual_seed(0)
    cell, x, h = nn.GRUCell(7, 12), torch.randn(3, 7), torch.randn(3, 12)
    scale_gate(cell, "update", 0.0)  # half old, half new
    scale_gate(cell, "new", 0.0)  # the new state is tanh(0)
    torch.testing.assert_close(cell(x, h), 0.5 * h)


def test_layers_and_directions_have_gates_of_their_own():
    rows = rows_of(nn.ModuleDict({"rnn": nn.LSTM(8, 12, 2, bidirectional=True)}))
    assert len({row.matrix_name for row in rows}) == len(rows) == 2 * 2 * 2 * 4
    assert "rnn.weight_hh_l1_reverse.forget" in {row.matrix_name for row in rows}


def test_an_lstm_with_a_projection_has_four_gates_and_the_projection():
    torch.manual_seed(0)
    layer = nn.LSTM(8, 12, proj_size=3)
    rows = {row.matrix_name: row for row in rows_of(layer.state_dict())}
    assert {(row.num_rows, row.num_cols) for name, row in rows.items() if "weight_hh" in name} == {(12, 3)}
    np.testing.assert_array_equal(matrix(rows["weight_hr_l0"]), layer.weight_hr_l0.detach())
    assert len(rows) == 4 + 4 + 1


def test_gates_stay_together_where_nothing_is_to_be_split():
    rows = rows_of(nn.LSTM(8, 12), split_fused="none")
    assert [(row.matrix_name, row.num_rows, row.kind) for row in rows] == [
        ("weight_ih_l0", 48, "recurrent"),
        ("weight_hh_l0", 48, "recurrent"),
    ]


def test_rows_that_are_no_known_number_of_gates_are_skipped_with_the_reason():
    found = skipped_of({"weight_ih": np.zeros((24, 7)), "weight_hh": np.zeros((24, 12)), "fc.weight": np.eye(9)})
    reason = "24 rows are not the gates of a layer with 12 hidden units: 1 (RNN), 3 (GRU) or 4 (LSTM)"
    assert found == {"weight_ih": reason, "weight_hh": reason}


@pytest.mark.parametrize("hidden", [None, (36, 12), (48, 3, 4)])
def test_gates_without_their_hidden_weights_are_refused(hidden):
    shapes = {"rnn.weight_ih_l0": (48, 7)} | ({"rnn.weight_hh_l0": hidden} if hidden else {})
    with pytest.raises(InputError, match="without a 'weight_hh' of as many rows"):
        gates_of("rnn.weight_ih_l0", (48, 7), ModelContext({}, shapes))


def test_a_recurrent_layer_of_no_units_is_a_row_without_numbers():
    assert gates_of("weight_hh", (0, 0), ModelContext({}, {"weight_hh": (0, 0)})) == {}
