import pytest
import torch

from spectra.errors import InputError
from spectra.training.recipe.assembly.assembling import assembled
from tests.assembled_runs import classifier, weights


def test_a_classifier_is_trained_evaluated_and_saved_with_the_names_of_its_classes(tmp_path):
    from transformers import AutoModelForSequenceClassification

    run = assembled(classifier(tmp_path), tmp_path / "run")
    before = weights(run.trainer.model)
    run.trainer.train()
    assert any(not torch.equal(one, other) for one, other in zip(before, weights(run.trainer.model), strict=True))
    assert {"eval_accuracy", "eval_f1", "eval_matthews", "eval_loss"} <= run.trainer.evaluate().keys()
    assert "test_accuracy" in run.trainer.evaluate(run.test_data, metric_key_prefix="test")
    run.save(tmp_path / "model")
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert saved.config.id2label == {0: "bad", 1: "good"}
    assert all(torch.equal(one, other) for one, other in zip(weights(saved), weights(run.model), strict=True))
    assert not list((tmp_path / "model").glob("*.bin"))


def trained(made, folder):
    run = assembled(made, folder)
    run.trainer.train()
    return torch.cat([tensor.flatten().float() for tensor in weights(run.trainer.model)])


def test_the_same_recipe_is_the_same_run_and_another_seed_another(tmp_path):
    adapter = {"name": "lora", "rank": 2, "targets": ["query"]}
    torch.manual_seed(1)
    one = trained(classifier(tmp_path, adapter=adapter), tmp_path / "one")
    torch.manual_seed(2)
    assert torch.equal(one, trained(classifier(tmp_path, adapter=adapter), tmp_path / "two"))
    assert not torch.equal(one, trained(classifier(tmp_path, adapter=adapter, seed=4), tmp_path / "other"))


def test_what_is_measured_before_does_not_change_what_is_drawn_in_training(tmp_path):
    plain = trained(classifier(tmp_path), tmp_path / "plain")
    assert torch.equal(plain, trained(classifier(tmp_path, diagnostics={"fisher": True}), tmp_path / "recorded"))


def test_what_is_being_done_is_told(tmp_path):
    told = []
    assembled(classifier(tmp_path, diagnostics={"fisher": True}), tmp_path / "run", progress=told.append)
    assert told[:2] == ["reading the data", "loading the model"]
    assert told[-1] == "measuring the Fisher: 16 examples"


def test_without_data_to_test_on_there_are_none(tmp_path):
    run = assembled(classifier(tmp_path, data={"eval": None, "test": None}), tmp_path / "run")
    assert run.test_data is None
    assert run.trainer.eval_dataset is None


def test_an_adapter_is_saved_alone_and_the_model_of_peft_is_analysed(tmp_path):
    run = assembled(classifier(tmp_path, adapter={"name": "lora", "rank": 2, "targets": ["query"]}), tmp_path / "run")
    run.save(tmp_path / "model")
    assert run.model is run.trainer.model
    assert (tmp_path / "model" / "adapter_config.json").exists()
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_a_label_that_training_does_not_show_is_refused(tmp_path):
    made = classifier(tmp_path)
    (tmp_path / "eval.tsv").write_text("text\tlabel\na film\tugly\n")
    with pytest.raises(InputError, match="row 1: label 'ugly' is none of the model's 2 classes"):
        assembled(made, tmp_path / "run")
