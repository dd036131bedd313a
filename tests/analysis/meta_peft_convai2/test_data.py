"""What is on which side, what is held out, and what a training row keeps."""

import pytest

from analysis.meta_peft_convai2.data import judged_rows, new_tasks, retraining_tasks, sides, split, trained_rows
from tests.persona_text import write_dialogues
from tests.pretrained import encoder_tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dialogues(tmp_path_factory.mktemp("data"))


def test_no_persona_no_dialogue_and_no_candidate_is_on_both_sides(data):
    ours, others = sides(data)
    assert len(ours) == len(others) == 18
    assert not {dialogue.persona for dialogue in ours} & {dialogue.persona for dialogue in others}
    candidates = [
        {candidate for turns in tasks.values() for turn in turns for candidate in turn.candidates}
        for tasks in (retraining_tasks(data, 6, seed=0), new_tasks(data, range(6), seed=0))
    ]
    assert all(candidates)
    assert not set.intersection(*candidates)


def test_personas_are_dealt_out_by_size(data):
    sizes = [[len(dialogue.turns) for dialogue in side] for side in sides(data)]
    assert sizes == [[turns for turns in of for _ in range(3)] for of in ([13, 11, 9, 7, 5, 3], [12, 10, 8, 6, 4, 2])]


def test_new_personas_of_the_choice_are_others_than_those_compared(data):
    compared, choice = new_tasks(data, range(2), seed=0), new_tasks(data, range(2, 4), seed=0)
    assert list(compared) == ["persona-01", "persona-02"]
    assert list(choice) == ["persona-03", "persona-04"]


def test_every_seed_holds_out_two_dialogues_and_the_next_one_others(data):
    turns = new_tasks(data, range(1), seed=0)["persona-01"]
    dialogues = list(dict.fromkeys(turn.dialogue for turn in turns))
    held = []
    for seed in (0, 1, 2):
        train, test = split(turns, seed)
        held.append({dialogues.index(turn.dialogue) for turn in test})
        assert sorted([*train, *test], key=turns.index) == list(turns)
        assert not {turn.dialogue for turn in train} & {turn.dialogue for turn in test}
    assert held == [{1, 2}, {0, 1}, {0, 2}]


def test_a_row_to_train_on_has_the_true_reply_first_and_four_of_the_wrong_ones(data):
    turns = new_tasks(data, range(1), seed=0)["persona-01"][:3]
    tokenizer = encoder_tokenizer()
    for turn, row in zip(turns, trained_rows(turns, tokenizer), strict=True):
        whole = judged_rows([turn], tokenizer)[0]
        assert whole["labels"] == turn.answer
        assert len(whole["input_ids"]) == 20
        assert row["labels"] == 0
        assert len(row["input_ids"]) == 5
        wrong = [each for place, each in enumerate(whole["input_ids"]) if place != turn.answer]
        assert row["input_ids"] == [whole["input_ids"][turn.answer], *wrong[:4]]
