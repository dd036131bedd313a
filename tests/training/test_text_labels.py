"""Labels as a model numbers them."""

import pytest
from transformers import BertConfig

from spectra.errors import InputError
from spectra.training.text_data import Examples
from spectra.training.text_labels import class_indices, class_names, values


def labelled(*labels):
    return Examples(texts=("x",) * len(labels), rows=tuple(range(1, len(labels) + 1)), labels=labels)


def named(*names):
    return BertConfig(id2label=dict(enumerate(names)), label2id={name: index for index, name in enumerate(names)})


def test_names_are_classes_in_alphabetical_order():
    assert class_names(labelled("no", "yes", "maybe", "no")) == ("maybe", "no", "yes")


def test_numbers_are_classes_up_to_the_largest():
    assert class_names(labelled(0, 2)) == ("0", "1", "2")


def test_there_are_no_classes_without_labels():
    assert class_names(Examples(("x",), (1,))) == ()


def test_words_bring_their_classes():
    assert class_names(labelled(("N", "D"), ("V",))) == ("D", "N", "V")


def test_a_model_numbers_its_own_names():
    assert class_indices(labelled("yes", "no"), named("yes", "no")) == ((0,), (1,))


def test_names_are_numbered_in_order_where_the_model_has_none():
    assert class_indices(labelled("yes", "no"), BertConfig(num_labels=2)) == ((1,), (0,))


def test_numbers_are_taken_as_they_are():
    assert class_indices(labelled(1, 0), named("yes", "no")) == ((1,), (0,))


def test_every_word_has_its_number():
    assert class_indices(labelled(("N", "D"), ("D",)), named("D", "N")) == ((1, 0), (0,))


@pytest.mark.parametrize(
    ("labels", "config", "message"),
    [
        (
            (0, 2),
            named("yes", "no"),
            r"row 2: label 2 is none of the model's 2 classes\. Known: yes, no \(0 to 1\)\. Correct it",
        ),
        ((0, -1), named("yes", "no"), r"row 2: label -1 is none of the model's 2 classes"),
        (("yes", "noo"), named("yes", "no"), r"row 2: label 'noo' is none .* Did you mean 'no'\?"),
        (
            ("a", "b", "c"),
            BertConfig(num_labels=2),
            r"row 1: label 'a' is none of the model's 2 classes\. Known: LABEL_0, LABEL_1",
        ),
        ((0.5, 1.0), named("yes", "no"), r"row 1: label 0\.5 is no class\. Take task 'regression' \(--task\)"),
    ],
    ids=["too large", "negative", "unknown name", "more names than classes", "decimal"],
)
def test_a_label_that_the_model_does_not_have_is_refused_with_its_row(labels, config, message):
    with pytest.raises(InputError, match=message):
        class_indices(labelled(*labels), config)


def test_numbers_of_a_regression_may_be_whole_or_not():
    assert values(labelled(1, 2.5)) == (1.0, 2.5)


@pytest.mark.parametrize("label", ["good", (1.0, 2.0)], ids=["name", "several"])
def test_a_regression_needs_one_number(label):
    with pytest.raises(
        InputError, match=r"row 2: label .* is no number, and task 'regression' needs one\. Choose another column"
    ):
        values(labelled(1.0, label))
