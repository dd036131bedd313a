import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectra.training.recipe.assembly.datasets import Tokenisation, batches_of, padded, response_data, text_data
from spectra.training.recipe.assembly.examples import RunExamples
from spectra.training.sdft.samples import read_training_data
from spectra.training.text_batches import make_batches
from spectra.training.text_data import Examples
from tests.pretrained import VOCABULARY, decoder_tokenizer, encoder_tokenizer

TEXTS = ("the film was very good", "bad", "it was not good")


def how(task="sequence-classification", tokenizer=None, **changes):
    from transformers import BertConfig

    config = BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=32, num_labels=2)
    return Tokenisation(tokenizer or encoder_tokenizer(), config, task, **({"max_length": 16, "seed": 0} | changes))


def examples(**columns):
    return Examples(TEXTS, (1, 2, 3), **columns)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("sequence-classification", {"labels": (1, 0, 1)}),
        ("regression", {"labels": (1.5, 0.0, 2.0)}),
        ("masked-lm", {}),
        ("causal-lm", {"targets": ("good", "bad film", "a")}),
        ("seq2seq", {"targets": ("good", "bad film", "a")}),
    ],
)
def test_batches_are_those_on_which_a_fisher_is_measured(task, columns):
    way = how(task)
    data = text_data(way, RunExamples({"train": examples(**columns)}, ()))
    batch = data.collate([data.train[place] for place in range(3)])
    expected = make_batches(way.tokenizer, examples(**columns), task, way.config, max_length=16, seed=0).collate(range(3))
    assert batch.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(batch[name], values), name


def test_what_was_cut_is_said():
    data = text_data(how(max_length=5), RunExamples({"train": examples(labels=(1, 0, 1))}, ()))
    assert data.notes == ("2 texts of 3 (train) have 5 tokens or more, and were cut to 5.",)


def test_hidden_tokens_stay_the_same_and_it_is_said():
    data = text_data(how("masked-lm"), RunExamples({"train": examples()}, ()))
    assert all(torch.equal(data.train[0][name], data.train[0][name]) for name in data.train[0])
    assert data.notes == ("Which tokens are hidden was drawn once for each text, and is the same in each epoch.",)


def test_tasks_stay_apart():
    source = {"books": examples(labels=(1, 0, 1)), "dvds": examples(labels=(0, 0, 1))}
    data = text_data(how(), RunExamples({"train": source, "eval": source}, ()))
    assert {task: len(rows) for task, rows in data.train.items()} == {"books": 3, "dvds": 3}
    assert data.test is None


def test_responses_that_do_not_fit_are_told_and_not_warned_of():
    rows = read_training_data(
        [{"prompt": "the film", "completion": "was good"}, {"prompt": "it was", "completion": "very very very bad"}]
    )
    data = response_data(how("causal-lm", decoder_tokenizer(), max_length=5), {"train": rows})
    assert len(data.train) == 2
    assert "Of the train examples 1 were cut to 5 tokens, and 0 were left out" in data.notes[0]


def test_padding_fills_up_on_the_right_and_is_masked():
    items = [{"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([5, 6, 7])}, {"input_ids": torch.tensor([8])}]
    items[1]["labels"] = torch.tensor([8])
    batch = padded(items, padding=3)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 3, 3]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 10))
def test_batches_hold_every_drawn_item_once_longest_first(lengths, batch_size, samples):
    items = [{"input_ids": torch.full((length,), place), "labels": torch.tensor(place)} for place, length in enumerate(lengths)]
    batches = list(batches_of(items, lambda few: padded(few, padding=0), batch_size=batch_size, samples=samples, seed=1))
    found = [label for batch in batches for label in batch["labels"].tolist()]
    assert len(found) == len(set(found)) == min(samples, len(lengths))
    assert [lengths[place] for place in found] == sorted((lengths[place] for place in found), reverse=True)
    assert all(len(batch["labels"]) <= batch_size for batch in batches)
