import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spectra
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.weight_shift import frobenius_norm, weight_shift
from spectra.errors import InputError, SourceError
from spectra.sources import StoredTensor, open_source
from spectra.sources.pairs import pair_models
from tests.adapters import adapted, merged_by_peft, state
from tests.models import gpt2, heavy_tailed, llama, mixtral, small_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to, bases without a path, old names

SPECTRAL = ("alpha", "alpha_std_error", "ks_distance", "fit_quality", "stable_rank", "spectral_norm")


def shift_of(before, after, *, with_spectra=False, **changes):
    return weight_shift(pair_models(before, after), resolve_settings("default", **changes), spectra=with_spectra)


def moved(weights, seed=7):
    rng = np.random.default_rng(seed)
    return {name: (w + 1e-2 * rng.standard_normal(w.shape)).astype(np.float32) for name, w in weights.items()}


def norm(*arrays):
    """A plain loop over all numbers, in exact sums."""
    return math.sqrt(math.fsum(float(value) ** 2 for array in arrays for value in np.asarray(array, np.float64).flat))


def by_name(shift):
    return {matrix.matrix_name: matrix for matrix in shift.matrices}


def test_norms_are_those_of_a_plain_loop():
    before = small_weights(2) | {"norm.weight": np.full(40, 2.0, np.float32)}
    after = moved(before)
    shift = shift_of(before, after)
    changes = {name: after[name].astype(np.float64) - before[name] for name in before}
    assert shift.norm_before == pytest.approx(norm(*before.values()), rel=1e-13)  # round-off of float64 sums
    assert shift.norm_change == pytest.approx(norm(*changes.values()), rel=1e-13)
    assert shift.num_params == sum(weight.size for weight in before.values())
    assert [f"{matrix.layer_name}.weight" for matrix in shift.matrices] == [name for name in before if name != "norm.weight"]
    for matrix in shift.matrices:
        name = f"{matrix.matrix_name}.weight"
        assert matrix.norm_before == pytest.approx(norm(before[name]), rel=1e-13)
        assert matrix.norm_change == pytest.approx(norm(changes[name]), rel=1e-13)
        assert matrix.num_params == before[name].size
    assert (shift.settings, shift.divergence, shift.notes) == ({}, None, ())


def test_spectra_are_those_of_analyze():
    before = small_weights(1)
    after = moved(before)
    shift = shift_of(before, after, with_spectra=True, min_tail=5)
    for when, model in (("before", before), ("after", after)):
        report = spectra.analyze(model, min_tail=5)
        assert shift.settings == report.settings.to_dict()
        for matrix, row in zip(shift.matrices, report.layers, strict=True):
            assert matrix.matrix_name == row.matrix_name
            assert matrix.kind == row.kind
            assert [getattr(matrix, f"{name}_{when}") for name in SPECTRAL] == [getattr(row, name) for name in SPECTRAL]


def test_matrices_that_did_not_change_have_no_row_and_are_not_analysed():
    before = small_weights(2)
    seen = []
    pair = pair_models(before, before | {"layers.1.fc.weight": heavy_tailed(60, 40, seed=5)})
    shift = weight_shift(pair, resolve_settings("default"), progress=seen.append)
    assert list(by_name(shift)) == ["layers.1.fc"]
    assert shift.num_unchanged == 3
    assert [(one.layer_name, one.num_done, one.num_layers) for one in seen] == [("layers.1.fc", 1, 2), ("layers.1.fc", 2, 2)]
    assert seen[-1].share_done == 1.0


def test_equal_models_did_not_move():
    shift = shift_of(small_weights(1), small_weights(1), with_spectra=True)
    assert (shift.norm_change, shift.relative_change, shift.matrices, shift.num_unchanged) == (0.0, 0.0, (), 3)


def test_a_low_rank_change_is_measured_without_its_product():
    model = adapted(llama, target_modules=["q_proj"])
    pair = pair_models(None, model)

    def product(start, stop):
        raise AssertionError("the product was formed")

    changes = {name: dataclasses.replace(change, read=product) for name, change in pair.changes.items()}
    shift = weight_shift(dataclasses.replace(pair, changes=changes), resolve_settings("default"), spectra=False)
    before = state(llama())
    for layer, matrix in by_name(shift).items():
        lora = model.get_submodule(f"base_model.model.{layer}")
        left, right = lora.lora_B["default"].weight.detach().double(), lora.lora_A["default"].weight.detach().double()
        dense = lora.scaling["default"] * (left @ right)
        assert matrix.norm_change == pytest.approx(float(torch.linalg.norm(dense)), rel=1e-12)  # round-off of float64
        assert matrix.norm_before == pytest.approx(norm(before[f"{layer}.weight"]), rel=1e-13)
    assert shift.norm_change == pytest.approx(norm([matrix.norm_change for matrix in shift.matrices]), rel=1e-13)
    assert shift.norm_before == pytest.approx(norm(*before.values()), rel=1e-13)


def test_spectra_after_an_adapter_are_those_of_the_merged_model():
    model = adapted(gpt2, target_modules=["c_fc"], fan_in_fan_out=True)
    shift = shift_of(None, model, with_spectra=True)
    names = ["transformer.h.0.mlp.c_fc", "transformer.h.1.mlp.c_fc"]
    assert list(by_name(shift)) == names
    for when, report in (
        ("before", spectra.analyze(model, lora="base")),
        ("after", spectra.analyze(model, lora="merged", include=names)),
    ):
        for row in report.layers:
            matrix = by_name(shift)[row.matrix_name]
            assert [getattr(matrix, f"{name}_{when}") for name in SPECTRAL] == [getattr(row, name) for name in SPECTRAL]


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_parts_of_a_fused_weight_have_a_row_each(form):
    model = adapted(gpt2, target_modules=["c_attn"], fan_in_fan_out=True)
    before, after = state(gpt2()), merged_by_peft(model)
    merged = gpt2()
    merged.load_state_dict({name: torch.from_numpy(weight).float() for name, weight in after.items()})
    shift = shift_of(None, model) if form == "adapter" else shift_of(gpt2(), merged)
    name = "transformer.h.0.attn.c_attn"
    change = np.split(after[f"{name}.weight"] - before[f"{name}.weight"], 3, axis=1)
    for part, expected, old in zip("qkv", change, np.split(before[f"{name}.weight"], 3, axis=1), strict=True):
        matrix = by_name(shift)[f"{name}.{part}"]
        assert matrix.norm_change == pytest.approx(norm(expected), rel=1e-5)  # peft merges in float32
        assert matrix.norm_before == pytest.approx(norm(old), rel=1e-13)


def test_every_expert_of_a_stack_has_a_row():
    before, after = mixtral(), mixtral()
    with torch.no_grad():
        after.model.layers[1].mlp.experts.down_proj[2] += 1.0
    shift = shift_of(before, after)
    changes = {name: matrix.norm_change for name, matrix in by_name(shift).items() if matrix.norm_change}
    (name,) = changes
    assert name == "model.layers.1.mlp.experts.down_proj[2]"
    # All entries by one: the root of their number, in float32 sums of the addition.
    assert changes[name] == pytest.approx(math.sqrt(64 * 96), rel=1e-6)


def test_what_cannot_be_compared_has_no_numbers_and_is_in_no_norm():
    before, after = small_weights(1), moved(small_weights(1))
    after["head.weight"] = np.ones((7, 40), np.float32)
    after["layers.0.fc.weight"] = np.ones((9, 40), np.float32)
    shift = shift_of(before, after, with_spectra=True)
    row = by_name(shift)["layers.0.fc"]
    assert math.isnan(row.norm_change)
    assert row.notes.startswith("shape (9, 40) here, (60, 40) in the base; after: ")
    known = after["embed.weight"].astype(np.float64) - before["embed.weight"]
    assert shift.norm_change == pytest.approx(norm(known), rel=1e-13)
    assert shift.notes[0].startswith("2 weights not compared: 'layers.0.fc.weight', 'head.weight'; shape (9, 40) here")


def test_weights_that_are_not_finite_leave_no_norm():
    before, after = small_weights(1), moved(small_weights(1))
    after["head.weight"][3, 3] = np.inf
    shift = shift_of(before, after, with_spectra=True)
    row = by_name(shift)["head"]
    assert math.isnan(row.norm_change)
    assert math.isnan(row.alpha_after)
    assert not math.isnan(row.alpha_before)
    assert row.notes.startswith("after: ")
    assert math.isnan(shift.norm_change)
    assert math.isfinite(shift.norm_before)


def test_a_grown_vocabulary_is_compared_on_the_rows_that_both_have():
    before = small_weights(1)
    grown = np.vstack([before["embed.weight"] + np.float32(0.5), np.ones((10, 40), np.float32)])
    shift = shift_of(before, before | {"embed.weight": grown}, with_spectra=True)
    row = by_name(shift)["embed"]
    assert row.norm_change == pytest.approx(norm(grown[:150].astype(np.float64) - before["embed.weight"]), rel=1e-13)
    assert row.notes == "compared on the first 150 rows of 160, the base has 150"
    assert row.stable_rank_after == spectra.analyze({"embed.weight": grown}).layers[0].stable_rank


def test_a_head_that_was_tied_and_trained_by_itself_has_a_row():
    shared = torch.from_numpy(heavy_tailed(60, 40))
    before = {"embed.weight": shared, "lm_head.weight": shared, "fc.weight": torch.from_numpy(heavy_tailed(40, 40, seed=1))}
    pair = pair_models(before, before | {"lm_head.weight": 2.0 * shared})
    shift = weight_shift(pair, resolve_settings("weightwatcher"), spectra=False)
    assert {name: matrix.relative_change for name, matrix in by_name(shift).items()} == {"lm_head": 1.0}
    assert shift.relative_change == pytest.approx(norm(shared) / norm(shared, before["fc.weight"]), rel=1e-13)


def test_included_layers_have_rows_and_norms_are_of_the_whole_model():
    before = small_weights(2)
    after = moved(before)
    shift = shift_of(before, after, include=["layers.*"])
    assert list(by_name(shift)) == ["layers.0.fc", "layers.1.fc"]
    assert shift.norm_change == shift_of(before, after).norm_change
    with pytest.raises(InputError, match="matches none of the 4 layers"):
        shift_of(before, after, include=["blocks.*"])


def test_a_model_of_vectors_has_nothing_to_cut_into_matrices():
    with pytest.raises(SourceError, match="has no weight to analyse"):
        shift_of({"a": np.ones(9)}, {"a": np.zeros(9)})


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(0, 7), max_size=4).map(tuple),
    scale=st.sampled_from([0.0, 1e-200, 1e-3, 1.0, 1e200]),
    seed=st.integers(0, 9),
)
def test_the_norm_of_any_tensor_is_that_of_a_plain_loop(shape, scale, seed):
    array = np.asarray(scale * np.random.default_rng(seed).standard_normal(shape))
    (tensor,) = open_source({"a": array}).tensors
    expected = scale * norm(array / scale) if scale else 0.0
    assert frobenius_norm(tensor) == pytest.approx(expected, rel=1e-12)


def test_there_is_no_norm_where_there_is_nothing_to_read():
    tensor = StoredTensor("a", (3, 3), "float32", lambda start, stop: np.ones((stop - start, 3)))
    assert frobenius_norm(tensor) == 3.0
    assert math.isnan(frobenius_norm(dataclasses.replace(tensor, unreadable="meta")))
    assert math.isnan(frobenius_norm(dataclasses.replace(tensor, no_base="none")))
    factors = (np.full((3, 1), np.nan), np.ones((1, 3)))
    assert math.isnan(frobenius_norm(dataclasses.replace(tensor, factors=lambda: factors)))
