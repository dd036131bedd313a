import pytest

from spectra.training.sdft.refusals import REFUSAL_PHRASES, has_refusal_phrase


def test_there_are_as_many_phrases_as_in_the_reference_code():
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
