"""Adapters and differences from the model to the report, through the library and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import spectra
from spectra import SourceError
from tests.adapters import CASES, adapted, edit, folders, merged_by_peft, state
from tests.models import bert, heavy_tailed, llama, mixtral, resnet, small_weights, write_small

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to and bases without a path

QUERY = "model.layers.0.self_attn.q_proj"


def layers(report):
    return {layer.layer_name: layer for layer in report.layers}


def dense_spectrum(matrix):
    return np.sort(np.linalg.svd(matrix, compute_uv=False) ** 2)


def command(*arguments):
    program = "from spectra.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False)


# H17: what the report says of a delta is what the dense matrix says, the scale included.
@pytest.mark.parametrize("where", ["folder", "live"])
def test_an_adapter_is_reported_as_its_dense_delta(where, tmp_path):
    options = {"target_modules": ["q_proj", "down_proj"], "r": 12, "use_rslora": True}
    adapter, _, model = folders(llama, tmp_path, **options)
    report = spectra.analyze(adapter if where == "folder" else model)
    assert len(report.layers) == 4
    for name, row in layers(report).items():
        layer = model.get_submodule(f"base_model.model.{name}").double()
        expected = dense_spectrum(layer.get_delta_weight("default").detach().numpy())[-12:]
        np.testing.assert_allclose(report.spectra[row.matrix_name], expected, rtol=1e-8)
        assert (row.status, row.num_eigenvalues, row.matrix_rank) == ("ok", 12, 12)
        assert row.lambda_max == pytest.approx(expected[-1], rel=1e-8)
        assert row.alpha == pytest.approx(spectra.fit_power_law(expected).alpha, rel=1e-8)
        assert (row.num_rows, row.num_cols) == tuple(layer.base_layer.weight.shape)


def test_a_low_rank_adapter_has_norms_and_no_alpha(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    for row in spectra.analyze(adapter).layers:
        assert (row.status, row.num_eigenvalues) == ("too_few_evals", 4)
        assert np.isnan(row.alpha)
        assert row.lambda_max > 0.0


def test_an_untrained_adapter_changed_nothing(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"], init_lora_weights=True, r=12)
    assert [row.status for row in spectra.analyze(adapter).layers] == ["unchanged", "unchanged"]


def test_a_convolution_adapter_pools_its_kernel_positions(tmp_path):
    adapter, base, model = folders(resnet, tmp_path, target_modules=["convolution"])
    delta = {name: merged_by_peft(model)[name] - weight for name, weight in state(resnet()).items() if weight.ndim == 4}
    report = spectra.analyze(adapter)
    for row in report.layers:
        weight = delta[f"{row.layer_name}.weight"]
        rank = min(4, *weight.shape[:2])
        positions = weight.reshape(*weight.shape[:2], -1)
        expected = [dense_spectrum(positions[:, :, p])[-rank:] for p in range(positions.shape[2])]
        assert row.lambda_max == pytest.approx(np.max(expected), rel=1e-4)  # peft's delta went through float32
        assert row.sum_eigenvalues == pytest.approx(np.sum(expected), rel=1e-4)
    assert len(spectra.analyze(adapter, base=base).layers) == len(report.layers)


@pytest.mark.parametrize("case", ["linear", "transposed"])
def test_a_merged_adapter_is_reported_as_the_merged_model(case, tmp_path):
    make, options = CASES[case]
    adapter, base, model = folders(make, tmp_path, **options)
    expected = layers(spectra.analyze(model.merge_and_unload()))
    found = layers(spectra.analyze(adapter, base=base, lora="merged"))
    assert set(found) == set(expected)
    for name, row in found.items():
        assert row.lambda_max == pytest.approx(expected[name].lambda_max, rel=1e-5)
        assert row.status == expected[name].status


def test_factors_and_base_have_rows_of_their_own(tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj"], r=12)
    factors = layers(spectra.analyze(adapter, lora="factors"))
    assert {f"{QUERY}.lora_A", f"{QUERY}.lora_B"} <= set(factors)
    found, plain = layers(spectra.analyze(adapter, base=base, lora="base")), layers(spectra.analyze(llama()))
    assert {name: row.alpha for name, row in found.items()} == {name: plain[name].alpha for name in found}


def test_stacked_experts_are_skipped_with_a_reason():
    model = adapted(mixtral, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"])
    report = spectra.analyze(model)
    assert {row.layer_name for row in report.layers} == {QUERY, QUERY.replace("layers.0", "layers.1")}
    assert len(report.skipped) == 4
    assert all("is not read yet" in tensor.reason for tensor in report.skipped)


# H15, whole.
def test_a_planted_difference_is_reported():
    rng = np.random.default_rng(0)
    base = {f"layers.{i}.fc.weight": heavy_tailed(120, 80, seed=i).astype(np.float64) for i in range(2)}
    planted = 1e-2 * heavy_tailed(120, 80, seed=9).astype(np.float64)
    model = {name: weight + planted for name, weight in base.items()} | {"score.weight": rng.standard_normal((60, 40))}
    report = spectra.analyze(model, base=base)
    assert [row.status for row in report.layers] == ["ok", "ok", "no_base"]
    for row in report.layers[:2]:
        np.testing.assert_allclose(report.spectra[row.matrix_name], dense_spectrum(planted), rtol=1e-6)
    assert np.isnan([report.layers[2].alpha, report.layers[2].lambda_max]).all()
    assert "has no weight of this name" in report.layers[2].notes


def test_a_model_equals_itself():
    assert {row.status for row in spectra.analyze(small_weights(), base=small_weights()).layers} == {"unchanged"}


def test_a_live_model_is_compared_with_a_folder(tmp_path):
    llama().save_pretrained(tmp_path)
    model = llama()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.add_(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
    statuses = {name: row.status for name, row in layers(spectra.analyze(model, base=tmp_path)).items()}
    assert statuses.pop(QUERY) == "ok"
    assert set(statuses.values()) == {"unchanged"}


# The command: what is wrong is one line and exit code 2.


def test_the_command_compares_with_a_base(tmp_path):
    base = write_small(tmp_path / "base.safetensors")
    model = write_small(tmp_path / "model.safetensors", head__weight=heavy_tailed(50, 40, seed=3))
    done = command("analyze", model, "--base", base, "--json")
    assert done.returncode == 0, done.stderr
    statuses = {row["layer_name"]: row["status"] for row in json.loads(done.stdout)["layers"]}
    assert statuses.pop("head") == "ok"
    assert set(statuses.values()) == {"unchanged"}


def test_the_command_reads_an_adapter_in_each_mode(tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj"], r=12)
    edit(adapter, base_model_name_or_path=str(base))
    counts = {}
    for mode in ("delta", "merged", "factors", "base"):
        done = command("analyze", adapter, "--lora", mode, "--json")
        assert done.returncode == 0, done.stderr
        counts[mode] = len(json.loads(done.stdout)["layers"])
    assert counts == {"delta": 2, "merged": 16, "factors": 4, "base": 2}


@pytest.mark.parametrize("case", ["missing base", "other base", "base of a model"])
def test_what_cannot_be_compared_is_one_line(case, tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    bert().save_pretrained(tmp_path / "other")
    edit(adapter, base_model_name_or_path="org/missing")
    arguments, words = {
        "missing base": ([adapter, "--lora", "merged"], "hf download org/missing"),
        "other base": ([adapter, "--base", tmp_path / "other", "--lora", "merged"], "is no base of the adapter"),
        "base of a model": ([tmp_path / "base", "--base", tmp_path / "other"], "weights have one of their name"),
    }[case]
    done = command("analyze", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_library_raises_what_the_command_prints(tmp_path):
    adapter, _, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    with pytest.raises(SourceError, match="names no base model, and lora='merged' needs it"):
        spectra.analyze(adapter, lora="merged")
