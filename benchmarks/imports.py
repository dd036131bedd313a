"""``imports``: which packages ``spectra analyze FOLDER`` of safetensors on a CPU leaves alone.

Each of them costs more than the whole analysis of a small model: torch a second and 200 MB.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from benchmarks import models
from benchmarks.measure import run_module, say

_HEAVY = ("torch", "transformers", "matplotlib", "scipy", "pandas")


def run() -> list[str]:
    """Look at what a command imported.

    Returns:
        The finding, in words.
    """
    say("imports: looking")
    found = run_module("benchmarks.imports", str(models.demo_folder())).output
    if found["code"] != 0:
        return [f"imports: MISSED, the command failed with exit code {found['code']}"]
    if found["imported"]:
        return [f"imports: MISSED, spectra analyze imports {', '.join(found['imported'])}"]
    return [f"imports: met, spectra analyze leaves {', '.join(_HEAVY)} alone ({found['num_modules']} modules loaded)"]


def _main() -> None:
    from spectra.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["analyze", sys.argv[1], "--json"])
    imported = [name for name in _HEAVY if name in sys.modules]
    print(json.dumps({"code": code, "imported": imported, "num_modules": len(sys.modules)}))


if __name__ == "__main__":
    _main()
