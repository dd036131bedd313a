"""What the library says, in the words of the command line: ``max_length`` is ``--max-length`` to whoever typed a command."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from spectra.errors import SpectraWarning


def flags_of(context: click.Context) -> dict[str, str]:
    """Return the flags that a message may speak of.

    Args:
        context: Of the command that runs.

    Returns:
        By the names they have in Python: the command's own, and those of its group, since results of one command give hints for
        another. What the command takes as an argument has none.
    """
    group = context.parent.command if context.parent else None
    siblings = group.commands.values() if isinstance(group, click.Group) else ()
    parameters = [parameter for command in (*siblings, context.command) for parameter in command.params]
    flags = {str(one.name): max(one.opts, key=len) for one in parameters if isinstance(one, click.Option)}
    arguments = {one.name for one in context.command.params if isinstance(one, click.Argument)}
    return {name: flag for name, flag in flags.items() if name not in arguments}


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """Name flags as they are typed.

    Args:
        message: Of the library. Names within quotes, dots or paths are none of options.
        flags: As of :func:`flags_of`. Those of one word, which a sentence may hold, too, are replaced at the start only, before
            a colon.

    Returns:
        The message; where it has the flag in brackets after the name, once.
    """
    for name, flag in flags.items():
        if "_" in name:
            message = re.sub(rf"(?<![\w.'/`-]){name}(?: \({flag}\))?(?![\w/]|\.\w)", flag, message)
    message = re.sub(r"^(?:\w+Config: )?(?:\w+: (?=--))?", "", message)  # whose options they are in Python
    return re.sub(r"^(\w+)(?=: )", lambda found: flags.get(found[1], found[1]), message)


@contextmanager
def warnings_in_flags(flags: Mapping[str, str]) -> Iterator[None]:
    """Show Spectra's warnings in these words meanwhile, by whatever shows warnings.

    Args:
        flags: As of :func:`flags_of`.

    Yields:
        Nothing.
    """
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        is_ours = issubclass(category, SpectraWarning)
        shown(in_flags(str(message), flags) if is_ours else message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
