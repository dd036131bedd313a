import pytest
import torch

from spectra.errors import InputError, SourceError
from spectra.training.recipe.assembly.loading import pretraining_checkpoint, run_checkpoint, run_model
from tests.assembled_runs import labelled, recipe, texts
from tests.pretrained import save_bert, save_gpt2

CPU = torch.device("cpu")


def of(folder, model, **data):
    return recipe(folder, model, labelled(folder, **data))


def test_a_bare_encoder_classifies_texts_that_have_labels(tmp_path):
    checkpoint, notes = run_checkpoint(of(tmp_path, save_bert(tmp_path / "bert", "BertModel")))
    assert checkpoint.task == "sequence-classification"
    assert notes == ("The task is sequence-classification: the data have labels, and 'bert' is for no task with labels.",)


def test_a_masked_language_model_does_so_too(tmp_path):
    assert run_checkpoint(of(tmp_path, save_bert(tmp_path / "bert")))[0].task == "sequence-classification"


def test_a_classifier_stays_what_it_is_without_a_word(tmp_path):
    made = of(tmp_path, save_bert(tmp_path / "bert", "BertForSequenceClassification"))
    checkpoint, notes = run_checkpoint(made)
    assert (checkpoint.task, checkpoint.has_head, notes) == ("sequence-classification", True, ())


def test_without_labels_and_without_a_head_the_task_has_to_be_said(tmp_path):
    data = {"train": texts(tmp_path, "train"), "text_column": "text"}
    made = recipe(tmp_path, save_bert(tmp_path / "bert", "BertModel"), data)
    with pytest.raises(InputError, match="has no head for a task on text"):
        run_checkpoint(made)


def test_a_task_that_is_said_counts(tmp_path):
    bert = save_bert(tmp_path / "bert", "BertModel")
    made = of(tmp_path, {"name": str(bert), "task": "regression"})
    assert run_checkpoint(made)[0].task == "regression"


def test_a_new_head_is_as_large_as_the_data_ask_and_knows_their_names(tmp_path):
    made = of(tmp_path, save_bert(tmp_path / "bert", "BertModel"))
    loaded = run_model(made, run_checkpoint(made)[0], ("bad", "fair", "good"), CPU)
    assert loaded.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert loaded.notes == ("'bert' has no head for sequence-classification: a new one was drawn at random (seed 3).",)


def test_classes_without_names_get_those_of_the_data(tmp_path):
    made = of(tmp_path, save_bert(tmp_path / "bert", "BertForSequenceClassification"))
    checkpoint, _ = run_checkpoint(made)
    assert run_model(made, checkpoint, ("bad", "good"), CPU).config.label2id == {"bad": 0, "good": 1}
    assert run_model(made, checkpoint, ("0", "1"), CPU).config.label2id == {"LABEL_0": 0, "LABEL_1": 1}


def test_a_classifier_keeps_its_own_names(tmp_path):
    names = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
    made = of(tmp_path, save_bert(tmp_path / "bert", "BertForSequenceClassification", **names))
    assert run_model(made, run_checkpoint(made)[0], ("bad", "good"), CPU).config.label2id == names["label2id"]


def test_the_same_seed_draws_the_same_head(tmp_path):
    made = of(tmp_path, save_bert(tmp_path / "bert", "BertModel"))
    one, two = (run_model(made, run_checkpoint(made)[0], ("bad", "good"), CPU).model.classifier.weight for _ in range(2))
    assert torch.equal(one, two)


def test_low_precision_is_said(tmp_path):
    bert = save_bert(tmp_path / "bert", "BertForSequenceClassification")
    made = of(tmp_path, {"name": str(bert), "dtype": "bfloat16"})
    notes = run_model(made, run_checkpoint(made)[0], ("bad", "good"), CPU).notes
    assert notes == ("Weights are trained in bfloat16, which loses small steps. With model.dtype: float32 it does not.",)


@pytest.mark.parametrize(
    ("save", "head", "expected"),
    [
        (save_bert, "BertForMaskedLM", "masked-lm"),
        (save_gpt2, "GPT2LMHeadModel", "causal-lm"),
        (save_bert, "BertModel", None),
        (save_bert, "BertForSequenceClassification", None),
    ],
)
def test_the_head_of_pretraining_is_found_where_the_task_needs_a_new_one(tmp_path, save, head, expected):
    checkpoint, _ = run_checkpoint(of(tmp_path, save(tmp_path / "model", head)))
    found = pretraining_checkpoint(checkpoint)
    assert (found and found.task) == expected


def test_a_revision_that_cannot_be_had_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot have revision 'v2' of 'nobody/nothing'"):
        run_checkpoint(of(tmp_path, {"name": "nobody/nothing", "revision": "v2"}))
