import dataclasses

import pytest

from spectra.errors import InputError
from spectra.policies.plan import plan
from spectra.training.recipe.assembly.lora import lora_config, with_lora
from tests.assembled_runs import labelled, recipe, save_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("lora")
    save_encoder(place / "bert", "BertForSequenceClassification")
    return place


def model(folder):
    from transformers import AutoModelForSequenceClassification

    from spectra.training.libraries import quiet

    with quiet():
        return AutoModelForSequenceClassification.from_pretrained(folder / "bert")


def adapted(folder, plan=None, **adapter):
    made = recipe(folder, folder / "bert", labelled(folder), adapter={"name": "lora", **adapter})
    return with_lora(model(folder), lora_config(made, "sequence-classification", plan), made)


def layers(model):
    from peft.tuners.lora import LoraLayer

    found = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    return {name.removeprefix("base_model.model."): module for name, module in found.items()}


def test_named_modules_are_adapted_and_the_head_is_trained(folder):
    made = adapted(folder, rank=2, targets=["query"], dropout=0.1)
    assert list(layers(made)) == [f"bert.encoder.layer.{place}.attention.self.query" for place in range(3)]
    assert {layer.scaling["default"] for layer in layers(made).values()} == {2.0}  # alpha is twice the rank
    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    assert any("classifier.modules_to_save" in name for name in trained)


def test_ranks_of_a_plan_are_those_of_the_layers_and_all_are_scaled_alike(folder):
    found = plan(folder / "bert", policy="adapter-rank", mean_rank=3)
    ranks = dataclasses.replace(found, values={layer: place % 4 for place, layer in enumerate(found.values)})
    made = layers(adapted(folder, ranks, rank=3, alpha=12))
    assert {name: layer.r["default"] for name, layer in made.items()} == {k: v for k, v in ranks.values.items() if v}
    assert {layer.scaling["default"] for layer in made.values()} == {4.0}


def test_the_same_seed_draws_the_same_adapter(folder):
    import torch

    one, two = (adapted(folder, rank=2, targets=["query"]).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_modules_that_are_not_there_are_refused(folder):
    with pytest.raises(InputError, match=r"adapter\.targets: peft refuses it: No modules were targeted"):
        adapted(folder, targets=["q_proj"])


def test_models_that_peft_does_not_know_need_names(folder):
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    class Own(PreTrainedModel):
        config_class = PretrainedConfig

        def __init__(self, config):
            super().__init__(config)
            self.layer = torch.nn.Linear(4, 4)

    made = recipe(folder, folder / "bert", labelled(folder), adapter="lora")
    with pytest.raises(InputError, match=r"adapter\.targets: peft refuses it: Please specify `target_modules`"):
        with_lora(Own(PretrainedConfig()), lora_config(made, "masked-lm", None), made)
