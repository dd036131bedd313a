"""Batches: order, padding, and that batch and order change no sample."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, GPT2Config, T5Config

from spectra.errors import InputError
from spectra.training.text_batches import check_columns, make_batches, padding_id
from spectra.training.text_data import Examples
from tests.pretrained import VOCABULARY, decoder_tokenizer, encoder_tokenizer

CONFIG = BertConfig(num_labels=2, max_position_embeddings=32)
TEXTS = ("good", "the film was very good", "", "the film was bad", "it")
EXAMPLES = Examples(TEXTS, (1, 2, 3, 4, 5))


def by_sample(batches):
    """Everything about each sample but its padding, by its place among the examples."""
    samples = {}
    for indices, batch in zip(batches.indices, batches, strict=True):
        for place, index in enumerate(indices):
            length = int(batch["attention_mask"][place].sum())
            samples[index] = {name: tensor[place, :length].tolist() for name, tensor in batch.items()}
    return samples


def test_long_texts_come_first_and_equal_ones_in_the_order_of_the_file():
    assert make_batches(encoder_tokenizer(), EXAMPLES, "masked-lm", CONFIG, batch_size=2).indices == ((1, 3), (0, 4), (2,))


def test_iterating_again_gives_the_same():
    batches = make_batches(encoder_tokenizer(), EXAMPLES, "masked-lm", CONFIG, batch_size=2)
    for first, second in zip(batches, batches, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_batches_are_a_sequence():
    batches = make_batches(encoder_tokenizer(), EXAMPLES, "masked-lm", CONFIG, batch_size=2)
    assert (len(batches), batches.num_samples, batches.length) == (3, 5, 32)
    assert (len(batches[1:]), batches[1:].num_samples) == (2, 3)
    assert torch.equal(batches[1:][0]["input_ids"], batches[1]["input_ids"])
    with pytest.raises(IndexError):
        batches[3]


@given(first=st.integers(1, 6), second=st.integers(1, 6))
def test_the_size_of_batches_changes_no_sample(first, second):
    tokenizer = encoder_tokenizer()
    one, other = (make_batches(tokenizer, EXAMPLES, "masked-lm", CONFIG, batch_size=size) for size in (first, second))
    assert by_sample(one) == by_sample(other)


def test_rows_are_filled_up_on_the_right():
    batch = make_batches(encoder_tokenizer(), Examples(("the film", "it"), (1, 2)), "masked-lm", CONFIG, mask_share=1.0)[0]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["input_ids"][1, 3] == VOCABULARY.index("[PAD]")
    assert batch["labels"][1].tolist() == [-100, VOCABULARY.index("it"), -100, -100]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_the_first_texts_of_the_file_stay_arranged_by_length():
    examples = Examples(("a film", "a very good film", "it", "the film was bad"), (1, 2, 3, 4))
    batches = make_batches(encoder_tokenizer(), examples, "masked-lm", CONFIG, batch_size=2, mask_share=0.5)
    first = batches.of_first(2)
    assert batches.indices == ((1, 3), (0, 2))
    assert first.indices == ((1,), (0,))
    assert first.num_samples == 2
    everything = by_sample(batches)
    assert by_sample(first) == {index: everything[index] for index in (0, 1)}  # with the same masks
    assert batches.of_first(1).indices == ((0,),)
    assert batches.of_first(9).indices == batches.indices


def test_without_a_padding_token_the_end_fills_up_and_is_no_target():
    batch = make_batches(decoder_tokenizer(), Examples(("the film", "it"), (1, 2)), "causal-lm", GPT2Config())[0]
    assert batch["input_ids"][1].tolist() == [VOCABULARY.index("it"), VOCABULARY.index("[SEP]")]
    assert batch["labels"][1].tolist() == [VOCABULARY.index("it"), -100]


def test_a_text_without_tokens_is_a_sample_without_a_target():
    batch = make_batches(decoder_tokenizer(), Examples(("", "the film"), (1, 2)), "causal-lm", GPT2Config())[0]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"][1].tolist() == [-100, -100]


def test_a_tokenizer_without_any_special_token_fills_up_with_the_first():
    tokenizer = decoder_tokenizer()
    tokenizer.eos_token = None
    assert padding_id(tokenizer) == 0


def test_labels_of_a_text_are_one_number():
    examples = Examples(("it", "the film"), (1, 2), labels=(1, 0))
    assert make_batches(encoder_tokenizer(), examples, "sequence-classification", CONFIG)[0]["labels"].tolist() == [0, 1]
    values = make_batches(encoder_tokenizer(), examples, "regression", CONFIG)[0]["labels"]
    assert (values.tolist(), values.dtype) == ([0.0, 1.0], torch.float32)


def test_lengths_count_both_texts_of_a_pair():
    examples = Examples(("a", "the film"), (1, 2), pairs=("very very very good", "it"), labels=(0, 1))
    assert make_batches(encoder_tokenizer(), examples, "sequence-classification", CONFIG).indices == ((0, 1),)


def test_lengths_count_words():
    examples = Examples((("a",), ("the", "film")), (1, 2), labels=((0,), (1, 1)))
    assert make_batches(encoder_tokenizer(), examples, "token-classification", CONFIG).indices == ((1, 0),)


def test_texts_are_cut():
    batch = make_batches(encoder_tokenizer(), EXAMPLES, "masked-lm", CONFIG, max_length=4)[0]
    assert batch["input_ids"].shape == (5, 4)


def test_texts_are_cut_to_the_positions_of_the_model_or_128_tokens():
    long = Examples(("the " * 200,), (1,))
    widths = {
        config.model_type: make_batches(encoder_tokenizer(), long, "masked-lm", config)[0]["input_ids"].shape[1]
        for config in (CONFIG, GPT2Config(), T5Config())
    }
    assert widths == {"bert": 32, "gpt2": 128, "t5": 128}
    assert make_batches(encoder_tokenizer(), long, "masked-lm", T5Config(), max_length=150)[0]["input_ids"].shape == (1, 150)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("causal-lm", {"target"}),
        ("masked-lm", set()),
        ("seq2seq", {"target"}),
        ("sequence-classification", {"label", "pair"}),
        ("token-classification", {"label"}),
        ("regression", {"label", "pair"}),
    ],
)
def test_every_task_takes_its_columns(task, columns):
    check_columns(task, columns)


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("sequence-classification", set(), r"task 'sequence-classification' needs a label per text\. .* --label-column NAME"),
        ("seq2seq", set(), r"task 'seq2seq' needs a target per text\. Say which column holds it: --target-column NAME"),
        (
            "masked-lm",
            {"label"},
            r"task 'masked-lm' reads no label\. Leave --label-column out, or choose another task \(--task\)",
        ),
        ("causal-lm", {"pair"}, r"task 'causal-lm' reads no pair"),
    ],
)
def test_columns_that_do_not_fit_the_task_are_refused(task, columns, message):
    with pytest.raises(InputError, match=message):
        check_columns(task, columns)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, r"batch_size: expected at least 1, got 0"),
        ({"mask_share": 0.0}, r"mask_share: expected a share above 0 and up to 1, got 0"),
        ({"mask_share": float("nan")}, r"mask_share: .* got nan"),
        ({"max_length": 33}, r"max_length: expected 3 to 32 tokens, as the model takes, got 33"),
        ({"max_length": 2}, r"max_length: expected 3 to 32 .* got 2\. 2 of them are the tokenizer's own\."),
    ],
    ids=lambda value: str(value)[:20],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        make_batches(encoder_tokenizer(), EXAMPLES, "masked-lm", CONFIG, **settings)


def test_the_shortest_length_leaves_a_token_of_the_text():
    config = GPT2Config(vocab_size=len(VOCABULARY), n_positions=32)
    assert make_batches(encoder_tokenizer(), EXAMPLES, "masked-lm", CONFIG, max_length=3).length == 3
    assert make_batches(decoder_tokenizer(), EXAMPLES, "causal-lm", config, max_length=1).length == 1
    with pytest.raises(InputError, match=r"max_length: expected 1 to 32 tokens, as the model takes, got 0\.$"):
        make_batches(decoder_tokenizer(), EXAMPLES, "causal-lm", config, max_length=0)
    pairs = Examples(TEXTS, EXAMPLES.rows, pairs=TEXTS)
    with pytest.raises(InputError, match=r"expected 4 to 32 tokens, .* got 3\. 3 of them"):
        make_batches(encoder_tokenizer(), pairs, "masked-lm", CONFIG, max_length=3)


def test_examples_that_do_not_fit_the_task_are_refused():
    with pytest.raises(InputError, match=r"task 'regression' needs a label per text"):
        make_batches(encoder_tokenizer(), EXAMPLES, "regression", CONFIG)


def test_words_are_no_text():
    with pytest.raises(InputError, match=r"row 7: the text is a list of words, and task 'masked-lm' needs a text"):
        make_batches(encoder_tokenizer(), Examples((("the", "film"),), (7,)), "masked-lm", CONFIG)
