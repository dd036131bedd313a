"""The command line: ``python -m benchmarks [NAME ...] [--repeats N] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import (
    cache,
    comparison,
    dcs_step,
    diagnostics_overhead,
    distill_throughput,
    fisher_pass,
    fit,
    gpu_spectra,
    guided_dropout,
    imports,
    large_checkpoints,
    limit,
    machine,
    meta_peft_step,
    tempbalance_update,
    toolbox,
    truncated,
    whole_model,
)
from benchmarks.answers import AnswersDifferError
from benchmarks.measure import ChildError, use_few_cores
from benchmarks.table import Comparison, print_table

Found = tuple[list[Comparison], list[str]]


@dataclass(frozen=True)
class Order:
    """What was asked for, and a temporary folder."""

    repeats: int
    folder: Path
    model: Path
    powerlaw15: str | None
    device: str
    shapes: str


# Rows of the table, and remarks below it.
BENCHMARKS: dict[str, Callable[[Order], Found]] = {
    "imports": lambda _: ([], imports.run()),
    "fit": lambda order: (fit.run(order.repeats), []),
    "limit": lambda order: limit.run(order.repeats, order.folder),
    "whole": lambda order: (whole_model.run(order.repeats, order.folder), []),
    "compare": lambda order: (comparison.run(order.repeats), []),
    "cache": lambda order: (cache.run(order.repeats, order.folder), []),
    "toolbox": lambda order: (toolbox.run(order.repeats), []),
    "fisher": lambda order: (fisher_pass.run(order.repeats), []),
    "dropout": lambda order: guided_dropout.run(order.repeats),
    "dcs": lambda order: dcs_step.run(order.repeats),
    "meta-peft": lambda order: meta_peft_step.run(order.repeats),
    "tempbalance": lambda order: (tempbalance_update.run(order.repeats), []),
    "diagnostics": lambda order: diagnostics_overhead.run(order.repeats),
    "distill": lambda order: (distill_throughput.run(order.repeats, order.model), []),
    "truncated": lambda order: (truncated.run(order.repeats, order.powerlaw15), []),
    "gpu": lambda order: gpu_spectra.run(order.repeats, order.device, order.shapes),
    "large": lambda order: large_checkpoints.run(order.folder, layers=1),
    "large-whole": lambda order: large_checkpoints.run(order.folder, layers=None),
}
NAMES = tuple(BENCHMARKS)
# Of the others the first takes 25 minutes, one needs a model, one installs an older powerlaw where there is none, one needs a
# GPU, and the last two take minutes and tens of minutes.
DEFAULT_NAMES = NAMES[: NAMES.index("diagnostics")]


def main() -> int:
    """Run what was asked for and print it.

    Returns:
        0, or 1 if answers differ or a measured process failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and memory beside the peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all before diagnostics")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds; medians are compared (default: 5)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="for distill: folder of a causal language model")
    parser.add_argument("--powerlaw15", metavar="PYTHON", help="interpreter with powerlaw 1.5; default: one of its own")
    parser.add_argument("--device", default=gpu_spectra.DEVICE, metavar="D", help="for gpu: of torch's (default: %(default)s)")
    parser.add_argument("--shapes", default=gpu_spectra.SHAPES, metavar="KxMxN,...", help="for gpu (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all samples")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}. Known: {', '.join(NAMES)}.")
    if "distill" in arguments.names and arguments.model is None:
        parser.error("distill: say which model writes: --model DIR.")
    if arguments.repeats < 1:
        parser.error(f"--repeats: expected at least 1, got {arguments.repeats}.")

    use_few_cores()
    try:
        names = arguments.names or list(DEFAULT_NAMES)
        return _run(names, arguments)
    except (AnswersDifferError, ChildError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def _run(names: list[str], arguments: argparse.Namespace) -> int:
    facts = machine.describe()
    rows: list[Comparison] = []
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        chosen = (arguments.model, arguments.powerlaw15, arguments.device, arguments.shapes)
        order = Order(arguments.repeats, Path(folder), *chosen)
        for name in (name for name in NAMES if name in names):
            more_rows, more_lines = BENCHMARKS[name](order)
            rows += more_rows
            lines += more_lines
    if rows:
        print_table(rows)
    for line in [*lines, machine.in_words(facts)]:
        print(line)
    if arguments.json is not None:
        content = {"machine": facts, "repeats": order.repeats, "rows": [row.to_dict() for row in rows], "notes": lines}
        arguments.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
