"""Child process: the time of one ``spectra.analyze`` call, files read within it: ``FOLDER PROFILE [SETTINGS]``.

SETTINGS are changes to the profile as JSON. With them the rows are printed, too.
"""

from __future__ import annotations

import json
import sys
import time

import spectra


def main() -> None:
    """Analyse, print seconds."""
    folder, profile = sys.argv[1:3]
    settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    analyze = spectra.analyze
    start = time.perf_counter()
    report = analyze(folder, profile=profile, **settings)
    seconds = time.perf_counter() - start
    print(json.dumps({"analysis_seconds": seconds, "layers": [layer.to_dict() for layer in report.layers] if settings else []}))


if __name__ == "__main__":
    main()
