"""What can go wrong: one base class, and a subclass where a caller would want to catch one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class SpectraError(Exception):
    """Base of everything a user can cause and repair. The message says what, where and what to do."""


class InputError(SpectraError, ValueError):
    """An argument has a value that cannot be used."""


class SourceError(SpectraError):
    """A model cannot be found, is damaged, or is of a kind that is not read."""


class NonFiniteWeightsError(SpectraError, ValueError):
    """A matrix holds NaN or infinite entries, so that it has no spectrum."""


class TooFewEigenvaluesError(SpectraError, ValueError):
    """A spectrum has too few usable values for the fit that was asked for."""


class ResultsError(SpectraError):
    """A result folder cannot be read, or must not be written to."""


class MissingPackageError(SpectraError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class BackendError(SpectraError):
    """A model or server that writes cannot go on; what it wrote is kept.

    Args:
        message: What, where and what to do.
        completions: What did arrive, by its place in the batch.
    """

    def __init__(self, message: str, completions: Mapping[int, Any] | None = None) -> None:
        super().__init__(message)
        self.completions: Mapping[int, Any] = completions or {}


class EngineError(SpectraError):
    """The machines that were to share the work cannot be reached, or lack what they need."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whatever answers Ctrl-C answers it, too."""


class SpectraWarning(UserWarning):
    """A result that can be used, but is doubtful; said once for a cause."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
