"""WeightWatcher's table of a torch file, in a process of its own: importing it changes logging and warning filters."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_MARK = "TABLE "  # WeightWatcher prints lines of its own
ROOT = Path(__file__).parents[2]


def weightwatcher_table(file: Path) -> list[dict[str, Any]]:
    """Ask WeightWatcher, with its defaults.

    Args:
        file: A torch file with a state dict under ``state_dict``.

    Returns:
        Its rows.
    """
    with tempfile.TemporaryDirectory() as folder:  # it may write where it runs
        # The folder of the checkout, since the process runs elsewhere.
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {__name__} import answer; answer({str(file.resolve())!r})"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    [line] = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    return json.loads(line.removeprefix(_MARK))


def answer(file: str) -> None:
    """Print the table, marked."""
    import warnings

    warnings.simplefilter("ignore")
    import torch
    import weightwatcher

    weights = torch.load(file, weights_only=True, map_location="cpu")["state_dict"]
    table = weightwatcher.WeightWatcher(model=weights).analyze()
    sys.stdout.write(_MARK + table.to_json(orient="records", double_precision=15) + "\n")
