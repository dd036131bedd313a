"""What a preview says of a recipe, against the models, plans and trainers that it speaks of."""

import json

import pytest
import yaml

from spectra.training.libraries import quiet
from spectra.training.recipe import recipe_of
from spectra.training.recipe.preview import preview
from tests.pretrained import VOCABULARY, encoder_tokenizer, save_gpt2

NUM_ROWS, BATCH = 10, 4
STEPS_PER_EPOCH = 3  # of 4, 4 and 2 rows
WIDTH = 64  # so wide that layers have a spectrum to be fitted


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    from transformers import BertConfig, BertForSequenceClassification, set_seed

    folder = tmp_path_factory.mktemp("bert")
    set_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    config = BertConfig(**sizes, vocab_size=len(VOCABULARY), max_position_embeddings=32)
    with quiet():
        BertForSequenceClassification(config).save_pretrained(folder)
        encoder_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "films.tsv"
    rows = [f"the film was {word}\t{word}" for _ in range(NUM_ROWS // 2) for word in ("good", "bad")]
    file.write_text("\n".join(("text\tlabel", *rows)) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def recipe(tmp_path, bert, data):
    """Make a recipe with changes, of parts as they stand in YAML."""

    def make(**changes):
        texts = {"train": str(data), "text_column": "text", "label_column": "label", "max_length": 16}
        content = {
            "model": {"name": str(bert)},
            "data": {**texts, **changes.pop("data", {})},
            "training": {"per_device_train_batch_size": BATCH, "weight_decay": 0.1, **changes.pop("training", {})},
            "output": str(tmp_path / "run"),
        }
        return recipe_of(content | changes)

    return make


def test_examples_and_steps_are_those_of_the_trainer(recipe, data):
    found = preview(recipe(data={"eval": str(data), "eval_size": 4, "test": str(data)}))
    assert (found.num_train, found.num_eval, found.num_test) == (NUM_ROWS, 4, NUM_ROWS)
    assert (found.num_steps, found.steps_per_epoch, found.num_epochs) == (9, STEPS_PER_EPOCH, 3)
    assert found.examples_per_step == BATCH


def test_steps_may_be_given(recipe):
    found = preview(recipe(training={"max_steps": 4, "gradient_accumulation_steps": 2}))
    assert (found.num_steps, found.steps_per_epoch, found.num_epochs, found.examples_per_step) == (4, 2, 2, 2 * BATCH)


def test_nothing_is_written(recipe, tmp_path):
    preview(recipe(diagnostics={"tempbalance": {"policy": {"unit": "layer"}}}))
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_counted_by_what_decays(recipe, bert):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(bert)
    of_decay = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not name.endswith("bias") and "LayerNorm" not in name
    )
    found = preview(recipe())
    assert found.num_parameters == found.num_trained == model.num_parameters()
    groups = [(one.learning_rate, one.weight_decay, one.num_groups, one.num_parameters) for one in found.groups]
    assert groups == [(5e-5, 0.1, 1, of_decay), (5e-5, 0.0, 1, found.num_parameters - of_decay)]
    assert (found.balances, found.dropout, found.adapter_ranks) == ((), (), {})


def test_memory_is_that_of_adamw(recipe):
    found = preview(recipe())
    assert found.memory.gradients == 4 * found.num_parameters
    assert found.memory.weights >= found.memory.gradients  # with buffers
    # Two moments of each parameter, and a count of steps for each of the tensors, of which there are fewer than 100.
    assert 8 * found.num_parameters < found.memory.optimizer_state < 8 * found.num_parameters + 4 * 100


@pytest.mark.parametrize(("name", "target"), [("tempbalance", "learning_rate"), ("alphadecay", "weight_decay")])
def test_multipliers_are_those_of_a_trainer_that_begins(recipe, bert, name, target):
    import torch
    from transformers import AutoModelForSequenceClassification

    from spectra.training.tempbalance import TempBalance

    asked = recipe(diagnostics={name: {"policy": {"unit": "layer"}, "norms_follow": True}})
    (found,) = preview(asked).balances
    model = AutoModelForSequenceClassification.from_pretrained(bert)
    balance = TempBalance(
        model, torch.optim.AdamW(model.parameters(), weight_decay=0.1), getattr(asked.diagnostics, name), norms_follow=True
    )
    assert (found.method, found.target, found.metric, found.first_step) == (name, target, "alpha", 0)
    assert {unit.name: unit.multiplier for unit in found.units} == balance.scales
    assert {unit.name: unit.score for unit in found.units if unit.score is not None} == balance.scores
    assert [unit.num_layers for unit in found.units] == [len(layers) for layers in balance.members.values()]
    assert len({unit.multiplier for unit in found.units}) > 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_multipliers_of_a_later_step_are_measured_too(recipe, asynchronous):
    options = {"policy": {"unit": "layer"}, "start_step": 5, "asynchronous": asynchronous}
    (found,) = preview(recipe(diagnostics={"tempbalance": options})).balances
    assert found.first_step == 5
    assert len({unit.multiplier for unit in found.units}) > 1


def test_both_may_be_balanced(recipe):
    options = {"policy": {"unit": "layer"}}
    found = preview(recipe(diagnostics={"tempbalance": options, "alphadecay": options}))
    assert [one.method for one in found.balances] == ["tempbalance", "alphadecay"]
    assert sum(group.num_parameters for group in found.groups) == found.num_trained
    assert sum(group.num_groups for group in found.groups) > 2


def test_drop_probabilities_of_a_plan_stand_beside_those_of_the_model(recipe, tmp_path_factory):
    site = "bert.encoder.layer.0.output.dropout"
    file = tmp_path_factory.mktemp("plan") / "rates.yaml"
    file.write_text(yaml.safe_dump({"rates": {site: 0.03}}), encoding="utf-8")
    found = preview(recipe(diagnostics={"guided_dropout": str(file)}))
    assert [(one.site, one.before, one.drop_prob) for one in found.dropout] == [(site, 0.1, 0.03)]


def test_what_has_to_be_measured_is_named_and_not_measured(recipe):
    found = preview(recipe(diagnostics={"guided_dropout": {"samples": 6}, "spectra": "none"}))
    assert found.dropout == ()
    assert found.first == ("the Fisher is measured on 6 training examples, for drop probabilities; these are not known before",)
    both = preview(
        recipe(diagnostics={"guided_dropout": {"samples": 6}, "fisher": True}, adapter={"name": "lora", "ranks": "fisher"})
    )
    assert both.first == (
        "the Fisher is measured on 10 training examples, for drop probabilities, ranks, diagnostics.fisher; "
        "these are not known before",
        "spectra of all weights are recorded",
    )


def test_ranks_and_memory_of_an_adapter(recipe):
    found = preview(recipe(adapter={"name": "lora", "rank": 3, "targets": ["query", "value"]}))
    assert found.adapter == "lora"
    modules = [f"bert.encoder.layer.{layer}.attention.self.{name}" for layer in (0, 1) for name in ("query", "value")]
    assert found.adapter_ranks == dict.fromkeys(modules, 3)
    of_adapter = len(modules) * 3 * (WIDTH + WIDTH)
    assert found.memory.adapters == 4 * of_adapter
    of_head = WIDTH * 2 + 2
    assert found.num_trained == of_adapter + of_head
    assert found.memory.gradients == 4 * found.num_trained


def test_ranks_that_are_measured_are_all_alike_before(recipe):
    found = preview(recipe(adapter={"name": "lora", "rank": 2, "ranks": "alpha"}))
    assert set(found.adapter_ranks.values()) == {2}
    assert "spectra of the weights are measured for the ranks; until then all modules have the mean rank" in found.first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["1 teacher fine-tuned by the same arguments: 9 steps more"]),
        ({"generations": 2}, ["2 teachers fine-tuned by the same arguments: 18 steps more"]),
        ({"preset": "plain"}, []),
    ],
)
def test_teachers_come_first(recipe, options, words):
    found = preview(recipe(method={"name": "dcs", **options}))
    assert [sentence for sentence in found.first if "teacher" in sentence] == words


def test_responses_are_counted_and_not_written(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    rows = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": "the film", "completion": "was good"}) + "\n" for _ in range(6)))
    found = preview(
        recipe(
            model=str(save_gpt2(folder)),
            method={"name": "sdft", "task": "text"},
            data={"train": str(rows), "text_column": None, "label_column": None},
        )
    )
    assert (found.method, found.num_train, found.num_steps) == ("sdft", 6, 6)
    assert found.first[0] == "the model rewrites 6 responses in its own words"
    assert "responses.jsonl" in dict(found.files)


def test_tasks_of_meta_peft_are_all_counted(recipe, data, tmp_path_factory):
    tasks = tmp_path_factory.mktemp("tasks")
    for name in ("first", "second"):
        (tasks / name).mkdir()
        (tasks / name / "train.tsv").write_bytes(data.read_bytes())
    found = preview(
        recipe(
            method={"name": "meta_peft"},
            adapter={"name": "lora", "rank": 2},
            data={"train": None, "tasks": str(tasks)},
        )
    )
    assert found.num_train == 2 * NUM_ROWS
    assert found.num_trained > found.memory.adapters / 4
    assert set(found.adapter_ranks.values()) == {2}
    assert dict(found.files)["model/"] == "the model"


@pytest.mark.parametrize(
    ("changes", "names", "others"),
    [
        ({}, ["diagnostics/", "checkpoints/"], ["dropout-plan.yaml", "rank-plan.yaml", "responses.jsonl", "tempbalance.jsonl"]),
        ({"diagnostics": {"spectra": "none"}, "training": {"save_strategy": "no"}}, [], ["diagnostics/", "checkpoints/"]),
        ({"diagnostics": {"tempbalance": {"policy": {"unit": "layer"}}}}, ["tempbalance.jsonl"], ["alphadecay.jsonl"]),
        ({"diagnostics": {"guided_dropout": {}}}, ["diagnostics/*fisher.safetensors", "dropout-plan.yaml"], []),
        ({"adapter": {"name": "lora", "ranks": "alpha"}}, ["rank-plan.yaml"], ["diagnostics/*fisher.safetensors"]),
    ],
)
def test_files_follow_from_the_recipe(recipe, changes, names, others):
    files = dict(preview(recipe(**changes)).files)
    assert {"recipe.yaml, environment.json", "metrics.jsonl", "model/", *names} <= files.keys()
    assert not files.keys() & set(others)
