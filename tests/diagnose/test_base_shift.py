import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spectra.diagnose.base_shift import base_shift
from spectra.errors import InputError, SourceError
from spectra.training.meta_peft.retrained import RetrainedBase
from tests.adapters import folders, state
from tests.models import gpt2, heavy_tailed, llama, resnet, small_weights

ROUND_OFF = 1e-12  # of float64 sums and decompositions of a few dozen rows


def orthonormal(rows, count, rng):
    return np.linalg.qr(rng.standard_normal((rows, count)))[0]


def planted(shape, singular_values, seed=0):
    """A matrix with these singular values and no others."""
    rng, count = np.random.default_rng(seed), len(singular_values)
    return orthonormal(shape[0], count, rng) * singular_values @ orthonormal(shape[1], count, rng).T


def retrained(before, singular_values=(3.0, 1.0)):
    return {
        name: (w + planted(w.shape, singular_values, seed)).astype(w.dtype) for seed, (name, w) in enumerate(before.items())
    }


def by_name(shift):
    return {matrix.matrix_name: matrix for matrix in shift.matrices}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ROUND_OFF), ("float32", 1e-5)])  # entries of up to ten, rounded
def test_a_planted_change_of_rank_two_is_found_in_every_matrix(dtype, tolerance):
    before = {name: weight.astype(dtype) for name, weight in small_weights(2).items()}
    shift = base_shift(before, retrained(before), num_tasks=2, rank=1)
    assert list(by_name(shift)) == ["embed", "layers.0.fc", "layers.1.fc", "head"]
    for name, matrix in by_name(shift).items():
        assert matrix.status == "ok"
        assert matrix.is_reliable
        assert matrix.matrix_rank == 2
        assert matrix.norm_before == pytest.approx(np.linalg.norm(before[f"{name}.weight"].astype(np.float64)), rel=ROUND_OFF)
        assert matrix.norm_change == pytest.approx(math.sqrt(10.0), rel=tolerance)
        assert matrix.stable_rank == pytest.approx(10.0 / 9.0, rel=tolerance)
        assert matrix.energy == pytest.approx(
            {1: 0.9, 2: 1.0, 3: 1.0, 4: 1.0, 8: 1.0, 16: 1.0, 32: 1.0, 40: 1.0}, rel=tolerance
        )
    assert shift.top == (1, 2, 3)
    assert (shift.skipped, shift.notes) == ((), ())


def test_the_effective_rank_is_that_of_the_entropy():
    before = {"fc.weight": np.zeros((30, 20))}
    (matrix,) = base_shift(before, retrained(before)).matrices
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert matrix.effective_rank == pytest.approx(math.exp(entropy), rel=1e-9)  # round-off of null eigenvalues, 1e-16 ln 1e-16
    assert matrix.relative_change == math.inf


def test_a_change_of_full_rank_has_the_energies_of_its_singular_values():
    rng = np.random.default_rng(3)
    change = rng.standard_normal((30, 24))
    before = rng.standard_normal((30, 24))
    (matrix,) = base_shift({"fc.weight": before}, {"fc.weight": before + change}, top=[5, 3, 5]).matrices
    squares = np.linalg.svd(change, compute_uv=False) ** 2
    assert matrix.matrix_rank == 24
    assert matrix.stable_rank == pytest.approx(squares.sum() / squares[0], rel=ROUND_OFF)
    assert list(matrix.energy) == [1, 2, 3, 4, 5, 8, 16, 24]
    for count, share in matrix.energy.items():
        assert share == pytest.approx(math.fsum(squares[:count]) / math.fsum(squares), rel=ROUND_OFF)


def test_counts_beyond_a_matrix_hold_all_of_its_energy():
    before = {"fc.weight": np.zeros((6, 3))}
    (matrix,) = base_shift(before, {"fc.weight": np.ones((6, 3))}, num_tasks=4, rank=2).matrices
    assert matrix.energy == pytest.approx(dict.fromkeys((1, 2, 3, 8, 10), 1.0), rel=ROUND_OFF)


def test_equal_bases_have_rows_without_spectra_that_say_so():
    shift = base_shift(small_weights(1), small_weights(1), num_tasks=3, rank=2)
    assert [matrix.status for matrix in shift.matrices] == ["unchanged"] * 3
    for matrix in shift.matrices:
        assert (matrix.norm_change, matrix.relative_change, matrix.rounding, matrix.matrix_rank) == (0.0, 0.0, 0.0, 0.0)
        assert math.isnan(matrix.stable_rank)
        assert math.isnan(matrix.effective_rank)
        assert all(map(math.isnan, matrix.energy.values()))
    assert shift.changed == ()
    assert shift.norm_before > shift.norm_change == 0.0
    assert "0 of 3 matrices changed" in str(shift)
    assert "no matrix changed by a known amount" in str(shift)


@settings(max_examples=20, deadline=None)
@given(exponent=st.integers(-60, 60), seed=st.integers(0, 5))
def test_multiplying_both_bases_changes_norms_only(exponent, seed):
    rng = np.random.default_rng(seed)
    before, after = rng.standard_normal((2, 20, 12))
    factor = 2.0**exponent  # exact, so that every digit stays
    (one,) = base_shift({"fc.weight": before}, {"fc.weight": after}).matrices
    (other,) = base_shift({"fc.weight": factor * before}, {"fc.weight": factor * after}).matrices
    assert other.norm_change == pytest.approx(factor * one.norm_change, rel=ROUND_OFF)
    for name in ("relative_change", "stable_rank", "effective_rank", "matrix_rank", "energy"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=ROUND_OFF)


@settings(max_examples=25, deadline=None)
@given(dtype=st.sampled_from(["bfloat16", "float16", "float32"]), exponent=st.integers(-3, 0), seed=st.integers(0, 9))
def test_rounding_is_a_bound_on_what_the_dtype_added(dtype, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn((12, 10), generator=generator, dtype=torch.float64)
    exact = 10.0**exponent * torch.randn((12, 10), generator=generator, dtype=torch.float64)
    stored = (before + exact).to(getattr(torch, dtype))
    (matrix,) = base_shift({"fc.weight": before}, {"fc.weight": stored}).matrices
    assert float(torch.linalg.norm(stored.double() - before - exact)) <= matrix.rounding


def test_a_change_within_the_rounding_of_its_dtype_is_marked_and_has_no_rank():
    before = torch.from_numpy(heavy_tailed(40, 30))
    after = (before + 1e-6 * torch.randn((40, 30), generator=torch.Generator().manual_seed(0))).bfloat16()
    shift = base_shift({"fc.weight": before}, {"fc.weight": after})
    assert not shift.matrices[0].is_reliable
    assert shift.matrices[0].matrix_rank == 0.0
    assert shift.notes == ("of 1 of 1 changes a tenth or more may be rounding to the dtype of the retrained weights",)


def test_standard_retraining_and_the_base_of_all_tasks_differ_by_the_rank_of_the_theory():
    # Theorem 1 in closed form, k = 2 and T = 3, for a base A* that is not symmetric as any of a network is not.
    rng = np.random.default_rng(5)
    common = rng.standard_normal((20, 20))
    tasks = [columns @ columns.T for columns in rng.standard_normal((4, 20, 2))]
    standard = common + sum(tasks[:3]) / 3
    shift = base_shift({"fc.weight": common}, {"fc.weight": standard}, num_tasks=3, rank=2)
    assert shift.matrices[0].matrix_rank == shift.standard_rank == 6
    assert shift.energy(6) == pytest.approx(1.0, rel=ROUND_OFF)
    to_a_new_task = base_shift({"fc.weight": standard}, {"fc.weight": common + tasks[3]}, num_tasks=3, rank=2)
    assert to_a_new_task.matrices[0].matrix_rank == to_a_new_task.top[-1] == 8


def test_a_tied_weight_has_one_row():
    before, after = gpt2(), gpt2()
    with torch.no_grad():
        after.transformer.wte.weight[3] += 1.0
    shift = base_shift(before, after)
    changed = {matrix.matrix_name: matrix for matrix in shift.changed}
    assert list(changed) == ["transformer.wte"]
    assert changed["transformer.wte"].stable_rank == pytest.approx(1.0, rel=ROUND_OFF)
    assert {one.name: one.reason for one in shift.skipped} == {"lm_head.weight": "tied to 'transformer.wte.weight'"}


def test_a_head_that_was_tied_and_trained_by_itself_has_a_row():
    shared = torch.from_numpy(heavy_tailed(60, 40))
    before = {"embed.weight": shared, "lm_head.weight": shared}
    shift = base_shift(before, {"embed.weight": shared.clone(), "lm_head.weight": 2.0 * shared})
    assert {name: matrix.relative_change for name, matrix in by_name(shift).items()} == pytest.approx(
        {"embed": 0.0, "lm_head": 1.0}, rel=ROUND_OFF
    )


def test_what_only_one_base_has_is_said():
    before, after = small_weights(2), retrained(small_weights(2))
    del after["layers.1.fc.weight"]
    after["head.weight"] = np.ones((7, 40), np.float32)
    after["score.weight"] = np.ones((3, 40), np.float32)
    shift = base_shift(before, after)
    assert list(by_name(shift)) == ["embed", "layers.0.fc"]
    assert {one.name: one.reason for one in shift.skipped} == {
        "layers.1.fc.weight": f"'{shift.retrained}' has no weight of this name, or is an adapter that leaves it as it is",
        "head.weight": "shape (7, 40) here, (50, 40) in the base",
    }
    assert shift.notes[1] == "1 weight only after training, not compared: 'score.weight'"


def test_a_grown_vocabulary_is_compared_on_the_rows_that_both_have():
    before = small_weights(1)
    grown = np.vstack([before["embed.weight"] + planted((150, 40), [2.0]), np.ones((10, 40))])
    matrix = by_name(base_shift(before, before | {"embed.weight": grown}))["embed"]
    assert matrix.norm_change == pytest.approx(2.0, rel=ROUND_OFF)
    assert matrix.matrix_rank == 1
    assert matrix.notes == "compared on the first 150 rows of 160, the base has 150"


def test_parts_of_a_fused_weight_have_a_row_each():
    before, after = gpt2(), gpt2()
    name = "transformer.h.0.attn.c_attn"
    with torch.no_grad():
        after.get_submodule(name).weight[:, 64:128] *= 2.0
    changed = {matrix.matrix_name: matrix for matrix in base_shift(before, after).changed}
    assert list(changed) == [f"{name}.k"]
    old = state(before)[f"{name}.weight"][:, 64:128].astype(np.float64)
    assert changed[f"{name}.k"].norm_change == pytest.approx(np.linalg.norm(old), rel=ROUND_OFF)
    assert changed[f"{name}.k"].relative_change == pytest.approx(1.0, rel=ROUND_OFF)


def test_directions_of_a_convolution_are_those_of_all_kernel_positions():
    before, after = resnet(), resnet()
    name = "encoder.stages.1.layers.0.layer.0.convolution"
    kernel = after.get_submodule(name).weight
    change = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2)).double()
    after.double().get_submodule(name).weight.data += change
    changed = {matrix.matrix_name: matrix for matrix in base_shift(before, after).changed}
    squares = torch.linalg.svdvals(change.permute(2, 3, 0, 1)).flatten().square().sort(descending=True).values
    assert list(changed) == [name]
    assert changed[name].num_eigenvalues == len(squares)
    assert changed[name].energy[8] == pytest.approx(float(squares[:8].sum() / squares.sum()), rel=1e-9)  # w + change is rounded


@pytest.mark.filterwarnings("ignore")  # peft remarks on deprecated names and on bases without a path
def test_of_an_adapter_the_product_is_the_change(tmp_path):
    folders(llama, tmp_path, target_modules=["q_proj"])
    shift = base_shift(tmp_path / "base", tmp_path / "adapter", include=["*.q_proj", "*.k_proj"])
    assert list(by_name(shift)) == [f"model.layers.{i}.self_attn.q_proj" for i in range(2)]
    assert {(matrix.matrix_rank, matrix.rounding) for matrix in shift.matrices} == {(4.0, 0.0)}
    reasons = {one.name: one.reason for one in shift.skipped}
    assert reasons["model.layers.0.self_attn.k_proj.weight"].endswith("or is an adapter that leaves it as it is")


def test_weights_that_are_not_finite_have_a_row_that_says_so():
    after = retrained(small_weights(1))
    after["head.weight"][3, 3] = np.inf
    shift = base_shift(small_weights(1), after)
    matrix = by_name(shift)["head"]
    assert (matrix.status, len(shift.changed)) == ("nonfinite", 2)
    assert "1 infinite values" in matrix.notes
    assert math.isnan(matrix.norm_change)
    assert all(map(math.isnan, matrix.energy.values()))
    assert math.isfinite(shift.norm_before)


@pytest.mark.parametrize("when", ["before", "after"])
def test_weights_without_numbers_are_skipped(when):
    full = {name: torch.from_numpy(weight) for name, weight in small_weights(1).items()}
    bare = full | {"head.weight": full["head.weight"].to("meta")}
    shift = base_shift(bare, full) if when == "before" else base_shift(full, bare)
    assert [matrix.status for matrix in shift.matrices] == ["unchanged"] * 2
    assert [one.name for one in shift.skipped] == ["head.weight"]
    assert "cannot be read" in shift.skipped[0].reason


def test_a_weight_of_no_rows_has_a_row_that_says_so():
    (matrix,) = base_shift({"fc.weight": np.ones((0, 5))}, {"fc.weight": np.ones((0, 5))}).matrices
    assert (matrix.status, matrix.num_eigenvalues) == ("empty", 0)
    assert math.isnan(matrix.energy[1])


def test_shares_are_asked_for_as_far_as_ranks_and_tasks_are_known():
    before = small_weights(1)

    def top(**known):
        return base_shift(before, before, include=["head"], **known).top

    assert top(num_tasks=3, rank=4) == (4, 12, 16)
    assert top(num_tasks=1, rank=4) == (4, 8)
    assert top(rank=4) == (4,)
    assert top(num_tasks=3) == top() == (1, 8, 64)
    assert top(num_tasks=3, rank=4, top=[9, 2]) == (2, 9)
    assert top(top=()) == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_tasks": 0}, "num_tasks: expected a whole number of at least 1, got 0"),
        ({"rank": 2.0}, "rank: expected a whole number of at least 1, got 2.0"),
        ({"rank": True}, "rank: expected a whole number of at least 1, got True"),
        ({"top": [4, -1]}, "top.1.: expected a whole number of at least 1, got -1"),
        ({"top": 8}, "top: expected whole numbers, such as .1, 8., got 8"),
        ({"top": "8"}, "top.0.: expected a whole number of at least 1, got '8'"),
        ({"include": ["blocks.*"]}, "include pattern 'blocks.*' matches none of the 3 layers"),
        ({"exclude": "*"}, "leave no layer to analyse"),
    ],
    ids=["tasks", "rank", "truth", "top", "one top", "text", "include", "exclude"],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(InputError, match=message.replace("*", ".")):
        base_shift(small_weights(1), small_weights(1), **arguments)


def test_what_holds_a_model_is_told_from_one():
    held = RetrainedBase(nn.Linear(2, 2), None)
    with pytest.raises(InputError, match=r"retrained: a RetrainedBase holds a model\. Give its \.model"):
        base_shift(nn.Linear(2, 2), held)
    with pytest.raises(InputError, match=r"pretrained: a RetrainedBase holds a model"):
        base_shift(held, nn.Linear(2, 2))


def test_bases_without_a_matrix_in_common_are_refused():
    before = small_weights(1)
    with pytest.raises(InputError, match="'head.weight': shape .7, 40. here.*Give two states of one base"):
        base_shift(before, before | {"head.weight": np.ones((7, 40), np.float32)}, include=["head"])
    with pytest.raises(SourceError, match="have no weight in common"):
        base_shift(before, {"fc.weight": np.ones((7, 40), np.float32)})
