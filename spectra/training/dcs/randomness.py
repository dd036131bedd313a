"""Work on the side that leaves every random generator as it was, so that training goes on as if nothing had been done."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept_randomness(device: torch.device) -> Iterator[None]:
    """Put the generators of Python, NumPy and torch back at the end.

    Args:
        device: Whose generator is kept beside that of the CPU.
    """
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - what collators and users draw from
    kind = device.type if device.type != "cpu" else "cuda"
    devices = [] if device.type == "cpu" else [device]
    try:
        with torch.random.fork_rng(devices=devices, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
