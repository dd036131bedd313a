"""Print how far an analysis raises the peak of resident memory, and its bound: ``FILE SETTINGS_AS_JSON``.

A process of its own: the peak of one that has run other tests is theirs.
"""

import json
import sys
from pathlib import Path

import numpy as np

import spectra
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.sources import open_source


def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


file, settings = sys.argv[1], json.loads(sys.argv[2])
# Libraries, threads and their buffers.
spectra.analyze({"small.weight": np.random.default_rng(0).standard_normal((120, 100))}, workers=1, **settings)
before = peak()
report = spectra.analyze(file, workers=1, **settings)
bound = plan_analysis(open_source(file), resolve_settings("default", **settings)).peak_bytes(1)
print(json.dumps({"peak": peak() - before, "bound": bound, "methods": [layer.method for layer in report.layers]}))
