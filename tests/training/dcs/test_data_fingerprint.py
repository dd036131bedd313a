"""A few samples tell data sets apart, however their numbers are kept."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset as HuggingFaceDataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import BatchEncoding

from spectra.errors import InputError
from spectra.training.dcs.data_fingerprint import dataset_fingerprint
from spectra.training.dcs.indexed import IndexedDataset


def samples(size=5):
    return [{"input_ids": [n, n + 1, 2], "labels": n % 2, "text": f"text {n}"} for n in range(size)]


def test_it_is_the_same_each_time_and_64_digits_long():
    first = dataset_fingerprint(samples())
    assert first == dataset_fingerprint(samples())
    assert len(bytes.fromhex(first)) == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda item: {key: item[key] for key in sorted(item, reverse=True)},
        lambda item: item | {"input_ids": torch.tensor(item["input_ids"])},
        lambda item: item | {"input_ids": np.array(item["input_ids"], dtype=np.int32), "labels": np.int64(item["labels"])},
        lambda item: item | {"input_ids": tuple(item["input_ids"]), "labels": torch.tensor(item["labels"])},
        BatchEncoding,
    ],
    ids=["order of keys", "tensors", "arrays", "tuples", "encodings"],
)
def test_how_a_sample_is_kept_does_not_count(change):
    assert dataset_fingerprint([change(item) for item in samples()]) == dataset_fingerprint(samples())


def test_the_place_of_a_sample_does_not_count():
    assert dataset_fingerprint(IndexedDataset(samples())) == dataset_fingerprint(samples())


def test_data_of_hugging_face_are_the_same_in_every_format():
    data = HuggingFaceDataset.from_list([{"input_ids": [1, 2], "labels": 0.1}, {"input_ids": [3, 4], "labels": 0.7}])
    assert len({dataset_fingerprint(data.with_format(name)) for name in (None, "numpy", "torch")}) == 1


@pytest.mark.parametrize("place", [0, 2, 4], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    "change", [{"labels": 7}, {"input_ids": [1, 2]}, {"text": "other"}, {"text": None}, {"more": 1}], ids=str
)
def test_another_sample_is_seen(place, change):
    data = samples()
    data[place] = data[place] | change
    assert dataset_fingerprint(data) != dataset_fingerprint(samples())


@given(st.integers(1, 300))
def test_one_sample_more_is_seen_even_where_nobody_looks(size):
    data = [{"x": 0}] * size
    assert dataset_fingerprint(data) != dataset_fingerprint([*data, {"x": 0}])


def test_at_most_64_samples_are_read_and_all_of_a_few():
    class Counting:
        def __init__(self, size):
            self.size = size

        def __len__(self):
            return self.size

        def __getitem__(self, place):
            read.append(place)
            return {"x": 0}

    for size, expected in ((10, range(10)), (100_003, None)):
        read = []
        dataset_fingerprint(Counting(size))
        assert {0, size // 2, size - 1} <= set(read)
        assert len(read) == len(set(read)) <= 64
        assert expected is None or set(read) == set(expected)


@pytest.mark.parametrize("kind", ["list", "datasets"])
def test_every_label_counts_where_labels_are_at_hand(kind):
    from datasets import Dataset

    def make(rows):
        return rows if kind == "list" else Dataset.from_list(rows)

    rows = [{"x": [1, 2], "label": n % 2} for n in range(500)]
    before = dataset_fingerprint(make(rows))
    assert dataset_fingerprint(make([dict(row) for row in rows])) == before
    rows[101] = {**rows[101], "label": 0}  # none of the 64
    assert dataset_fingerprint(make(rows)) != before


NESTED = {
    "image": np.zeros((2, 3), dtype=np.uint8),
    "turns": [[1], [2, 3]],
    "meta": {"a": None, "b": b"x"},
    "words": ["a", "b"],
}


def test_rows_of_different_lengths_texts_and_mappings_are_taken():
    changed = copy.deepcopy(NESTED)
    changed["turns"] = [[1, 2], [3]]
    others = [
        NESTED | {"words": ["ab"]},
        NESTED | {"meta": {"a": None}},
        NESTED | {"image": np.zeros((3, 2), np.uint8)},
        changed,
    ]
    assert len({dataset_fingerprint([item]) for item in (NESTED, *others)}) == 5
    assert dataset_fingerprint([copy.deepcopy(NESTED)]) == dataset_fingerprint([NESTED])


def test_half_precision_is_read():
    data = [{"x": torch.tensor([0.5, 1.5], dtype=torch.bfloat16)}]
    assert dataset_fingerprint(data) == dataset_fingerprint([{"x": [0.5, 1.5]}])


def test_what_is_neither_text_nor_numbers_is_refused_by_name():
    with pytest.raises(
        InputError, match="sample 0, 'when' is of type object: expected texts and numbers. Take that column out"
    ):
        dataset_fingerprint([{"when": object()}])


def test_a_stream_is_refused():
    with pytest.raises(InputError, match="a generator is a stream"):
        dataset_fingerprint(item for item in samples())
