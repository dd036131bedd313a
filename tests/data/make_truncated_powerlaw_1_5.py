"""Freeze powerlaw 1.5's truncated power laws for tests/esd/test_truncated_power_law.py (powerlaw 2 fits them otherwise).

    python -m venv /tmp/powerlaw15 && /tmp/powerlaw15/bin/pip install powerlaw==1.5 numpy safetensors
    /tmp/powerlaw15/bin/python tests/data/make_truncated_powerlaw_1_5.py MODEL > tests/data/truncated_powerlaw_1_5.json

MODEL is ``model.safetensors`` of the demo model (the extra ``demo``). Every matrix of it is fitted, and samples made by
``samples.py`` from seeds; ``checksum`` is the sum of logarithms of the data, so that changed data are noticed. xmin is the
one powerlaw finds for the plain power law.
"""

import contextlib
import io
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import powerlaw
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))
from samples import CASES, sample


def spectra_of(path: str) -> dict[str, np.ndarray]:
    """Eigenvalues of every matrix of a file, above the threshold of WeightWatcher."""
    found = {}
    with safe_open(path, "np") as file:
        for name in sorted(file.keys()):
            if len(file.get_slice(name).get_shape()) == 2:
                matrix = file.get_tensor(name).astype(np.float64)
                gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
                values = np.linalg.eigvalsh(gram)
                if len(values) >= 8:
                    found[name] = values[values > 1e-5]
    return found


def truncated(data: np.ndarray) -> dict[str, float]:
    """Fit, and time the truncated law alone."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        fit = powerlaw.Fit(data)
        start = time.perf_counter()
        law = fit.truncated_power_law
        seconds = time.perf_counter() - start
        plain = fit.power_law.loglikelihoods(fit.data).sum()
    return {
        "checksum": float(np.log(data).sum()),
        "xmin": float(fit.xmin),
        "num_tail": len(fit.data),
        "alpha": float(law.alpha),
        "Lambda": float(law.Lambda),
        "D": float(law.D),
        "loglikelihood": float(law.loglikelihood),
        "power_law_loglikelihood": float(plain),
        "seconds": round(seconds, 3),
    }


warnings.simplefilter("ignore")
truncated(np.geomspace(1.0, 10.0, 20))  # imports happen at the first fit, and are not timed
layers, samples = [], []
for layer, values in spectra_of(sys.argv[1]).items():
    layers.append({"layer": layer, **truncated(values)})
    print(layers[-1], file=sys.stderr)
for case in CASES:
    if case["size"] in (35, 257, 2000):
        samples.append({**case, **truncated(sample(**case))})
        print(samples[-1], file=sys.stderr)
header = "powerlaw 1.5, powerlaw.Fit(data).truncated_power_law; made by make_truncated_powerlaw_1_5.py"
print(json.dumps({"source": header, "layers": layers, "samples": samples}, indent=1))
