"""The rule of the reference code for worked problems, quirk by quirk."""

import pytest

from spectra.training.sdft.extractors import agree
from spectra.training.sdft.extractors.reference_math import REFERENCE_MATH, reference_math_answer

REFERENCE = {
    "3 4": 34,
    "2,3": 23,
    "2, 3": 3,
    "3\n4": None,
    "5\n3\n4": None,
    "2.5": None,
    "2.0": 2,
    "1,000.00": 1000,
    "-7": -7,
    "10-7": -7,
    "1/2": 2,
    "50%": 50,
    "no number": None,
    "": None,
    "The answer is 18. It took 3 steps": 3,
    "$118 000.": 118000,
    "9" * 5000: None,
}


@pytest.mark.parametrize(("text", "expected"), REFERENCE.items())
def test_the_reference_rule_has_the_quirks_of_the_reference_code(text, expected):
    assert reference_math_answer(text, {}) == expected


@pytest.mark.parametrize(("one", "other"), [("none", "nothing"), ("2.5", "3.7"), ("2.5", "2.5"), ("3\n4", "2.5")])
def test_by_the_reference_rule_two_texts_without_an_integer_still_disagree(one, other):
    assert not agree(REFERENCE_MATH, one, other, {})[2]


def test_by_the_reference_rule_integers_agree():
    assert agree(REFERENCE_MATH, "The answer is 34.", "3 4", {})[2]
