"""Forms of training data: in which columns a row holds what is asked and what is answered.

A row is a text that is asked and a text that is answered, or a conversation. Either way it is read as messages with ``role``
and ``content``, so that what is done with a response does not depend on the file it came from:

==================  ========================================  ===================================
form                columns                                   read as
==================  ========================================  ===================================
prompt-completion   ``prompt``, ``completion``: texts         one message of the user, the answer
prompt-completion   the same columns: lists of messages       their messages in a row
messages            ``messages`` or ``conversations``         its messages; ``from`` and ``value`` are read, too
instruction         ``instruction``, ``input``, ``output``    instruction, blank line, input; the answer
columns             those that the user names                 as prompt and completion
==================  ========================================  ===================================

A conversation may have the tools that can be called in it beside it, in the column ``tools``: a list, or its JSON, as TRL takes
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.errors import InputError, did_you_mean

# {"role": ..., "content": text} and whatever else the row has for it.
Message = Mapping[str, Any]

FORMATS: Mapping[str, str] = {
    "prompt-completion": "prompt, completion (texts or lists of messages)",
    "messages": "messages or conversations (lists of role and content, or of from and value)",
    "instruction": "instruction, output (also input); or instruction, response (also context)",
    "columns": "question, answer; or those named by prompt_column and response_column",
}

# Of ShareGPT's conversations.
_ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class RowFormat:
    """Where rows hold what is asked and what is answered.

    Attributes:
        name: One of :data:`FORMATS`.
        prompt_columns: What is asked; several texts are joined by blank lines. Empty where one column holds both.
        response_column: What is answered.
    """

    name: str
    prompt_columns: tuple[str, ...]
    response_column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        return (*self.prompt_columns, self.response_column)


@dataclass(frozen=True)
class Exchange:
    """An answer with what came before it.

    Attributes:
        context: The messages before it.
        answer: A message of the assistant with a text, or with calls of tools.
        place: Where it stands in the list of the response column; ``None`` if the column holds a text.
        tools: What can be called.
    """

    context: tuple[Message, ...]
    answer: Message
    place: int | None
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_call(self) -> bool:
        """Whether it calls tools: another text beside the calls would not be what they came with."""
        return bool(self.answer.get("tool_calls"))


_KNOWN = (
    RowFormat("prompt-completion", ("prompt",), "completion"),
    RowFormat("messages", (), "messages"),
    RowFormat("messages", (), "conversations"),
    RowFormat("instruction", ("instruction", "input"), "output"),
    RowFormat("instruction", ("instruction", "context"), "response"),  # as Dolly is published
    RowFormat("columns", ("question",), "answer"),
)


def find_format(columns: Sequence[str], *, prompt_column: str | None = None, response_column: str | None = None) -> RowFormat:
    """Find the form of rows by their columns.

    Args:
        columns: Of the rows.
        prompt_column: What is asked, in rows of no known form.
        response_column: What is answered.

    Returns:
        The form: that of the two columns if they are named, otherwise the only one that has its columns.

    Raises:
        InputError: One column is named without the other, or is not there; or no form fits, or several do.
    """
    if prompt_column is not None or response_column is not None:
        return _named_format(columns, prompt_column, response_column)
    fitting = [form for form in _KNOWN if {*form.prompt_columns[:1], form.response_column} <= set(columns)]
    if len(fitting) == 1:
        form = fitting[0]
        return RowFormat(form.name, tuple(name for name in form.prompt_columns if name in columns), form.response_column)
    found = " and ".join(f"{form.name} ({', '.join(form.columns)})" for form in fitting)
    raise InputError(
        f"the columns {_quoted(columns)} fit {found or 'no form of training data that is known'}. Name the two that hold what "
        f"is asked and answered (prompt_column, response_column). Known: {'; '.join(FORMATS.values())}."
    )


def exchanges(row: Mapping[str, Any], form: RowFormat, *, every: bool) -> tuple[Exchange, ...]:
    """Find the answers of a row.

    Args:
        row: By column.
        form: Where it holds what.
        every: All turns of the assistant that come after one of the user and are not empty; otherwise the last turn, which has
            to be one.

    Returns:
        At least one.

    Raises:
        InputError: A value is missing, empty or no text, nothing is asked, no turn is the assistant's or the last one is not,
            or the tools are none. The message names the column, not the row.
    """
    value = row.get(form.response_column)
    if isinstance(value, list):
        before = [message for column in form.prompt_columns for message in _messages(row.get(column), column)]
        after, tools = _messages(value, form.response_column), _tools(row.get("tools"))
        return tuple(_answers(before, after, tools, form.response_column, every=every))
    if value is not None and not form.prompt_columns:
        raise InputError(f"column '{form.response_column}' holds {_kind(value)}, expected a list of messages")
    answer = {"role": "assistant", "content": _text(row, form.response_column)}
    return (Exchange(({"role": "user", "content": _asked(row, form)},), answer, None),)


def replaced(row: Mapping[str, Any], form: RowFormat, answers: Mapping[int | None, str]) -> dict[str, Any]:
    """Put other answers into a row.

    Args:
        row: By column; it is not changed.
        form: Where it holds what.
        answers: By the place of an :class:`Exchange`.

    Returns:
        The row with the same columns in the same order. White space at the start of a text that was answered stays, since such
        texts are trained on right behind the prompt, with nothing in between.
    """
    before = row[form.response_column]
    if isinstance(before, str):
        return {**row, form.response_column: _after_same_space(before, answers[None])}
    after = [_reworded(message, answers[place]) if place in answers else message for place, message in enumerate(before)]
    return {**row, form.response_column: after}


def _named_format(columns: Sequence[str], prompt_column: str | None, response_column: str | None) -> RowFormat:
    if prompt_column is None or response_column is None:
        missing, given = ("prompt_column", response_column) if prompt_column is None else ("response_column", prompt_column)
        raise InputError(f"{missing}: name this column, too; only '{given}' is named. Columns: {_quoted(columns)}.")
    unknown = next((name for name in (prompt_column, response_column) if name not in columns), None)
    if unknown is not None:
        raise InputError(f"there is no column '{unknown}'.{did_you_mean(unknown, columns)} Columns: {_quoted(columns)}.")
    if prompt_column == response_column:
        raise InputError(f"'{prompt_column}' is named both as prompt_column and response_column. Name two columns.")
    is_usual = (prompt_column, response_column) == ("prompt", "completion")
    return RowFormat("prompt-completion" if is_usual else "columns", (prompt_column,), response_column)


def _quoted(columns: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in columns)


def _kind(value: object) -> str:
    return repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None:
        raise InputError(f"column '{column}' has no value")
    if not isinstance(value, str):
        raise InputError(f"column '{column}' holds {_kind(value)}, expected a text")
    if _is_blank(value):
        raise InputError(f"column '{column}' is empty")
    return value


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _asked(row: Mapping[str, Any], form: RowFormat) -> str:
    """Return the texts that are asked; all but the first may be missing."""
    first, *others = form.prompt_columns
    further = [_text(row, column) for column in others if row.get(column) is not None and not _is_blank(row[column])]
    return "\n\n".join([_text(row, first), *further])


def _messages(value: object, column: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        found = "is empty" if value == [] else "has no value" if value is None else f"holds {_kind(value)}"
        raise InputError(f"column '{column}' {found}, expected a list of messages")
    return [_message(given, f"column '{column}', message {number}") for number, given in enumerate(value, start=1)]


def _message(given: Any, where: str) -> Message:
    """Read a message; keys without a value are as those that are not there: ``datasets`` fills them in."""
    values = {key: value for key, value in given.items() if value is not None} if isinstance(given, Mapping) else {}
    role = values.pop("role", None) or values.pop("from", None)
    if not isinstance(role, str):
        raise InputError(f"{where} has no role, expected a mapping with 'role' and 'content' (or 'from' and 'value')")
    content = values.pop("content" if "content" in values else "value", "")
    if not isinstance(content, str):
        raise InputError(f"{where} holds {_kind(content)}, expected a text")
    return {"role": _ROLES.get(role, role), "content": content, **values}


def _tools(given: object) -> tuple[Mapping[str, Any], ...]:
    if given is None or _is_blank(given):
        return ()
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise InputError(f"column 'tools' is no JSON ({error}), expected a list of tools") from None
    if not isinstance(given, list | tuple):
        raise InputError(f"column 'tools' holds {_kind(given)}, expected a list of tools, or its JSON")
    for number, tool in enumerate(given, start=1):
        if not isinstance(tool, Mapping):
            raise InputError(f"column 'tools', tool {number} holds {_kind(tool)}, expected a mapping, such as its JSON schema")
    return tuple(given)


def _answers(
    before: list[Message], after: list[Message], tools: tuple[Mapping[str, Any], ...], column: str, *, every: bool
) -> list[Exchange]:
    places = [place for place, message in enumerate(after) if message["role"] == "assistant"]
    if not every and places[-1:] != [len(after) - 1]:
        raise InputError(f"column '{column}' ends with a turn of '{after[-1]['role']}', not of the assistant")
    if not places:
        raise InputError(f"column '{column}' has no turn of the assistant")
    chosen = places if every else places[-1:]
    found = [Exchange((*before, *after[:place]), after[place], place, tools) for place in chosen]
    faults = [_fault(one) for one in found]
    if all(faults):
        raise InputError(f"column '{column}', message {places[-1] + 1}: {faults[-1]}")
    return [one for one, fault in zip(found, faults, strict=True) if fault is None]


def _fault(one: Exchange) -> str | None:
    if _is_blank(one.answer["content"]) and not one.is_call:
        return "the assistant's turn has no text"
    is_asked = any(message["role"] == "user" and not _is_blank(message["content"]) for message in one.context)
    return None if is_asked else "nothing is asked before the assistant's turn"


def _after_same_space(before: str, text: str) -> str:
    space = before[: len(before) - len(before.lstrip())]
    return text if text[:1].isspace() else space + text


def _reworded(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {**message, "value" if message.get("content") is None else "content": text}
