"""What each task makes of texts, against tokens written out by hand."""

import numpy as np
import pytest
from transformers import BertConfig

from spectra.errors import InputError
from spectra.training.text_data import Examples
from spectra.training.text_encoding import encoder, mask_tokens
from tests.pretrained import VOCABULARY, decoder_tokenizer, encoder_tokenizer

PAD, UNK, CLS, SEP, MASK, *_ = range(len(VOCABULARY))
CONFIG = BertConfig(num_labels=2)


def tokens(text):
    return [VOCABULARY.index(word) for word in text.split()]


def encoded(task, examples, tokenizer=None, *, config=CONFIG, length=32, mask_share=0.15, seed=0):
    tokenizer = tokenizer or encoder_tokenizer()
    encode = encoder(tokenizer, examples, task, config, length=length, mask_share=mask_share, seed=seed)
    return encode(range(len(examples)))


def test_a_causal_model_predicts_every_token():
    got = encoded("causal-lm", Examples(("the film", ""), (1, 2)), decoder_tokenizer())
    assert got.inputs == {"input_ids": [tokens("the film"), []]}
    assert got.labels == [tokens("the film"), []]


def test_with_targets_a_causal_model_predicts_them_and_the_end():
    got = encoded("causal-lm", Examples(("the film was",), (1,), targets=("good",)), decoder_tokenizer())
    assert got.inputs["input_ids"] == [[*tokens("the film was good"), SEP]]
    assert got.labels == [[-100, -100, -100, *tokens("good"), SEP]]


def test_text_and_target_together_are_cut():
    got = encoded("causal-lm", Examples(("the film was",), (1,), targets=("very good",)), decoder_tokenizer(), length=4)
    assert got.inputs["input_ids"] == [tokens("the film was very")]
    assert got.labels == [[-100, -100, -100, *tokens("very")]]


def test_a_sequence_to_sequence_model_predicts_the_targets():
    got = encoded("seq2seq", Examples(("the film",), (1,), targets=("good",)))
    assert got.inputs["input_ids"] == [[CLS, *tokens("the film"), SEP]]
    assert got.labels == [[CLS, *tokens("good"), SEP]]


def test_pairs_are_told_apart():
    got = encoded(
        "sequence-classification",
        Examples(("the film",), (1,), pairs=("good",), labels=("b",)),
        config=BertConfig(num_labels=1),
    )
    assert got.inputs["input_ids"] == [[CLS, *tokens("the film"), SEP, *tokens("good"), SEP]]
    assert got.inputs["token_type_ids"] == [[0, 0, 0, 0, 1, 1]]
    assert got.labels == [0]


def test_a_regression_keeps_its_numbers():
    assert encoded("regression", Examples(("the", "a"), (1, 2), labels=(0.25, 3))).labels == [0.25, 3.0]


def test_words_are_labelled_at_their_first_token():
    examples = Examples((("the", "goodness", "it"),), (1,), labels=((0, 1, 0),))
    got = encoded("token-classification", examples)
    assert got.inputs["input_ids"] == [[CLS, *tokens("the good ##ness it"), SEP]]
    assert got.labels == [[-100, 0, 1, -100, 0, -100]]


def test_labels_of_words_that_are_cut_off_are_not_asked_for():
    examples = Examples((("the", "film", "was"),), (1,), labels=((0, 1, 0),))
    assert encoded("token-classification", examples, length=4).labels == [[-100, 0, 1, -100]]


def test_hidden_tokens_are_labelled_and_the_others_are_not():
    examples = Examples(("the film was very good and it was not bad",), (1,))
    got = encoded("masked-lm", examples, mask_share=0.5)
    original = [CLS, *tokens(examples.texts[0]), SEP]
    (seen,), (labels,) = got.inputs["input_ids"], got.labels
    assert 0 < sum(label != -100 for label in labels) < len(original)
    assert all(label in (-100, token) for label, token in zip(labels, original, strict=True))
    assert all(label != -100 for label, token, shown in zip(labels, original, seen, strict=True) if shown != token)
    assert got.inputs["token_type_ids"] == [[0] * len(original)]


def test_masks_follow_the_row_and_the_seed_and_not_the_other_texts():
    texts = ("the film was good and it was not bad", "a film was very bad and the good was not")
    both = Examples(texts, (4, 9))
    second = Examples(texts[1:], (9,))
    masks = {seed: encoded("masked-lm", both, mask_share=0.5, seed=seed).labels for seed in (0, 1)}
    assert encoded("masked-lm", second, mask_share=0.5).labels == masks[0][1:]
    assert masks[0] != masks[1]
    assert encoded("masked-lm", Examples(texts[1:], (3,)), mask_share=0.5).labels != masks[0][1:]


def test_special_tokens_are_never_hidden():
    tokens, labels = mask_tokens([CLS, 7, SEP], [1, 0, 1], mask_token=MASK, num_words=17, share=1.0, seed=(0, 0))
    assert labels == [-100, 7, -100]
    assert (tokens[0], tokens[2]) == (CLS, SEP)


def test_shares_of_hidden_kept_and_random_tokens_are_those_of_bert():
    n, words = 200_000, 1000
    seen, labels = mask_tokens([5] * n, [0] * n, mask_token=4, num_words=words, share=0.15, seed=(0,))
    seen, chosen = np.array(seen), np.array(labels) == 5
    # Of the chosen: 80 % masked, 10 % kept, 10 % random, of which 1 in 1000 is the mask or the word itself.
    expected = {"chosen": 0.15, "masked": 0.8 + 1e-4, "kept": 0.1 + 1e-4}
    found = {"chosen": chosen.mean(), "masked": (seen[chosen] == 4).mean(), "kept": (seen[chosen] == 5).mean()}
    for name, share in expected.items():
        draws = n if name == "chosen" else chosen.sum()
        assert abs(found[name] - share) < 4 * np.sqrt(share * (1 - share) / draws), name  # four standard errors
    assert (seen[~chosen] == 5).all()
    random = seen[chosen & (seen != 4) & (seen != 5)]
    assert (random.min(), random.max()) == (0, words - 1)


def test_random_words_are_words_of_the_model():
    examples = Examples(("the " * 5000,), (1,))
    got = encoded("masked-lm", examples, config=BertConfig(vocab_size=7), length=5002, mask_share=1.0)
    assert set(got.inputs["input_ids"][0]) == set(range(7))


def test_a_tokenizer_without_a_mask_cannot_hide_tokens():
    with pytest.raises(InputError, match=r"the tokenizer has no mask token, which task 'masked-lm' needs"):
        encoded("masked-lm", Examples(("the",), (1,)), decoder_tokenizer())


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        (
            "the film",
            (0, 1),
            r"row 5: a text with 2 labels, and task 'token-classification' needs a list of words with one label",
        ),
        (("the", "film"), (0,), r"row 5: 2 words with 1 labels"),
        (("the", "film"), 0, r"row 5: 2 words with 1 labels"),
    ],
    ids=["text", "too few", "one"],
)
def test_words_need_a_label_each(text, labels, message):
    with pytest.raises(InputError, match=message):
        encoded("token-classification", Examples((text,), (5,), labels=(labels,)))


def test_words_need_a_tokenizer_that_tells_them():
    from transformers import ByT5Tokenizer

    with pytest.raises(InputError, match=r"does not tell which token is of which word\. Use a model with a fast tokenizer"):
        encoded("token-classification", Examples((("the",),), (1,), labels=((0,),)), ByT5Tokenizer())
