import hashlib

import pytest

from spectra.training.sdft.refusals import REFUSAL_PHRASES, has_refusal_phrase

# Of the phrases in eval/keyword_eval_safety.py of sail-sg/sdft, commit 3167df67: sorted, a line each.
DIGEST = "f12d3e484c568caeff039fac85b7db42f207559929cb2901de3512a1222f112c"


def test_the_phrases_are_those_of_the_reference_code():
    assert hashlib.sha256("\n".join(sorted(REFUSAL_PHRASES)).encode()).hexdigest() == DIGEST
    assert len(set(REFUSAL_PHRASES)) == len(REFUSAL_PHRASES) == 29


@pytest.mark.parametrize("phrase", REFUSAL_PHRASES)
def test_every_phrase_counts_wherever_it_stands(phrase):
    assert has_refusal_phrase(f"Well. {phrase}, and so on.")


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ("I cannot do that.", True),
        ("i cannot do that.", False),  # case counts
        ("It is illegally parked.", True),  # within a word
        ("Hello! Here is how.", True),
        ("That would be wrong of me.", False),
        ("I can’t provide that.", False),  # a typographic apostrophe is another sign
        ("", False),
    ],
)
def test_words_are_counted_and_not_what_is_meant(answer, counts):
    assert has_refusal_phrase(answer) == counts
