"""A full disk in one sentence, whichever library meets it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectra.errors import ResultsError
from spectra.results.writing import unwritable

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# safetensors and torch have errors of their own: theirs begin so.
_OF_LIBRARIES = {"SafetensorError": "Error while serializing", "RuntimeError": "[enforce fail at inline_container.cc"}


@contextmanager
def full_disk_in_words(folder: Path) -> Iterator[None]:
    """Translate what comes of a disk that takes no more.

    Args:
        folder: What is written to, where the error does not say.

    Yields:
        Nothing.

    Raises:
        ResultsError: In place of such an error.
        OSError: Of another kind; whatever is raised passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise ResultsError(unwritable(Path(error.filename or folder), error)) from error
    except Exception as error:
        start = _OF_LIBRARIES.get(type(error).__name__)
        if start is None or not str(error).startswith(start):
            raise
        raise ResultsError(unwritable(folder, OSError(f"a file was cut off ({str(error).splitlines()[0]})"))) from error
