import dataclasses

import pytest

from spectra.errors import InputError
from spectra.results.distill_records import REASONS
from spectra.training.sdft.extractors.registry import extractor
from spectra.training.sdft.generation import Completion
from spectra.training.sdft.samples import read_training_data
from spectra.training.sdft.selection import SelectionRules, judge

MATH = SelectionRules(extractor=extractor("math"))
TEXT = SelectionRules(extractor=extractor("text"))


def sample(response="Two and two make 4. The answer is 4.", prompt="How much is two and two?", **fields):
    return read_training_data([{"question": prompt, "answer": response, **fields}]).samples[0]


def judged(text, rules=MATH, one=None, finish="stop"):
    verdict = judge(one or sample(), Completion(text, 9, finish), rules)
    assert verdict.reason is None or verdict.reason in REASONS
    return verdict.decision, verdict.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First 2, then 2 more: the answer is 4.", ("accepted", None)),
        ("Two and two make 4. The answer is 4.", ("identical", None)),
        ("  Two and two make 4. The answer is 4.\n", ("identical", None)),
        ("The answer is 5.", ("rejected", "mismatch")),
        ("It is four.", ("rejected", "nothing_extracted")),
        ("", ("rejected", "empty")),
        ("Based on the reference answer, the answer is 4.", ("rejected", "leak")),
        ("How much is two and two? 4", ("accepted", None)),
        ("four 4 " * 30, ("rejected", "repetition")),
    ],
)
def test_a_candidate_is_taken_if_it_passes_and_agrees(text, expected):
    assert judged(text) == expected


def test_what_is_cut_off_is_rejected_unless_it_is_allowed():
    assert judged("The answer is 4", finish="length") == ("rejected", "truncated")
    assert judged("The answer is 4", finish="content_filter") == ("rejected", "truncated")
    assert judged("The answer is 4", finish="unknown") == ("accepted", None)
    assert judged("The answer is 4", dataclasses.replace(MATH, allow_truncated=True), finish="length") == ("accepted", None)


def test_an_original_without_an_answer_never_agrees():
    assert judged("The answer is 4.", one=sample("Four, I think.")) == ("rejected", "no_reference")


def test_a_prompt_that_had_no_room_is_told_from_an_empty_answer():
    assert judged("", finish="too_long") == ("rejected", "prompt_too_long")


@pytest.mark.parametrize("before", [("system",), ("user", "assistant")], ids=["system turn", "earlier turns"])
def test_a_copy_of_the_last_question_of_a_conversation_is_none(before):
    turns = [(role, "Hello.") for role in before] + [("user", "How much is two and two?"), ("assistant", "The answer is 4.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    one = read_training_data([{"messages": messages}]).samples[0]
    assert judged("How much is two and two?", TEXT, one) == ("rejected", "copy_of_prompt")


def test_an_extractor_that_fails_on_a_candidate_names_the_row():
    def number(text, row):
        return int(text)

    rules = SelectionRules(extractor=extractor(number))
    with pytest.raises(InputError, match=r"extractor 'number' fails on an answer to row 1 \(ValueError: invalid literal"):
        judged("four", rules, sample("4"))


def test_what_is_too_unlike_the_original_is_rejected():
    rules = dataclasses.replace(TEXT, min_rouge_l=0.5)
    assert judged("Two and two make four.", rules) == ("accepted", None)
    assert judged("Quite another sentence.", rules) == ("rejected", "low_rouge_l")
    assert judged("Quite another sentence.", TEXT) == ("accepted", None)


def test_the_rules_of_the_reference_code_accept_what_is_cut_off():
    rules = SelectionRules(extractor=extractor("text", compat="reference"), is_reference=True)
    assert judged("", rules) == ("rejected", "empty")  # the one exception: no reader takes an empty response
    assert judged("\u200b", rules) == ("rejected", "empty")
    assert judged("The end is miss", rules, finish="length") == ("accepted", None)
    assert judged("This is my response: yes", rules) == ("rejected", "leak")


@pytest.mark.slow
def test_programs_have_to_pass_their_tests():
    rules = SelectionRules(extractor=extractor("code"), test_column="tests")
    one = sample("def double(x):\n    return 2 * x", "Double a number.", tests="assert double(3) == 6")
    assert judged("```python\ndef double(x):\n    return x + x\n```", rules, one) == ("accepted", None)
    assert judged("```python\ndef double(x):\n    return x * x\n```", rules, one) == ("rejected", "failed_tests")


def test_both_answers_are_kept():
    verdict = judge(sample(), Completion("The answer is 5.", 4, "stop"), MATH)
    assert (verdict.extracted_original, verdict.extracted_candidate) == ("4", "5")
