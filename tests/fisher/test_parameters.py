"""Which parameters are measured, and what is said of each."""

import pytest
import torch
from torch import nn

from spectra import InputError
from spectra.fisher.estimate import fisher
from spectra.fisher.parameters import common_dtype, measured_parameters
from tests.fisher.literal import error, literal_fisher
from tests.fisher.models import CASES, stirred

# peft asks transformers for a property by its former name
WITH_ADAPTERS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def measured(model, **patterns):
    return {parameter.name: parameter for parameter in measured_parameters(model, **patterns)}


def small():
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2))


def test_all_that_is_trained_is_measured_in_order():
    model = small()
    model[0].requires_grad_(False)
    assert list(measured(model)) == ["1.weight", "1.bias", "2.weight", "2.bias"]


def test_patterns_choose_by_name_frozen_ones_too():
    model = small()
    model[0].requires_grad_(False)
    assert list(measured(model, include="*.weight")) == ["0.weight", "1.weight", "2.weight"]
    assert list(measured(model, include=["0.*", "2.*"], exclude="*.bias")) == ["0.weight", "2.weight"]
    assert list(measured(model, exclude="1.*")) == ["2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("name", "parameter", "aliases"),
    [
        (
            "t5, tied",
            "shared.weight",
            ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"),
        ),
        ("bert, sdpa", "bert.embeddings.word_embeddings.weight", ("cls.predictions.decoder.weight",)),
        ("gpt2, sdpa", "transformer.wte.weight", ("lm_head.weight",)),
    ],
)
def test_tied_parameters_stand_once_under_their_first_name(name, parameter, aliases):
    model = CASES[name]().model
    found = measured(model)
    assert list(found) == [first for first, _ in model.named_parameters()]
    assert found[parameter].aliases == aliases
    assert list(measured(model, include=aliases[-1])) == [parameter]  # by any of its names
    assert parameter not in measured(model, exclude=aliases[-1])


@pytest.mark.parametrize(
    ("name", "parameter", "kind", "transposed"),
    [
        ("gpt2, sdpa", "transformer.h.0.attn.c_attn.weight", "linear", True),
        ("gpt2, sdpa", "transformer.h.0.attn.c_attn.bias", "linear", False),
        ("gpt2, sdpa", "transformer.wpe.weight", "embedding", False),
        ("gpt2, sdpa", "transformer.h.1.ln_2.weight", "norm", False),
        ("llama, untied, sdpa", "model.layers.0.self_attn.k_proj.weight", "linear", False),
        ("llama, untied, sdpa", "model.norm.weight", "norm", False),
        ("resnet", "resnet.embedder.embedder.convolution.weight", "convolution", False),
        ("resnet", "resnet.embedder.embedder.normalization.bias", "norm", False),
        ("vit, sdpa", "vit.embeddings.cls_token", "other", False),
        ("t5, tied", "encoder.block.0.layer.0.layer_norm.weight", "norm", False),
    ],
)
def test_the_module_that_holds_it_says_what_a_parameter_is(name, parameter, kind, transposed):
    found = measured(CASES[name]().model)[parameter]
    assert (found.kind, found.transposed) == (kind, transposed)
    assert found.layer_name == parameter.rpartition(".")[0]
    assert found.has_neurons == (kind == "linear" and parameter.endswith("weight"))


def test_dtypes_are_told_in_words():
    model = small()
    model[1].bfloat16()
    assert common_dtype(measured_parameters(model)) == "bfloat16+float32"


def adapted():
    from peft import LoraConfig, get_peft_model

    case = CASES["bert, sdpa"]()
    original = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    return get_peft_model(case.model, LoraConfig(r=2, target_modules=["query", "value"])).eval(), case, original


@WITH_ADAPTERS
def test_of_a_model_with_adapters_only_these_are_measured():
    model, case, _ = adapted()
    stirred(model)  # B is zero at first
    estimate = fisher(model, case.batches(3))
    assert error(estimate.values, literal_fisher(model, case.samples)) < 1e-6
    assert len(estimate.values) == 2 * 2 * 2  # layers, projections, factors
    assert all("lora_" in name for name in estimate.values)
    assert {tensor.kind for tensor in estimate.tensors} == {"linear"}
    assert estimate.info.notes == ()
    assert estimate.info.task == "masked-lm"


@WITH_ADAPTERS
def test_at_the_start_the_first_factor_of_an_adapter_has_none():
    model, case, _ = adapted()
    estimate = fisher(model, case.batches(3))
    for name, values in estimate.values.items():
        assert values.any() == ("lora_B" in name)  # exactly zero: its gradient is a product with B


@WITH_ADAPTERS
def test_a_frozen_weight_behind_an_adapter_is_measured_by_name():
    model, case, original = adapted()
    name = "base_model.model.bert.encoder.layer.1.attention.self.query.base_layer.weight"
    estimate = fisher(model, case.batches(3), include="*.1.*query.base_layer.weight")
    assert list(estimate.values) == [name]
    assert not model.get_parameter(name).requires_grad
    plain = CASES["bert, sdpa"]()
    plain.model.load_state_dict(original)
    expected = fisher(plain.model, plain.batches(3)).values["bert.encoder.layer.1.attention.self.query.weight"]
    # The adapter adds zero, in float32 and another order of sums.
    assert error({name: estimate.values[name]}, {name: expected}) < 5e-6


def test_frozen_parameters_are_measured_as_if_they_were_not():
    case = CASES["gpt2, sdpa"]()
    expected = fisher(case.model, case.batches(3), include="*.ln_*")
    case.model.requires_grad_(False)
    assert error(fisher(case.model, case.batches(3), include="*.ln_*").values, expected.values) == 0.0


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(InputError, match=r"no parameter matches '0\.wieght'\. Did you mean '0\.weight'\? .*patterns are globs"):
        measured(small(), include=["0.wieght"])
    with pytest.raises(InputError, match=r"no parameter matches 'head\.\*'"):
        measured(small(), exclude="head.*")


def test_a_model_without_anything_to_measure_is_refused():
    with pytest.raises(InputError, match=r"no parameter is left to measure: .*include="):
        measured(small().requires_grad_(False))
    with pytest.raises(InputError, match="no parameter is left to measure"):
        measured(small(), exclude="*")
    with pytest.raises(InputError, match="no parameter is left to measure"):
        measured(nn.ReLU())


def test_codes_of_a_quantized_model_are_refused():
    model = small()
    model.codes = nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    assert "codes" not in measured(model)
    with pytest.raises(InputError, match=r"parameter 'codes' holds torch\.int8 codes, which have no gradient\..*exclude="):
        measured(model, include="*")


def test_a_model_without_weights_is_refused():
    with torch.device("meta"):
        model = small()
    with pytest.raises(InputError, match=r"parameter '0\.weight' is on the meta device and has no values\. Load"):
        measured(model)
