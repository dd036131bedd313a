"""Exact and free text."""

from spectra.training.sdft.extractors import agree, extractor


def test_exact_texts_agree_up_to_the_white_space_around_them():
    exact = extractor("exact")
    assert agree(exact, " positive\n", "positive", {}) == ("positive", "positive", True)
    assert not agree(exact, "positive", "Positive", {})[2]
    assert not agree(exact, "a b", "a  b", {})[2]
    assert agree(exact, " ", "\n", {}) == (None, None, False)


def test_free_texts_always_agree_unless_one_is_empty():
    text = extractor("text")
    assert agree(text, "one", "another", {})[2]
    assert not agree(text, "one", " \n", {})[2]
    assert not agree(text, "", "another", {})[2]


def test_by_the_reference_rule_empty_ones_agree_too():
    assert agree(extractor("text", compat="reference"), "one", "", {})[2]
