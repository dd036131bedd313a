"""The flags that all commands share which analyse whole models: where to work, where results go, and how much is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spectra.errors import InputError

_WHERE = (
    click.option(
        "--profile", default="default", metavar="NAME", show_default=True, help="default, weightwatcher or tempbalance."
    ),
    click.option(
        "--device",
        default="auto",
        metavar="D",
        show_default=True,
        help="cpu, cuda (every GPU), cuda:1, or several: cuda:0,cuda:1; auto: cpu for files.",
    ),
    click.option("--workers", default="auto", metavar="N", show_default=True, help="Worker threads; on GPUs, for each."),
    click.option("--max-memory", metavar="SIZE", help="Of all layers in flight, such as 8G.  [default: 80 % of what is free]"),
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Result folder; the same command continues a run.",
    ),
    click.option("--force", is_flag=True, help="Write into DIR whatever it holds."),
)
_SAID = (
    click.option("--quiet", "-q", is_flag=True, help="No progress, no hints."),
    click.option("--no-color", is_flag=True, help="No colour; NO_COLOR does the same."),
    click.option("--debug", is_flag=True, help="Show the traceback of an internal error."),
)


def with_run_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of where to work and where results go.

    Args:
        command: Before click makes it one.

    Returns:
        The same, decorated.
    """
    return _with(_WHERE, command)


def with_speech_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of how much is said.

    Args:
        command: Before click makes it one.

    Returns:
        The same, decorated.
    """
    return _with(_SAID, command)


def number_of_workers(workers: str) -> Any:
    """Read the flag of workers.

    Args:
        workers: As typed.

    Returns:
        ``"auto"`` or a number; that it is large enough is checked where it is used.

    Raises:
        InputError: Anything else.
    """
    if workers == "auto":
        return workers
    if not workers.isdecimal():
        raise InputError(f"--workers: expected 'auto' or a number of at least 1, got '{workers}'.")
    return int(workers)


def check_forms(*, as_json: bool, as_csv: bool, dry_run: bool) -> None:
    """Refuse two forms of an answer at once.

    Args:
        as_json: Whether JSON is asked for.
        as_csv: Whether CSV is.
        dry_run: Whether only the work is listed.

    Raises:
        InputError: They exclude each other.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other. Choose one, or use --output DIR, which writes both.")
    if dry_run and as_csv:
        raise InputError("--dry-run has no --csv. Choose --json, or leave both out for a table.")


def _with(flags: tuple[Callable[..., Any], ...], command: Callable[..., Any]) -> Callable[..., Any]:
    for flag in reversed(flags):
        command = flag(command)
    return command
