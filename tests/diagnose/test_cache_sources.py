"""The cache with weights that are computed when they are read: of adapters, of quantized storage, and beside a base."""

import numpy as np
import pytest

import spectra
from tests.adapters import CASES, DORA, edit, edit_weights, folders
from tests.diagnose.cached_reports import content, counts
from tests.models import gpt2, llama, write_small
from tests.sources.quantized.makers import FORMATS, gptq, state_of, weight_of, write_folder

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to and bases without a path


def assert_found_and_equal(model, cache, **asked):
    plain = spectra.analyze(model, **asked)
    first, second = (spectra.analyze(model, cache=cache, **asked) for _ in range(2))
    assert content(first) == content(second) == content(plain)
    kept = sum(row.matrix_name in plain.spectra for row in plain.layers)
    assert kept
    assert counts(second) == (kept, len(plain.layers) - kept)
    return first


@pytest.mark.parametrize("case", ["linear", "transposed", "convolution", "saved whole"])
def test_adapters_in_all_modes_share_a_cache_and_are_not_taken_for_each_other(tmp_path, case):
    make, options = CASES[case]
    adapter, base, live = folders(make, tmp_path, **options)
    for mode in ("delta", "merged", "factors", "base"):
        given = {} if mode == "factors" else {"base": base}
        from_files = assert_found_and_equal(adapter, tmp_path / "rows", lora=mode, **given)
        from_memory = spectra.analyze(live, cache=tmp_path / "rows", lora=mode)
        plain = spectra.analyze(live, lora=mode)
        assert content(from_memory) == content(plain), mode
        assert len(from_files.layers) == len(from_memory.layers)


def test_heads_of_an_adapter_are_found_by_themselves(tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj", "k_proj"])
    for split in (False, True):
        assert_found_and_equal(adapter, tmp_path / "rows", base=base, split_heads=split)
        assert_found_and_equal(adapter, tmp_path / "rows", base=base, lora="merged", split_heads=split, include="*q_proj*")


def test_kernels_of_an_adapter_are_cut_as_was_asked(tmp_path):
    make, options = CASES["convolution"]
    adapter, base, _ = folders(make, tmp_path, **options)
    for conv_mode in ("pooled", "slices"):
        for mode in ("delta", "merged"):
            asked = {"base": base, "lora": mode, "conv_mode": conv_mode, "exclude": "*stages.[12]*"}
            assert_found_and_equal(adapter, tmp_path / "rows", **asked)


def test_dora_is_found_by_the_rescaled_weight(tmp_path):
    make, options = DORA["linear"]
    adapter, base, _ = folders(make, tmp_path, use_dora=True, **options)
    assert_found_and_equal(adapter, tmp_path / "rows", base=base, lora="merged")


def test_another_scale_or_another_factor_of_an_adapter_is_another_entry(tmp_path):
    adapter, base, _ = folders(llama, tmp_path, target_modules=["q_proj"])
    rows = tmp_path / "rows"
    number = len(spectra.analyze(adapter, base=base, cache=rows).layers)
    edit(adapter, lora_alpha=12)
    assert counts(spectra.analyze(adapter, base=base, cache=rows)) == (0, number)
    assert counts(spectra.analyze(adapter, base=base, cache=rows)) == (number, 0)

    def change(weights):
        name = next(name for name in weights if "lora_A" in name)
        return weights | {name: weights[name] * np.float32(1.5)}

    edit_weights(adapter, change)
    report = spectra.analyze(adapter, base=base, cache=rows)
    assert counts(report) == (number - 1, 1)
    assert content(report) == content(spectra.analyze(adapter, base=base))


@pytest.mark.parametrize("name", FORMATS)
def test_quantized_weights_are_found_by_what_they_stand_for(tmp_path, name):
    layer = FORMATS[name]()
    folder = write_folder(tmp_path / "model", state_of(layer), layer.config, "safetensors")
    report = assert_found_and_equal(folder, tmp_path / "rows")
    dequantized = spectra.analyze({report.layers[0].layer_name: layer.dequantized}, cache=tmp_path / "rows")
    assert counts(dequantized) == (0, 1)  # of other storage: a row says which


def test_the_same_codes_under_another_configuration_are_another_weight(tmp_path):
    one, two = (gptq(weight_of(), version=version) for version in ("gptq", "gptq_v2"))
    spectra.analyze(write_folder(tmp_path / "one", state_of(one), one.config, "safetensors"), cache=tmp_path / "rows")
    other = write_folder(tmp_path / "other", state_of(one), two.config, "safetensors")
    report = spectra.analyze(other, cache=tmp_path / "rows")
    assert counts(report) == (0, 1)
    assert content(report) == content(spectra.analyze(other))


def test_differences_to_a_quantized_base_are_found(tmp_path):
    layer = FORMATS["float8 block"]()
    base = write_folder(tmp_path / "base", state_of(layer), layer.config, "safetensors")
    tuned = {"model.layers.0.mlp.up_proj.weight": weight_of()}
    report = assert_found_and_equal(tuned, tmp_path / "rows", base=base)
    assert "stored as" in report.layers[0].notes


def test_tied_weights_name_those_of_the_model_at_hand(tmp_path):
    model = gpt2()
    tied = assert_found_and_equal(model, tmp_path / "rows")
    assert any(row.tied_to for row in tied.layers)
    model.save_pretrained(tmp_path / "model")
    report = spectra.analyze(tmp_path / "model", cache=tmp_path / "rows")
    assert content(report) == content(spectra.analyze(tmp_path / "model"))
    assert counts(report)[0] > 0


def test_experts_that_are_stored_one_by_one_are_pooled_from_the_cache(tmp_path):
    experts = {f"mlp.experts.{number}.up_proj.weight": weight_of(seed=number) for number in range(3)}
    (pooled,) = assert_found_and_equal(experts, tmp_path / "rows", moe="pool").layers
    assert pooled.num_matrices == 3
    changed = experts | {"mlp.experts.1.up_proj.weight": weight_of(seed=7)}
    assert counts(spectra.analyze(changed, cache=tmp_path / "rows", moe="pool")) == (0, 1)
    assert counts(spectra.analyze(changed, cache=tmp_path / "rows")) == (0, 3)


def test_another_base_is_another_difference(tmp_path):
    tuned = write_small(tmp_path / "tuned.safetensors", head__weight=weight_of(50, 40))
    bases = [write_small(tmp_path / f"{seed}.safetensors", head__weight=weight_of(50, 40, seed)) for seed in (1, 2)]
    for base in bases:
        assert_found_and_equal(tuned, tmp_path / "rows", base=base, include="head")
