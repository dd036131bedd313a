"""Shared fixtures, and what a missing optional package or file means."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell runs in the background; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: speed belongs to benchmarks/, and a busy machine is no bug.
settings.register_profile("spectra", deadline=None, max_examples=50)
settings.load_profile("spectra")

# Models and the hub: never reached from a test.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED_MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is no GPU; torch is imported only if there is such a test."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in docstrings of the package alone: here they would be looked for in each file of tests once more."""
    found = yield
    return [node for node in found if type(node) is pytest.Module]


def pytest_runtest_call() -> None:
    """Keep libraries out of garbage collections: an estimate of the Fisher collects twice, 0.4 s each with transformers."""
    _freeze(len(sys.modules))


@functools.cache
def _freeze(num_modules: int) -> None:  # once for every number of modules, as each import adds objects
    gc.collect()
    gc.freeze()


@pytest.fixture
def shared_models() -> Path:
    """The folder of real weights beside the checkout; tests that want it are skipped elsewhere."""
    if not SHARED_MODELS.is_dir():
        pytest.skip(f"no real weights at {SHARED_MODELS}")
    return SHARED_MODELS


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The demo model. CI installs it: SPECTRA_REQUIRE_OPTIONAL turns its absence into a failure."""
    from spectra.errors import MissingPackageError
    from spectra.sources.demo import verified_folder

    try:
        return verified_folder()
    except MissingPackageError as error:
        if os.environ.get("SPECTRA_REQUIRE_OPTIONAL"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all modules; each test opens its own page with ``tests.browser.opened``."""
    from tests.browser import launched

    with launched() as started:
        yield started


# Scripts that made the frozen references: they run under other versions than those installed here.
collect_ignore_glob = ["data/make_*.py"]
