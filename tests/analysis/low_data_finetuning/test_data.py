"""The files of tasks that recipes read."""

import pytest

from analysis.low_data_finetuning.data import TASKS, file_of, write_tasks
from spectra.training.data_files import read_records


@pytest.mark.parametrize("task", TASKS)
def test_no_row_is_in_two_files(task, work):
    files = [
        [tuple(record.values()) for record in read_records(file_of(work, task, split))] for split in ("pool", "dev", "test")
    ]
    assert [len(rows) for rows in files] == [{"SST-2": 22, "RTE": 12}.get(task, 10), 8, 8]
    assert len({row for rows in files for row in rows}) == sum(map(len, files))


def test_labels_and_texts_are_those_of_the_source(work):
    for record in read_records(file_of(work, "SST-2", "test")):
        words = record["sentence"].split()
        assert record["sentence"] == f'dev number {words[2]} " is good'
        assert int(record["label"]) == int(words[2]) % 2
    for record in read_records(file_of(work, "RTE", "dev")):
        assert record["sentence1"].startswith('val "premise"')
        assert record["label"] == ("not_entailment", "entailment")[int(record["sentence1"].split()[-1]) % 2]


def test_line_breaks_within_texts_are_spaces(work):
    texts = [record["sentence"] for record in read_records(file_of(work, "books", "pool"))]
    assert texts[3] == 'train of books, "3"'


def test_files_are_the_same_again(data, work, tmp_path):
    write_tasks(data, tmp_path / "again", TASKS, 8)
    for task in TASKS:
        for split in ("pool", "dev", "test"):
            assert file_of(work, task, split).read_bytes() == file_of(tmp_path / "again", task, split).read_bytes()
