"""Every sample keeps its own place through shuffling, workers, collators and a real Trainer; what has no places is refused."""

import numpy as np
import pytest
import torch
from datasets import Dataset as HuggingFaceDataset
from datasets import DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from spectra.errors import InputError
from spectra.training.dcs.indexed import INDEX, IndexCollator, IndexedDataset, take_index
from tests.pretrained import encoder_tokenizer

NUM_SAMPLES = 10


def token_of(place):
    """The first token of a sample: no two have the same, and none has its place."""
    return 5 + (7 * place + 3) % NUM_SAMPLES


def sample(place, length=4, label=None):
    return {"input_ids": [token_of(place)] + [1] * (length - 1), "labels": place % 3 if label is None else label}


def samples(*, ragged=False, label=None):
    return [sample(place, 3 + place % 3 if ragged else 4, label) for place in range(NUM_SAMPLES)]


def per_token(rows):
    return [{**row, "labels": list(row["input_ids"])} for row in rows]


def unlabeled(rows):
    return [{"input_ids": row["input_ids"]} for row in rows]


def places_and_tokens(loader):
    """What a training loop sees: the place of every sample, and its first token."""
    sizes, places, tokens = [], [], []
    for batch in loader:
        index = take_index(batch)
        assert index.dtype == torch.int64
        assert INDEX not in batch
        sizes.append(len(index))
        places += index.tolist()
        tokens += batch["input_ids"][:, 0].tolist()
    return sizes, places, tokens


def assert_all_land_on_their_own_place(loader, *, shuffled=True):
    sizes, places, tokens = places_and_tokens(loader)
    assert sizes == [4, 4, 2]
    assert tokens == [token_of(place) for place in places]
    assert sorted(places) == list(range(NUM_SAMPLES))
    assert (places == sorted(places)) != shuffled


def loader_of(dataset, collate=default_data_collator, **options):
    generator = torch.Generator().manual_seed(0)
    return DataLoader(
        IndexedDataset(dataset), batch_size=4, shuffle=True, generator=generator, collate_fn=IndexCollator(collate), **options
    )


DATASETS = {
    "list": samples,
    "datasets": lambda: HuggingFaceDataset.from_list(samples()),
    "datasets of tensors": lambda: HuggingFaceDataset.from_list(samples()).with_format("torch"),
    "subset of torch's": lambda: Subset(samples(), range(NUM_SAMPLES)),
    "two put together": lambda: ConcatDataset([samples()[:4], samples()[4:]]),
}


@pytest.mark.parametrize("workers", [0, 2], ids=["here", "two workers"])
@pytest.mark.parametrize("make", [DATASETS["list"], DATASETS["datasets"]], ids=["list", "datasets"])
def test_every_sample_lands_on_its_own_place(make, workers):
    assert_all_land_on_their_own_place(loader_of(make(), num_workers=workers))


@pytest.mark.parametrize("make", DATASETS.values(), ids=DATASETS)
def test_every_kind_of_data_set_with_places_is_taken(make):
    assert_all_land_on_their_own_place(loader_of(make()))


def test_data_sets_of_hugging_face_are_asked_for_whole_batches():
    asked = []

    class Counting(HuggingFaceDataset):
        def __getitems__(self, keys):
            asked.append(list(keys))
            return super().__getitems__(keys)

    data = HuggingFaceDataset.from_list(samples())
    assert_all_land_on_their_own_place(loader_of(Counting(data.data)))
    assert [len(places) for places in asked] == [4, 4, 2]


def collators():
    tokenizer = encoder_tokenizer()
    return {
        "default": (default_data_collator, samples()),
        "padding": (DataCollatorWithPadding(tokenizer), samples(ragged=True)),
        "token classification": (DataCollatorForTokenClassification(tokenizer), per_token(samples(ragged=True))),
        "sequences": (DataCollatorForSeq2Seq(tokenizer), per_token(samples(ragged=True))),
        "causal": (DataCollatorForLanguageModeling(tokenizer, mlm=False), unlabeled(samples(ragged=True))),
    }


@pytest.mark.filterwarnings("ignore:.*Asking-to-pad.*")
@pytest.mark.parametrize("name", ["default", "padding", "token classification", "sequences", "causal"])
def test_transformers_own_collators_never_see_the_place(name):
    collate, data = collators()[name]
    assert_all_land_on_their_own_place(loader_of(data, collate))
    batch = IndexCollator(collate)(IndexedDataset(data).__getitems__([2, 0]))
    plain = collate([dict(data[2]), dict(data[0])])
    assert take_index(batch).tolist() == [2, 0]
    assert batch.keys() == plain.keys()
    assert all(torch.equal(batch[key], plain[key]) for key in plain.keys())  # noqa: SIM118


def test_what_each_batch_says_of_its_samples_lands_in_their_row():
    """As a trainer records it: one number per sample, written to a vector of all samples."""
    found = np.full(NUM_SAMPLES, -1)
    for batch in loader_of(samples()):
        index = take_index(batch)
        found[index.numpy()] = batch["input_ids"][:, 0]
    assert found.tolist() == [token_of(place) for place in range(NUM_SAMPLES)]


@given(st.integers(1, 20), st.data())
def test_places_count_as_those_of_a_list(size, data):
    place = data.draw(st.integers(-size, size - 1))
    indexed = IndexedDataset([{"value": number} for number in range(size)])
    expected = {"value": range(size)[place], INDEX: range(size)[place]}
    assert indexed[place] == expected
    assert indexed.__getitems__([place, np.int64(place)]) == [expected, expected]
    assert len(indexed) == size
    with pytest.raises(IndexError):
        indexed[size]


def test_going_through_it_ends():
    assert [item[INDEX] for item in IndexedDataset(samples())] == list(range(NUM_SAMPLES))


def test_items_are_not_changed():
    data = samples()
    before = [dict(item) for item in data]
    IndexCollator(default_data_collator)([IndexedDataset(data)[0]])
    assert data == before


def trainer(folder, **options):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 20}
    arguments = TrainingArguments(folder, per_device_train_batch_size=4, use_cpu=True, report_to=[], **options)
    return Trainer(
        BertForSequenceClassification(BertConfig(**sizes, num_labels=3)),
        arguments,
        train_dataset=IndexedDataset(samples()),
        data_collator=IndexCollator(default_data_collator),
    )


def test_the_loader_of_a_trainer_carries_places(tmp_path):
    assert_all_land_on_their_own_place(trainer(tmp_path, remove_unused_columns=False).get_train_dataloader())


def test_a_trainer_that_drops_the_column_is_told_so(tmp_path):
    with pytest.raises(InputError, match="an item has no 'sample_index', .*IndexedDataset .*remove_unused_columns=False"):
        next(iter(trainer(tmp_path, remove_unused_columns=True).get_train_dataloader()))


def test_a_batch_without_places_is_refused():
    with pytest.raises(InputError, match="the batch has no 'sample_index', .*remove_unused_columns=False"):
        take_index({"input_ids": torch.ones(1, 1)})


class Stream(IterableDataset):
    def __iter__(self):
        yield from samples()

    def __len__(self):
        return NUM_SAMPLES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Stream(), "a Stream is a stream: its samples have no fixed place"),
        (HuggingFaceDataset.from_list(samples()).to_iterable_dataset(), "IterableDataset is a stream: .*streaming=False"),
        (iter(samples()), "a list_iterator is a stream"),
        ([], "the data set is empty: pass at least one sample"),
        (DatasetDict(train=HuggingFaceDataset.from_list(samples())), "a mapping of 'train': pass one split"),
    ],
    ids=["torch's stream", "a stream of datasets", "an iterator", "nothing", "splits"],
)
def test_data_without_places_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        IndexedDataset(data)


def test_items_that_are_no_mappings_are_refused():
    with pytest.raises(InputError, match="sample 1 is a tuple: expected a mapping"):
        IndexedDataset([{}, (1, 2)])[1]


def test_wrapping_twice_is_refused():
    with pytest.raises(InputError, match="sample 0 has a 'sample_index' already. Wrap a data set once"):
        IndexedDataset(IndexedDataset(samples()))[0]


def test_a_worker_says_the_same():
    with pytest.raises(InputError, match="is a tuple: expected a mapping"):
        list(loader_of([(1, 2)] * 4, num_workers=1))


def batch_of(data, collate):
    return IndexCollator(collate)(list(IndexedDataset(data)))


def test_a_collator_that_flattens_is_refused():
    with pytest.raises(InputError, match=r"makes 1 rows of 10 samples: they are packed.* packing=False"):
        batch_of(per_token(samples(ragged=True)), DataCollatorWithFlattening())


@pytest.mark.parametrize(
    ("option", "key"),
    [("return_flash_attn_kwargs", "cu_seq_lens_q"), ("return_seq_idx", "seq_idx")],
    ids=["lengths", "numbers"],
)
def test_a_collator_that_says_where_samples_begin_is_refused(option, key):
    with pytest.raises(InputError, match=f"the batch is packed: '{key}' says where samples begin"):
        batch_of(per_token(samples())[:1], DataCollatorWithFlattening(**{option: True}))


def with_positions(*rows, **further):
    return [
        {"input_ids": [1] * len(row), "position_ids": list(row), **{key: values[n] for key, values in further.items()}}
        for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    "data",
    [
        with_positions((0, 1, 2, 3), (0, 1, 0, 1)),
        with_positions((2, 3, 4, 5), (2, 3, 2, 3)),
        with_positions((0, 1, 2, 3), (0, 1, 0, 0), attention_mask=[(1, 1, 1, 1), (1, 1, 1, 0)]),
    ],
    ids=["from 0", "from 2", "before padding"],
)
def test_positions_that_start_again_are_refused(data):
    with pytest.raises(InputError, match="position_ids of row 1 start again inside it: several samples are packed"):
        batch_of(data, default_data_collator)


@pytest.mark.parametrize(
    "data",
    [
        with_positions((0, 1, 2, 3), (0, 1, 2, 3)),
        with_positions((0, 1, 2, 0), (0, 1, 2, 3), attention_mask=[(1, 1, 1, 0), (1, 1, 1, 1)]),
        with_positions((1, 1, 0, 1), (0, 1, 2, 3), attention_mask=[(0, 0, 1, 1), (1, 1, 1, 1)]),
        [{"input_ids": [1, 1], "position_ids": [[0, 1], [0, 0], [1, 0]]}],
    ],
    ids=["whole rows", "padding after", "padding before", "three axes"],
)
def test_positions_of_one_sample_are_taken(data):
    assert take_index(batch_of(data, default_data_collator)).tolist() == list(range(len(data)))


def test_a_batch_that_is_no_mapping_is_refused():
    with pytest.raises(InputError, match="the collator makes a list: expected a mapping"):
        batch_of(samples(), list)
