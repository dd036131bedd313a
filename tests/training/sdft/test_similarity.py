"""Similarity of texts, against plain loops and the packages that others use."""

import math
import re
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spectra.errors import InputError
from spectra.training.sdft.similarity import bleu, embedding_cosine, rouge_l

WORDS = ("a", "the", "cat", "sat", "on", "mat", "42")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
PAIRS = [
    ("the cat sat on the mat", "the cat sat on a mat"),
    ("the the the the the", "the cat"),
    ("a cat", "a cat sat on the mat on a mat"),
    ("mat the on sat cat the", "the cat sat on the mat"),
    ("a cat sat", "mat"),
]
ONE_BY_ONE = settings(deadline=None, max_examples=40)


def words_of(text):
    return re.findall(r"\w+|[^\w\s]", text)


def common_subsequence(first, second):
    """The table of the textbook."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, word in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if word == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@ONE_BY_ONE
@given(TEXTS, TEXTS)
def test_rouge_l_is_f1_of_the_longest_common_subsequence(reference, candidate):
    first, second = reference.split(), candidate.split()
    found = rouge_l(reference, candidate)
    if not first and not second:
        assert found == 1.0
    else:
        assert found == 2 * common_subsequence(first, second) / (len(first) + len(second))
    assert found == rouge_l(candidate, reference)
    assert 0.0 <= found <= 1.0


def test_long_texts_with_many_repeated_words_have_the_subsequence_of_the_table():
    rng = np.random.default_rng(0)
    first, second = (rng.choice(WORDS, size) for size in (150, 90))
    expected = 2 * common_subsequence(list(first), list(second)) / 240
    assert rouge_l(" ".join(first), " ".join(second)) == expected


@pytest.mark.parametrize(("reference", "candidate"), PAIRS)
def test_rouge_l_is_that_of_rouge_score(reference, candidate):
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer(["rougeL"]).score(reference, candidate)["rougeL"].fmeasure
    assert rouge_l(reference, candidate) == pytest.approx(expected, abs=1e-15)  # of rounding


def test_case_does_not_count_and_punctuation_is_split_off_and_counts():
    assert rouge_l("Straße", "STRASSE") == 1.0
    assert rouge_l("Yes.", "yes") == 2 / 3
    assert rouge_l("f(x)", "f ( x )") == 1.0
    assert rouge_l("a, b", "a b") == 4 / 5


@pytest.mark.parametrize("measure", [rouge_l, bleu])
def test_an_empty_text_is_unlike_all_but_another(measure):
    assert measure("", " \n") == 1.0
    assert measure("a", "") == 0.0
    assert measure("", "a") == 0.0
    assert measure("a b c d", "a b c d") == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("order", [1, 4])
@pytest.mark.parametrize(("reference", "candidate"), PAIRS)
def test_bleu_is_that_of_nltk(reference, candidate, order):
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    weights, smoothing = (1.0 / order,) * order, SmoothingFunction().method3
    for unit, split in (("words", words_of), ("characters", list)):
        expected = sentence_bleu([split(reference)], split(candidate), weights, smoothing)
        assert bleu(reference, candidate, unit=unit, order=order) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smoothing", ["method3", "none"])
@pytest.mark.parametrize("candidate", ["the cat sat on a mat", "The cat sat, on the mat!", "the mat on cat sat the", "a a a a"])
def test_bleu_of_at_least_four_words_is_that_of_sacrebleu(candidate, smoothing):
    from sacrebleu.metrics import BLEU

    theirs = BLEU(tokenize="13a", smooth_method={"method3": "exp", "none": "none"}[smoothing])
    expected = theirs.sentence_score(candidate, ["the cat sat on the mat"]).score / 100
    assert bleu("the cat sat on the mat", candidate, smoothing=smoothing) == pytest.approx(expected, abs=1e-12)


def test_bleu_without_smoothing_is_zero_where_an_order_has_no_match():
    assert bleu("a b c d", "a b d c", smoothing="none") == 0.0
    assert bleu("a b c d", "a b d c") == pytest.approx((1.0 * 1 / 3 * 0.5 / 2 * 0.25 / 1) ** 0.25, rel=1e-12)


def test_bleu_of_a_short_candidate_pays_for_its_length():
    assert bleu("a b c d e f", "a b c d") == pytest.approx(math.exp(1 - 6 / 4), rel=1e-12)


def test_bleu_minds_case():
    assert bleu("A", "a") == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "word"}, r"unit: unknown word 'word'\. Did you mean 'words'\? Known: words, characters"),
        ({"smoothing": "method1"}, r"smoothing: unknown word 'method1'\. Did you mean 'method3'\?"),
        ({"order": 0}, "order: expected at least 1, got 0"),
    ],
)
def test_options_of_bleu_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        bleu("a", "a", **options)


def test_the_cosine_is_that_of_embeddings_and_unknown_for_a_zero_one():
    known = {"a": [3.0, 4.0], "b": [4.0, 3.0], "zero": [0.0, 0.0]}

    def encode(texts):
        return [known[text] for text in texts]

    found = embedding_cosine(["a", "a", "a"], ["a", "b", "zero"], encode)
    np.testing.assert_allclose(found[:2], [1.0, 24 / 25], rtol=1e-15)
    assert np.isnan(found[2])


def test_embeddings_that_do_not_fit_the_texts_are_refused():
    with pytest.raises(InputError, match="references: got 1 for 2 candidates"):
        embedding_cosine(["a"], ["a", "b"], lambda texts: np.ones((len(texts), 2)))
    with pytest.raises(InputError, match=r"encode: expected embeddings of shape \(2, dimensions\), got \(1, 2\)"):
        embedding_cosine(["a", "b"], ["a", "b"], lambda texts: np.ones((1, 2)))
    with pytest.raises(InputError, match="encode: its embeddings have 1 and 2 dimensions"):
        embedding_cosine(["a"], ["bb"], lambda texts: np.ones((1, len(texts[0]))))


def test_similarity_needs_neither_torch_nor_numpy():
    code = "import sys, spectra.training.sdft.similarity as s; s.rouge_l('a', 'b'); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "transformers"} & set(done.stdout.splitlines()) == set()
