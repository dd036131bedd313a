"""Dialogues of people with a persona as tasks: every persona is one, and a turn asks which reply is the true one.

The text is that of ConvAI2 (Dinan et al. 2019, arXiv 1902.00098) in the form without candidates::

    1 your persona: i have two dogs.
    2 your persona: i like to work on vintage cars.
    3 hi ! how are you doing tonight ?<TAB>i'm doing great . just relaxing with my two dogs .

Source of the tasks: Block et al. (2025), arXiv 2410.22264, experiments on ConvAI2, and the released code. There a task is a
cluster of personas that paraphrase each other, read from files made by others, and candidates come with the text; here a task
is one persona, word for word, and candidates are drawn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectra.errors import InputError
from spectra.training.data_files import read_records

_PERSONA = "your persona: "
_LINE = re.compile(r"(\d+) (.*)")


@dataclass(frozen=True)
class Dialogue:
    """What two people said to each other.

    Attributes:
        persona: Sentences about the one who replies.
        turns: What the partner said, and the reply.
    """

    persona: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Turn:
    """A question: which of the candidates is the reply?

    Attributes:
        history: All that was said before in this dialogue, by both, oldest first; the last is the partner's. Without the
            persona, which a model has to learn from the replies.
        candidates: Replies, all different.
        answer: Place of the true one among them.
        dialogue: Place of the dialogue among all.
    """

    history: tuple[str, ...]
    candidates: tuple[str, ...]
    answer: int
    dialogue: int


def read_dialogues(path: str | Path) -> list[Dialogue]:
    """Read dialogues from a text file.

    Args:
        path: A ``.txt`` file with numbered lines, such as ``train_self_original_no_cands.txt``; number 1 begins a dialogue.

    Returns:
        The dialogues in the order of the file.

    Raises:
        InputError: A file that cannot be read, or a line that does not fit, with its number in the file.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".txt":
        raise InputError(f"'{path}' is no .txt file. Give the text of ConvAI2, or one in its form.")
    blocks: list[list[str]] = []
    starts: list[int] = []
    for place, record in enumerate(read_records(path), start=1):
        number, said = _numbered(record["text"], f"'{path}', line {place}")
        if number == 1:
            blocks.append([])
            starts.append(place)
        if not blocks or number != len(blocks[-1]) + 1:
            expected = f"{len(blocks[-1]) + 1}, or 1 for the next dialogue" if blocks else "1"
            raise InputError(f"'{path}', line {place}: numbered {number}, expected {expected}. Lines are missing.")
        blocks[-1].append(said)
    return [_dialogue(block, path, start) for block, start in zip(blocks, starts, strict=True)]


def persona_tasks(
    dialogues: Sequence[Dialogue], *, num_tasks: int = 10, smallest: int = 2, candidates: int = 20, seed: int = 0
) -> dict[str, list[Turn]]:
    """Take the personas with most turns as tasks.

    Two dialogues are of one persona if they have the same sentences about it, in any order. Wrong candidates are drawn from the
    replies of other dialogues, of all that are given, so that a task does not depend on how many tasks are taken.

    Args:
        dialogues: Of many personas.
        num_tasks: How many to take. Default 10: Block et al. (2025), experiments on ConvAI2.
        smallest: Fewest dialogues of a persona. Default 2: the released code, which leaves out those with one.
        candidates: Replies to choose from at every turn. Default 20: as ConvAI2 has them.
        seed: Of the wrong candidates and the place of the true one.

    Returns:
        The turns of each task in the order of the dialogues: ``"persona-01"`` has most of them. Of
        equals the first comes first.

    Raises:
        InputError: Fewer tasks or replies than asked for, or numbers that cannot be.
    """
    given = {"num_tasks": (num_tasks, 1), "smallest": (smallest, 1), "candidates": (candidates, 2), "seed": (seed, 0)}
    wrong = [f"{name}: expected at least {least}, got {value}." for name, (value, least) in given.items() if value < least]
    if wrong:
        raise InputError(" ".join(wrong))
    places = defaultdict(list)
    for place, dialogue in enumerate(dialogues):
        places[frozenset(dialogue.persona)].append(place)
    large = [of_persona for of_persona in places.values() if len(of_persona) >= smallest]
    if len(large) < num_tasks:
        raise InputError(
            f"num_tasks: expected at most {len(large)}, the number of personas with at least {smallest} dialogues, got "
            f"{num_tasks}. Lower it, or smallest."
        )
    large.sort(key=lambda of_persona: -sum(len(dialogues[place].turns) for place in of_persona))
    replies = list(dict.fromkeys(reply for dialogue in dialogues for _, reply in dialogue.turns))
    width = max(2, len(str(num_tasks)))
    return {
        f"persona-{rank:0{width}}": [
            turn for place in of_persona for turn in _turns(dialogues[place], place, replies, candidates, seed)
        ]
        for rank, of_persona in enumerate(large[:num_tasks], start=1)
    }


def held_out(turns: Sequence[Turn], dialogues: int) -> tuple[list[Turn], list[Turn]]:
    """Keep whole dialogues for judging: turns of one dialogue share what was said.

    Args:
        turns: Of a task.
        dialogues: How many to hold out; the last ones, as in the released code.

    Returns:
        The turns to train on, and those held out.

    Raises:
        InputError: Nothing would be held out, or nothing left.
    """
    places = list(dict.fromkeys(turn.dialogue for turn in turns))
    if not 1 <= dialogues < len(places):
        raise InputError(f"dialogues: expected 1 to {len(places) - 1} of {len(places)} to hold out, got {dialogues}.")
    last = set(places[-dialogues:])
    return [turn for turn in turns if turn.dialogue not in last], [turn for turn in turns if turn.dialogue in last]


def _numbered(line: str, where: str) -> tuple[int, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise InputError(
            f"{where}: expected a number, a space and a text, got {line[:40]!r}. Give text in the form of ConvAI2."
        )
    return int(match[1]), match[2]


def _dialogue(lines: Sequence[str], path: Path, start: int) -> Dialogue:
    persona = tuple(line.removeprefix(_PERSONA) for line in lines if line.startswith(_PERSONA))
    turns = []
    for number, line in enumerate(lines):
        if line.startswith(_PERSONA):
            continue
        match line.split("\t"):
            case [said, reply] if reply:
                turns.append((said, reply))
            case fields:
                raise InputError(
                    f"'{path}', line {start + number}: expected '{_PERSONA}...', or an utterance, a tab and a reply; got "
                    f"{len(fields)} fields. Give the file of one's own persona without candidates (self_..._no_cands)."
                )
    if not persona or not turns:
        missing = "turn" if persona else f"line '{_PERSONA}...'"
        raise InputError(f"'{path}', line {start}: the dialogue that begins here has no {missing}. Complete it or take it out.")
    return Dialogue(persona, tuple(turns))


def _turns(dialogue: Dialogue, place: int, replies: Sequence[str], candidates: int, seed: int) -> list[Turn]:
    """Ask for every reply of a dialogue; a turn's draws depend on the seed, its dialogue and its own place alone."""
    own = {reply for _, reply in dialogue.turns}
    if len(replies) - len(own) < candidates - 1:
        raise InputError(
            f"candidates: {candidates} need as many different replies, and the others of dialogue {place + 1} have "
            f"{len(replies) - len(own)}. Lower candidates, or give more dialogues."
        )
    turns, history = [], []
    for number, (said, reply) in enumerate(dialogue.turns):
        history.append(said)
        generator = np.random.default_rng((seed, place, number))
        drawn = generator.choice(len(replies), size=min(len(replies), candidates - 1 + len(own)), replace=False)
        wrong = [replies[index] for index in drawn if replies[index] not in own][: candidates - 1]
        answer = int(generator.integers(candidates))
        turns.append(Turn(tuple(history), (*wrong[:answer], reply, *wrong[answer:]), answer, place))
        history.append(reply)
    return turns
