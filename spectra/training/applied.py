"""Changes of a model that are taken back: as a ``with`` block, or by a call."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Self


class Applied(AbstractContextManager["Applied"]):
    """A change that is in place until :meth:`restore`, or until the ``with`` block ends, an exception included.

    Changes may be made on top of others; take the last ones away first.

    Args:
        undo: What takes it back, last things first.
    """

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def restore(self) -> None:
        """Put everything back as it was; a second call does nothing."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
