"""Models as they lie in a folder: what their configuration and headers tell."""

import json

import pytest

from spectra.training.recipe.checking.stored_model import StoredModel, tail
from tests.pretrained import save_bert, save_gpt2, save_t5


def stored(folder):
    return StoredModel("model", folder, None, json.loads((folder / "config.json").read_text()))


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("bert.encoder.layer.0.output", "layer.0.output"),
        ("encoder.layer.0.output", "layer.0.output"),
        ("decoder.block.3.layer.1.EncDecAttention.q", "block.3.layer.1.EncDecAttention.q"),
        ("bert.pooler.dense", "dense"),
        ("0", "0"),
        ("0.weight", "weight"),
    ],
)
def test_the_tail_of_a_path_begins_with_its_first_numbered_part(name, end):
    assert tail(name) == end


def test_positions_are_the_least_that_model_and_tokenizer_take(tmp_path):
    bert = save_bert(tmp_path / "bert")
    assert stored(bert).positions == 32
    settings = json.loads((bert / "tokenizer_config.json").read_text())
    (bert / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 20}))
    assert stored(bert).positions == 20


def test_positions_of_gpt2_have_another_name_and_t5_has_no_limit(tmp_path):
    assert stored(save_gpt2(tmp_path / "gpt2")).positions == 32
    config = json.loads((save_t5(tmp_path / "t5") / "config.json").read_text())
    assert StoredModel("t5", tmp_path / "t5", None, config | {"n_positions": 512}).positions is None


def test_a_configuration_without_names_of_labels_has_two(tmp_path):
    model = stored(save_bert(tmp_path / "bert", "BertForSequenceClassification"))
    assert (model.num_labels, model.label2id) == (2, {"LABEL_0": 0, "LABEL_1": 1})
    assert model.task == "sequence-classification"


def test_shapes_are_those_of_the_modules_that_peft_would_find(tmp_path):
    from torch import nn
    from transformers import BertModel

    folder = save_bert(tmp_path / "bert", "BertModel")
    modules = BertModel.from_pretrained(folder).named_modules()
    expected = {name: tuple(one.weight.shape) for name, one in modules if isinstance(one, nn.Linear | nn.Embedding)}
    assert stored(folder).shapes == expected
