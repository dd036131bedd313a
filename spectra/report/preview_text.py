"""What a recipe would do, on the terminal: numbers first, then what would be set by layer, and what would be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from spectra.results.words import counted

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from spectra.training.recipe.preview_record import MemoryEstimate, PlannedBalance, Preview

_RATES = {"learning_rate": "learning rate", "weight_decay": "weight decay"}
_COLUMN_WIDTH = 15  # of a number with its heading
_NAMED = 4  # of many kinds of modules


class _Row(NamedTuple):
    name: str
    value: float  # of many rows those with the highest and the lowest are shown
    cells: tuple[str, ...]


def preview_text(preview: Preview, *, width: int, max_rows: int = 20) -> Group:
    """Write a preview.

    Args:
        preview: Any.
        width: Columns of the terminal; longer names are cut at their start.
        max_rows: Most rows of a table. Of more those with the highest and the lowest numbers are shown, and a row between
            counts the others.

    Returns:
        What a rich console prints.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [_headline(preview), "", _pairs(_facts(preview)), "", _groups(preview)]
    for heading, columns, rows in _by_name(preview):
        parts += ["", heading, "", _table(columns, rows, width, max_rows)]
    if _is_uniform(preview.adapter_ranks):
        parts += ["", _uniform_ranks(preview.adapter_ranks)]
    if preview.first:
        parts += ["", "Before training:", *(Padding(sentence, (0, 0, 0, 2)) for sentence in preview.first)]
    parts += ["", f"Would write to '{preview.output}':", Padding(_pairs(preview.files), (0, 0, 0, 2)), ""]
    parts += ["Not known before: how long it takes, and the memory that activations need.", *map(_note, preview.notes)]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))  # a text: brackets are no markup


def _headline(preview: Preview) -> str:
    how = {"plain": "", "dcs": " by DCS", "sdft": " by SDFT", "meta_peft": " by meta-PEFT"}[preview.method]
    what = {"none": "all weights", "lora": "LoRA"}[preview.adapter]
    return f"Would fine-tune '{preview.model}'{how}, {what}; nothing is trained or written now"


def _facts(preview: Preview) -> Iterator[tuple[str, str]]:
    examples = [f"{preview.num_train:,} to train on"]
    examples += [f"{preview.num_eval:,} to evaluate on"] if preview.num_eval else []
    examples += [f"{preview.num_test:,} to test on"] if preview.num_test else []
    yield "examples", ", ".join(examples)
    each = f"{counted(preview.examples_per_step, 'example')} each"
    epochs = f"{counted(preview.num_epochs, 'epoch')} of {preview.steps_per_epoch:,}"
    yield "steps", f"{preview.num_steps:,} ({epochs}), {each}"
    is_whole = preview.num_trained == preview.num_parameters
    share = f"{preview.num_trained:,} of them, {preview.num_trained / preview.num_parameters:.2%}"
    yield "parameters", f"{preview.num_parameters:,}; trained: {'all' if is_whole else share}"
    yield "memory", _memory(preview.memory)


def _memory(memory: MemoryEstimate) -> str:
    from rich.filesize import decimal

    state = "unknown" if memory.optimizer_state is None else decimal(memory.optimizer_state)
    total = f"{'at least ' if memory.optimizer_state is None else ''}{decimal(memory.total)}"
    adapters = f", of which adapters {decimal(memory.adapters)}" if memory.adapters else ""
    parts = f"weights {decimal(memory.weights)}{adapters}; gradients {decimal(memory.gradients)}; optimizer {state}"
    return f"{total} without activations ({parts})"


def _groups(preview: Preview) -> Table:
    columns = ("learning rate", "weight decay", "parameters")
    rows = [
        _Row(
            counted(group.num_groups, "parameter group"),
            0.0,
            (f"{group.learning_rate:.4g}", f"{group.weight_decay:.4g}", f"{group.num_parameters:,}"),
        )
        for group in preview.groups
    ]
    return _table(("optimizer", *columns), rows, width=80, max_rows=len(rows))


def _by_name(preview: Preview) -> Iterator[tuple[str, tuple[str, ...], list[_Row]]]:
    """Yield heading, columns and rows of what is set by unit, site or module."""
    for balance in preview.balances:
        yield (
            _of_balance(balance),
            ("unit", "layers", balance.metric, "multiplier", _RATES[balance.target]),
            _units(balance, _base_rate(preview, balance.target)),
        )
    if preview.dropout:
        rows = [_Row(one.site, one.drop_prob, (f"{one.before:.4g}", f"{one.drop_prob:.4g}")) for one in preview.dropout]
        yield "Drop probabilities:", ("site", "now", "in training"), rows
    if preview.adapter_ranks and not _is_uniform(preview.adapter_ranks):
        yield "Adapter ranks:", ("module", "rank"), [_Row(name, r, (str(r),)) for name, r in preview.adapter_ranks.items()]


def _of_balance(balance: PlannedBalance) -> str:
    what = f"Multipliers of the {_RATES[balance.target]} ({balance.method})"
    if balance.first_step:
        return f"{what}, as they would be now; they are measured first at step {balance.first_step:,}:"
    return f"{what} to begin with:"


def _base_rate(preview: Preview, target: str) -> float:
    """Return what multipliers are of: a decay of 0 is of biases and normalizations."""
    return max(group.learning_rate if target == "learning_rate" else group.weight_decay for group in preview.groups)


def _units(balance: PlannedBalance, base: float) -> list[_Row]:
    return [
        _Row(
            unit.name,
            unit.multiplier,
            (
                str(unit.num_layers),
                "–" if unit.score is None else f"{unit.score:.4g}",
                f"{unit.multiplier:.4g}",
                f"{unit.multiplier * base:.4g}",
            ),
        )
        for unit in balance.units
    ]


def _is_uniform(ranks: Mapping[str, int]) -> bool:
    return len(set(ranks.values())) == 1


def _uniform_ranks(ranks: Mapping[str, int]) -> str:
    kinds = list(dict.fromkeys(module.rpartition(".")[2] for module in ranks))
    more = f", and {len(kinds) - _NAMED} more" if len(kinds) > _NAMED else ""
    rank = next(iter(ranks.values()))
    return f"Adapters of rank {rank} at {counted(len(ranks), 'module')} ({', '.join(kinds[:_NAMED])}{more})"


def _table(columns: Sequence[str], rows: Sequence[_Row], width: int, max_rows: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(columns[0], no_wrap=True, overflow="ellipsis")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    name_width = max(16, width - _COLUMN_WIDTH * (len(columns) - 1))
    for row in _shown(rows, max_rows):
        if row is None:
            table.add_row(f"… {len(rows) - max_rows + 1} more")
            continue
        name = row.name if len(row.name) <= name_width else "…" + row.name[1 - name_width :]
        table.add_row(Text(name), *row.cells)
    return table


def _shown(rows: Sequence[_Row], max_rows: int) -> list[_Row | None]:
    if len(rows) <= max_rows:
        return list(rows)
    ordered = sorted(rows, key=lambda row: row.value, reverse=True)
    top = max_rows // 2
    return [*ordered[:top], None, *ordered[len(ordered) - (max_rows - 1 - top) :]]


def _pairs(pairs: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    return table


def _note(note: str) -> str:
    return f"Note: {note.removesuffix('.')}."
