"""Extractors by name."""

from functools import partial

import pytest

from spectra.errors import InputError
from spectra.training.sdft.extractors import TASKS, Extractor, agree, extractor

CORRECT = {
    "math": ("#### 5", "It is 5."),
    "call": ("f(a=1, b=2)", "f(b=2, a=1)"),
    "code": ("x = 1", "```python\nx = 2\n```"),
    "text": ("one", "another"),
    "exact": ("yes", " yes"),
    "choice": ("B", "The answer is (B)."),
    "json": ("[1]", "[1.0]"),
}


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_an_extractor_of_its_name_that_finds_what_agrees(task):
    found = extractor(task)
    assert found.name == task
    assert agree(found, *CORRECT[task], {})[2]
    assert not agree(found, CORRECT[task][0], "", {})[2]


def test_what_is_extracted_can_be_hashed_and_shown():
    for task, (original, _) in CORRECT.items():
        value = extractor(task).extract(original, {})
        assert hash(value) == hash(extractor(task).extract(original, {}))
        assert str(value)


@pytest.mark.parametrize("task", ["math", "call", "code", "text"])
def test_the_rules_of_the_reference_code_go_by_another_name(task):
    found = extractor(task, compat="reference")
    assert found.name == f"reference-{task}"
    assert found != extractor(task)


def test_an_extractor_is_taken_as_it_is_and_a_function_under_its_own_name():
    def first_word(text, row):
        return text.split()[0]

    found = extractor(first_word)
    assert (found.name, found.version, found.extract("red car", {})) == ("first_word", 1, "red")
    assert extractor(found) is found
    assert extractor(partial(first_word)).name == "partial"
    assert isinstance(extractor("math"), Extractor)


@pytest.mark.parametrize(
    ("task", "compat", "message"),
    [
        (
            "maths",
            None,
            "unknown task 'maths'. Did you mean 'math'\\? Known: math, call, .*, json, or a function",
        ),
        (
            "auto",
            None,
            "task 'auto' is not offered: a wrong guess would accept.*Name the task: math, call",
        ),
        (3, None, "task: expected one of math, call.*an extractor or a function, got 3."),
        ("math", "referense", "unknown compat 'referense'. Did you mean 'reference'\\? Known: reference."),
        (
            "json",
            "reference",
            "task 'json': the reference code has no rule for it, only for math,.* Leave compat out.",
        ),
        (str.split, "reference", "a task of your own: the reference code has no rule for it"),
    ],
)
def test_what_is_not_known_is_refused(task, compat, message):
    with pytest.raises(InputError, match=message):
        extractor(task, compat=compat)
