"""What is thrown away before answers are compared, and what is not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.training.sdft.filters import LEAK_PHRASES, is_blank, reference_rejection, rejection
from spectra.training.sdft.templates import TEMPLATES, rewriting_request, template

PROMPT = "Explain in two or three sentences why the sky is blue."  # 11 words
ORIGINAL = "Short waves are scattered more."
REFERENCE_LEAKS = [
    "The reference answer says 4.",
    "I like YOUR RESPONSE.",
    "Here is my response: 4",
    "Write your own response.",
    "Now it's your turn!",
    "Your turn: 4",
]


def judged(candidate, prompt=PROMPT, original=ORIGINAL, *, truncated=False, **options):
    return rejection(candidate, prompt, original, truncated=truncated, **options)


def test_an_answer_passes():
    assert judged("Because air scatters short waves more than long ones.") is None


@pytest.mark.parametrize("candidate", ["", " \n\t", "\u3000", "\u200b \ufeff", "\x00\x1b", "\u2800", "\u3164", "\ufe0f\u034f"])
def test_nothing_written_is_empty_even_if_cut_off(candidate):
    assert judged(candidate, truncated=True) == "empty"


def test_a_candidate_that_was_cut_off_is_rejected_unless_that_is_allowed():
    assert judged("Because air", truncated=True) == "truncated"
    assert judged("Because air", truncated=True, allow_truncated=True) is None


def test_being_cut_off_comes_before_a_leak_and_a_leak_before_a_loop():
    loop = "my response is " * 20
    assert judged(loop, truncated=True) == "truncated"
    assert judged(loop) == "leak"
    assert judged(loop, original="my response") == "repetition"


@given(st.text(st.characters(categories=["Cc", "Cf", "Mn", "Zl", "Zp", "Zs"])), st.characters(categories=["L", "N", "P", "Sm"]))
def test_a_text_is_blank_until_it_has_a_letter_a_digit_or_a_sign(unseen, seen):
    assert is_blank(unseen)
    assert is_blank(unseen + seen + unseen) == (seen in "\u115f\u1160\u3164\uffa0")  # fillers that count as letters


def test_one_character_that_can_be_seen_is_something():
    assert judged("\u200b4\u200b") is None
    assert judged("\N{GRINNING FACE}") is None
    assert not is_blank("\u0645")


# --- leaks


@pytest.mark.parametrize("phrase", LEAK_PHRASES)
def test_every_phrase_is_found_in_any_case_and_over_line_ends(phrase):
    assert judged(f"Well.\n{phrase.upper()}!") == "leak"
    assert judged("So: " + phrase.replace(" ", "\n  ")) == "leak"


@pytest.mark.parametrize("phrase", LEAK_PHRASES)
def test_a_phrase_that_the_original_has_is_no_leak(phrase):
    assert judged(f"See {phrase} here.", original=f"{phrase.title()}, I said.") is None


def test_a_phrase_of_the_original_excuses_no_other():
    assert judged("My response to the reference answer.", original="my response") == "leak"


@pytest.mark.parametrize("candidate", ["a reference answerer", "in your responses", "enemy response", "preference answer"])
def test_phrases_are_whole_words(candidate):
    assert judged(candidate) is None


def test_a_typographic_apostrophe_is_one():
    assert judged("Now it’s your turn.") == "leak"


def test_an_opening_leaks_at_the_beginning_only():
    assert judged("  your turn: blue") == "leak"
    assert judged("Roll the dice on your turn.") is None
    assert judged("Your turning point is near.") is None
    assert judged("Your turn: blue", original="Your turn, then.") is None


def test_the_thoughts_of_a_model_are_no_answer():
    assert judged("<think>\nblue, of course</think>It is blue.") == "leak"
    assert judged("of course</think>\n\nIt is blue.") == "leak"


def test_a_template_adds_phrases_of_its_own():
    assert judged("As C++ was given") is None
    assert judged("As C++ was given", phrases=["c++ was"]) == "leak"
    assert judged("what (is) this", phrases=["(is)"]) == "leak"


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "code/v1"])
def test_a_candidate_that_repeats_the_heading_of_the_original_leaks(name):
    asked = rewriting_request(template(name), PROMPT, ORIGINAL).messages[-1]["content"]
    echo = asked.removeprefix(asked.split(PROMPT)[0] + PROMPT).strip()
    assert echo.endswith(ORIGINAL)
    assert echo != ORIGINAL
    assert judged(echo, phrases=template(name).leak_phrases) == "leak"


def test_a_program_may_call_itself_a_working_solution():
    assert judged("Here is a working solution:\n```python\npass\n```", phrases=template("code/v1").leak_phrases) is None


@pytest.mark.parametrize("candidate", REFERENCE_LEAKS)
def test_what_the_reference_code_rejects_is_rejected(candidate):
    assert reference_rejection(candidate) == judged(candidate) == "leak"


def test_the_reference_code_looks_within_words_and_lets_nothing_pass_as_an_answer():
    assert reference_rejection("enemy response") == "leak"
    assert reference_rejection("  Your turning point") == "leak"
    assert reference_rejection("your turn") is None
    assert reference_rejection("Now it’s your turn") is None
    assert reference_rejection(" ") is None


# --- loops


def covered_share(words):
    """The definition in so many words: the largest share of words that lie in an occurrence of one 4-gram."""
    grams = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    places = {gram: {start + step for start, one in enumerate(grams) if one == gram for step in range(4)} for gram in grams}
    return max(map(len, places.values())) / len(words)


@given(st.lists(st.sampled_from("ab"), min_size=40, max_size=60))
def test_a_loop_is_what_the_definition_says(words):
    assert (judged(" ".join(words)) == "repetition") == (covered_share(words) > 0.5)


@pytest.mark.parametrize("period", range(1, 8))
def test_loops_of_up_to_seven_words_are_found(period):
    words = [f"w{index}" for index in range(period)]
    assert judged(" ".join(itertools.islice(itertools.cycle(words), 70))) == "repetition"


def test_half_of_the_words_is_not_more_than_half():
    assert judged("a b c d e f g h " * 10) is None


def test_forty_words_are_enough_and_fewer_are_not():
    assert judged("ha " * 39) is None
    assert judged("ha " * 40) == "repetition"
    assert judged("Ha ha\nHA\tha " * 10) == "repetition"


def test_a_long_answer_that_repeats_a_phrase_now_and_then_passes():
    sentences = (f"On day {day} of the journey we walked {day * 3} miles through country number {day}." for day in range(30))
    assert judged(" ".join(sentences)) is None


# --- copies


def test_the_prompt_itself_is_no_answer_whatever_its_white_space():
    assert judged(PROMPT.replace(" ", "\n")) == "copy_of_prompt"
    assert judged("Why?", prompt=" Why? ") == "copy_of_prompt"


def test_an_answer_that_begins_with_all_of_a_long_prompt_is_a_copy():
    assert judged(f"{PROMPT}\n\nBecause.") == "copy_of_prompt"
    assert judged(f"You ask: {PROMPT} Because.") is None
    assert judged(PROMPT.rsplit(" ", 1)[0] + " blue! Because.") is None


def test_a_short_prompt_may_begin_its_answer():
    seven, eight = "a b c d e f g", "a b c d e f g h"
    assert judged(f"{seven} and more", prompt=seven) is None
    assert judged(f"{eight} and more", prompt=eight) == "copy_of_prompt"


def test_the_last_question_of_a_conversation_is_no_answer_either():
    chat = f"Be brief.\n\nUser: Hello.\n\nAssistant: Hello.\n\nUser: {PROMPT}"
    assert judged(PROMPT, prompt=chat) is None
    assert judged(PROMPT, prompt=chat, question=PROMPT) == "copy_of_prompt"
    assert judged(f"{PROMPT} Because.", prompt=chat, question=PROMPT) == "copy_of_prompt"
    assert judged(chat, prompt=chat, question=PROMPT) == "copy_of_prompt"
    assert judged(f"{PROMPT} Because.", prompt=chat, question=PROMPT, original=f"{PROMPT} Blue.") is None


def test_a_copy_is_no_fault_where_the_original_is_one():
    head = 'def add(a, b):\n    """Return the sum of two numbers."""'
    assert judged(f"{head}\n    return b + a", prompt=head, original=f"{head}\n    return a + b") is None


@given(st.text(), st.text(), st.text())
def test_any_texts_are_judged(candidate, prompt, original):
    known = {None, "empty", "leak", "repetition", "copy_of_prompt"}
    assert judged(candidate, prompt, original) in known
    assert judged(candidate, prompt, original, truncated=True) in {"empty", "truncated"}
