"""The shards of an analysis → its result, without the model: equal to that of one run but for times and machines."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectra.diagnose.assembly import Diagnosed, assembled
from spectra.errors import InputError, ResultsError
from spectra.results.report import Report
from spectra.results.shards import SavedShard, numbers, saved_shards
from spectra.results.store import SHARDS, Run, difference, load

# Of the environment: what is a number of layers or tasks of a shard, and adds up; some shards may not have it.
_COUNTS = ("layers_from_cache", "layers_computed", "repeated_tasks")


def merge(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    copies: bool = False,
) -> Report:
    """Merge the shards of an analysis into the result that one run would have given.

    The rows, the spectra bit by bit and the files are those of the whole run; ``environment`` tells of all shards. The shards
    stay where they are. The model is not read.

    Args:
        folders: One or several that shards of the analysis were written to (``output``).
        output: Result folder. Default: the folder, if there is one; its shards stay beside the result.
        force: Replace another result there.
        copies: Allow shards of copies of the files: equal in names, shapes and the rows that were sampled, with other times of
            modification. Without, they are refused, since they may be files that changed in between.

    Returns:
        The report. If ``output`` holds the merged result already, it is returned.

    Raises:
        InputError: Several folders and no ``output``.
        ResultsError: Shards that are missing, unfinished, damaged or of different analyses; ``output`` holds something else, or
            cannot be written.
    """
    given = [Path(f) for f in ([folders] if isinstance(folders, str | os.PathLike) else folders)]
    if not given or (len(given) > 1 and output is None):
        raise InputError(f"merge: expected one folder, or an output for {len(given)} of them. Name one: output (--output OUT).")
    shards = [shard for folder in given for shard in _shards_in(folder)]
    _check_agreement(shards, copies=copies)
    chosen = _whole_division(shards)
    run = Run(output if output is not None else given[0], chosen[0].record.header, force=force, among=(SHARDS,))
    try:
        if run.complete is None:
            report = _joined(chosen)
            run.finish(report)
            return report
    finally:
        run.close()
    return run.complete


def _shards_in(folder: Path) -> list[SavedShard]:
    if found := saved_shards(folder):
        return found
    what = f"'{folder}' holds no shards" if folder.expanduser().exists() else f"there is no folder '{folder}'"
    raise ResultsError(f"{what}. Make them: spectra analyze MODEL --output DIR --shard 0/8, and so on.")


def _check_agreement(shards: Sequence[SavedShard], *, copies: bool) -> None:
    first = shards[0]
    for other in shards[1:]:
        ours, theirs = first.record.header, other.record.header
        if copies:
            theirs = {**theirs, "revision": ours["revision"]}
        if reason := difference(ours, theirs):
            hint = " If they are copies, say so with copies=True (--copies)." if _is_revision_only(ours, theirs) else ""
            raise ResultsError(
                f"'{first.folder}' and '{other.folder}' are shards of different analyses: {reason}.{hint} Merge those of one, "
                "and delete or move the others."
            )


def _is_revision_only(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return not difference(ours, {**theirs, "revision": ours["revision"]})


def _whole_division(shards: Sequence[SavedShard]) -> list[SavedShard]:
    """Choose the shards to merge, in order: those of a division of which all are finished."""
    divisions: dict[int, dict[int, SavedShard]] = defaultdict(dict)
    for shard in shards:
        if shard.is_finished:
            divisions[shard.record.count].setdefault(shard.record.index, shard)
    for count in sorted(divisions):
        if len(divisions[count]) == count:
            return [divisions[count][index] for index in range(count)]
    # The division that is nearest to its end is the one that was meant.
    count = max({shard.record.count for shard in shards}, key=lambda count: len(divisions[count]) / count)
    raise ResultsError(_unfinished(shards, count, set(divisions[count])))


def _unfinished(shards: Sequence[SavedShard], count: int, finished: set[int]) -> str:
    begun = {shard.record.index for shard in shards if shard.record.count == count} - finished
    missing = set(range(count)) - finished - begun
    states = [("unfinished", begun), ("not begun", missing)]
    words = "; ".join(f"{state}: {numbers(which)}" for state, which in states if which)
    command = f"spectra analyze '{shards[0].record.model.location}' ... --shard {min(begun | missing)}/{count}"
    return (
        f"'{shards[0].folder.parent.parent}' has {len(finished)} of {count} shards ({words}). Run the same command for each of "
        f"them ({command}), then merge again."
    )


def _joined(shards: Sequence[SavedShard]) -> Report:
    first, num_layers = shards[0].record, shards[0].record.num_layers
    rows: dict[str, Diagnosed] = {}
    places: dict[str, int] = {}
    reports = [load(shard.folder) for shard in shards]
    for shard, report in zip(shards, reports, strict=True):
        spectra = dict(report.spectra.items())
        rows |= {row.matrix_name: (row, spectra.get(row.matrix_name)) for row in report.layers}
        places |= shard.record.places
    if sorted(places.values()) != list(range(num_layers)) or rows.keys() != places.keys():
        raise ResultsError(
            f"the shards in '{shards[0].folder.parent}' have {len(rows)} of {num_layers} layers, or some of them twice: they "
            "divide the model in different ways, or are damaged. Run all of them again with --force."
        )
    ordered = {name: rows[name] for name in sorted(places, key=places.__getitem__)}
    environment = _environment([report.environment for report in reports])
    return assembled(ordered, reports[0].skipped, reports[0].settings, first.model, environment)


def _environment(environments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell of all machines: what they agree in, or what each said of it; when the first began, and sums of times and counts."""
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(name for environment in environments for name in environment):
        values = [environment[name] for environment in environments if name in environment]
        said = dict.fromkeys(map(str, values))
        joined[name] = values[0] if len(said) == 1 else ", ".join(said)
    joined["started_at"] = min(environment["started_at"] for environment in environments)
    joined["seconds"] = round(sum(environment["seconds"] for environment in environments), 3)
    counts = [name for name in _COUNTS if name in joined]
    joined |= {name: sum(environment.get(name, 0) for environment in environments) for name in counts}
    return joined | {"shards": len(environments)}
