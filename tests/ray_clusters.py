"""A Ray cluster of two nodes on this machine, with a CPU each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

is_missing = find_spec("ray") is None and not os.environ.get("SPECTRA_REQUIRE_OPTIONAL")
ray_is_there = pytest.mark.skipif(is_missing, reason="Ray is not installed")
# A node that is gone is noticed within a second or two, not within fifteen.
_WATCHFUL = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
# Other tests run beside these, and would starve workers that give way to everything, as Ray's do.
_EQUAL = {"worker_niceness": 0}
EQUAL_WORKERS = {f"RAY_{name}": str(value) for name, value in _EQUAL.items()}


@contextmanager
def two_nodes(*, memory: int) -> Iterator[Any]:
    """Start a cluster whose nodes offer this many bytes each, and stop it at the end."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**node_options(memory), "_system_config": _WATCHFUL | _EQUAL})
    try:
        cluster.add_node(**node_options(memory))
        yield cluster
    finally:
        cluster.shutdown()


def node_options(memory: int) -> dict[str, Any]:
    """Return what a node of the cluster is started with."""
    return {"include_dashboard": False, "num_cpus": 1, "memory": memory}
