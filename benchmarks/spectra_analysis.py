"""Child process: the time of one ``spectra.analyze`` call, files read within it: ``FOLDER PROFILE``."""

from __future__ import annotations

import json
import sys
import time

import spectra


def main() -> None:
    """Analyse, print seconds."""
    folder, profile = sys.argv[1:]
    analyze = spectra.analyze
    start = time.perf_counter()
    analyze(folder, profile=profile)
    print(json.dumps({"analysis_seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
