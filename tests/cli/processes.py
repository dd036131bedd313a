"""Running a command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def in_process(*arguments: Any, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run ``spectra analyze`` with these arguments."""
    command = [sys.executable, "-m", "spectra", "analyze", *map(str, arguments)]
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run(command, env={**os.environ, **(env or {})}, check=False, **options)
