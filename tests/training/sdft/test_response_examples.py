"""Rows as what a model is trained on."""

import pytest
import torch

from spectra.errors import InputError, SpectraWarning
from spectra.training.sdft.backends.function import CallableBackend
from spectra.training.sdft.distiller import ResponseDistiller
from spectra.training.sdft.response_examples import padded, response_batches, response_examples
from spectra.training.sdft.samples import read_training_data
from tests.pretrained import decoder_tokenizer
from tests.tuned_responses import ROWS


def words(tokens):
    return decoder_tokenizer().convert_ids_to_tokens(tokens.tolist())


def test_the_prompt_counts_nothing_and_the_response_with_its_end_does():
    first = response_examples(decoder_tokenizer(), ROWS, max_length=32)[0]
    assert words(first["input_ids"]) == ["the", "film", "was", "good", "[SEP]"]
    assert first["labels"].tolist() == [-100, -100, *first["input_ids"][2:].tolist()]


def test_examples_are_in_the_order_of_the_rows():
    examples = response_examples(decoder_tokenizer(), ROWS, max_length=32)
    assert [words(examples[place]["input_ids"])[0] for place in range(len(examples))] == ["the", "a", "it", "the"]


def test_of_a_rewritten_row_only_the_response_is_another():
    own_words = CallableBackend(lambda texts: ["it was very good"] * len(texts), name="fixed")
    done = ResponseDistiller(own_words, task="text").distill(ROWS)
    first = response_examples(decoder_tokenizer(), done, max_length=32)[0]
    assert words(first["input_ids"]) == ["the", "film", "it", "was", "very", "good", "[SEP]"]


def test_a_batch_is_filled_up_on_the_right_with_nothing_to_learn():
    examples = response_examples(decoder_tokenizer(), ROWS, max_length=32)
    batch = padded([examples[0], examples[3], examples[1]], padding=7)
    assert batch["attention_mask"].sum(1).tolist() == [5, 5, 11]
    assert torch.all(batch["input_ids"][batch["attention_mask"] == 0] == 7)
    assert torch.all(batch["labels"][batch["attention_mask"] == 0] == -100)
    assert torch.equal(batch["input_ids"][0, :5], examples[0]["input_ids"])


def test_what_is_too_long_is_cut_off_or_left_out_with_one_warning():
    said = (
        r"eval data: of 4 examples, 2 lose what comes after 4 tokens, and 1 is left out, as its prompt leaves no room for a "
        r"response\. Raise max_length to use them whole\."
    )
    rows = [ROWS[3], ROWS[0], {"prompt": "it was very bad", "completion": "not good"}, {"prompt": "it", "completion": "was"}]
    with pytest.warns(SpectraWarning, match=said) as warned:
        examples = response_examples(decoder_tokenizer(), rows, max_length=4, name="eval data")
    assert len(warned) == 1
    assert (len(examples), examples.num_cut, examples.num_left_out) == (3, 2, 1)
    assert words(examples[0]["input_ids"]) == ["the", "very", "good", "film"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([3, 3, 0], r"probe: of 3 examples, 2 lose what comes after 4 tokens\. Raise"),
        ([0, 1], r"probe: of 2 examples, 1 is left out, as its prompt leaves no room for a response\. Raise"),
        ([0, 1, 1], r"probe: of 3 examples, 2 are left out, as their prompts leave no room for a response\. Raise"),
    ],
    ids=["cut", "left out", "several left out"],
)
def test_a_warning_counts_only_what_there_is(rows, said):
    short, long, full = {"prompt": "it", "completion": "was"}, {"prompt": "it was very bad", "completion": "x"}, ROWS[3]
    data = [{0: short, 1: long, 3: full}[row] for row in rows]
    with pytest.warns(SpectraWarning, match=said):
        response_batches(decoder_tokenizer(), data, max_length=4, name="probe")


def test_a_row_that_the_template_refuses_is_named():
    made = decoder_tokenizer()
    made.chat_template = (
        "{% for m in messages %}{{ raise_exception('no bad films') if 'bad' in m.content }}{{ m.content }}{% endfor %}"
    )
    rows = [{"prompt": "the film", "completion": "good"}, {"prompt": "a bad film", "completion": "good"}]
    with pytest.raises(InputError, match=r"eval data: row 2: the model's chat template refuses the messages \(no bad films\)"):
        response_examples(made, rows, max_length=9, name="eval data")


def test_data_of_which_nothing_is_left_is_refused():
    with pytest.raises(InputError, match=r"data: each prompt fills 1 tokens.*Raise max_length"):
        response_examples(decoder_tokenizer(), ROWS, max_length=1)


def test_all_turns_of_a_conversation_are_examples_if_they_are_read_so():
    turns = [{"role": role, "content": text} for role, text in (("user", "the"), ("assistant", "film"))]
    rows = [{"messages": [*turns, *turns]}]
    assert len(response_examples(decoder_tokenizer(), rows, max_length=32)) == 1
    examples = response_examples(decoder_tokenizer(), read_training_data(rows, turns="all"), max_length=32)
    assert [words(examples[place]["input_ids"][-2:]) for place in (0, 1)] == [["film", "[SEP]"]] * 2


def test_what_was_rewritten_is_trained_on_as_it_was_read():
    own_words = CallableBackend(lambda texts: ["it was very good"] * len(texts), name="fixed")
    turns = [{"role": role, "content": "the film was bad"} for _ in range(2) for role in ("user", "assistant")]
    every = ResponseDistiller(own_words, task="text").distill([{"messages": turns}], turns="all")
    assert len(response_examples(decoder_tokenizer(), every, max_length=32)) == 2
    columns = {"prompt_column": "q", "response_column": "a"}
    named = ResponseDistiller(own_words, task="text").distill([{"q": "the film", "a": "was bad"}], **columns)
    assert len(response_examples(decoder_tokenizer(), named, max_length=32)) == 1
