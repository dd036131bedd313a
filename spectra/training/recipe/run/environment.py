"""What a run was made with: versions, machine and command line; nothing that a reader must not see."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from spectra._version import __version__

ENVIRONMENT_SCHEMA_VERSION = 1

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy")
# Of the environment's variables these only: others hold tokens and names.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
_OUR_VARIABLES = "SPECTRA_"


def environment(num_processes: int = 1) -> dict[str, Any]:
    """Describe what a run is made with.

    Args:
        num_processes: That train together.

    Returns:
        Plain values: ``python``, ``platform``, ``packages``, ``cpu``, ``gpus``, ``num_processes``, ``began_at`` (UTC),
        ``command`` and ``variables``.
    """
    return {
        "schema_version": ENVIRONMENT_SCHEMA_VERSION,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {"spectra": __version__} | _versions(),
        "cpu": _cpu(),
        "gpus": _gpus(),
        "num_processes": num_processes,
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "variables": {
            name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_OUR_VARIABLES)
        },
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what has changed that numbers may depend on.

    Args:
        before: An environment.
        now: Another one.

    Returns:
        ``"torch 2.12.0 before, 2.13.0 now"``, and so on.
    """
    old, new = (
        {
            "Python": one.get("python"),
            **one.get("packages", {}),
            "the processor": one.get("cpu"),
            "GPUs": ", ".join(one.get("gpus", ())) or "none",
        }
        for one in (before, now)
    )
    return [
        f"{name} {old.get(name) or 'missing'} before, {new.get(name) or 'missing'} now"
        for name in old | new
        if old.get(name) != new.get(name)
    ]


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # peft, where no adapter is asked for
            continue
    return found


def _cpu() -> str:
    """Return the processor's name; Linux tells it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
