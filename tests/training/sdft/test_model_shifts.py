import dataclasses
import math

import numpy as np
import pytest
import torch

from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.weight_shift import weight_shift
from spectra.errors import InputError, SourceError
from spectra.sources.pairs import pair_models
from spectra.training.libraries import quiet
from spectra.training.sdft.divergence import divergence
from spectra.training.sdft.model_shifts import model_shift
from tests.models import small_weights
from tests.pretrained import save_bert, save_gpt2

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to, bases without a path, old names

PROBE = [{"input_ids": torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])}]


def loaded(folder):
    from transformers import AutoModelForCausalLM

    with quiet():
        return AutoModelForCausalLM.from_pretrained(folder)


def adapted_folder(folder, base):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    options = {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True, "init_lora_weights": False}
    with quiet():
        model = get_peft_model(loaded(base), LoraConfig(**options, task_type="CAUSAL_LM"))
        model.save_pretrained(folder)
    return model


def tuned_folder(folder, base):
    model = loaded(base)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    with quiet():
        model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    base = save_gpt2(root / "base")
    return root, adapted_folder(root / "adapter", base), tuned_folder(root / "tuned", base)


def test_two_folders_are_compared_in_weights_spectra_and_predictions(places):
    root, _, tuned = places
    (root / "tuned" / "tokenizer.json").write_bytes((root / "base" / "tokenizer.json").read_bytes())
    (root / "tuned" / "tokenizer_config.json").write_bytes((root / "base" / "tokenizer_config.json").read_bytes())
    seed = loaded(root / "base")
    seen = []
    found = model_shift(str(root / "base"), root / "tuned", probe=PROBE, min_tail=3, workers=1, progress=seen.append)
    pair = pair_models(root / "base", root / "tuned")
    expected = weight_shift(pair, resolve_settings("default", min_tail=3))
    assert repr(dataclasses.replace(found, divergence=None)) == repr(expected)  # as text: NaN is not equal to itself
    assert found.divergence == divergence(seed, tuned, PROBE)
    assert len(seen) == 2 * len(found.matrices)
    pairs = zip(tuned.parameters(), seed.parameters(), strict=True)
    squares = sum(float((a.detach().double() - b.detach().double()).square().sum()) for a, b in pairs)
    assert found.norm_change == pytest.approx(math.sqrt(squares), rel=1e-12)  # round-off of float64 sums


@pytest.mark.parametrize("seed", [None, "base", "copy"])
def test_a_saved_adapter_is_compared_with_its_base(places, seed):
    root, model, _ = places
    if seed == "copy":  # another folder: loaded a second time
        save_gpt2(root / "copy")
    given = None if seed is None else root / seed
    found = model_shift(given, root / "adapter", probe=PROBE, spectra=False)
    assert found.divergence == divergence(None, model, PROBE)
    assert found.norm_change == pytest.approx(model_shift(None, model, spectra=False).norm_change, rel=1e-12)
    assert [matrix.matrix_name for matrix in found.matrices] == [f"transformer.h.0.attn.c_attn.{part}" for part in "qkv"]


def test_a_live_model_with_an_adapter_is_compared_with_itself(places):
    model = places[1]
    found = model_shift(None, model, probe=PROBE, spectra=False)
    assert found.divergence == divergence(None, model, PROBE)
    assert found.settings == {}
    assert (found.seed, found.tuned) == ("module PeftModelForCausalLM without its adapter", "module PeftModelForCausalLM")


def test_the_seed_of_randomness_can_be_set_beside_the_seed_model():
    weights = small_weights(1)
    after = {name: 1.5 * weight for name, weight in weights.items()}
    found = model_shift(weights, after, include="head", randomize=True, seed=7)
    assert found.settings["seed"] == 7
    assert found.matrices[0].alpha_after == pytest.approx(found.matrices[0].alpha_before)  # alpha has no scale


def test_arguments_that_cannot_be_used_are_refused(places, tmp_path):
    root = places[0]
    weights = {"fc.weight": np.eye(9)}
    with pytest.raises(InputError, match="Leave lora out"):
        model_shift(weights, weights, lora="merged")
    with pytest.raises(InputError, match="names none that training started from"):
        model_shift(None, weights)
    with pytest.raises(InputError, match="a mapping of tensors predicts nothing"):
        model_shift(weights, weights, probe=PROBE)
    with pytest.raises(InputError, match="unknown profile"):
        model_shift(weights, weights, profile="defualt")
    with pytest.raises(InputError, match="workers: expected"):
        model_shift(weights, weights, workers=0)
    with pytest.raises(SourceError, match="no file or folder"):
        model_shift(root / "base", tmp_path / "nowhere")
    encoder = save_bert(tmp_path / "bert")
    with pytest.raises(InputError, match="is an encoder"):
        model_shift(encoder, encoder, probe=PROBE)
    headless = save_gpt2(tmp_path / "headless", head="GPT2Model", tie_word_embeddings=False)
    with pytest.raises(SourceError, match="'headless' lacks weights of a causal language model"):
        model_shift(headless, headless, probe=PROBE)
