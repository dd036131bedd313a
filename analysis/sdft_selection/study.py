"""Run SDFT's selection, without any model, over what was published: rewritten function calls, and worked answers.

    python -m analysis.sdft_selection.study DATA

``DATA`` holds ``openfunctions/`` and ``gsm8k/``. Writes ``results.json`` and the tables of ``README.md`` in this folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from analysis.sdft_selection import calls, numbers
from analysis.sdft_selection.tables import update

HERE = Path(__file__).parent


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    data = parser.parse_args(argv).data
    results = {"openfunctions": calls.results(data / "openfunctions"), "gsm8k": numbers.results(data / "gsm8k")}
    (HERE / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    update(HERE / "README.md", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
