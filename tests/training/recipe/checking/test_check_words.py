"""What checks know without importing torch or transformers is what those modules say: names, and sentences on one fault."""

import re

import pytest

from spectra.errors import SpectraError
from spectra.training.recipe.checking.check_data import COLUMNS
from spectra.training.recipe.checking.check_machine import TRACKERS, device_fault
from spectra.training.recipe.checking.check_method import DISCORDANCES
from spectra.training.recipe.checking.check_training import METRICS, USUAL_OPTIMIZERS
from spectra.training.recipe.checking.checks import faults
from spectra.training.recipe.checking.findings import recipe_words
from spectra.training.recipe.checking.stored_model import StoredModel
from spectra.training.recipe.parts import TASKS
from tests.training.recipe.checked import TASKS as META_PEFT
from tests.training.recipe.checked import draft, make_place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def said(call):
    with pytest.raises(SpectraError) as raised:
        call()
    return str(raised.value)


def sentence(folder, *changes):
    (fault,) = faults(draft(folder, *changes))
    return fault.partition("): ")[2]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["pair", "label", "target"])
def test_columns_of_a_task_are_those_that_batches_need_and_read(task, name):
    from spectra.training.text_batches import check_columns

    needed, allowed = COLUMNS[task]
    columns = {*needed, name}
    if name in (*needed, *allowed):
        check_columns(task, columns)
    else:
        assert f"reads no {name}" in said(lambda: check_columns(task, columns))
    if name in needed:
        assert f"needs a {name} per text" in said(lambda: check_columns(task, columns - {name}))


def test_a_missing_column_is_told_as_batches_tell_it(here):
    from spectra.training.text_batches import check_columns

    expected = said(lambda: check_columns("regression", set()))
    found = sentence(here, "model.task=regression", "data.label_column=null")
    assert found == recipe_words(expected, "data", "label_column")


def test_metrics_are_those_that_runs_measure():
    from spectra.training.recipe.assembly import run_metrics

    assert METRICS == run_metrics.METRICS


def test_trackers_are_those_of_transformers():
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(TRACKERS) == set(INTEGRATION_TO_CALLBACK)


def test_usual_optimizers_are_some_of_transformers():
    from transformers.training_args import OptimizerNames

    assert set(USUAL_OPTIMIZERS) < {one.value for one in OptimizerNames}


@pytest.mark.parametrize("word", ["r2", "token", "argmax", "label"])
def test_discordances_are_told_apart_by_task_as_dcs_does(word):
    from spectra.training.dcs.config import DCSConfig
    from spectra.training.dcs.objective import objective_for
    from tests.dcs_runs import bert, gpt2

    models = {"sequence-classification": bert(), "regression": bert(num_labels=1), "causal-lm": gpt2()}
    for task, model in models.items():
        if word in DISCORDANCES[task]:
            objective_for(model, DCSConfig(discordance=word))
        else:
            text = said(lambda model=model: objective_for(model, DCSConfig(discordance=word)))
            assert text.endswith(f"Known there: {', '.join(DISCORDANCES[task])}.")


def test_a_discordance_of_another_task_is_told_as_dcs_tells_it(here):
    from spectra.training.dcs.config import DCSConfig
    from spectra.training.dcs.objective import objective_for
    from tests.dcs_runs import bert

    expected = said(lambda: objective_for(bert(), DCSConfig(discordance="token")))
    assert f"discordance: {sentence(here, 'method={name: dcs, discordance: token}')}" == expected


@pytest.mark.parametrize("device", ["cuda:3", "gpu", "mps"])
def test_a_device_is_refused_as_a_run_refuses_it(here, device):
    from spectra.training.recipe.assembly.run_arguments import run_arguments

    recipe = draft(here, f"model.device={device}").recipe
    assert said(lambda: run_arguments(recipe, here)) == f"model.device (--set): {device_fault(device)}"


@pytest.mark.parametrize(
    ("name", "task"), [("./brt", None), ("train.tsv", None), ("masked", "causal-lm"), ("tags", None), ("lost", None)]
)
def test_a_model_is_refused_as_loading_refuses_it(here, name, task):
    from spectra.training.pretrained import find_checkpoint

    expected = recipe_words(said(lambda: find_checkpoint(name, task)), "model", "name")
    changes = [f"model={name}", *([f"model.task={task}", "data.label_column=null"] if task else [])]
    assert sentence(here, *changes) == expected


@pytest.mark.parametrize("task", TASKS)
def test_the_task_of_a_class_is_that_of_transformers_tables(task):
    from transformers import PreTrainedConfig

    from spectra.training.pretrained import _models_for, _task_of

    for architecture in set(_models_for(task).values()):
        for is_both in (False, True):
            settings = {"architectures": [architecture], "is_encoder_decoder": is_both}
            if task == "regression":
                settings |= {"problem_type": "regression"}
            own = StoredModel("model", None, None, settings).task
            theirs = _task_of(PreTrainedConfig(**settings))
            if not architecture.endswith("ForConditionalGeneration"):  # of which the tables do not ask for a decoder
                assert own == theirs, architecture


def test_a_single_class_is_told_as_reading_the_examples_tells_it(here):
    from spectra.training.recipe.assembly.examples import run_examples

    changes = ("data.train=same.tsv", "data.eval=null")
    expected = said(lambda: run_examples(draft(here, *changes).recipe, has_classes=True))
    assert expected.endswith(sentence(here, *changes))


def test_a_folder_that_is_no_run_is_told_as_opening_it_tells_it(here):
    from spectra.training.recipe.run.run_folder import opened_folder

    for output in ("notes", "train.tsv"):
        read = draft(here, f"output={output}")
        with pytest.raises(SpectraError) as raised, opened_folder(read.recipe):
            pass
        assert str(raised.value) == faults(read)[0]


def test_too_few_tasks_and_too_many_a_step_are_told_as_the_trainer_tells_it(here):
    from spectra.training.meta_peft.checks import checked_tasks, refuse_steps
    from spectra.training.meta_peft.config import MetaPeftConfig

    few = said(lambda: checked_tasks({"books": [1]}, None))
    assert few == f"tasks: {sentence(here, *META_PEFT, 'data.tasks=lonely')}"
    many = said(lambda: refuse_steps(None, MetaPeftConfig(tasks_per_step=3), 2))
    told = sentence(here, *META_PEFT, "method.tasks_per_step=3")
    assert re.sub("^tasks_per_step is ", "", many) == told


def test_a_name_that_no_adapter_can_have_is_told_as_the_trainer_tells_it(here):
    from spectra.training.meta_peft.adapter_configs import checked_tasks
    from tests.dcs_runs import bert

    expected = said(lambda: checked_tasks(["my books"], bert(), "lora_", ()))
    assert expected == f"tasks: {sentence(here, *META_PEFT, 'data.tasks=named')}"


@pytest.mark.parametrize(("file", "task"), [("words.jsonl", "sequence-classification"), ("train.tsv", "token-classification")])
def test_words_and_texts_are_told_apart_as_the_coder_tells_them(here, file, task):
    from spectra.training.text_batches import make_batches
    from spectra.training.text_data import read_examples
    from tests.dcs_runs import bert
    from tests.pretrained import encoder_tokenizer

    examples = read_examples(file, "text", label_column="label")
    expected = said(lambda: make_batches(encoder_tokenizer(), examples, task, bert().config, max_length=16))
    found = sentence(here, f"model.task={task}", f"data.train={file}", "data.eval=null")
    assert found == f"'{file}', {expected}"
