"""A function that writes candidates."""

import pytest

from spectra.errors import BackendError, InputError
from spectra.training.sdft.backends.function import CallableBackend
from spectra.training.sdft.generation import GREEDY, Completion, Request


def requests(*texts):
    return [Request(({"role": "system", "content": "Be brief."}, {"role": "user", "content": text})) for text in texts]


def test_it_is_handed_texts_and_its_answers_come_back_in_order():
    given = []

    def upper(texts):
        given.extend(texts)
        return [Completion(text.upper(), 9, "length") for text in texts]

    written = CallableBackend(upper, name="capitals").complete(requests("one", "two"), GREEDY, [1, 2])
    assert given == ["Be brief.\n\none\n\n", "Be brief.\n\ntwo\n\n"]
    assert written == [Completion(text.upper(), 9, "length") for text in given]


def test_requests_are_rendered_as_the_user_says():
    backend = CallableBackend(lambda texts: texts, name="echo", render=lambda request: f"<{request.messages[-1]['content']}>")
    assert [one.text for one in backend.complete(requests("one"), GREEDY, [1])] == ["<one>"]


def test_a_bare_text_has_ended_and_counts_words():
    backend = CallableBackend(lambda texts: ["in my  own words"] * len(texts), name="fixed")
    assert backend.complete(requests("a"), GREEDY, [1]) == [Completion("in my  own words", 4, "stop")]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (["one"], r"'broken': 1 answers to 2 texts\. Return one for each, in the same order"),
        (["one", "two", "three"], "3 answers to 2 texts"),
        ("both", r"expected a list of answers, got str\. Return one"),
        (None, "got NoneType"),
        (["one", 2], r"answer 2 is of type int\. Return a text, or a Completion"),
    ],
    ids=["too few", "too many", "one text for all", "nothing", "a number"],
)
def test_answers_that_cannot_be_are_refused(answers, message):
    backend = CallableBackend(lambda texts: answers, name="broken")
    with pytest.raises(BackendError, match=message):
        backend.complete(requests("a", "b"), GREEDY, [1, 2])


def test_what_the_function_raises_goes_through():
    def fail(texts):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        CallableBackend(fail, name="failing").complete(requests("a"), GREEDY, [1])


def test_a_run_goes_on_by_the_users_word_for_the_model():
    backend = CallableBackend(lambda texts: texts, name="model, revision 3", batch_size=5)
    assert backend.identity() == {"model": "model, revision 3"}
    assert (backend.name, backend.batch_size, backend.context) == ("callable", 5, None)
    assert backend.lengths(requests("a")) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"name": ""}, "name: expected a word"), ({"name": "m", "batch_size": 0}, "batch_size: expected at least 1, got 0")],
    ids=["name", "batch size"],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        CallableBackend(lambda texts: texts, **arguments)
