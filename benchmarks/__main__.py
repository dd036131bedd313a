"""The command line: ``python -m benchmarks [NAME ...] [--repeats N] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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

NAMES = (
    "imports",
    "fit",
    "limit",
    "whole",
    "compare",
    "cache",
    "toolbox",
    "fisher",
    "dropout",
    "dcs",
    "meta-peft",
    "tempbalance",
    "diagnostics",
    "distill",
    "truncated",
    "gpu",
    "large",
    "large-whole",
)
# Of these one takes minutes, one needs a model, one installs an older powerlaw where there is none, one needs a GPU, and the
# last two take minutes and tens of minutes.
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
    repeats, file, model = arguments.repeats, arguments.json, arguments.model
    facts = machine.describe()
    rows: list[Comparison] = []
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        if "imports" in names:
            lines += imports.run()
        if "fit" in names:
            rows += fit.run(repeats)
        if "limit" in names:
            limit_rows, limit_lines = limit.run(repeats, Path(folder))
            rows += limit_rows
            lines += limit_lines
        if "whole" in names:
            rows += whole_model.run(repeats, Path(folder))
        if "compare" in names:
            rows += comparison.run(repeats)
        if "cache" in names:
            rows += cache.run(repeats, Path(folder))
        if "toolbox" in names:
            rows += toolbox.run(repeats)
        if "fisher" in names:
            rows += fisher_pass.run(repeats)
        if "dropout" in names:
            dropout_rows, dropout_lines = guided_dropout.run(repeats)
            rows += dropout_rows
            lines += dropout_lines
        if "dcs" in names:
            dcs_rows, dcs_lines = dcs_step.run(repeats)
            rows += dcs_rows
            lines += dcs_lines
        if "meta-peft" in names:
            meta_rows, meta_lines = meta_peft_step.run(repeats)
            rows += meta_rows
            lines += meta_lines
        if "tempbalance" in names:
            rows += tempbalance_update.run(repeats)
        if "diagnostics" in names:
            run_rows, run_lines = diagnostics_overhead.run(repeats)
            rows += run_rows
            lines += run_lines
        if "distill" in names and model is not None:
            rows += distill_throughput.run(repeats, model)
        for name, layers in (("large", 1), ("large-whole", None)):
            if name in names:
                large_rows, large_lines = large_checkpoints.run(Path(folder), layers=layers)
                rows += large_rows
                lines += large_lines
        if "truncated" in names:
            rows += truncated.run(repeats, arguments.powerlaw15)
        if "gpu" in names:
            gpu_rows, gpu_lines = gpu_spectra.run(repeats, arguments.device, arguments.shapes)
            rows += gpu_rows
            lines += gpu_lines
    if rows:
        print_table(rows)
    for line in [*lines, machine.in_words(facts)]:
        print(line)
    if file is not None:
        content = {"machine": facts, "repeats": repeats, "rows": [row.to_dict() for row in rows], "notes": lines}
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
