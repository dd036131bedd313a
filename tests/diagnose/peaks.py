"""Plans of matrices that take no memory, and the peak of processes that work on real ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.sources import open_source

needs_peak = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")


def planned(shapes, **settings):
    tensors = {f"{name}.weight": np.broadcast_to(np.float32(1.0), shape) for name, shape in shapes.items()}
    return plan_analysis(open_source(tensors), resolve_settings("default", **settings))


def peak_of(what, *args):
    """Run ``peak_memory.py``; return what it prints."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("peak_memory.py"), what, *args],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout)
