"""Personas to retrain on and new ones, from one file, and their turns as rows for the model.

Personas are dealt out in turn, the one with most turns first, to two sides, and each side draws its wrong candidates from its
own dialogues: no persona, no dialogue and no drawn reply is on both. (What people say in many dialogues, such as a greeting,
may be.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from spectra.training.meta_peft import held_out, persona_tasks, ranking_rows, read_dialogues
from spectra.training.meta_peft.personas import Dialogue, Turn

FILE = "convai2/valid_self_original_no_cands.txt"
NUM_CANDIDATES = 20
NUM_NEGATIVES = 4  # of the 19 wrong candidates, in training
HELD_OUT = 2  # dialogues of a new persona, as in the official code
MAX_LENGTH = 48

Tasks = Mapping[str, Sequence[Turn]]


@cache
def sides(data: Path) -> tuple[list[Dialogue], list[Dialogue]]:
    """Read the dialogues of the personas to retrain on, and those of new ones."""
    of_persona = defaultdict(list)
    for dialogue in read_dialogues(data / FILE):
        of_persona[frozenset(dialogue.persona)].append(dialogue)
    ranked = sorted(of_persona.values(), key=lambda dialogues: -sum(len(dialogue.turns) for dialogue in dialogues))
    retraining, new = ([each for dialogues in ranked[start::2] for each in dialogues] for start in (0, 1))
    return retraining, new


def retraining_tasks(data: Path, number: int, seed: int) -> Tasks:
    """Return all turns of the largest personas of their side; candidates are drawn for each seed."""
    return persona_tasks(sides(data)[0], num_tasks=number, candidates=NUM_CANDIDATES, seed=seed)


def new_tasks(data: Path, places: range, seed: int) -> Tasks:
    """Return all turns of personas of the other side, those at some places by size."""
    tasks = persona_tasks(sides(data)[1], num_tasks=places.stop, candidates=NUM_CANDIDATES, seed=seed)
    return {name: tasks[name] for name in list(tasks)[places.start :]}


def split(turns: Sequence[Turn], seed: int) -> tuple[list[Turn], list[Turn]]:
    """Hold out two dialogues; the next seed holds out the next two."""
    dialogues = list(dict.fromkeys(turn.dialogue for turn in turns))
    first = HELD_OUT * seed % len(dialogues)
    order = {dialogue: place for place, dialogue in enumerate([*dialogues[first:], *dialogues[:first]])}
    return held_out(sorted(turns, key=lambda turn: order[turn.dialogue]), HELD_OUT)


def judged_rows(turns: Sequence[Turn], tokenizer: Any) -> list[dict[str, Any]]:
    """Tokenise turns with all their candidates; of about one length side by side, so that little is padding."""
    rows = ranking_rows(turns, tokenizer, max_length=MAX_LENGTH)
    return sorted(map(dict, rows), key=lambda row: max(map(len, row["input_ids"])))


def trained_rows(turns: Sequence[Turn], tokenizer: Any) -> list[dict[str, Any]]:
    """Tokenise turns with the true reply and the first of the wrong ones; histories are as for all candidates."""
    return [_fewer(row) for row in ranking_rows(turns, tokenizer, max_length=MAX_LENGTH)]


def _fewer(row: Mapping[str, Any]) -> dict[str, Any]:
    """Leave wrong candidates out; they stand in the order in which they were drawn."""
    answer = row["labels"]
    wrong = [candidate for place, candidate in enumerate(row["input_ids"]) if place != answer]
    return {"input_ids": [row["input_ids"][answer], *wrong[:NUM_NEGATIVES]], "labels": 0}
