"""Extractors by the name of a task."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.training.sdft.extractors.call import CALL, REFERENCE_CALL
from spectra.training.sdft.extractors.choice import CHOICE
from spectra.training.sdft.extractors.code import CODE, REFERENCE_CODE
from spectra.training.sdft.extractors.exact import EXACT
from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.json_value import JSON
from spectra.training.sdft.extractors.math import MATH
from spectra.training.sdft.extractors.reference_math import REFERENCE_MATH
from spectra.training.sdft.extractors.text import REFERENCE_TEXT, TEXT

_OURS = {"math": MATH, "call": CALL, "code": CODE, "text": TEXT, "exact": EXACT, "choice": CHOICE, "json": JSON}
_REFERENCE = {"math": REFERENCE_MATH, "call": REFERENCE_CALL, "code": REFERENCE_CODE, "text": REFERENCE_TEXT}
TASKS = tuple(_OURS)
"""Kinds of answers that can be compared: names for :func:`~spectra.training.sdft.extractor`."""


def extractor(
    task: str | Extractor | Callable[[str, Mapping[str, Any]], Hashable | None], *, compat: str | None = None
) -> Extractor:
    """Find what answers of a task are compared by.

    Args:
        task: One of ``TASKS``; an extractor; or a function from a response and its row to the answer (``None`` if there is
            none), whose own name then stands for it. The task is never guessed: a wrong guess would weaken the selection, and
            nobody would see it.
        compat: ``"reference"`` for the rule of the reference code (sail-sg/sdft), which there is for the tasks of Yang et al.
            (2024), arXiv 2402.13669: ``math``, ``call``, ``code`` and ``text``.

    Returns:
        The extractor.

    Raises:
        InputError: A task or a compatibility that is not known, or both that do not go together.

    Example:
        >>> extractor("math").extract("The answer is 12.", {}).value
        Fraction(12, 1)
    """
    if compat is not None:
        return _reference(task, compat)
    if isinstance(task, Extractor):
        return task
    if isinstance(task, str):
        if task not in _OURS:
            raise InputError(_unknown(task))
        return _OURS[task]
    if not callable(task):
        raise InputError(f"task: expected one of {', '.join(TASKS)}, an extractor or a function, got {task!r}.")
    return Extractor(getattr(task, "__name__", type(task).__name__), 1, task)


def _reference(task: object, compat: str) -> Extractor:
    if compat != "reference":
        raise InputError(f"unknown compat '{compat}'.{did_you_mean(compat, ['reference'])} Known: reference.")
    if not isinstance(task, str) or task not in _REFERENCE:
        named = f"task '{task}'" if isinstance(task, str) else "a task of your own"
        raise InputError(f"{named}: the reference code has no rule for it, only for {', '.join(_REFERENCE)}. Leave compat out.")
    return _REFERENCE[task]


def _unknown(task: str) -> str:
    if task == "auto":
        return (
            "task 'auto' is not offered: a wrong guess would accept answers that disagree, and nobody would see it. "
            f"Name the task: {', '.join(TASKS)}."
        )
    return f"unknown task '{task}'.{did_you_mean(task, TASKS)} Known: {', '.join(TASKS)}, or a function of your own."
