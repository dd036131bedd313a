import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import spectra
from spectra.diagnose import matrix_change
from spectra.errors import InputError, ResultsError, SourceError
from spectra.esd import eigenvalues, subspaces
from spectra.esd.gram import safe_gram
from spectra.results.comparison import METRICS_ONLY, NO_COUNTERPART, Finding
from spectra.results.comparison_store import ComparisonRun
from tests.adapters import adapted, edit, folders, merged_by_peft, state
from tests.models import bert, gpt2, heavy_tailed, llama, mixtral, resnet, small_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to and bases without a path


def only_row(comparison):
    (row,) = comparison.rows
    return row


def one(before, after, **options):
    """Compare a single matrix."""
    return spectra.compare({"fc.weight": before}, {"fc.weight": after}, workers=1, **options)


def noise(rows, cols, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols))


def span_error(found, planted):
    """Sine of the largest angle between subspaces."""
    return np.linalg.norm(planted - found @ (found.T @ planted), 2)


def test_a_planted_change_is_found_as_its_layer_rank_and_directions(demo_folder):
    weights = load_file(next(demo_folder.glob("*.safetensors")))
    name = next(name for name in weights if name.endswith("encoder.layer.3.attention.self.query.weight"))
    left, right = (np.linalg.qr(noise(384, 2, seed))[0] for seed in (1, 2))
    planted = weights[name].astype(np.float64) + left @ np.diag([3.0, 2.0]) @ right.T
    after = weights | {name: planted.astype(np.float32)}
    comparison = spectra.compare("demo", after, include=["encoder.layer.[34].attention.*"])
    (row,) = (row for row in comparison.rows if row.is_changed)
    assert f"{row.matrix_name}.weight" == name
    assert len(comparison.rows) == 8
    assert all(other.verdict == "unchanged" and other.norm_change == 0.0 for other in comparison.rows if other is not row)
    assert row.change_rank == 2
    assert Finding.LOW_RANK in row.findings
    # Rounding to float32 adds noise of norm 2e-6 at most here, which turns directions of size 2 by 1e-6.
    found = comparison.directions(row.matrix_name)
    assert span_error(found.left[:, :2], left) < 1e-6
    assert span_error(found.right[:, :2], right) < 1e-6
    np.testing.assert_allclose(found.singular_values[:2], [3.0, 2.0], rtol=1e-6)
    assert row.norm_change == pytest.approx(math.sqrt(13.0), rel=1e-6)
    assert row.energy[2] == pytest.approx(1.0, rel=1e-9)


def test_identical_models_are_said_to_be_so_and_no_change_is_decomposed(monkeypatch):
    decomposed = []
    monkeypatch.setattr(matrix_change, "_decomposed", lambda *_: decomposed.append(1))
    weights = small_weights(2)
    comparison = spectra.compare(weights, dict(weights), {name: w.copy() for name, w in weights.items()})
    assert comparison.is_identical
    assert decomposed == []
    assert {row.status for row in comparison.rows} == {"unchanged"}
    assert all((row.norm_change, row.scale, row.change_rank) == (0.0, 1.0, 0) for row in comparison.rows)
    assert [model.name for model in comparison.models] == ["mapping of 4 tensors", "mapping (2)"]
    assert "identical, all 4 matrices are equal" in str(comparison)


def test_rows_before_and_after_are_those_of_analyze():
    before, after = small_weights(2), {name: w + 0.01 * noise(*w.shape) for name, w in small_weights(2).items()}
    comparison = spectra.compare(before, after, min_tail=5, workers=2)
    for model, when in ((before, "before"), (after, "after")):
        for row, layer in zip(comparison.rows, spectra.analyze(model, min_tail=5).layers, strict=True):
            assert getattr(row, when).to_dict() == layer.to_dict()
    difference = spectra.analyze(after, base=before, min_tail=5)
    for row in comparison.rows:
        expected = difference.eigenvalues(row.matrix_name)
        np.testing.assert_array_equal(comparison.eigenvalues_of_change(row.matrix_name), expected)
        assert row.norm_change == pytest.approx(math.sqrt(expected.sum()), rel=1e-12)
        assert row.change_spectral_norm == pytest.approx(math.sqrt(expected[-1]), rel=1e-12)
        found = comparison.directions(row.matrix_name)
        np.testing.assert_allclose(found.singular_values**2, expected[: -len(found.singular_values) - 1 : -1], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_merged_adapter_has_the_spectrum_of_the_adapter(dtype, tmp_path):
    adapter, base, model = folders(llama, tmp_path, target_modules=["q_proj", "down_proj"], r=6)
    model = model.double() if dtype is np.float64 else model  # peft merges in the dtype of the model
    merged = {name: w.astype(dtype) for name, w in merged_by_peft(model).items()}
    of_adapter, of_merged = spectra.compare(base, adapter), spectra.compare(base, merged)
    changed = [row for row in of_adapter.rows if row.is_changed]
    assert len(changed) == 4
    assert all(row.change_rank == 6 and row.rounding == 0.0 for row in changed)
    merged_rows = {row.matrix_name: row for row in of_merged.rows}
    for row in changed:
        exact = of_adapter.eigenvalues_of_change(row.matrix_name)
        found = of_merged.eigenvalues_of_change(row.matrix_name)[-len(exact) :]
        np.testing.assert_allclose(found, exact, atol=1e-6 * exact[-1])
        left, right = of_adapter.directions(row.matrix_name), of_merged.directions(row.matrix_name)
        assert span_error(right.left[:, :6], left.left) < 1e-4  # of the smallest of six, where float32 merges
        assert merged_rows[row.matrix_name].change_rank == 6
    assert {row.status for row in of_adapter.rows if not row.is_changed} == {"unchanged"}


def test_an_adapter_beside_an_adapter_is_each_over_its_base(tmp_path):
    first, base, _ = folders(llama, tmp_path / "a", target_modules=["q_proj"])
    second, _, model = folders(llama, tmp_path / "b", target_modules=["q_proj"])
    for folder in (first, second):
        edit(folder, base_model_name_or_path=str(base))
    assert spectra.compare(first, second).is_identical  # of one seed
    assert not spectra.compare(first, base).is_identical
    merged = spectra.compare(first, merged_by_peft(model))
    assert merged.relative_change(merged.models[0].name) < 1e-6  # peft merges in float32


def test_a_rescaled_matrix_keeps_its_directions():
    weight = heavy_tailed(60, 40).astype(np.float64)
    row = only_row(one(weight, 1.5 * weight))
    assert row.findings == (Finding.RESCALED,)
    assert row.verdict == "rescaled, × 1.5"
    assert (row.scale, row.scale_share) == (pytest.approx(1.5, rel=1e-14), pytest.approx(1.0, rel=1e-14))
    assert max(row.principal_angles_left + row.principal_angles_right) < 1e-7  # gaps of 1e-3 in a spectrum of ten
    assert row.alpha_change == pytest.approx(0.0, abs=1e-9)
    assert row.intruders == ()


def test_nothing_turns_beside_a_zero_matrix():
    row = only_row(one(np.zeros((20, 12)), noise(20, 12)))
    assert (row.relative_change, row.num_directions, row.intruders, row.findings) == (math.inf, 0, (), ())
    assert row.change_rank == 12
    gone = only_row(one(noise(20, 12), np.zeros((20, 12))))
    assert (gone.scale, gone.findings) == (0.0, (Finding.RESCALED,))


def test_permuted_rows_turn_the_left_side_and_keep_the_right():
    weight = heavy_tailed(60, 40).astype(np.float64)
    row = only_row(one(weight, weight[np.random.default_rng(0).permutation(60)]))
    assert max(row.principal_angles_right) < 1e-7
    assert row.overlap_left < 0.5
    assert Finding.TURNED in row.findings
    assert row.alpha_change == pytest.approx(0.0, abs=1e-9)


def test_a_copy_in_fewer_bits_is_rounding_in_both_directions():
    full = torch.from_numpy(noise(60, 40).astype(np.float32))
    for dtype in (torch.bfloat16, torch.float16):
        for before, after in ((full, full.to(dtype)), (full.to(dtype), full)):
            row = only_row(spectra.compare({"fc.weight": before}, {"fc.weight": after}))
            assert row.findings == (Finding.ROUNDING,)
            assert row.verdict == "rounding only"
    assert only_row(spectra.compare({"fc.weight": full.half().float()}, {"fc.weight": full.half()})).status == "unchanged"


@given(st.integers(-40, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_a_power_of_two_on_both_changes_no_angle(power, seed):
    before, after = noise(20, 12, seed), noise(20, 12, seed + 1)
    plain = only_row(one(before, after, directions=3))
    scaled = only_row(one(before * 2.0**power, after * 2.0**power, directions=3))
    np.testing.assert_allclose(scaled.principal_angles_left, plain.principal_angles_left, atol=1e-12)
    assert scaled.relative_change == pytest.approx(plain.relative_change, rel=1e-14)
    assert (scaled.change_rank, scaled.findings) == (plain.change_rank, plain.findings)
    assert [i.position for i in scaled.intruders] == [i.position for i in plain.intruders]


@given(st.integers(2, 25), st.integers(2, 25), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_swapped_sides_have_the_same_angles(rows, cols, k, seed):
    first, second = noise(rows, cols, seed), noise(rows, cols, seed + 1)
    there, back = only_row(one(first, second, directions=k)), only_row(one(second, first, directions=k))
    # n eps over the gap at k, which may be small between random matrices: most are exact to 1e-12.
    np.testing.assert_allclose(there.principal_angles_left, back.principal_angles_left, atol=1e-8)
    np.testing.assert_allclose(there.principal_angles_right, back.principal_angles_right, atol=1e-8)
    assert there.num_directions == min(k, rows, cols) == len(there.principal_angles_left)
    assert there.norm_change == pytest.approx(back.norm_change, rel=1e-14)
    assert list(there.principal_angles_left) == sorted(there.principal_angles_left)


def test_angles_and_intruders_are_those_of_numpy():
    before, after = noise(50, 30, 1), noise(50, 30, 1) + 6.0 * np.outer(np.ones(50), noise(1, 30, 2)) / 7.0
    row = only_row(one(before, after, directions=4, intruder_threshold=0.6))
    (u, _, _), (v, values, _) = np.linalg.svd(before, full_matrices=False), np.linalg.svd(after, full_matrices=False)
    cosines = np.linalg.svd(u[:, :4].T @ v[:, :4], compute_uv=False)
    np.testing.assert_allclose(np.cos(row.principal_angles_left), cosines, rtol=1e-10)
    assert row.overlap_left == pytest.approx(np.mean(cosines**2), rel=1e-10)
    similar = np.abs(v[:, :4].T @ u).max(axis=1)
    assert [i.position for i in row.intruders] == [0]
    assert row.intruders[0].similarity == pytest.approx(similar[0], rel=1e-9)
    assert row.intruders[0].singular_value == pytest.approx(values[0], rel=1e-12)


def test_left_belongs_to_the_outputs_whatever_the_layout():
    before, after = gpt2(), gpt2()
    name = "transformer.h.0.mlp.c_fc"
    with torch.no_grad():
        weight = after.get_submodule(name).weight  # (in, out)
        weight += 5.0 * torch.outer(torch.ones(weight.shape[0]), torch.eye(weight.shape[1])[3])
    comparison = spectra.compare(before, after)
    (row,) = (row for row in comparison.rows if row.is_changed)
    assert (row.matrix_name, row.before.is_transposed, row.change_rank) == (name, True, 1)
    found = comparison.directions(name)
    assert found.left.shape[0] == weight.shape[1]
    assert abs(found.left[3, 0]) == pytest.approx(1.0, rel=1e-6)
    # The same layer, stored the other way round.
    turned = spectra.compare({"fc.weight": weight.detach().T.clone()}, {"fc.weight": weight.detach().clone()})
    assert "transposed" in only_row(turned).notes or only_row(turned).status == "unchanged"


def test_directions_of_a_convolution_are_those_of_its_flattened_kernel():
    before, after = resnet(), resnet()
    name = next(n for n, w in after.named_parameters() if w.dim() == 4 and w.shape[-1] == 3)
    with torch.no_grad():
        after.get_parameter(name)[2] += 1.0
    comparison = spectra.compare(before, after)
    (row,) = (row for row in comparison.rows if row.is_changed)
    shape = after.get_parameter(name).shape
    found = comparison.directions(row.matrix_name)
    assert (found.left.shape[0], found.right.shape[0]) == (shape[0], math.prod(shape[1:]))
    assert abs(found.left[2, 0]) == pytest.approx(1.0, rel=1e-6)
    assert found.singular_values[0] == pytest.approx(math.sqrt(math.prod(shape[1:])), rel=1e-6)
    expected = spectra.analyze(after, base=before).eigenvalues(row.matrix_name)
    np.testing.assert_array_equal(comparison.eigenvalues_of_change(row.matrix_name), expected)


@pytest.mark.parametrize("moe", ["per_expert", "pool"])
def test_experts_have_rows_as_in_an_analysis(moe):
    before, after = mixtral(), mixtral()
    with torch.no_grad():
        after.model.layers[1].mlp.experts.down_proj[2] += 0.1
    comparison = spectra.compare(before, after, moe=moe)
    (row,) = (row for row in comparison.rows if row.is_changed)
    assert row.norm_change == pytest.approx(0.1 * math.sqrt(64 * 96), rel=1e-5)  # added in float32
    if moe == "per_expert":
        assert row.matrix_name == "model.layers.1.mlp.experts.down_proj[2]"
        assert comparison.directions(row.matrix_name).singular_values[0] == pytest.approx(row.norm_change, rel=1e-5)
    else:
        assert row.num_directions == 0
        with pytest.raises(InputError, match="has no directions"):
            comparison.directions(row.matrix_name)


@pytest.mark.parametrize("moe", ["per_expert", "pool"])
def test_merged_low_rank_changes_of_experts_have_the_spectrum_of_an_analysis(moe):
    before, after = mixtral(), mixtral()
    with torch.no_grad():
        weight = after.model.layers[0].mlp.experts.down_proj
        weight += torch.from_numpy(
            np.stack([noise(w.shape[0], 2, n) @ noise(2, w.shape[1], n + 9) for n, w in enumerate(weight)])
        )
    comparison = spectra.compare(before, after, moe=moe)
    exact = spectra.analyze(after, base=before, moe=moe)
    changed = [row for row in comparison.rows if row.is_changed]
    assert len(changed) == (len(weight) if moe == "per_expert" else 1)
    for row in changed:
        found = comparison.eigenvalues_of_change(row.matrix_name)
        np.testing.assert_allclose(found, exact.eigenvalues(row.matrix_name), rtol=1e-6)
        assert row.change_rank == 2 * len(weight) // len(changed)


def experts_one_by_one(number=4):
    return {f"layers.0.experts.{n}.w1.weight": noise(60, 50, n).astype(np.float32) for n in range(number)}


def test_experts_that_are_stored_one_by_one_are_compared_as_a_stack():
    before = experts_one_by_one()
    after = dict(before)
    name = "layers.0.experts.2.w1.weight"
    after[name] = before[name] + np.float32(0.5)
    row = only_row(spectra.compare(before, after, moe="pool"))
    assert (row.matrix_name, row.status) == ("layers.0.experts.*.w1", "ok")
    assert row.norm_change == pytest.approx(0.5 * math.sqrt(60 * 50), rel=1e-5)
    assert only_row(spectra.compare(before, dict(before), moe="pool")).status == "unchanged"


def test_an_adapter_of_some_experts_changes_their_stack(tmp_path):
    before = experts_one_by_one()
    (tmp_path / "base").mkdir()
    save_file(before, tmp_path / "base" / "model.safetensors")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    factors = {n: {"A": noise(2, 50, n).astype(np.float32), "B": noise(60, 2, n).astype(np.float32)} for n in (1, 2)}
    stored = {
        f"base_model.model.layers.0.experts.{n}.w1.lora_{part}.weight": factor
        for n, both in factors.items()
        for part, factor in both.items()
    }
    save_file(stored, adapter / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["w1"], "base_model_name_or_path": None}
    (adapter / "adapter_config.json").write_text(json.dumps(about))
    row = only_row(spectra.compare(tmp_path / "base", adapter, moe="pool"))
    products = [both["B"].astype(np.float64) @ both["A"] for both in factors.values()]
    assert (row.matrix_name, row.change_rank) == ("layers.0.experts.*.w1", 4)
    assert row.norm_change == pytest.approx(math.hypot(*map(np.linalg.norm, products)), rel=1e-6)
    each = spectra.compare(tmp_path / "base", adapter, moe="per_expert")
    assert [found.status for found in each.rows] == ["unchanged", "ok", "ok", "unchanged"]


def test_a_stack_that_lacks_an_expert_is_not_compared():
    before = experts_one_by_one()
    after = {name: weight + np.float32(0.1) for name, weight in before.items() if ".3." not in name}
    row = only_row(spectra.compare(before, after, moe="pool"))
    assert row.status == NO_COUNTERPART
    assert "has no such weight, or it is cut into other matrices" in row.notes


def test_a_head_that_is_untied_later_has_a_row():
    tied = torch.from_numpy(heavy_tailed(40, 20))
    before = {"embed_tokens.weight": tied, "lm_head.weight": tied}
    after = {"embed_tokens.weight": tied.clone(), "lm_head.weight": tied + torch.from_numpy(noise(40, 20)).float()}
    rows = {row.layer_name: row.status for row in spectra.compare(before, after).rows}
    assert rows == {"embed_tokens": "unchanged", "lm_head": "ok"}
    assert [row.layer_name for row in spectra.compare(before, dict(before)).rows] == ["embed_tokens"]


def test_a_vocabulary_that_was_added_to_is_compared_on_what_both_have():
    old = heavy_tailed(40, 20)
    new = np.concatenate([old, noise(5, 20).astype(np.float32)])
    moved = new.copy()
    moved[3] += 1.0
    rows = [only_row(spectra.compare({"embed_tokens.weight": old}, {"embed_tokens.weight": w})) for w in (new, moved)]
    assert [row.status for row in rows] == ["unchanged", "ok"]
    assert all("compared on the first 40 rows of 45" in row.notes for row in rows)
    assert rows[1].change_rank == 1
    assert rows[1].after.num_rows == 45
    assert len(rows[1].principal_angles_left) == 10


def test_what_cannot_be_compared_is_a_row_that_says_why():
    before = small_weights(1) | {"nan.weight": noise(12, 10), "other.weight": noise(12, 10), "gone.weight": noise(12, 10)}
    after = {name: w for name, w in before.items() if name != "gone.weight"}
    after |= {"nan.weight": np.full((12, 10), np.nan), "other.weight": noise(12, 9)}
    rows = {row.layer_name: row for row in spectra.compare(before, after).rows}
    assert {name: rows[name].status for name in ("nan", "other", "gone")} == {
        "nan": "nonfinite",
        "other": NO_COUNTERPART,
        "gone": NO_COUNTERPART,
    }
    assert rows["other"].notes == "shape (12, 9) here, (12, 10) in the base"
    assert "has no such weight" in rows["gone"].notes
    for name in ("nan", "other", "gone"):
        assert math.isnan(rows[name].relative_change)
        assert rows[name].verdict == "not compared"
        assert rows[name].findings == ()
        assert rows[name].before.status == "ok"


def test_a_matrix_that_cannot_be_read_does_not_stop_the_others(monkeypatch):
    def broken(*_):
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(matrix_change, "beside_matrix", broken)
    comparison = spectra.compare(small_weights(1), {name: 2.0 * w for name, w in small_weights(1).items()})
    assert {row.status for row in comparison.rows} == {"unreadable"}
    assert {row.notes for row in comparison.rows} == {"no convergence"}


def test_a_prefix_of_a_wrapper_is_seen_through():
    encoder = state(bert())
    with_head = {f"bert.{name}": w for name, w in encoder.items()} | {"classifier.weight": noise(2, 20)}
    assert spectra.compare(encoder, with_head).is_identical


def test_the_base_is_decomposed_once_for_all_models(monkeypatch):
    made = []
    real = matrix_change.MatrixView.basis
    monkeypatch.setattr(matrix_change.MatrixView, "basis", lambda *given: made.append(1) or real(*given))
    base = {"fc.weight": noise(20, 15)}
    comparison = spectra.compare(base, *({"fc.weight": noise(20, 15, seed)} for seed in (1, 2, 3)))
    assert len(comparison.rows) == 3
    assert len(made) == 1 + 3 + 3  # the base, three models, three changes


def test_spectrum_and_vectors_of_a_matrix_share_its_gram_matrix(monkeypatch):
    made = []
    for module in (eigenvalues, subspaces):
        monkeypatch.setattr(module, "safe_gram", lambda *given, **more: made.append(1) or safe_gram(*given, **more))
    one(noise(30, 20), noise(30, 20, 1))
    assert len(made) == 3  # before, after, change


def test_a_merged_adapter_of_a_large_layer_is_decomposed_by_deflation(monkeypatch):
    before = noise(600, 540).astype(np.float32)
    after = before + (noise(600, 8, 1) @ noise(8, 540, 2)).astype(np.float32)
    exact = spectra.analyze({"fc.weight": after}, base={"fc.weight": before}).eigenvalues("fc")  # LAPACK's singular values
    monkeypatch.setattr(eigenvalues, "_by_singular_values", None)
    comparison = one(before, after)
    assert (only_row(comparison).change_rank, only_row(comparison).findings[0]) == (8, Finding.LOW_RANK)
    np.testing.assert_allclose(comparison.eigenvalues_of_change("fc"), exact, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1, 12])
def test_as_many_intruders_are_found_as_by_peft(scale):
    intruders = pytest.importorskip("peft.tuners.lora.intruders", reason="peft 0.21 looks for intruders")
    model = adapted(llama, target_modules=["q_proj", "v_proj", "down_proj"], lora_alpha=scale)
    comparison = spectra.compare(llama(), merged_by_peft(model))
    said: list[str] = []
    intruders.reduce_intruder_dimension(model, logging_sink=said.append)
    found = {row.layer_name: len(row.intruders) for row in comparison.rows if row.is_changed}
    lines = [f"base_model.model.{name}: {f'Intruders: {count}' if count else 'No intruders'}" for name, count in found.items()]
    assert sorted(lines) == sorted(line for line in said if "ntruders" in line)
    assert len(lines) == 6


def test_checkpoints_have_their_steps(tmp_path):
    places = []
    for step in (0, 5, 10):
        places.append(tmp_path / f"checkpoint-{step}")
        places[-1].mkdir()
        save_file({"fc.weight": (noise(20, 15) * (1 + step)).astype(np.float32)}, places[-1] / "model.safetensors")
    comparison = spectra.compare(*places, over_time=True)
    assert (comparison.over_time, comparison.base_step, [m.step for m in comparison.models]) == (True, 0, [5, 10])
    assert comparison.trajectory("scale")["fc"] == pytest.approx([1.0, 6.0, 11.0], rel=1e-6)


def test_saved_analyses_are_compared_by_their_metrics(tmp_path):
    first, second = small_weights(1), {name: 1.1 * w for name, w in small_weights(1).items()}
    spectra.analyze(first).save(tmp_path / "first")
    report = spectra.analyze(second)
    comparison = spectra.compare(tmp_path / "first", report)
    exact = spectra.compare(first, second)
    assert {row.status for row in comparison.rows} == {METRICS_ONLY}
    for row, other in zip(comparison.rows, exact.rows, strict=True):
        assert row.alpha_change == other.alpha_change
        assert math.isnan(row.norm_change)
        assert row.verdict in ("no weights to compare", other.verdict)
    assert comparison.notes == ("saved analyses hold no weights: metrics are compared, and nothing is known of the changes",)
    mixed = spectra.compare(tmp_path / "first", second, output=tmp_path / "mixed")
    assert [row.after.alpha for row in mixed.rows] == [row.after.alpha for row in comparison.rows]
    assert spectra.load_comparison(tmp_path / "mixed").to_dict() == mixed.to_dict()
    assert spectra.compare(tmp_path / "first", second, output=tmp_path / "mixed").to_dict() == mixed.to_dict()


def test_a_killed_comparison_resumes_to_equal_bytes(tmp_path, monkeypatch):
    before, after = small_weights(2), {name: w + 0.01 * noise(*w.shape) for name, w in small_weights(2).items()}
    whole = spectra.compare(before, after, output=tmp_path / "whole", workers=1)
    real, added = ComparisonRun.add, []

    def killed(run, name, found):
        real(run, name, found)
        added.append(name)
        if len(added) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ComparisonRun, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        spectra.compare(before, after, output=tmp_path / "killed", workers=1)
    monkeypatch.setattr(ComparisonRun, "add", lambda run, name, found: (added.append(name), real(run, name, found))[1])
    with (tmp_path / "killed" / "progress.jsonl").open("a") as file:
        file.write('{"matrix": "torn')
    resumed = spectra.compare(before, after, output=tmp_path / "killed", workers=1)
    assert sorted(added) == sorted(whole.matrix_names)  # none of them twice
    for name in ("comparison.csv", "changes.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {**resumed.to_dict(), "environment": 0} == {**whole.to_dict(), "environment": 0}
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "changes.safetensors",
        "comparison.csv",
        "comparison.json",
    ]
    assert spectra.compare(before, after, output=tmp_path / "whole").environment == whole.environment  # as it stands there


def test_progress_is_told_matrix_by_matrix():
    seen = []
    spectra.compare(small_weights(2), small_weights(2), progress=seen.append, workers=1)
    assert [one.num_done for one in seen] == [0, 1, 2, 3, 4]
    assert seen[-1].share_done == 1.0


@pytest.mark.parametrize(
    ("models", "options", "error", "message"),
    [
        ((small_weights(1),), {}, InputError, "at least two models"),
        ((small_weights(1), {"x.weight": noise(9, 9)}), {}, SourceError, "have no weight in common"),
        (
            (small_weights(1), small_weights(1)),
            {"directions": 0},
            InputError,
            "directions: expected a whole number of at least 1",
        ),
        ((small_weights(1), small_weights(1)), {"directions": True}, InputError, "directions"),
        ((small_weights(1), small_weights(1)), {"intruder_threshold": 1.5}, InputError, "above 0 and at most 1, got 1.5"),
        ((small_weights(1), small_weights(1)), {"include": ["q*"]}, InputError, "include pattern 'q\\*' matches none"),
        ((small_weights(1), 3), {}, InputError, "model: expected a path"),
        ((small_weights(1), "nowhere/at/all"), {}, SourceError, "no file or folder"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(models, options, error, message):
    with pytest.raises(error, match=message):
        spectra.compare(*models, **options)


def test_analyses_that_cannot_be_compared_are_refused():
    report = spectra.analyze(small_weights(1))
    with pytest.raises(InputError, match="a saved analysis keeps its settings: leave out xmin, or compare the models"):
        spectra.compare(report, report, xmin="median")
    with pytest.raises(InputError, match=r"have different settings \(xmin 'ks' and 'median'\)"):
        spectra.compare(report, spectra.analyze(small_weights(1), xmin="median"))
    with pytest.raises(InputError, match="have no matrix in common"):
        spectra.compare(report, spectra.analyze({"other.weight": noise(30, 20)}))


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    models = small_weights(1), small_weights(1)
    spectra.compare(*models, output=tmp_path / "done")
    with pytest.raises(ResultsError, match=r"holds the result of another comparison \(directions 10 there, 3 now\)"):
        spectra.compare(*models, output=tmp_path / "done", directions=3)
    assert spectra.compare(*models, output=tmp_path / "done", directions=3, force=True).num_directions == 3
    other = {name: w + 1 for name, w in small_weights(1).items()}
    with pytest.raises(ResultsError, match="of other models, or of files that changed since"):
        spectra.compare(small_weights(1), other, output=tmp_path / "done", directions=3)
    assert dataclasses.is_dataclass(spectra.load_comparison(tmp_path / "done"))
