"""Dialogues as they are written, personas as tasks, and candidates that give nothing away."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.training.meta_peft.personas import Dialogue, held_out, persona_tasks, read_dialogues

# The first and the last are of one persona.
TEXT = """\
1 your persona: i have two dogs.
2 your persona: i like cars.
3 hi !\thello , i walk my dogs .
4 nice . both ?\tyes .
1 your persona: i am a nurse.
2 how are you ?\ttired .
3 why ?\tnight shift .
4 oh .\tyes .
1 your persona: i like cars.
2 your persona: i have two dogs.
3 hey\tdo you drive ?
"""


@pytest.fixture
def dialogues(tmp_path):
    return read_dialogues(written(tmp_path, TEXT))


def written(folder, text):
    (folder / "self_original_no_cands.txt").write_text(text, encoding="utf-8")
    return folder / "self_original_no_cands.txt"


def many(number, turns=2, personas=3):
    """Dialogues whose replies are all different, in turn of each persona."""
    return [
        Dialogue(
            (f"persona {place % personas}",), tuple((f"said {place} {turn}", f"reply {place} {turn}") for turn in range(turns))
        )
        for place in range(number)
    ]


def test_numbers_that_begin_again_begin_a_dialogue(dialogues):
    assert [len(dialogue.turns) for dialogue in dialogues] == [2, 3, 1]
    assert dialogues[0] == Dialogue(
        persona=("i have two dogs.", "i like cars."), turns=(("hi !", "hello , i walk my dogs ."), ("nice . both ?", "yes ."))
    )


def test_a_dialogue_may_end_without_a_line_break_and_lines_as_on_windows(tmp_path, dialogues):
    (tmp_path / "a.txt").write_bytes(TEXT.strip().replace("\n", "\r\n").encode())
    assert read_dialogues(str(tmp_path / "a.txt")) == dialogues


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no examples"),
        ("2 hi\tho\n", "line 1: numbered 2, expected 1. Lines are missing"),
        ("1 your persona: x\n3 hi\tho\n", "line 2: numbered 3, expected 2, or 1 for the next dialogue. Lines are missing"),
        ("1 your persona: x\nhi\tho\n", r"line 2: expected a number, a space and a text, got 'hi\\tho'"),
        ("1 your persona: x\n2 hi\n", "line 2: expected 'your persona: ...', or an utterance, a tab and a reply; got 1 fields"),
        (
            "1 your persona: x\n2 hi\t\n",
            "line 2: expected 'your persona: ...', or an utterance, a tab and a reply; got 2 fields",
        ),
        ("1 your persona: x\n2 hi\tho\t\tho|he\n", r"line 2: .*got 4 fields. Give the file .* without candidates"),
        ("1 your persona: x\n2 partner's persona: y\n", "line 2: expected 'your persona: ...'"),
        ("1 your persona: x\n1 your persona: y\n2 hi\tho\n", "line 1: the dialogue that begins here has no turn"),
        ("1 your persona: x\n2 hi\tho\n1 hi\tho\n", "line 3: the dialogue that begins here has no line 'your persona: ...'"),
    ],
)
def test_lines_that_do_not_fit_are_refused_by_their_number(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_dialogues(written(tmp_path, text))


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.csv' is no .txt file. Give the text of ConvAI2"):
        read_dialogues(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot read"):
        read_dialogues(tmp_path / "a.txt")


def test_a_persona_is_a_task_whatever_the_order_of_its_sentences(dialogues):
    tasks = persona_tasks(dialogues, num_tasks=1, candidates=3)
    assert list(tasks) == ["persona-01"]
    assert [turn.dialogue for turn in tasks["persona-01"]] == [0, 0, 2]
    assert [turn.candidates[turn.answer] for turn in tasks["persona-01"]] == [
        "hello , i walk my dogs .", "yes .", "do you drive ?",
    ]  # fmt: skip


def test_the_history_is_all_that_was_said_without_the_persona(dialogues):
    turns = persona_tasks(dialogues, num_tasks=2, smallest=1, candidates=3)["persona-02"]
    assert turns[0].history == ("how are you ?",)
    assert turns[2].history == ("how are you ?", "tired .", "why ?", "night shift .", "oh .")


def test_personas_with_most_turns_come_first_and_equals_in_their_order():
    dialogues = [*many(4, turns=2, personas=2), *[Dialogue(("large",), ((f"s{n}", f"r{n}"),) * 5) for n in range(2)]]
    tasks = persona_tasks(dialogues, num_tasks=3, candidates=2)
    assert [[turn.dialogue for turn in turns] for turns in tasks.values()] == [[4] * 5 + [5] * 5, [0, 0, 2, 2], [1, 1, 3, 3]]


def test_names_sort_as_the_sizes_do():
    tasks = persona_tasks(many(120, personas=120), num_tasks=100, smallest=1)
    assert list(tasks) == sorted(tasks)
    assert next(iter(tasks)) == "persona-001"


@given(number=st.integers(4, 9), candidates=st.integers(2, 6), seed=st.integers(0, 9))
@settings(deadline=None)
def test_candidates_are_the_true_reply_and_different_ones_of_other_dialogues(number, candidates, seed):
    dialogues = many(number, personas=1)
    of_dialogue = {reply: place for place, dialogue in enumerate(dialogues) for _, reply in dialogue.turns}
    turns = persona_tasks(dialogues, num_tasks=1, candidates=candidates, seed=seed)["persona-01"]
    replies = [reply for dialogue in dialogues for _, reply in dialogue.turns]
    for turn, reply in zip(turns, replies, strict=True):
        assert turn.candidates[turn.answer] == reply
        assert len(set(turn.candidates)) == len(turn.candidates) == candidates
        wrong = [candidate for place, candidate in enumerate(turn.candidates) if place != turn.answer]
        assert turn.dialogue not in {of_dialogue[candidate] for candidate in wrong}


def test_a_reply_that_was_given_in_two_dialogues_is_never_a_wrong_one_of_either(dialogues):
    turns = [
        turn
        for seed in range(20)
        for task in persona_tasks(dialogues, num_tasks=2, smallest=1, candidates=3, seed=seed).values()
        for turn in task
    ]
    wrong = {(turn.dialogue, reply) for turn in turns for place, reply in enumerate(turn.candidates) if place != turn.answer}
    assert (2, "yes .") in wrong
    assert (0, "yes .") not in wrong
    assert (1, "yes .") not in wrong


def test_a_task_does_not_depend_on_how_many_are_taken():
    few, all_of_them = (persona_tasks(many(12), num_tasks=number, candidates=5, seed=2) for number in (1, 3))
    assert few["persona-01"] == all_of_them["persona-01"]
    assert persona_tasks(many(12), num_tasks=1, candidates=5, seed=3) != few


def test_places_and_wrong_candidates_are_drawn_evenly():
    turns = persona_tasks(many(2000, turns=1, personas=1), num_tasks=1, candidates=4)["persona-01"]
    places = Counter(turn.answer for turn in turns)
    # five standard deviations of a share of 2000 draws
    assert max(abs(places[place] / 2000 - 0.25) for place in range(4)) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    used = Counter(candidate for turn in turns for candidate in turn.candidates)
    assert max(used.values()) < 20  # each is true once and wrong 3 times on average: a Poisson number, above 18 in 1 of 10^9


def test_whole_dialogues_are_held_out():
    turns = persona_tasks(many(5, personas=1), num_tasks=1, candidates=2)["persona-01"]
    train, test = held_out(turns, 2)
    assert [turn.dialogue for turn in train] == [0, 0, 1, 1, 2, 2]
    assert [turn.dialogue for turn in test] == [3, 3, 4, 4]


@pytest.mark.parametrize("number", [0, 2])
def test_holding_out_nothing_or_all_is_refused(number, dialogues):
    turns = persona_tasks(dialogues, num_tasks=1, candidates=3)["persona-01"]
    with pytest.raises(InputError, match=f"dialogues: expected 1 to 1 of 2 to hold out, got {number}"):
        held_out(turns, number)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 2}, "num_tasks: expected at most 1, the number of personas with at least 2 dialogues, got 2"),
        ({"num_tasks": 0, "smallest": 0}, "num_tasks: expected at least 1, got 0. smallest: expected at least 1, got 0"),
        ({"candidates": 1}, "candidates: expected at least 2, got 1"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"candidates": 5}, "candidates: 5 need as many different replies, and the others of dialogue 1 have 3"),
    ],
    ids=["tasks", "several", "one candidate", "seed", "replies"],
)
def test_tasks_that_cannot_be_made_are_refused(options, message, dialogues):
    with pytest.raises(InputError, match=message):
        persona_tasks(dialogues, **{"num_tasks": 1, "candidates": 3} | options)
