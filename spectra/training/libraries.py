"""Calling transformers and peft: the extra they come with, their chatter silenced, their errors in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from spectra.errors import MissingPackageError, SourceError, SpectraError


def imported(package: str, extra: str = "train", *, what: str = "loading a model") -> Any:
    """Import an optional package.

    Args:
        package: Its name.
        extra: The extra that brings it.
        what: What needs it.

    Returns:
        The module.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(f'{what} needs {package}: pip install "spectra-nn[{extra}]"') from error


@contextmanager
def in_one_line(what: str, remedy: str) -> Iterator[None]:
    """Translate whatever the libraries raise inside: their kinds of error are many, some the bare ``Exception``.

    Args:
        what: What cannot be done, and with which model.
        remedy: What to do about it.

    Yields:
        Nothing.

    Raises:
        SourceError: With the library's reason: its first line, or two if that announces the second.
        SpectraError: One of ours, as it is.
        MemoryError: As it is.
    """
    try:
        yield
    except (SpectraError, MemoryError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".:")
        if "trust_remote_code" in str(error):
            reason, remedy = "it comes with code of its own", "Read that code, then pass --trust-remote-code."
        raise SourceError(f"{what} ({reason}). {remedy}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers reports and we say ourselves, and what the libraries deprecate of each other.

    Yields:
        Nothing; afterwards the settings are as before.
    """
    logging = imported("transformers.utils.logging")
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
