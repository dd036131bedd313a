import pytest

from spectra.training.sdft.extractors.extractor import Extractor, agree

LAST_WORD = Extractor("last-word", 1, lambda text, row: text.split()[-1] if text else None)


def test_equal_answers_agree():
    assert agree(LAST_WORD, "it is red", "red", {}) == ("red", "red", True)


def test_other_answers_do_not_agree():
    assert agree(LAST_WORD, "it is red", "it is blue", {}) == ("red", "blue", False)


@pytest.mark.parametrize(("original", "candidate"), [("", ""), ("", "red"), ("red", "")])
def test_nothing_agrees_with_nothing(original, candidate):
    always = Extractor("always", 1, LAST_WORD.extract, lambda a, b: True)
    assert agree(always, original, candidate, {})[2] is False


def test_answers_are_compared_original_first():
    begins = Extractor("begins", 1, lambda text, row: text, lambda original, candidate: candidate.startswith(original))
    assert agree(begins, "a", "ab", {})[2]
    assert not agree(begins, "ab", "a", {})[2]


def test_the_row_is_handed_over():
    column = Extractor("column", 1, lambda text, row: row["key"])
    assert agree(column, "x", "y", {"key": 3}) == (3, 3, True)
