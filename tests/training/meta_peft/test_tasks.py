"""Folders become tasks, and records rows of one label space."""

import json

import pytest
import torch

from spectra.errors import InputError
from spectra.training.meta_peft.tasks import classification_tasks, read_tasks
from spectra.training.text_data import read_examples
from tests.pretrained import VOCABULARY, encoder_tokenizer

ROWS = "sentence\tlabel\n" + "".join(
    f"the film was {word}\t{label}\n" for word, label in [("good", 1), ("bad", 0), ("very", 1)]
)


@pytest.fixture
def folder(tmp_path):
    for task in ("dvd", "books", "not a task"):
        (tmp_path / task).mkdir()
    for task in ("dvd", "books"):
        (tmp_path / task / "train.tsv").write_text(ROWS)
    (tmp_path / "books" / "dev.jsonl").write_text('{"sentence": "it", "label": 0}\n')
    (tmp_path / "train.tsv").write_text(ROWS)
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer():
    return encoder_tokenizer()


def records(*labels, text="film"):
    return [{"sentence": text, "label": label} for label in labels]


def numbers(tasks, tokenizer, **options):
    return {task: [row["labels"] for row in rows] for task, rows in classification_tasks(tasks, tokenizer, **options).items()}


def test_every_folder_with_the_split_is_a_task(folder):
    tasks = read_tasks(str(folder))
    assert list(tasks) == ["books", "dvd"]
    assert tasks["dvd"][1] == {"sentence": "the film was bad", "label": "0"}
    assert read_tasks(folder, split="dev") == {"books": [{"sentence": "it", "label": 0}]}


def test_tasks_come_in_the_order_they_are_asked_for(folder):
    assert list(read_tasks(folder, tasks=["dvd", "books"])) == ["dvd", "books"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_all_kinds_of_files_are_read(tmp_path, suffix):
    import pandas

    (tmp_path / "a").mkdir()
    file, row = tmp_path / "a" / f"train{suffix}", {"sentence": "film", "label": 1}
    if suffix == ".parquet":
        pandas.DataFrame([row]).to_parquet(file)
    elif suffix.startswith(".json"):
        file.write_text(json.dumps([row] if suffix == ".json" else row))
    else:
        pandas.DataFrame([row]).to_csv(file, sep="\t" if suffix == ".tsv" else ",", index=False)
    assert [str(record["label"]) for record in read_tasks(tmp_path)["a"]] == ["1"]


def test_folders_that_cannot_be_read_are_refused(folder):
    with pytest.raises(InputError, match=r"nowhere' is no folder. Give one that has a folder for each task"):
        read_tasks(folder / "nowhere")
    with pytest.raises(InputError, match=r"none of its folders has a file test.tsv or .csv or .*parquet. Check split"):
        read_tasks(folder, split="test")
    with pytest.raises(InputError, match=r"no task 'book' with a file for 'train' .* Did you mean 'books'\? Tasks: books, dvd"):
        read_tasks(folder, tasks=["dvd", "book"])
    (folder / "dvd" / "train.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"dvd' has train.tsv and train.csv: two files for one split. Keep one"):
        read_tasks(folder)
    assert list(read_tasks(folder, tasks=["books"])) == ["books"]


def test_rows_are_what_the_tokenizer_gives_and_a_number(folder, tokenizer):
    rows = classification_tasks(read_tasks(folder), tokenizer)["books"]
    words = [[VOCABULARY[token] for token in row["input_ids"]] for row in rows]
    assert words == [["[CLS]", "the", "film", "was", word, "[SEP]"] for word in ("good", "bad", "very")]
    assert [row["labels"] for row in rows] == [1, 0, 1]
    assert set(rows[0]) == {"input_ids", "token_type_ids", "attention_mask", "labels"}


def test_collators_of_transformers_make_batches_of_them(folder, tokenizer):
    from transformers import DataCollatorWithPadding

    rows = classification_tasks(read_tasks(folder) | {"c": records(0, text="it")}, tokenizer)
    batch = DataCollatorWithPadding(tokenizer)([rows["books"][0], *rows["c"]])
    assert batch["input_ids"].shape == (2, 6)
    assert torch.equal(batch["labels"], torch.tensor([1, 0]))


def test_pairs_are_two_texts_and_long_ones_are_cut(tokenizer):
    pairs = {"a": [{"sentence": "film", "other": "good bad good bad", "label": 0}]}
    (row,) = classification_tasks(pairs, tokenizer, pair_column="other", max_length=6)["a"]
    assert [VOCABULARY[token] for token in row["input_ids"]] == ["[CLS]", "film", "[SEP]", "good", "bad", "[SEP]"]
    assert row["token_type_ids"] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ({"a": ["pos", "neg"], "b": ["neg", "pos", "pos"]}, {"a": [1, 0], "b": [0, 1, 1]}),
        ({"a": [2, 0], "b": [1]}, {"a": [2, 0], "b": [1]}),
        ({"a": ["0", "2"], "b": [1]}, {"a": [0, 2], "b": [1]}),
        ({"a": ["1", "b"], "b": ["b", 1]}, {"a": [0, 1], "b": [1, 0]}),
        ({"a": [True, False]}, {"a": [1, 0]}),
    ],
    ids=["names", "numbers", "numbers as text", "names of which one looks like a number", "truth"],
)
def test_classes_are_numbered_alike_in_all_tasks(tasks, expected, tokenizer):
    found = numbers({task: records(*labels) for task, labels in tasks.items()}, tokenizer)
    assert found == expected
    assert {type(label) for labels in found.values() for label in labels} == {int}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            ["pos", "good"],
            "task 'a' has 'neg', 'pos' as labels, and task 'b' has 'good', 'pos': all tasks share one label space",
        ),
        (["pos"], "task 'b' has 'pos': all tasks share one label space. Give all of them the same names, or whole numbers"),
        ([0, 1], "task 'a' has 'neg', 'pos' as labels, and task 'b' has whole numbers: all tasks share one label space"),
    ],
    ids=["other names", "a name missing", "numbers"],
)
def test_tasks_of_different_labels_are_refused(other, message, tokenizer):
    with pytest.raises(InputError, match=message):
        classification_tasks({"a": records("neg", "pos"), "b": records(*other)}, tokenizer)


def test_a_limit_draws_the_rows_that_a_file_would_give(folder, tokenizer):
    tasks = {"a": [{"sentence": text, "label": number} for number, text in enumerate(VOCABULARY)]}
    (folder / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in tasks["a"]))
    drawn = read_examples(folder / "a.jsonl", "sentence", label_column="label", limit=5, seed=3)
    assert numbers(tasks, tokenizer, limit=5, seed=3) == {"a": list(drawn.labels)}
    assert numbers(tasks, tokenizer, limit=99) == {"a": list(range(len(VOCABULARY)))}


def test_what_labels_are_does_not_depend_on_the_limit(tokenizer):
    assert numbers({"a": records("x", "y", "z")}, tokenizer, limit=1, seed=0)["a"] in ([0], [1], [2])
    assert sorted(numbers({"a": records("x", "y", "z")}, tokenizer, limit=1, seed=seed)["a"][0] for seed in range(20))[-1] == 2


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ({"a": []}, {}, "task 'a' has no records. Leave it out"),
        ({"a": records(0)}, {"label_column": "lable"}, "'a' has no column 'lable'. Did you mean 'label'"),
        ({"a": records(0, -1)}, {}, "task 'a', row 2: label -1 in column 'label' is no whole number from 0 on and no name"),
        ({"a": records(0.5)}, {}, "task 'a', row 1: label 0.5 in column 'label' is no whole number from 0 on and no name"),
        ({"a": records([0, 1])}, {}, r"task 'a', row 1: label \(0, 1\) in column 'label' is no whole number from 0 on"),
        ({"a": records(0, None)}, {}, "task 'a', row 2 has no value in column 'label'"),
        ({"a": records(0, text=5)}, {}, "task 'a', row 1: column 'sentence' holds 5, expected a text"),
        ({"a": records(0)}, {"limit": 0}, "limit: expected at least 1 example, got 0"),
        ({"a": records(0)}, {"max_length": 2}, "max_length: expected more than the 2 tokens of the tokenizer's own, got 2"),
    ],
    ids=["empty", "column", "negative", "decimal", "several", "missing", "no text", "limit", "length"],
)
def test_records_that_cannot_be_used_are_refused(tasks, options, message, tokenizer):
    with pytest.raises(InputError, match=message):
        classification_tasks(tasks, tokenizer, **options)


def test_a_length_above_that_of_the_tokenizer_is_refused():
    tokenizer = encoder_tokenizer()
    tokenizer.model_max_length = 16
    with pytest.raises(InputError, match="max_length: the tokenizer allows 16 tokens, got 17. Lower it"):
        classification_tasks({"a": records(0)}, tokenizer, max_length=17)
