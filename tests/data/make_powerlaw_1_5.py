"""Freeze the answers of powerlaw 1.5 for tests/esd/test_power_law.py (two versions cannot live in one environment).

    python -m venv /tmp/powerlaw15 && /tmp/powerlaw15/bin/pip install powerlaw==1.5 numpy
    /tmp/powerlaw15/bin/python tests/data/make_powerlaw_1_5.py > tests/data/powerlaw_1_5.json

Samples are made by ``samples.py`` beside this file, from seeds; ``checksum`` is the sum of logarithms of each, so that a
changed generator is noticed.
"""

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import powerlaw

sys.path.insert(0, str(Path(__file__).parent))
from samples import CASES, sample

warnings.simplefilter("ignore")
rows = []
for case in CASES:
    data = sample(**case)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        fit = powerlaw.Fit(data)
    rows.append(
        {
            **case,
            "checksum": float(np.log(data).sum()),
            "alpha": float(fit.alpha),
            "xmin": float(fit.xmin),
            "sigma": float(fit.sigma),
            "D": float(fit.D),
        }
    )
    print(case, file=sys.stderr)
header = "powerlaw 1.5, powerlaw.Fit(data) without xmax; made by make_powerlaw_1_5.py"
print(json.dumps({"source": header, "cases": rows}, indent=1))
