"""How much memory a run may take: what the user allows, or a share of what the machine and its cgroup have left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from spectra.errors import InputError

# Our choice: the rest is for results, for what the system caches of the files that are read, and for other processes.
SHARE_OF_FREE = 0.8

# As in the flags of container engines, batch systems and systemd a letter alone is a power of 1024.
_UNITS = {
    "": 1,
    **{unit: 1024**power for power, letter in enumerate("KMGT", 1) for unit in (letter, f"{letter}IB")},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)

_MEMINFO = Path("/proc/meminfo")
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)

_PROC, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Limit, use, and the part of the use that the kernel gives up when it is asked to: pages of files not used of late.
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def memory_budget(max_memory: int | str | None) -> int:
    """Choose how many bytes the layers in flight may take together.

    Args:
        max_memory: A number of bytes, or words such as ``"8G"``. ``None``: a share of what is free.

    Returns:
        Bytes, at least 1.

    Raises:
        InputError: Not a size.
    """
    if max_memory is None:
        return max(1, int(SHARE_OF_FREE * free_memory()))
    if isinstance(max_memory, int) and not isinstance(max_memory, bool):
        size = max_memory
    else:
        found = _SIZE.fullmatch(str(max_memory))
        unit = _UNITS.get(found[2].upper()) if found else None
        size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise InputError(f"max_memory: expected a size such as '8G', '512MiB' or '16GB', got {max_memory!r}.")
    return size


def free_memory() -> int:
    """Return how many bytes this process could take without swapping, and within the limits of its cgroups."""
    return min([machine_left(), *cgroups_left()])


def machine_left(meminfo: Path = _MEMINFO) -> int:
    """Return how many bytes are free on this machine, with what the system would give up of its cache.

    Args:
        meminfo: The kernel's table, on Linux.

    Returns:
        What psutil says; on Linux from where it takes it, without the 15 ms of its imports.
    """
    with suppress(OSError):
        if found := _AVAILABLE.search(meminfo.read_text(encoding="utf-8")):
            return 1024 * int(found[1])
    import psutil

    available: int = psutil.virtual_memory().available
    return available


def cgroups_left(proc: Path = _PROC, mount: Path = _MOUNT) -> list[int]:
    """Return how many bytes each cgroup of this process that has a limit leaves to it.

    Args:
        proc: The kernel's list of the cgroups of the process.
        mount: Where their files are.

    Returns:
        At least 0 each; nothing where there are no cgroups.
    """
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    left: list[int] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            left += _left(mount, path, _VERSION_2)
        elif "memory" in controllers.split(","):
            left += _left(mount / "memory", path, _VERSION_1)
    return left


def _left(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Yield what is left at each level: a limit holds for all that is under it. In a container the path may start outside."""
    limit_name, use_name, unused_name = names
    inside = Path(path.lstrip("/"))
    for folder in (mount / inside, *(mount / parent for parent in inside.parents)):
        try:
            limit, use = ((folder / name).read_text(encoding="utf-8").strip() for name in (limit_name, use_name))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError):
            continue
        if limit != "max":
            yield max(0, int(limit) - int(use) + int(stat.get(unused_name, 0)))
