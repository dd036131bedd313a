"""A disk that is full: no file may become longer than a few bytes."""

import contextlib

import pytest


@contextlib.contextmanager
def full_disk(most=1000):
    """Python ignores the signal that would come with it, so that writing fails as it does on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
