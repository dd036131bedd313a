"""How is generated, what is asked, what comes back."""

import subprocess
import sys

import pytest

from spectra.errors import BackendError, InputError
from spectra.training.sdft.generation import (
    GREEDY,
    REFERENCE,
    Completion,
    GenerationSpec,
    Request,
    fits,
    generation_spec,
    plain_text,
    seed_of,
)


def user(text):
    return {"role": "user", "content": text}


def test_the_reference_is_that_of_the_published_code():
    expected = {"sampled": True, "temperature": 0.95, "top_p": 0.7, "top_k": 50, "max_new_tokens": 512, "max_length": 1024}
    assert REFERENCE.to_dict() == expected


@pytest.mark.parametrize(
    ("given", "changes", "expected"),
    [
        ("reference", {}, REFERENCE),
        ("greedy", {"max_new_tokens": 9}, GenerationSpec(sampled=False, max_new_tokens=9)),
        (GREEDY, {"max_length": None}, GenerationSpec(sampled=False, max_length=None)),
        ({"top_k": 0}, {"top_p": 1}, GenerationSpec(top_k=0, top_p=1)),
        (GREEDY.to_dict(), {}, GREEDY),
    ],
    ids=["word", "word with changes", "itself", "mapping", "what to_dict gave"],
)
def test_a_specification_is_found_from_what_is_given(given, changes, expected):
    assert generation_spec(given, **changes) == expected


@pytest.mark.parametrize(
    ("given", "changes", "message"),
    [
        ("gready", {}, r"unknown generation 'gready'\. Did you mean 'greedy'\? Known: reference, greedy\."),
        ({"topp": 0.5}, {}, r"unknown option 'topp'\. Did you mean 'top_p'\? Known: sampled, "),
        ("greedy", {"max_tokens": 5}, r"unknown option 'max_tokens'\. Did you mean 'max_new_tokens'\?"),
    ],
)
def test_unknown_words_are_refused_with_a_suggestion(given, changes, message):
    with pytest.raises(InputError, match=message):
        generation_spec(given, **changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampled": 1}, "sampled: expected true or false, got 1"),
        ({"temperature": 0}, r"temperature: expected a number above 0 \(sampled=False is greedy\), got 0"),
        ({"temperature": "1e-1"}, "temperature: expected a number above 0 .*, got '1e-1'"),
        ({"temperature": float("inf")}, "temperature: expected .*, got inf"),
        ({"top_p": 0}, "top_p: expected a number above 0 and up to 1, got 0"),
        ({"top_p": 1.1}, "top_p: expected a number above 0 and up to 1, got 1.1"),
        ({"top_k": -1}, "top_k: expected a whole number, 0 for all tokens, got -1"),
        ({"top_k": True}, "top_k: expected .*, got True"),
        ({"max_new_tokens": 0}, "max_new_tokens: expected a whole number of at least 1, got 0"),
        ({"max_length": 1}, "max_length: expected a whole number of at least 2, or none, got 1"),
        ({"max_new_tokens": 1024}, r"max_length \(1024 tokens .*\) must be above max_new_tokens \(1024\)"),
        ({"top_k": 1.5, "top_p": 2}, "top_p: expected .*; top_k: expected a whole number"),
    ],
)
def test_values_that_cannot_be_are_refused_all_at_once(values, message):
    with pytest.raises(InputError, match=message):
        GenerationSpec(**values)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ((), r"no message is the user's, got roles \[\]"),
        (({"role": "assistant", "content": "ho"},), r"got roles \['assistant'\]"),
        (({"role": "user"},), "each message needs 'role' and 'content', both texts"),
        (({"role": "user", "content": ["hi"]},), "each message needs 'role' and 'content', both texts"),
    ],
)
def test_requests_that_ask_nothing_are_refused(messages, message):
    with pytest.raises(InputError, match=message):
        Request(messages)


def test_a_request_takes_what_conversations_with_tools_have():
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}
    messages = (user("hi"), call, {"role": "tool", "content": "1", "tool_call_id": "a", "name": "f"})
    assert Request(messages, tools=({"name": "f"},)).messages == messages


@pytest.mark.parametrize(
    ("length", "max_length", "context", "expected"),
    [
        (6, 10, None, True),
        (7, 10, None, False),
        (6, 10, 9, False),
        (5, 10, 9, True),
        (99, None, None, True),
        (6, None, 9, False),
    ],
)
def test_a_prompt_fits_if_the_longest_answer_has_room(length, max_length, context, expected):
    assert fits(length, GenerationSpec(max_new_tokens=4, max_length=max_length), context) is expected


def test_plain_text_has_a_blank_line_after_each_message_and_ends_with_the_prefix():
    request = Request(({"role": "system", "content": "Be brief."}, user("Why?")), prefix="Because")
    assert plain_text(request) == "Be brief.\n\nWhy?\n\nBecause"


def test_seeds_are_the_same_everywhere():
    # printf '%s' '["run", 7]' | sha256sum: the first 16 digits, halved
    assert seed_of("run", 7) == 0xFF8AE70776640785 >> 1


def test_seeds_tell_parts_apart_and_have_63_bits():
    seeds = [seed_of(*parts) for parts in [("a", "b"), ("ab",), ("a", "b", 1), ("a", "b", "1"), (1,), ("1",), ()]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_backend_that_gives_up_hands_over_what_arrived():
    arrived = {1: Completion("done", 3, "stop")}
    assert BackendError("the server is gone.", arrived).completions == arrived
    assert BackendError("the server is gone.").completions == {}


def test_what_a_report_needs_imports_no_torch():
    code = "import sys, spectra.training.sdft.generation, spectra.training.sdft.batching; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"torch", "numpy", "transformers", "pandas"} == set()
