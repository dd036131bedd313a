"""A small text in the form of ConvAI2, every reply of which is another; shared by tests."""

from __future__ import annotations

from itertools import count, product
from pathlib import Path

from tests.pretrained import WORDS

DIALOGUES = 3  # of a persona


def write_dialogues(data: Path, num_personas: int = 12) -> Path:
    """Write it where studies look for it; the first persona has 2 turns in each dialogue, each other one more."""
    from analysis.meta_peft_convai2.data import FILE

    replies = map(" ".join, product(WORDS[:8], repeat=3))
    said = count()
    lines = []
    for persona in range(num_personas):
        for _ in range(DIALOGUES):
            turns = [f"the film {next(said)}\t{next(replies)}" for _ in range(2 + persona)]
            lines += [f"{place} {line}" for place, line in enumerate([f"your persona: i am {persona}", *turns], start=1)]
    path = data / FILE
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data
