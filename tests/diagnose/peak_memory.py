"""Print how far an analysis, or a comparison, raises the peak of resident memory, and its bound.

``analyze FILE SETTINGS_AS_JSON`` or ``compare BASE OTHER...``. A process of its own: the peak of one that has run other tests
is theirs.
"""

import json
import sys
from pathlib import Path

import numpy as np

import spectra
from spectra.diagnose.compared_models import open_models
from spectra.diagnose.comparison_memory import bytes_of_comparison
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.sources import open_source


def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def raised(work, *args, **options):
    before = peak()
    result = work(*args, workers=1, **options)
    return result, peak() - before


def of_analysis(file, settings):
    base = settings.pop("base", None)
    # Libraries, threads and their buffers.
    spectra.analyze({"small.weight": np.random.default_rng(0).standard_normal((120, 100))}, workers=1, **settings)
    report, number = raised(spectra.analyze, file, base=base, **settings)
    bound = plan_analysis(open_source(file, base=base), resolve_settings("default", **settings)).peak_bytes(1)
    return {"peak": number, "bound": bound, "found": [layer.method for layer in report.layers]}


def of_comparison(base, *others):
    rng = np.random.default_rng(0)
    before, change = rng.standard_normal((620, 600)), rng.standard_normal((620, 2)) @ rng.standard_normal((2, 600))
    spectra.compare({"small.weight": before}, {"small.weight": (before + change).astype(np.float32)}, workers=1)
    comparison, number = raised(spectra.compare, base, *others)
    opened = open_models(base, others, resolve_settings("default"), revision=False)
    jobs, settings = opened.plan.jobs, opened.plan.settings
    options = {"others": opened.others, "settings": settings, "num_directions": 10}
    bound = max(bytes_of_comparison([job], **options) for job in jobs)
    return {"peak": number, "bound": bound, "found": [row.verdict for row in comparison.rows]}


what, *args = sys.argv[1:]
print(json.dumps(of_analysis(args[0], json.loads(args[1])) if what == "analyze" else of_comparison(*args)))
