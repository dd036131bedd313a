"""What another class says of its options, taken apart: one sentence an option, each where the option stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from spectra.errors import InputError
from spectra.training.recipe.options import Fault

# "DCSConfig: lam: expected ...; tau: ...": who speaks is no news to whoever wrote a recipe.
_SPEAKER = re.compile(r"^[A-Z]\w*Config: ")
_UNKNOWN = re.compile(r"unknown (\w+) '")  # "unknown task 'maths'."


def located(make: Callable[[], Any], names: Collection[str]) -> list[Fault]:
    """Make something of options, and say what is wrong with which of them.

    Args:
        make: Raises ``InputError`` with ``name: sentence``, once or more, for options that cannot be.
        names: Of the options.

    Returns:
        A fault for each option that the message begins a sentence with; of what goes before, one without a name.
    """
    try:
        make()
    except InputError as error:
        return sentences(str(error), names)
    except TypeError as error:  # such as a list where a word is looked up
        return [Fault((), f"a value is of the wrong kind ({error}).")]
    return []


def sentences(message: str, names: Collection[str]) -> list[Fault]:
    """Take a message apart.

    Args:
        message: Sentences that begin with the name of an option and a colon, or do not.
        names: Of the options.

    Returns:
        A fault for each sentence or row of sentences.

    Example:
        >>> for fault in sentences("DCSConfig: lam: expected a share, got 2; tau: expected more, got 0.", ["lam", "tau"]):
        ...     print(fault.key, fault.sentence)
        ('lam',) expected a share, got 2.
        ('tau',) expected more, got 0.
    """
    message = _SPEAKER.sub("", message)
    heads = list(re.finditer(rf"(?:^|(?<=[.;?]) )({'|'.join(map(re.escape, names))})( and \w+)?: ", message))
    ends = [*(head.start() for head in heads), len(message)]
    first = message[: ends[0]]
    told = _UNKNOWN.match(first)
    faults = [Fault((told[1],) if told and told[1] in names else (), first)]
    for head, end in zip(heads, ends[1:], strict=True):
        # Of "r_min and r_max: ..." both names are told.
        sentence = message[head.start(1) if head[2] else head.end() : end]
        faults.append(Fault((head[1],), sentence))
    return [Fault(fault.key, _ended(fault.sentence)) for fault in faults if fault.sentence.strip()]


def _ended(sentence: str) -> str:
    bare = sentence.strip().removesuffix(";")
    return bare if bare.endswith((".", "?")) else f"{bare}."
