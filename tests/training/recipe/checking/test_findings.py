"""Faults as they are collected: placed once, in the words of recipes."""

import pytest

from spectra.errors import InputError
from spectra.training.recipe.checking.findings import Findings, recipe_words
from spectra.training.recipe.reading import parse_recipe


def findings():
    return Findings(parse_recipe("model: demo\ndata: {train: a.txt}\noutput: runs/a\n"))


def test_a_fault_has_the_place_and_line_of_its_option():
    found = findings()
    found.add("wrong. Mend it.", "data", "train")
    assert found.sentences == ["data.train (line 2): wrong. Mend it."]
    assert found.has("data", "train")
    assert not found.has("data")


def test_what_is_refused_is_a_fault_and_other_errors_go_on():
    found = findings()
    with found.of("model", "name", begin="'x', "):
        raise InputError("row 1 is wrong.")
    assert found.sentences == ["model.name (line 1): 'x', row 1 is wrong."]
    with pytest.raises(KeyError), found.of("model"):
        raise KeyError("a bug")


@pytest.mark.parametrize("message", ["data.label_column (line 2): wrong.", "training: wrong.", "model.device (--set): wrong."])
def test_a_message_that_says_its_place_keeps_it(message):
    found = findings()
    with found.of("output"):
        raise InputError(message)
    assert found.sentences == [message]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Choose another (--task).", "Choose another (model.task)."),
        ("Say which: --label-column NAME.", "Say which: data.label_column."),
        ("Leave --pair-column out.", "Leave data.pair_column out."),
        ("max_length: too long.", "too long."),
    ],
)
def test_options_of_commands_become_those_of_recipes(before, after):
    assert recipe_words(before, "data", "max_length") == after
