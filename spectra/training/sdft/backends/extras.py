"""Packages that only one kind of backend needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from spectra.errors import MissingPackageError


def from_extra(package: str) -> Any:
    """Import a package whose extra has its name.

    Args:
        package: ``openai`` or ``vllm``.

    Returns:
        The module.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(f'this backend needs {package}: pip install "spectra-nn[{package}]"') from error
