"""Responses to rewrite: found in a user's rows, known by what they say, and put back into rows of the same form."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError, SpectraWarning, did_you_mean
from spectra.training.data_files import Record, read_records
from spectra.training.sdft.row_formats import Exchange, Message, RowFormat, exchanges, find_format, replaced

TURNS = ("last", "all")

_SYSTEM = ("system", "developer")
# One text for one content. What is not ASCII is escaped, since half of a surrogate pair has no bytes in UTF-8.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A response to rewrite.

    Attributes:
        row_id: Of what is asked and answered; see :func:`row_id`.
        row: Its row's place in the data, from 0.
        turn: Which of the responses of its row it is, from 0; -1 if it is the only one, at the end of the row.
        prompt: What is asked, as one text; see :func:`prompt_text`.
        messages: What it is trained on as an answer to: messages with ``role`` and ``content``, and what else they have.
        tools: What can be called there, as chat templates take them. They are no part of the prompt, nor of the name.
        response: The original, as the row has it.
        fields: The row.
    """

    row_id: str
    row: int
    turn: int
    prompt: str
    messages: tuple[Message, ...]
    response: str
    fields: Record
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def question(self) -> str:
        """The last turn of the user."""
        return next(str(message["content"]) for message in reversed(self.messages) if message["role"] == "user")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Rows, and the responses in them.

    Attributes:
        rows: As given.
        layout: Where they hold what.
        turns: ``"last"`` or ``"all"``.
        samples: In the order of the rows, and of the turns in a row. Turns that call tools are none.
    """

    rows: tuple[Record, ...]
    layout: RowFormat
    turns: str
    samples: tuple[Sample, ...]

    @property
    def format(self) -> str:
        """One of :data:`spectra.training.sdft.row_formats.FORMATS`."""
        return self.layout.name

    @property
    def num_calls(self) -> int:
        """Rows without a sample: what they are answered with are calls of tools."""
        return len(self.rows) - len({sample.row for sample in self.samples})

    def with_responses(self, responses: Mapping[str, str]) -> list[dict[str, Any]]:
        """Put other responses into the rows.

        Args:
            responses: By ``row_id``. All others stay as they are.

        Returns:
            A row per row, in their order, with all columns; only responses differ. Where what is answered is a text column,
            white space before the original stays: see :func:`spectra.training.sdft.row_formats.replaced`.

        Raises:
            InputError: A ``row_id`` that is not of this data.
        """
        changed: dict[int, list[Sample]] = defaultdict(list)
        for sample in self.samples:
            if sample.row_id in responses:
                changed[sample.row].append(sample)
        if sum(map(len, changed.values())) < len(responses):
            strange = next(iter(responses.keys() - {sample.row_id for sample in self.samples}))
            raise InputError(f"there is no response '{strange}' in this data. Give responses by the row_id of its samples.")
        return [
            self._changed(row, changed[place], responses) if place in changed else dict(row)
            for place, row in enumerate(self.rows)
        ]

    def answered(self, responses: Mapping[str, str]) -> TrainingData:
        """Put other responses into the data, as :meth:`with_responses` does, and read them there.

        Args:
            responses: By ``row_id``.

        Returns:
            The data with these; samples have the histories and names that come of them.

        Raises:
            InputError: A ``row_id`` that is not of this data, or an empty response.
        """
        return _read(self.with_responses(responses), self.layout, self.turns, "the data")

    def _changed(self, row: Record, samples: Sequence[Sample], responses: Mapping[str, str]) -> dict[str, Any]:
        found = [one for one in exchanges(row, self.layout, every=self.turns == "all") if not one.is_call]
        return replaced(row, self.layout, {found[max(one.turn, 0)].place: responses[one.row_id] for one in samples})


def read_training_data(
    data: str | os.PathLike[str] | Iterable[Record],
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
    turns: str = "last",
    limit: int | None = None,
) -> TrainingData:
    """Read rows and find the responses in them.

    The form is found from the columns: see :data:`spectra.training.sdft.row_formats.FORMATS`. Other columns are kept. A turn
    that calls tools has no sample, even if it has a text, too; one warning counts the rows that have none for this reason.

    Args:
        data: A file that :func:`spectra.training.data_files.read_records` reads, rows, or a ``datasets.Dataset``.
        prompt_column: What is asked, in rows of no known form.
        response_column: What is answered.
        turns: ``"last"``: the last turn of each row, which has to be the assistant's; ``"all"``: each turn of the assistant
            that comes after one of the user, wherever the conversation ends.
        limit: Rows taken at most, from the start.

    Returns:
        The rows that were taken, and their samples.

    Raises:
        InputError: The data cannot be read or holds no rows, the form is unknown, or rows have no response to rewrite: the
            first fault is named, and all are counted. Or every row calls tools.

    Example:
        >>> data = read_training_data([{"question": "How many is a dozen?", "answer": "12"}])
        >>> data.format, data.samples[0].prompt, data.samples[0].response
        ('columns', 'How many is a dozen?', '12')
        >>> data.with_responses({data.samples[0].row_id: "A dozen is 12."})
        [{'question': 'How many is a dozen?', 'answer': 'A dozen is 12.'}]
    """
    found = find_samples(data, prompt_column=prompt_column, response_column=response_column, turns=turns, limit=limit)
    if not found.samples:
        raise InputError(f"{_named(data)}: every answer calls a tool, and there is no text to rewrite. Give other data.")
    if found.num_calls:
        warnings.warn(
            f"{_named(data)}: the answers of {found.num_calls:,} of {len(found.rows):,} rows call tools: they stay as they "
            "are, as only texts are rewritten, trained on and compared.",
            SpectraWarning,
            stacklevel=2,
        )
    return found


def find_samples(
    data: Any,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
    turns: str = "last",
    limit: int | None = None,
) -> TrainingData:
    """Do as :func:`read_training_data`, and say nothing of rows that call tools, not even if all do.

    Args:
        data: As there, like all others.
        prompt_column: What is asked.
        response_column: What is answered.
        turns: ``"last"`` or ``"all"``.
        limit: Rows at most.

    Returns:
        The rows, and their samples, which may be none.

    Raises:
        InputError: As there, but for calls of tools.
    """
    if turns not in TURNS:
        raise InputError(f"turns: unknown word '{turns}'.{did_you_mean(turns, TURNS)} Known: {', '.join(TURNS)}.")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 row, got {limit}.")
    rows = _rows(data)[:limit]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        layout = find_format(columns, prompt_column=prompt_column, response_column=response_column)
    except InputError as error:
        raise InputError(f"{_named(data)}: {error}") from None
    return _read(rows, layout, turns, _named(data))


def row_id(asked: str | Sequence[Message], response: str, occurrence: int) -> str:
    """Name a response by what it says and answers, so that the name stays when rows are filtered, reordered or converted.

    Args:
        asked: The messages before it; a text is one message of the user.
        response: The original.
        occurrence: How many exact duplicates came before it.

    Returns:
        32 hexadecimal digits.
    """
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    return hashlib.sha256(_CANONICAL.encode([messages, response, occurrence]).encode()).hexdigest()[:32]


def prompt_text(messages: Sequence[Message]) -> str:
    """Write what is asked as one text, to be shown to a model that is to answer it.

    Args:
        messages: With ``role`` and ``content``.

    Returns:
        The text of the user, after that of the system and a blank line. If there are several turns, each begins with who
        speaks: ``"User: ..."``, ``"Assistant: ..."``. A turn without a text is shown by its calls of tools.
    """
    system = [_shown(message) for message in messages if message["role"] in _SYSTEM]
    spoken = [message for message in messages if message["role"] not in _SYSTEM]
    is_dialog = len(spoken) > 1
    turns = [f"{one['role'].capitalize()}: {_shown(one)}" if is_dialog else _shown(one) for one in spoken]
    return "\n\n".join([*system, *turns])


def _shown(message: Message) -> str:
    calls = message.get("tool_calls")
    return str(message["content"]) or (json.dumps(calls, ensure_ascii=False, default=str) if calls else "")


def _named(data: Any) -> str:
    return f"'{Path(data).expanduser()}'" if isinstance(data, str | os.PathLike) else "the data"


def _rows(data: Any) -> tuple[Record, ...]:
    if isinstance(data, str | os.PathLike):
        return tuple(read_records(Path(data).expanduser()))
    if isinstance(data, Mapping):
        raise InputError(f"the data is a mapping of {', '.join(map(repr, data))}, not rows. Give one split of it, or its rows.")
    rows = tuple(data)
    wrong = next((place for place, row in enumerate(rows) if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise InputError(f"the data, row {wrong + 1}: expected a mapping by column, got {type(rows[wrong]).__name__}.")
    if not rows:
        raise InputError("the data holds no rows. Give at least one.")
    return rows


def _read(rows: Sequence[Record], layout: RowFormat, turns: str, where: str) -> TrainingData:
    found = _found(rows, layout, where, every=turns == "all")
    return TrainingData(rows=tuple(rows), layout=layout, turns=turns, samples=tuple(_samples(rows, found, layout)))


def _found(rows: Sequence[Record], layout: RowFormat, where: str, *, every: bool) -> list[tuple[Exchange, ...]]:
    """Find the responses of every row, or say what is wrong with those that have none."""
    found, faults = [], []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(exchanges(row, layout, every=every))
        except InputError as error:
            faults.append(f"{where}, row {number}: {error}")
    if faults:
        count = f" {len(faults):,} of {len(rows):,} rows have such faults." if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}.{count} Correct them, or take them out.")
    return found


def _samples(rows: Sequence[Record], found: Iterable[tuple[Exchange, ...]], layout: RowFormat) -> Iterator[Sample]:
    seen: Counter[str] = Counter()
    for place, (row, answers) in enumerate(zip(rows, found, strict=True)):
        answered = [one for one in answers if not one.is_call]
        for turn, one in enumerate(answered):
            response = one.answer["content"]
            first = row_id(one.context, response, 0)
            is_end = one.place is None or one.place == len(row[layout.response_column]) - 1
            yield Sample(
                row_id=row_id(one.context, response, seen[first]) if seen[first] else first,
                row=place,
                turn=-1 if len(answered) == 1 and is_end else turn,
                prompt=prompt_text(one.context),
                messages=one.context,
                tools=one.tools,
                response=response,
                fields=row,
            )
            seen[first] += 1
