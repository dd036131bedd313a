"""The letter of a multiple-choice answer: a table of texts, read by hand."""

import pytest

from spectra.training.sdft.extractors import agree
from spectra.training.sdft.extractors.choice import CHOICE, chosen_letter

TEXTS = {
    # behind a marker
    "The answer is (B).": "B",
    "the answer is b.": "B",
    "The answer is **C**, since D is too large.": "C",
    "The correct option is D": "D",
    "The correct choice is: [E]": "E",
    "The answer is option A.": "A",
    "The answer is A because the others are wrong.": "A",
    "Answer: B": "B",
    "**Answer:** (b) Paris": "B",
    "**Answer**: `C`": "C",
    "Answer:\nB) Paris": "B",
    r"So it is $\boxed{B}$.": "B",
    r"\boxed{\text{(C)}}": "C",
    "(A) is too small, (C) too large, so the answer is (B).": "B",
    "The answer is A. No, the answer is B.": "B",
    "The answer is (A) and (C).": None,
    "The answer is A, C": None,
    "The answer is B, a large city.": "B",
    "The answer is a dog.": None,
    "Answer: A dog is an animal.": None,
    "The answer is Berlin.": None,
    "The answer is C++.": None,
    "The answer is a dog, so (C).": "C",
    # set apart
    "B": "B",
    " b \n": "B",
    "B.": "B",
    "**C**": "C",
    "(d)": "D",
    "B)": "B",
    "B) Paris": "B",
    "B. Paris": "B",
    "- B) Paris": "B",
    "**B) Paris**": "B",
    "I would choose **C**.": "C",
    "It must be (C), I think: (C).": "C",
    "Paris is the capital.\nB": "B",
    "(A) Rome\n(B) Paris": None,
    "A) Rome\nB) Paris": None,
    # no choice
    "A dog is an animal.": None,
    "It is a dog, not a cat.": None,
    "Plan B is better.": None,
    "Vitamin C": None,
    "f(a) = 3": None,
    "(F)": None,
    "I am (e.g. tired).": None,
    "B.C.": None,
    "": None,
}


@pytest.mark.parametrize(("text", "letter"), TEXTS.items())
def test_the_letter_is_found_where_one_is_chosen(text, letter):
    assert chosen_letter(text, {}) == letter


def test_spellings_of_one_letter_agree_and_two_texts_without_one_do_not():
    assert agree(CHOICE, "b) Paris", "The answer is (B).", {})[2]
    assert not agree(CHOICE, "A dog", "A dog", {})[2]
