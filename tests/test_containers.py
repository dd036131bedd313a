"""The same weights give the same rows, whatever they are kept in; and no parameter is lost on the way."""

import dataclasses
import math

import pytest

import spectra
from spectra.results.records import LayerDiagnostics
from tests.models import CONTAINERS, MODELS, bert, gpt2, llama, vit

NUMBERS = [f.name for f in dataclasses.fields(LayerDiagnostics) if f.type in ("int", "float", "int | None")]
# What a container may know and another not: which parameters are the same storage, and GPT-2's layout (from its config).
WORDS = ["matrix_name", "kind", "dtype", "status", "fit_quality", "label", "method", "decomposition_dtype", "notes"]

FILES = [name for name in CONTAINERS if name != "module"]


def rows(report):
    found = {row.matrix_name: row for row in report.layers}
    assert len(found) == len(report.layers)
    return found


def assert_equal_rows(row, other):
    for column in NUMBERS:
        value, expected = getattr(row, column), getattr(other, column)
        if value is None or expected is None or math.isnan(expected):
            assert repr(value) == repr(expected), column
        else:
            # The same float32 numbers through the same arithmetic; only the layout of a block in memory may differ.
            assert value == pytest.approx(expected, rel=1e-12, abs=0.0), column
    for column in WORDS:
        assert getattr(row, column) == getattr(other, column), column


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    return tmp_path / "tiny"


@pytest.mark.parametrize("container", FILES)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert", "vit"])
def test_every_container_gives_the_rows_of_the_live_module(architecture, container, folder):
    model = MODELS[architecture]()
    expected = rows(spectra.analyze(model))
    found = rows(spectra.analyze(CONTAINERS[container](model, folder)))
    assert set(found) == set(expected)
    for name, row in found.items():
        assert_equal_rows(row, expected[name])


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert", "vit"])
def test_most_layers_of_the_tiny_models_are_fitted(architecture):
    report = spectra.analyze(MODELS[architecture]())
    unfitted = [row.matrix_name for row in report.layers if row.status != "ok"]
    # Two segment types are two eigenvalues.
    assert unfitted == (["embeddings.token_type_embeddings"] if architecture == "bert" else [])


@pytest.mark.parametrize("container", FILES)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_fingerprint_is_the_same_in_every_container(architecture, container, folder):
    model = MODELS[architecture]()
    kept = CONTAINERS[container](model, folder)
    assert spectra.analyze(kept).model.fingerprint == spectra.analyze(model).model.fingerprint


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("architecture", MODELS)
def test_every_matrix_is_a_row_or_skipped_with_a_reason(architecture, container, folder):
    model = MODELS[architecture]()
    report = spectra.analyze(CONTAINERS[container](model, folder))
    parameters = {name for name, p in model.named_parameters(remove_duplicate=False) if p.dim() >= 2}
    if "safetensors" in container or "shards" in container:  # these hold shared storage once
        parameters = {name for name, p in model.named_parameters() if p.dim() >= 2}
    analysed = {f"{row.layer_name}.weight" for row in report.layers}
    analysed = {name if name in parameters else name.removesuffix(".weight") for name in analysed}
    skipped = {tensor.name for tensor in report.skipped}
    assert analysed | skipped == parameters
    assert not analysed & skipped
    assert all(tensor.reason for tensor in report.skipped)


@pytest.mark.parametrize("container", ["module", "mapping", "mapping of arrays", "torch folder", "torch file"])
def test_a_tied_head_is_skipped_and_named_by_the_embedding(container, folder):
    report = spectra.analyze(CONTAINERS[container](gpt2(), folder))
    assert rows(report)["transformer.wte"].tied_to == "lm_head.weight"
    assert [(t.name, t.reason) for t in report.skipped] == [("lm_head.weight", "tied to 'transformer.wte.weight'")]


@pytest.mark.parametrize("container", ["module", "safetensors folder", "safetensors shards", "torch folder", "torch shards"])
def test_the_layout_of_gpt2_is_known_from_the_module_and_from_the_config(container, folder):
    report = spectra.analyze(CONTAINERS[container](gpt2(), folder))
    transposed = {row.layer_name.rsplit(".", 1)[-1] for row in report.layers if row.is_transposed}
    straight = {row.layer_name.rsplit(".", 1)[-1] for row in report.layers if not row.is_transposed}
    assert (transposed, straight) == ({"c_attn", "c_proj", "c_fc"}, {"wte", "wpe"})


@pytest.mark.parametrize("max_shard_size", ["1GB", "100KB"], ids=["one file", "shards"])
@pytest.mark.parametrize("build", [gpt2, llama, bert])
def test_a_folder_of_save_pretrained_gives_the_rows_of_the_live_module(build, max_shard_size, folder):
    model = build()
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    assert (folder / "model.safetensors").exists() == (max_shard_size == "1GB")
    expected, found = rows(spectra.analyze(model)), rows(spectra.analyze(folder))
    assert set(found) == set(expected)
    for name, row in found.items():
        assert_equal_rows(row, expected[name])


def test_a_vision_transformer_has_the_same_numbers_under_the_names_of_its_file(folder):
    # transformers 5 renames ViT's modules in memory and writes the names of the hub's files: the names differ by right.
    model = vit()
    model.save_pretrained(folder)
    live, stored = spectra.analyze(model), spectra.analyze(folder)
    assert "layers.0.attention.q_proj" in rows(live)
    assert "encoder.layer.0.attention.attention.query" in rows(stored)

    def numbers(report):
        return sorted(tuple(getattr(row, c) for c in NUMBERS if getattr(row, c) is not None) for row in report.layers)

    for found, expected in zip(numbers(stored), numbers(live), strict=True):
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_a_real_llama_gives_the_same_rows_live_from_its_folder_and_from_its_file(shared_models):
    from transformers import LlamaForCausalLM

    folder = shared_models / "stories260K"
    expected = rows(spectra.analyze(LlamaForCausalLM.from_pretrained(folder)))
    assert len(expected) == 1 + 5 * 7  # the output layer is the embedding
    for kept in (folder, folder / "model.safetensors"):
        found = rows(spectra.analyze(kept))
        assert set(found) == set(expected)
        for name, row in found.items():
            assert_equal_rows(row, expected[name])


def test_a_published_residual_network_is_read_from_its_training_checkpoint(shared_models):
    # A pickle from before torch 1.6, the state dict under a key and every name under 'module.': htsr.md, H6.
    report = spectra.analyze(shared_models / "cifar10_resnets" / "resnet20-12fca82f.th")
    assert [row.matrix_name for row in report.layers[:2]] == ["conv1", "layer1.0.conv1"]
    assert (len(report.layers), report.skipped) == (20, ())
    assert {row.kind for row in report.layers} == {"conv2d", "linear"}
