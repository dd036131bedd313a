import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.training.recipe.assembly.examples import drawn_examples, examples_of, run_examples, run_rows
from spectra.training.recipe.parts import DataPart
from spectra.training.text_data import Examples, read_examples
from tests.assembled_runs import domains, labelled, prompts, recipe, texts

PART = DataPart(train="nowhere.tsv", text_column="text", label_column="label")


def of_texts(folder, **data):
    return run_examples(recipe(folder, "demo", labelled(folder, **data)), has_classes=True)


def test_classes_are_those_of_all_training_examples_not_of_the_drawn(tmp_path):
    found = of_texts(tmp_path, train_size=1)
    assert len(found.of["train"]) == 1
    assert found.classes == ("bad", "good")


def test_the_same_examples_are_drawn_as_by_other_commands(tmp_path):
    found = of_texts(tmp_path, train_size=5, data_seed=7)
    file = labelled(tmp_path)["train"]
    assert found.of["train"] == read_examples(file, "text", label_column="label", limit=5, seed=7)


def test_sizes_are_of_their_use_and_tests_are_whole(tmp_path):
    found = of_texts(tmp_path, train_size=5, eval_size=3)
    assert [len(found.of[use]) for use in ("train", "eval", "test")] == [5, 3, 16]


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 3))
def test_more_examples_add_to_fewer(number, limit, seed):
    examples = Examples(tuple(map(str, range(number))), tuple(range(1, number + 1)), labels=tuple(range(number)))
    some, more = (drawn_examples(examples, size, seed) for size in (limit, limit + 1))
    assert len(some) == min(limit, number)
    assert set(some.rows) <= set(more.rows)
    assert list(some.rows) == sorted(some.rows)
    assert some.texts == tuple(map(str, some.labels))


def test_one_class_is_nothing_to_learn(tmp_path):
    data = labelled(tmp_path) | {"train": texts(tmp_path, "alike", label=lambda text: "good")}
    with pytest.raises(InputError, match=r"data\.label_column: all labels of .* are 'good'"):
        run_examples(recipe(tmp_path, "demo", data), has_classes=True)


def test_each_task_has_its_examples_by_the_name_of_the_file(tmp_path):
    data = {"tasks": domains(tmp_path), "eval": "eval", "text_column": "text", "label_column": "label", "train_size": 3}
    found = run_examples(recipe(tmp_path, "demo", data, method="meta_peft", adapter="lora"), has_classes=True)
    assert {use: {task: len(one) for task, one in source.items()} for use, source in found.of.items()} == {
        "train": {"books": 3, "dvds": 3, "music": 3},
        "eval": {"books": 8, "dvds": 8, "music": 8},
    }
    assert found.classes == ("bad", "good")


def test_tasks_of_different_classes_are_refused(tmp_path):
    folder = domains(tmp_path)
    texts(tmp_path / "domains" / "dvds", "train", label=lambda text: "poor" if "bad" in text else "fine")
    data = {"tasks": folder, "text_column": "text", "label_column": "label"}
    with pytest.raises(InputError, match="'books' has the classes bad, good, and 'dvds' has fine, poor"):
        run_examples(recipe(tmp_path, "demo", data, method="meta_peft", adapter="lora"), has_classes=True)


def test_names_of_classes_come_from_the_hub_with_the_data(tmp_path, monkeypatch):
    from datasets import ClassLabel, Dataset, Features, Value

    from spectra.training.recipe.assembly import examples as module
    from spectra.training.recipe.assembly.hub_data import HubData

    kinds = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    (tmp_path / "glue").mkdir()
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=kinds).to_parquet(tmp_path / "glue" / "train.parquet")
    monkeypatch.setattr(module, "hub_data", lambda name: HubData(str(tmp_path / name)))  # a folder in place of the hub
    made = recipe(tmp_path, "demo", {"train": "glue", "text_column": "text", "label_column": "label"})
    found = run_examples(made, has_classes=True)
    assert found.of["train"].labels == ("yes", "no")
    assert found.classes == ("no", "yes")


def test_an_example_without_a_label_is_refused_by_its_row():
    with pytest.raises(InputError, match="'glue', row 2 has no value in column 'label'"):
        examples_of([{"text": "a", "label": "yes"}, {"text": "b", "label": None}], "glue", PART)


def test_records_need_the_column_of_the_texts():
    with pytest.raises(InputError, match=r"data\.text_column: say which column of 'glue' holds the texts: text, label"):
        examples_of([{"text": "a", "label": 1}], "glue", DataPart(train="nowhere.tsv"))
    with pytest.raises(InputError, match="'glue' has no column 'label'"):
        examples_of([{"text": "a"}], "glue", PART)


def test_rows_of_prompts_are_drawn_at_random(tmp_path):
    file = prompts(tmp_path, "train", 20)
    data = {"train": file, "prompt_column": "prompt", "response_column": "response", "train_size": 6}
    made = recipe(tmp_path, "demo", data)
    rows = run_rows(made, "train")
    everything = [json.loads(line) for line in Path(file).read_text().splitlines()]
    places = [everything.index(row) for row in rows]
    assert len(rows) == 6
    assert places == sorted(places) != list(range(6))
    assert run_rows(made, "eval") is None
