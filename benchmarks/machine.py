"""The machine and the versions, in one line. Run as a child process: it needs NumPy."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from typing import Any

from benchmarks.measure import CORES, run_module

_PACKAGES = ("numpy", "torch", "transformers", "weightwatcher", "powerlaw")


def describe() -> dict[str, Any]:
    """Return cores, interpreter, packages and the BLAS that NumPy uses."""
    found: dict[str, Any] = run_module("benchmarks.machine").output
    return {"cores": os.cpu_count(), "cores_used": min(CORES, os.cpu_count() or 1)} | found


def in_words(facts: dict[str, Any]) -> str:
    """Return the facts on one line."""
    versions = ", ".join(f"{name} {facts[name]}" for name in _PACKAGES)
    return (
        f"{facts['cores_used']} of {facts['cores']} cores, {facts['processor']}, Python {facts['python']}, {versions}, "
        f"BLAS: {facts['blas']}"
    )


def _main() -> None:
    import numpy as np  # noqa: F401
    from threadpoolctl import threadpool_info

    blas = [
        f"{i['internal_api']} {i['version']} {i.get('architecture', '')}" for i in threadpool_info() if i["user_api"] == "blas"
    ]
    facts = {
        "processor": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": "; ".join(text.strip() for text in blas) or "unknown",
    }
    print(json.dumps(facts | {name: importlib.metadata.version(name) for name in _PACKAGES}))


if __name__ == "__main__":
    _main()
