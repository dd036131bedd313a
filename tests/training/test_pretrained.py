"""Loading a model for a task: from a folder, an adapter, the demo; and what is said of a head that is not there."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectra.errors import InputError, MissingPackageError, SourceError
from spectra.training.pretrained import TEXT_TASKS, find_checkpoint, load_model
from tests.pretrained import encoder_tokenizer, save_adapter, save_bert, save_gpt2, save_t5


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def edit(folder, name="config.json", **changes):
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**config, **changes}))


# Finding


@pytest.mark.parametrize(
    ("save", "task"),
    [
        (lambda folder: save_bert(folder, "BertForMaskedLM"), "masked-lm"),
        (lambda folder: save_bert(folder, "BertForSequenceClassification"), "sequence-classification"),
        (lambda folder: save_bert(folder, "BertForSequenceClassification", num_labels=1), "regression"),
        (lambda folder: save_bert(folder, "BertForSequenceClassification", problem_type="regression"), "regression"),
        (lambda folder: save_bert(folder, "BertForTokenClassification"), "token-classification"),
        (save_gpt2, "causal-lm"),
        (save_t5, "seq2seq"),
    ],
    ids=["masked", "classes", "one label", "regression", "words", "causal", "sequence to sequence"],
)
def test_a_checkpoint_tells_its_task(tmp_path, save, task):
    checkpoint = find_checkpoint(str(save(tmp_path / "model")))
    assert (checkpoint.task, checkpoint.has_head, checkpoint.name, checkpoint.adapter) == (task, True, "model", None)


def test_bart_is_a_sequence_to_sequence_model_though_it_can_fill_masks(tmp_path):
    from transformers import BartConfig

    BartConfig(architectures=["BartForConditionalGeneration"]).save_pretrained(tmp_path)
    assert find_checkpoint(str(tmp_path)).task == "seq2seq"


def test_a_task_may_be_chosen(tmp_path):
    checkpoint = find_checkpoint(str(save_bert(tmp_path, "BertModel")), "masked-lm")
    assert (checkpoint.task, checkpoint.has_head) == ("masked-lm", False)


def test_the_demo_is_found_by_its_name(demo_folder):
    checkpoint = find_checkpoint("demo", "masked-lm")
    assert (checkpoint.name, checkpoint.location) == ("all-MiniLM-L6-v2", str(demo_folder))


def test_a_bare_encoder_asks_for_a_task(tmp_path):
    with pytest.raises(
        InputError, match=r"is BertModel, which has no head for a task on text\. Give one \(--task\): causal-lm, "
    ):
        find_checkpoint(str(save_bert(tmp_path, "BertModel")))


def test_a_configuration_without_an_architecture_asks_for_a_task(tmp_path):
    edit(save_bert(tmp_path), architectures=None)
    with pytest.raises(InputError, match=r"is no known architecture, which has no head"):
        find_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("masked_lm", r"unknown task 'masked_lm'\. Did you mean 'masked-lm'\? Known: causal-lm, seq2seq, masked-lm,"),
        ("seq2seq", r"transformers has no bert model for task 'seq2seq'\. Choose another \(--task\)"),
    ],
)
def test_a_task_that_cannot_be_is_refused(tmp_path, task, message):
    with pytest.raises(InputError, match=message):
        find_checkpoint(str(save_bert(tmp_path)), task)


def test_an_encoder_is_no_causal_language_model_but_its_decoder_is(tmp_path):
    encoder, decoder = save_bert(tmp_path / "encoder"), save_bert(tmp_path / "decoder", "BertLMHeadModel", is_decoder=True)
    with pytest.raises(InputError, match=r"encoder' is an encoder: it sees the token that task 'causal-lm' has to predict"):
        find_checkpoint(str(encoder), "causal-lm")
    assert find_checkpoint(str(decoder), "causal-lm").has_head


def test_several_labels_per_text_are_refused(tmp_path):
    save_bert(tmp_path, "BertForSequenceClassification", problem_type="multi_label_classification")
    with pytest.raises(InputError, match=r"gives several labels to a text \(multi_label_classification\)"):
        find_checkpoint(str(tmp_path))


def test_a_path_that_is_not_there_is_refused():
    with pytest.raises(SourceError, match=r"no folder '\./nowhere'\. Check the path, or give a hub id"):
        find_checkpoint("./nowhere")


def test_a_hub_id_that_is_not_in_the_cache_is_refused():
    with pytest.raises(SourceError, match=r"'no-such-org/no-such-model' is no local path"):
        find_checkpoint("no-such-org/no-such-model")


def test_a_file_is_refused(tmp_path):
    save_bert(tmp_path)
    with pytest.raises(SourceError, match=r"is a file\. Give the folder that holds it"):
        find_checkpoint(str(tmp_path / "model.safetensors"))


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(
        SourceError, match=r"transformers cannot read its configuration \(.*\)\. Give a folder that save_pretrained"
    ):
        find_checkpoint(str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    save_bert(tmp_path)
    edit(tmp_path, model_type="homemade", auto_map={"AutoConfig": "homemade.Config"})
    (tmp_path / "homemade.py").write_text("raise SystemExit('was run')")
    with pytest.raises(SourceError, match=r"comes with code of its own\)\. Read that code, then pass --trust-remote-code"):
        find_checkpoint(str(tmp_path))


# Loading


def test_weights_and_tokenizer_are_those_of_the_folder(tmp_path):
    loaded = load_model(find_checkpoint(str(save_bert(tmp_path))))
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in loaded.model.state_dict().items() if name in saved)
    assert loaded.tokenizer("the film")["input_ids"] == encoder_tokenizer()("the film")["input_ids"]
    assert not loaded.model.training
    assert loaded.notes == ()


def test_weights_of_a_torch_file_are_read_without_running_code(tmp_path):
    save_bert(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert load_model(find_checkpoint(str(tmp_path))).notes == ()


def test_a_torch_file_with_code_is_refused(tmp_path):
    save_bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"a": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match=rf"cannot load '{tmp_path.name}' \("):
        load_model(find_checkpoint(str(tmp_path)))


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float64", torch.float64)]
)
def test_weights_are_loaded_in_the_dtype_asked_for(tmp_path, dtype, expected):
    assert load_model(find_checkpoint(str(save_bert(tmp_path))), dtype=dtype).model.dtype == expected


def test_a_new_head_is_named_and_drawn_by_the_seed(tmp_path):
    checkpoint = find_checkpoint(str(save_bert(tmp_path, "BertModel")), "sequence-classification")
    before = torch.get_rng_state()
    first, again, other = (load_model(checkpoint, classes=("no", "yes", "?"), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.notes == (
        "2 parameters of 1 layer (classifier.weight, ...) are not in the checkpoint and were drawn at random (seed 0). The "
        "gradients of an untrained head say little about a trained model: fine-tune it first, or choose the task of the "
        "checkpoint.",
    )
    assert all(torch.equal(tensor, state(again.model)[name]) for name, tensor in state(first.model).items())
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)
    assert first.model.config.label2id == {"no": 0, "yes": 1, "?": 2}


def test_a_tied_head_that_follows_from_the_checkpoint_is_not_called_new(tmp_path):
    (note,) = load_model(find_checkpoint(str(save_bert(tmp_path, "BertModel")), "masked-lm")).notes
    assert note.startswith("5 parameters of 3 layers (cls.predictions.bias, ...) are not in the checkpoint")


def test_a_new_head_without_classes_has_those_transformers_gives(tmp_path):
    checkpoint = find_checkpoint(str(save_bert(tmp_path, "BertModel")), "sequence-classification")
    assert load_model(checkpoint).model.config.num_labels == 2


def test_a_new_regression_has_one_output(tmp_path):
    checkpoint = find_checkpoint(str(save_bert(tmp_path, "BertModel")), "regression")
    assert load_model(checkpoint, classes=("0.5", "1.5")).model.classifier.out_features == 1


def test_a_classifier_on_a_decoder_knows_its_padding(tmp_path):
    checkpoint = find_checkpoint(str(save_gpt2(tmp_path)), "sequence-classification")
    loaded = load_model(checkpoint, classes=("a", "b"))
    assert loaded.model.config.pad_token_id == loaded.tokenizer.eos_token_id
    assert loaded.model(torch.tensor([[5, 6], [7, loaded.tokenizer.eos_token_id]])).logits.shape == (2, 2)


def test_weights_of_other_sizes_are_refused(tmp_path):
    save_bert(tmp_path)
    edit(tmp_path, intermediate_size=40)
    message = r"'bert\.encoder\..*\.bias' has shape \(24,\), and the model for task 'masked-lm' needs \(40,\)\. Choose the task"
    with pytest.raises(SourceError, match=message):
        load_model(find_checkpoint(str(tmp_path)))


def test_weights_of_another_model_are_refused(tmp_path):
    save_bert(tmp_path)
    save_file({"other.weight": torch.ones(3)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(SourceError, match=r"holds none of the weights its config\.json describes\. Give the whole checkpoint"):
        load_model(find_checkpoint(str(tmp_path)))


def test_damaged_weights_are_refused(tmp_path):
    save_bert(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"text")
    with pytest.raises(SourceError, match=rf"cannot load '{tmp_path.name}' \(.*\)\. Give a folder that save_pretrained wrote"):
        load_model(find_checkpoint(str(tmp_path)))


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    save_bert(tmp_path)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(
        SourceError, match=r"has a tokenizer of 5 tokens for a model of 17: its files are missing, or it is another"
    ):
        load_model(find_checkpoint(str(tmp_path)))


def test_a_damaged_tokenizer_is_refused(tmp_path):
    (save_bert(tmp_path) / "tokenizer.json").write_text("{}")
    with pytest.raises(
        SourceError, match=rf"'{tmp_path.name}' has no tokenizer that transformers can load \(.*\)\. Give a folder"
    ):
        load_model(find_checkpoint(str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float"}, r"unknown dtype 'float'\. Did you mean '.*'\? Known: auto, float32, bfloat16, float16, float64"),
        ({"device": "nowhere"}, r"device: cannot compute on 'nowhere'"),
    ],
    ids=["dtype", "device"],
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        load_model(find_checkpoint(str(save_bert(tmp_path))), **settings)


def test_missing_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"loading a model needs transformers: pip install \"spectra-nn\[train\]\""):
        find_checkpoint("anything")


def test_every_task_has_a_class_and_a_table_in_transformers():
    import transformers

    from spectra.training import pretrained

    for task in TEXT_TASKS:
        assert hasattr(transformers, pretrained._CLASSES[task][0])
        assert pretrained._models_for(task)


# Adapters


@pytest.fixture
def base(tmp_path):
    return save_bert(tmp_path / "base", "BertModel")


def test_of_an_adapter_only_what_it_trains_is_trained(tmp_path, base):
    checkpoint = find_checkpoint(str(save_adapter(tmp_path / "adapter", base)))
    assert (checkpoint.task, checkpoint.name, checkpoint.location) == ("sequence-classification", "adapter", str(base))
    loaded = load_model(checkpoint, classes=("a", "b"))
    trained = {
        name.rpartition("base_model.model.")[2] for name, tensor in loaded.model.named_parameters() if tensor.requires_grad
    }
    query = "bert.encoder.layer.0.attention.self.query"
    assert trained == {
        f"{query}.lora_A.default.weight",
        f"{query}.lora_B.default.weight",
        "classifier.modules_to_save.default.weight",
        "classifier.modules_to_save.default.bias",
    }
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    head = loaded.model.base_model.model.classifier.modules_to_save["default"].weight
    assert torch.equal(head, saved["base_model.model.classifier.weight"])
    assert not loaded.model.training
    assert loaded.notes == ()  # the head is new to the base, and the adapter brings it


def test_an_adapter_may_bring_its_tokenizer(tmp_path, base):
    save_adapter(tmp_path / "adapter", base)
    encoder_tokenizer().save_pretrained(tmp_path / "adapter")
    for file in base.glob("tokenizer*"):
        file.unlink()
    assert load_model(find_checkpoint(str(tmp_path / "adapter"))).tokenizer.mask_token == "[MASK]"


def test_an_adapter_with_another_number_of_classes_is_refused(tmp_path, base):
    checkpoint = find_checkpoint(str(save_adapter(tmp_path / "adapter", base, num_labels=3)))
    with pytest.raises(SourceError, match=r"cannot load 'adapter' \(.*size mismatch for .*classifier"):
        load_model(checkpoint, classes=("a", "b"))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("org/base", r"needs its base model 'org/base', .* not in the hub cache\. Download it first: hf download org/base"),
        ("/nowhere", r"needs its base model '/nowhere', .*\. Correct the path in its configuration"),
        ("", r"needs its base model ''"),
    ],
    ids=["hub", "path", "none"],
)
def test_an_adapter_without_its_base_is_refused(tmp_path, base, named, message):
    edit(save_adapter(tmp_path / "adapter", base), "adapter_config.json", base_model_name_or_path=named)
    with pytest.raises(SourceError, match=message):
        find_checkpoint(str(tmp_path / "adapter"))


def test_an_adapter_on_an_adapter_is_refused(tmp_path, base):
    first = save_adapter(tmp_path / "first", base)
    edit(save_adapter(tmp_path / "second", base), "adapter_config.json", base_model_name_or_path=str(first))
    with pytest.raises(
        SourceError, match=r"adapter '.*second' stands on '.*first', which is an adapter itself\. Merge that one"
    ):
        find_checkpoint(str(tmp_path / "second"))


def test_missing_peft_names_the_extra(tmp_path, base, monkeypatch):
    checkpoint = find_checkpoint(str(save_adapter(tmp_path / "adapter", base)))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"needs peft: pip install"):
        load_model(checkpoint)
