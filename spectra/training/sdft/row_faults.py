"""Errors that name the row they are about, counted from 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from spectra.errors import InputError
from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.generation import Backend, Request


@contextmanager
def naming_row(row: int) -> Iterator[None]:
    """Put the number of a row before what is wrong with it.

    Args:
        row: Its place in the data, from 0.

    Yields:
        Once.

    Raises:
        InputError: What was raised inside, with the number.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"row {row + 1}: {error}") from error


@contextmanager
def naming_extractor(by: Extractor, text: str) -> Iterator[None]:
    """Say which extractor fails, and where: it may be the user's, and raise what it likes.

    Args:
        by: It.
        text: What it is to read, such as ``"the response of row 7"``.

    Yields:
        Once.

    Raises:
        InputError: Anything was raised inside.
    """
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise InputError(
            f"extractor '{by.name}' fails on {text} ({said}). It gets the response and its row, and returns the answer or None."
        ) from error


def prompt_lengths(backend: Backend, requests: Sequence[Request], rows: Sequence[int]) -> list[int] | None:
    """Count the tokens of prompts, and name the row of the first that cannot be written down.

    Args:
        backend: What is asked.
        requests: Whose prompts.
        rows: The place in the data, from 0, of each.

    Returns:
        The numbers; ``None`` if the backend does not know them.

    Raises:
        InputError: The chat template refuses one, with its row.
    """
    try:
        return backend.lengths(requests)
    except InputError:
        for row, request in zip(rows, requests, strict=True):
            with naming_row(row):
                backend.lengths([request])
        raise
