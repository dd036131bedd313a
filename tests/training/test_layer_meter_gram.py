"""Rows of Gram matrices that torch computed: the analysis' own, or none where it takes more than the Gram matrix."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from spectra.diagnose.profiles import resolve_settings
from spectra.training.gram_rows import gram_of, is_gram_enough, rows_of_grams
from spectra.training.live_weights import live_weights
from tests.training.metered import SUMMED, Net, analyzed

OPTIONS = {"float64": {"xmin": "median"}, "float32": {"profile": "tempbalance"}}
FLOAT64 = resolve_settings("default", xmin="median")


def rows(model, settings):
    """Rows of the layers that a Gram matrix is enough for."""
    weights = live_weights(model, settings)
    jobs = [job for job in weights.jobs if is_gram_enough(job, settings)]

    def gram(job):
        weight = weights.places[job.tensor.name].get()
        return gram_of(weight if job.num_rows >= job.num_cols else weight.T, settings.precision)

    return {job.matrix_name: row for job, row in zip(jobs, rows_of_grams(jobs, gram, settings), strict=True)}


@pytest.mark.parametrize("precision", OPTIONS)
def test_rows_are_those_of_the_analysis(precision):
    options = OPTIONS[precision]
    ours = rows(Net(), resolve_settings(**{"profile": "default", **options}))
    expected = {row["matrix_name"]: row for row in analyzed(Net(), **options)}
    assert {"inputs", "blocks.0.down", "square"} <= set(ours) < set(expected)  # not the convolution
    for name, row in ours.items():
        for column, value in row.to_dict().items():
            if isinstance(value, float):
                np.testing.assert_allclose(value, expected[name][column], rtol=SUMMED[precision], err_msg=f"{name} {column}")
            else:
                assert value == expected[name][column], (name, column)


def test_eigenvalues_of_equal_size_are_solved_together(monkeypatch):
    sizes = []
    solve = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda grams: sizes.append(tuple(grams.shape)) or solve(grams))
    rows(Net(), FLOAT64)
    assert sizes == [(1, 18, 18), (2, 21, 21), (1, 33, 33)]
    monkeypatch.setattr("spectra.training.gram_rows._STACK_BYTES", 8 * 21**2)
    sizes.clear()
    rows(Net(), FLOAT64)
    assert sizes == [(1, 18, 18), (1, 21, 21), (1, 21, 21), (1, 33, 33)]


def test_what_a_gram_matrix_cannot_tell_is_left_to_the_analysis():
    model = Net()
    with torch.no_grad():
        model.inputs.weight[:, 0] = model.inputs.weight[:, 1]  # a rank under the resolution
        model.square.weight[0, 0] = math.nan
        model.blocks[0].down.weight.zero_()
    found = rows(model, FLOAT64)
    assert [name for name, row in found.items() if row is None] == ["inputs", "blocks.0.down", "square"]
    assert found["blocks.1.down"].status == "ok"  # in the stack of the zeros


def test_without_a_way_back_the_rank_is_unknown():
    model = Net()
    with torch.no_grad():
        model.inputs.weight[:, 0] = model.inputs.weight[:, 1]
    row = rows(model, dataclasses.replace(FLOAT64, method="gram"))["inputs"]
    assert (row.matrix_rank, row.rank_loss) == (None, None)
    assert "under the resolution" in row.notes


def test_the_larger_side_divides_where_theory_papers_do():
    settings = dataclasses.replace(FLOAT64, normalize="1/N")
    assert rows(Net(), settings)["inputs"].lambda_max == pytest.approx(rows(Net(), FLOAT64)["inputs"].lambda_max / 33)


@pytest.mark.parametrize(
    "options",
    [{"subsample": "farms"}, {"randomize": True}, {"vectors": True}, {"inverse": True}, {"method": "svd"}],
    ids=lambda options: next(iter(options)),
)
def test_more_than_eigenvalues_takes_the_weight(options):
    assert rows(Net(), resolve_settings("default", **options)) == {}


def test_parts_of_a_weight_and_stacks_take_the_weight():
    model = nn.ModuleDict({"gate_up_proj": nn.Linear(12, 40), "conv": nn.Conv1d(10, 20, 3)})
    assert rows(model, FLOAT64) == {}


@pytest.mark.gpu
def test_shortened_products_are_not_taken(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    torch.manual_seed(0)
    weight = torch.randn(512, 256)
    exact = weight.double().T @ weight.double()
    found = gram_of(weight.cuda(), "float32").cpu().double()
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-6  # TF32 keeps 1e-3
