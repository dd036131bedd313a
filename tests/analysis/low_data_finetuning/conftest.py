"""A small folder of data, and the files of tasks made of it."""

import csv

import pytest

from analysis.low_data_finetuning.data import TASKS, write_tasks


@pytest.fixture
def data(tmp_path):
    """A folder like that of the study: GLUE's files without quotes, reviews with line breaks inside them."""
    glue, reviews = tmp_path / "data" / "glue", tmp_path / "data" / "sentiment_domains"
    for folder in (glue / "SST-2", glue / "RTE", reviews / "books", reviews / "kitchen"):
        folder.mkdir(parents=True)
    for split in ("train", "dev"):
        lines = [f'{split} number {place} " is good\t{place % 2}\n' for place in range(30)]
        (glue / "SST-2" / f"{split}.tsv").write_text("sentence\tlabel\n" + "".join(lines))
    for split in ("train", "val", "dev"):
        head = "" if split == "val" else "index\tsentence1\tsentence2\tlabel\n"
        lines = [
            f'{place}\t{split} "premise" {place}\tit is\t{("not_entailment", "entailment")[place % 2]}\n' for place in range(12)
        ]
        (glue / "RTE" / f"{split}.tsv").write_text(head + "".join(lines))
    for domain in ("books", "kitchen"):
        for split in ("train", "dev", "test"):
            with (reviews / domain / f"{split}.tsv").open("w", newline="") as file:
                rows = csv.writer(file, delimiter="\t")
                rows.writerow(["sentence", "label"])
                rows.writerows([f'{split} of\n{domain}, "{place}"', place % 2] for place in range(10))
    return tmp_path / "data"


@pytest.fixture
def work(data, tmp_path):
    write_tasks(data, tmp_path / "work", TASKS, 8)
    return tmp_path / "work"
