"""What is checked of a file before anything in it is believed: its kind, where it lies, and JSON of a bounded size."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from spectra.errors import SourceError
from spectra.printable import named

#: Longest JSON text that is read: an index or a header of 200 000 tensors takes 25 MB. Python's objects are up to 25 times as
#: large as the text that makes them (``[{},{},…]``), which keeps them under a gigabyte.
LONGEST_JSON = 32 * 2**20

_LONGEST_FILE_NAME = 255  # of every common file system

_DEEPEST_JSON = 64  # our choice: configurations nest five deep

_NAMES_OF_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def file_size(path: Path) -> int:
    """Return the size of a regular file: a pipe or a device would be waited for, or never end.

    Args:
        path: The file.

    Returns:
        Bytes.

    Raises:
        SourceError: Something else than a file, or not to be looked at.
    """
    with reading(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = _NAMES_OF_KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise SourceError(f"'{path}' is {kind}, and weights are read from files. Give the file or the checkpoint's folder.")
    return found.st_size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that it does not hand out into one line.

    Args:
        path: The file.

    Yields:
        Nothing; the file is read inside.

    Raises:
        SourceError: A file that is not there, not allowed, or a link to itself.
    """
    try:
        yield
    except OSError as error:
        said = error.strerror or error
        raise SourceError(f"cannot read '{named(path)}': {said}. Check the file and its permissions.") from error


def is_plain_name(name: str) -> bool:
    r"""Tell whether a file's name is nothing but a name: no folder in it, on any system, and no NUL byte.

    Args:
        name: From an index or a configuration.

    Returns:
        ``False`` for ``a/b``, ``a\b``, ``..``, ``C:a``, an empty name and one that no system takes.
    """
    if not name or len(name.encode(errors="replace")) > _LONGEST_FILE_NAME or name in (".", "..") or "\0" in name:
        return False
    return PurePosixPath(name).name == name == PureWindowsPath(name).name


def check_inside(folder: Path, file: Path) -> None:
    """Refuse a file of a folder that is a symbolic link to somewhere else.

    Links within the folder are fine, and so are those into the blobs of a hub cache: its snapshots are made of them, with
    folders inside for the parts of a pipeline, and so is what huggingface_hub before 0.23 downloaded to a ``local_dir``.

    Args:
        folder: The checkpoint's folder, as it was given: it may be a link itself.
        file: One of its files, which exists.

    Raises:
        SourceError: It leads out of the folder, or nowhere.
    """
    if not file.is_symlink():
        return
    with reading(file):
        file.stat()  # a link to itself, which resolve() has no error of the system for
        home, target = folder.resolve(), file.resolve()
    if not (target.is_relative_to(home) or _is_cached_blob(target)):
        raise SourceError(
            f"'{named(file)}' is a link to a file outside its folder, '{named(target)}', and a checkpoint may not choose what "
            "else is read. Copy that file into the folder, or give the folder it lies in."
        )


def _is_cached_blob(file: Path) -> bool:
    """Tell whether a file is models--org--name/blobs/ETAG of a hub cache: a download from the hub, whichever asks for it."""
    return file.parent.name == "blobs" and file.parent.parent.name.startswith("models--")


def read_json(path: Path, *, unique: bool = False) -> dict[str, Any]:
    """Read a configuration or an index.

    Args:
        path: The file.
        unique: Refuse a key that is there twice.

    Returns:
        Its content; empty if there is no such file.

    Raises:
        SourceError: Unreadable, a link out of the folder, too long, nested too deep, or no JSON object.
    """
    if not path.is_file():
        return {}
    check_inside(path.parent, path)
    size = path.stat().st_size
    if size > LONGEST_JSON:
        raise SourceError(f"'{path}' has {size} bytes, and at most {LONGEST_JSON} are read as JSON. Check what the file is.")
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_JSON + 1)
        content = json.loads(text.decode(), object_pairs_hook=unique_pairs if unique else None)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f"'{path}' is not readable JSON ({named(error)}). Download or copy it again.") from error
    if not isinstance(content, dict):
        raise SourceError(f"'{path}' holds no JSON object. Download or copy it again.")
    if _is_deep(content):
        raise SourceError(f"'{path}' nests more than {_DEEPEST_JSON} deep. Download or copy it again.")
    return content


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object, for ``object_pairs_hook``: of two entries with one name readers differ in which they take.

    Args:
        pairs: Names and values.

    Returns:
        The object.

    Raises:
        ValueError: A name is there twice.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"'{named(twice)}' is there twice")
    return made


def _is_deep(content: Any) -> bool:
    """Look at one level after the other: by recursion a deep file would end it."""
    level = [content]
    for _ in range(_DEEPEST_JSON):
        level = [inner for outer in level for inner in _values(outer) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _values(container: Any) -> Iterator[Any]:
    return iter(container.values() if isinstance(container, Mapping) else container)
