"""Experts stored one by one, pooled: the same row as that of the stack."""

import numpy as np
import pytest

import spectra
from spectra.matrices import pool_experts
from tests.models import heavy_tailed

EXPERTS = [heavy_tailed(80, 50, seed=seed) for seed in range(3)]


def separate():
    return {f"layers.0.mlp.experts.{e}.down_proj.weight": matrix for e, matrix in enumerate(EXPERTS)}


def test_separately_stored_experts_pool_to_one_row_with_all_their_eigenvalues():
    report = spectra.analyze({"embed.weight": heavy_tailed(99, 50), **separate()}, moe="pool")
    assert [row.matrix_name for row in report.layers] == ["embed", "layers.0.mlp.experts.*.down_proj"]
    row = report.layers[1]
    expected = np.sort(np.concatenate([spectra.eigenvalues(matrix) for matrix in EXPERTS]))
    np.testing.assert_allclose(report.eigenvalues(row.matrix_name), expected, rtol=1e-12)
    assert (row.num_matrices, row.num_params, row.expert) == (3, 3 * 80 * 50, None)


def test_the_stack_of_the_same_experts_gives_the_same_numbers():
    stacked = spectra.analyze({"layers.0.mlp.experts.down_proj": np.stack(EXPERTS)}, moe="pool").layers
    one_by_one = spectra.analyze(separate(), moe="pool").layers
    assert len(stacked) == len(one_by_one) == 1
    assert one_by_one[0].alpha == pytest.approx(stacked[0].alpha, rel=1e-12)


def test_experts_of_other_shapes_stay_by_themselves():
    odd = {"layers.0.mlp.experts.7.down_proj.weight": heavy_tailed(60, 40)}
    names = [row.matrix_name for row in spectra.analyze(separate() | odd, moe="pool").layers]
    assert names == ["layers.0.mlp.experts.*.down_proj", "layers.0.mlp.experts.7.down_proj"]


def test_the_summary_alone_is_that_of_the_rows():
    per_expert = spectra.analyze(separate())
    summary = spectra.analyze(separate(), moe="summary")
    assert summary.layers == ()
    assert len(per_expert.layers) == 3
    assert summary.experts == per_expert.experts
    assert summary.experts[0].num_experts == 3
    alphas = [row.alpha for row in per_expert.layers]
    assert summary.experts[0].metrics["alpha"].mean == pytest.approx(np.mean(alphas), rel=1e-12)
    assert summary.experts[0].metrics["alpha"].max == max(alphas)


def test_nothing_to_pool_changes_nothing():
    assert pool_experts([]) == []


def test_what_is_to_be_known_of_the_numbers_is_said_once_for_all_experts():
    rng = np.random.default_rng(0)
    base = {f"mlp.experts.{number}.up_proj.weight": rng.standard_normal((30, 20)) for number in range(3)}
    tuned = {name: weight.T + rng.standard_normal((20, 30)) for name, weight in base.items()}
    (row,) = spectra.analyze(tuned, base=base, moe="pool").layers
    assert row.notes.split("; ").count("compared with the transposed weight of the base") == 1
