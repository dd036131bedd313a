"""Make the data of the small recipes: ``python -m spectra.recipes.make_data``.

Sentences are put together from phrases that were written for this: nobody's reviews, nobody's problems. They show how things
run, and say nothing about how a method does on text that people wrote. A review says something for and something against, or
something that is not so: which of it counts stands in how the sentence is built. Whoever only counts friendly words is right
about half of the time where a sentence says both.

The same files come out everywhere: of Python's generator only ``random()`` is used, the one that is promised to stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

DATA = Path(__file__).with_name("data")
SIZES = {"train": 300, "eval": 100, "test": 100}
DOMAIN_SIZES = {"train": 80, "eval": 40}
PROBLEM_SIZES = {"train": 48, "eval": 16, "test": 16}

_SEED = 20
_LABELS = ("negative", "positive")

# By domain what a review is about, and phrases for and against it.
_PHRASES: Mapping[str, Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "books": {
        "the plot": (
            ("keeps its secret to the last page", "fits together like clockwork", "never loses its thread"),
            ("gives itself away by chapter two", "has holes you could walk through", "goes nowhere for long stretches"),
        ),
        "the prose": (
            ("is clear as water", "has a quiet music", "says much in few words"),
            ("is stiff and overladen", "reads like a manual", "repeats itself without end"),
        ),
        "the heroine": (
            ("grows on you", "feels like someone you know", "stays with you for weeks"),
            ("is made of cardboard", "never learns anything", "talks like nobody alive"),
        ),
        "the ending": (
            ("is earned", "ties every knot", "left me in happy tears"),
            ("comes out of nowhere", "is a shrug", "spoils what came before"),
        ),
        "the research": (
            ("is deep and lightly worn", "shows on every page", "brings the period to life"),
            ("is full of mistakes", "was skipped, it seems", "is dumped on the reader"),
        ),
    },
    "cafes": {
        "the coffee": (
            ("is dark and round", "arrives hot and strong", "is the best in the street"),
            ("tastes of dishwater", "was lukewarm both times", "is bitter to the last drop"),
        ),
        "the cake": (
            ("melts on the tongue", "is baked in the house", "could win prizes"),
            ("was dry as sand", "came from a packet", "had seen better days"),
        ),
        "the service": (
            ("remembers your name", "is quick and kind", "could not be warmer"),
            ("looks straight through you", "took forty minutes", "brought the wrong order twice"),
        ),
        "the room": (
            ("is bright and calm", "invites you to stay", "smells of fresh bread"),
            ("is draughty and dim", "is too loud for talk", "smells of old frying oil"),
        ),
        "the bill": (
            ("was a pleasant surprise", "is more than fair", "leaves room for a second slice"),
            ("was a shock", "had two errors in it", "would feed a family at home"),
        ),
    },
    "films": {
        "the story": (
            ("grips you from the first shot", "surprises until its last minute", "is told with great care"),
            ("makes no sense at all", "drags for an hour", "has been told a hundred times"),
        ),
        "the cast": (
            ("is flawless", "lights up every scene", "gives all it has"),
            ("looks bored throughout", "mumbles every line", "seems to be in three different films"),
        ),
        "the camera": (
            ("finds beauty everywhere", "never puts a foot wrong", "makes the desert glow"),
            ("shakes until you feel ill", "hides what matters", "loves its own tricks too much"),
        ),
        "the music": (
            ("is worth the ticket alone", "lifts each scene", "haunted me for days"),
            ("drowns out the actors", "tells you what to feel", "is one long cliché"),
        ),
        "the dialogue": (
            ("crackles", "is sharp and true", "made the whole row laugh"),
            ("is wooden", "sounds like an advertisement", "made me wince"),
        ),
    },
    "headphones": {
        "the sound": (
            ("is rich and even", "reveals things I had never heard", "fills the head without effort"),
            ("is thin and shrill", "has no bass to speak of", "crackles at any volume"),
        ),
        "the fit": (
            ("is light as a feather", "stays put on a run", "suits glasses, too"),
            ("pinches after ten minutes", "slips at every step", "leaves red marks"),
        ),
        "the battery": (
            ("lasts for a week", "charges over breakfast", "outlives a night flight"),
            ("died within a month", "is flat by noon", "takes all night to charge"),
        ),
        "the case": (
            ("shrugs off every fall", "slides into any pocket", "closes with a fine click"),
            ("broke on day two", "is bigger than a shoe", "scratches at a glance"),
        ),
        "the app": (
            ("does what it says", "is simple and quick", "found them under the sofa"),
            ("crashes at each start", "demands an account for everything", "forgot my settings three times"),
        ),
    },
}

# What is neither for nor against.
_OPENINGS: Mapping[str, tuple[str, ...]] = {
    "books": ("I read it on the train.", "A cousin lent it to me.", "It has four hundred pages.", "This is her third novel."),
    "cafes": ("We went on a rainy Tuesday.", "It is next to the station.", "I have been there twice.", "They open at eight."),
    "films": ("I saw it at a late show.", "It runs for two hours.", "My sister chose it.", "It is a remake, I am told."),
    "headphones": ("I use them at work.", "They came on a Friday.", "Mine are the grey ones.", "I had an older pair before."),
}

# With both: {for_} is what counts, {against} the rest. Each is used for either label.
_BOTH = (
    "{against}, but {for_}.",
    "Although {against}, {for_}.",
    "{for_}, even though {against}.",
    "{for_}, and I can live with the fact that {against}.",
    "True, {against}. What decides it for me: {for_}.",
    "Others complain that {against}; what stays with me is that {for_}.",
)
_BOTH_AGAINST = (
    "{for_}, but {against}.",
    "Although {for_}, {against}.",
    "{against}, even though {for_}.",
    "{against}, and it is no comfort that {for_}.",
    "True, {for_}. What decides it for me: {against}.",
    "Others rave that {for_}; what stays with me is that {against}.",
)
# With what is not so.
_DENIED = ("Nobody can say that {untrue}.", "It is simply not so that {untrue}.", "They say that {untrue}: not here.")
_ALIKE = ("{one}, and {other}.", "{one}. Also, {other}.", "Not only {one}: {other}.")

_SHARE_OF_BOTH, _SHARE_DENIED = 0.3, 0.1

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Review:
    """A sentence or two.

    Attributes:
        text: What it says.
        label: ``positive`` or ``negative``.
    """

    text: str
    label: str


def reviews(seed: int, domains: Sequence[str] = tuple(_PHRASES)) -> Iterator[Review]:
    """Yield reviews without end, no two alike, of either label in turn.

    Args:
        seed: Of the draws.
        domains: What they are about; in turn, too.

    Yields:
        A review.
    """
    random, seen, number = Random(seed), set[str](), 0  # noqa: S311 - no secret
    while True:
        label = _LABELS[number % 2]
        text = _review(random, domains[number // 2 % len(domains)], label)
        if text not in seen:
            seen.add(text)
            number += 1
            yield Review(text, label)


def _review(random: Random, domain: str, label: str) -> str:
    first, second = _two(random, list(_PHRASES[domain]))
    says = {about: tuple(f"{about} {_one(random, words)}" for words in _PHRASES[domain][about]) for about in (first, second)}
    side, form = 0 if label == "positive" else 1, random.random()
    if form < _SHARE_OF_BOTH:
        pattern = _one(random, _BOTH if label == "positive" else _BOTH_AGAINST)
        text = pattern.format(for_=says[first][0], against=says[second][1])
    elif form < _SHARE_OF_BOTH + _SHARE_DENIED:
        text = _one(random, _DENIED).format(untrue=says[first][1 - side])
    else:
        text = _one(random, _ALIKE).format(one=says[first][side], other=says[second][side])
    text = _capital(text)
    return f"{_one(random, _OPENINGS[domain])} {text}" if random.random() < 0.5 else text


def problems(seed: int) -> Iterator[dict[str, str]]:
    """Yield word problems without end, no two alike, each with a terse answer.

    Args:
        seed: Of the draws.

    Yields:
        What is asked and answered, as ``prompt`` and ``response``.
    """
    random, seen = Random(seed), set[str]()  # noqa: S311 - no secret
    while True:
        prompt, response = _one(random, (_shared, _bought, _walked, _planted))(random)
        if prompt not in seen:
            seen.add(prompt)
            yield {"prompt": prompt, "response": response}


_NAMES = ("Ada", "Bela", "Chidi", "Dora", "Emre", "Fumiko", "Goran", "Hana", "Ines", "Jomo")
_THINGS = ("marbles", "stamps", "postcards", "pencils", "shells", "buttons")


def _shared(random: Random) -> tuple[str, str]:
    (one, other), things = _two(random, _NAMES), _one(random, _THINGS)
    friends, each, kept = _number(random, 2, 6), _number(random, 3, 9), _number(random, 1, 8)
    total = friends * each + kept
    return (
        f"{one} has {total} {things}. {other} and other friends, {friends} in all, get {each} each. How many are kept?",
        f"{friends} * {each} = {friends * each}. {total} - {friends * each} = {kept}. The answer is {kept}.",
    )


def _bought(random: Random) -> tuple[str, str]:
    name, things = _one(random, _NAMES), _one(random, _THINGS)
    number, price, paid = _number(random, 3, 9), _number(random, 2, 7), 100
    cost = number * price
    return (
        f"{name} buys {number} {things} for {price} coins apiece and pays with {paid} coins. How many coins come back?",
        f"{number} * {price} = {cost}. {paid} - {cost} = {paid - cost}. The answer is {paid - cost}.",
    )


def _walked(random: Random) -> tuple[str, str]:
    name, days = _one(random, _NAMES), _number(random, 3, 6)
    there, more = _number(random, 2, 9), _number(random, 1, 5)
    total = days * 2 * there + more
    return (
        f"{name} walks {there} km to school and the same way back, on {days} days; then {more} km more. How many km in all?",
        f"2 * {there} = {2 * there}. {days} * {2 * there} = {days * 2 * there}. {days * 2 * there} + {more} = {total}. "
        f"The answer is {total}.",
    )


def _planted(random: Random) -> tuple[str, str]:
    name, rows, each = _one(random, _NAMES), _number(random, 3, 9), _number(random, 4, 9)
    lost = _number(random, 2, 11)
    left = rows * each - lost
    return (
        f"{name} plants {rows} rows of {each} tulips. Snails eat {lost} of them. How many tulips are left?",
        f"{rows} * {each} = {rows * each}. {rows * each} - {lost} = {left}. The answer is {left}.",
    )


def files() -> dict[str, str]:
    """Make the text of every file.

    Returns:
        By path below ``data``.
    """
    made = {f"reviews/{split}.tsv": _table(rows) for split, rows in _split(reviews(_SEED), SIZES).items()}
    for place, domain in enumerate(_PHRASES, start=1):
        of_domain = _split(reviews(_SEED + place, [domain]), DOMAIN_SIZES)
        made |= {f"domains/{domain}/{split}.tsv": _table(rows) for split, rows in of_domain.items()}
    for split, rows in _split(problems(_SEED), PROBLEM_SIZES).items():
        made[f"problems/{split}.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in rows)
    return made


def _split(rows: Iterator[_Item], sizes: Mapping[str, int]) -> dict[str, list[_Item]]:
    return {split: [next(rows) for _ in range(size)] for split, size in sizes.items()}


def _table(rows: Sequence[Review]) -> str:
    return "text\tlabel\n" + "".join(f"{row.text}\t{row.label}\n" for row in rows)


def _one(random: Random, items: Sequence[_Item]) -> _Item:
    return items[int(random.random() * len(items))]


def _two(random: Random, items: Sequence[_Item]) -> tuple[_Item, _Item]:
    first = int(random.random() * len(items))
    second = (first + 1 + int(random.random() * (len(items) - 1))) % len(items)
    return items[first], items[second]


def _number(random: Random, least: int, most: int) -> int:
    return least + int(random.random() * (most - least + 1))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    for name, text in files().items():
        file = DATA / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
