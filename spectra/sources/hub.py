"""A hub id: the checkpoint's files from the local cache, or downloaded by huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path

from spectra.errors import SourceError

# 'name' or 'owner/name', the characters the hub allows; a leading dot or a weight file's suffix means a path.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w-][\w.-]*)?")
_FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".json")

_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")  # branch, tag or commit; huggingface_hub makes paths of it

_CONFIG = ["config.json", "adapter_config.json", "quantize_config.json", "quant_config.json"]
_SAFETENSORS = ["*.safetensors", "*.safetensors.index.json"]
_TORCH = ["pytorch_model*.bin", "pytorch_model.bin.index.json", "adapter_model.bin"]
_SUBFOLDERS = ["*/*"]  # other precisions, other frameworks: not the checkpoint itself


def is_hub_id(text: str) -> bool:
    """Tell whether a text that is no local path can be a hub id.

    Args:
        text: What the user typed.

    Returns:
        ``True`` for ``name`` and ``owner/name``.
    """
    return bool(_HUB_ID.fullmatch(text)) and not text.endswith(_FILE_SUFFIXES)


def local_folder(hub_id: str) -> Path:
    """Return the local snapshot of a hub model, downloading what is missing: safetensors if it has them.

    Args:
        hub_id: ``owner/name``.

    Returns:
        The snapshot's folder.

    Raises:
        SourceError: Unknown, private, or offline and not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_CONFIG + _SAFETENSORS, ignore_patterns=_SUBFOLDERS))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(hub_id, allow_patterns=_CONFIG + _TORCH, ignore_patterns=_SUBFOLDERS))
    except LocalEntryNotFoundError as error:
        raise SourceError(
            f"'{hub_id}' is no local path, and as a hub id it is not in the local cache while the hub cannot be reached. "
            "Check the path, go online, or download it first: hf download " + hub_id
        ) from error
    except HFValidationError as error:
        raise SourceError(f"'{hub_id}' is no local path and cannot be a hub id. Check the path or the spelling.") from error
    except GatedRepoError as error:
        raise SourceError(f"hub model '{hub_id}' is gated: accept its licence on the hub and log in: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"'{hub_id}' is no local path and no public hub model. Check the spelling, or log in: hf auth login"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise SourceError(f"hub model '{hub_id}': {str(error).splitlines()[0]} Try again later.") from error
    return folder


def cached_folder(hub_id: str, revision: object = None) -> Path | None:
    """Return the local snapshot of a hub model, if there is one with weights; nothing is downloaded.

    Args:
        hub_id: ``owner/name``.
        revision: Branch, tag or commit, as a configuration names it. Default: the main branch.

    Returns:
        The snapshot's folder, or ``None``.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if revision is not None and not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
        return None
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")) else None
