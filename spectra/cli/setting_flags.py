"""Command-line flags from the settings' own definitions, in groups: one flag per setting, under the same name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from spectra.results.settings import AnalysisSettings

_TYPES = {"int": int, "float": float, "int | None": int, "float | None": float, "int | float | None": float}


class GroupedCommand(click.Command):
    """A command whose help lists its options under the headings of ``option_groups``, the others first."""

    option_groups: dict[str, str] = {}  # noqa: RUF012 - set once, when the options are made

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section per group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(self.option_groups.get(parameter.name or "", "Options"), []).append(record)
        for heading in ["Options", *(name for name in sections if name != "Options")]:
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def with_setting_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for every setting a user may change.

    Args:
        command: Of :class:`GroupedCommand`, before click makes it one.

    Returns:
        The same, decorated.
    """
    for field in reversed([field for field in dataclasses.fields(AnalysisSettings) if field.metadata["group"]]):
        GroupedCommand.option_groups[field.name] = field.metadata["group"]
        command = _flag(field)(command)
    return command


def _flag(field: dataclasses.Field[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name, meaning = f"--{'kind' if field.name == 'kinds' else field.name.replace('_', '-')}", field.metadata["meaning"]
    text = meaning[0].upper() + meaning[1:] + "."
    choices = field.metadata["choices"]
    if field.type == "bool":
        return click.option(name, field.name, is_flag=True, default=None, help=text)
    if str(field.type).startswith("tuple"):
        return click.option(
            name, field.name, multiple=True, metavar=field.metadata["metavar"], help=text, callback=_none_if_not_given
        )
    if field.default is not None:
        text += f"  [default: {field.default}]"
    metavar = "|".join(choices) or field.metadata["metavar"]
    return click.option(name, field.name, type=_TYPES.get(str(field.type), str), metavar=metavar, help=text)


def _none_if_not_given(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """Leave a profile's own words in place; click gives an empty tuple for a repeatable option that is not there."""
    return words or None
