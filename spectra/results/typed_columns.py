"""A table that grows by parts with different columns, each of one type from the first row to the last, missing or not."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra.results.report import import_pandas

if TYPE_CHECKING:
    import pandas as pd

# Packed where nothing can be missing, or a number says so: a Python float takes four times the room.
_PACKED = {"float64": "d", "int64": "q"}
_MISSING = {"float64": math.nan, "Int64": None, "string": None}
_VALUES: dict[str, tuple[type, ...]] = {"Int64": (int, type(None)), "string": (str,), "bool": (bool,)}


class TypedColumns:
    """Columns of a table.

    Args:
        types: Of every column there can be, in order: ``float64``, ``int64``, ``Int64``, ``string`` or ``bool``. In columns of
            ``int64`` and ``bool`` nothing may be missing.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._columns: dict[str, MutableSequence[Any]] = {}
        self._num_rows = 0

    def add(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, or nothing.

        Args:
            columns: Values by name, equally many; of other columns they are missing.

        Raises:
            TypeError: A value of another type than its column.
        """
        typed = {name: _typed(name, values, self._types[name]) for name, values in columns.items()}
        for name, values in typed.items():
            if name not in self._columns:
                self._columns[name] = _typed(name, (), self._types[name])
                self._fill(name)
            self._columns[name].extend(values)
        self._num_rows += len(next(iter(typed.values()), ()))
        for name in self._columns.keys() - typed.keys():
            self._fill(name)

    def to_pandas(self) -> pd.DataFrame:
        """Return the columns that any part had.

        Returns:
            A DataFrame; text as ``string``, pandas' nullable type, which is the same in all of its versions.
        """
        pandas = import_pandas()
        columns = {name: kind for name, kind in self._types.items() if name in self._columns}
        values = {name: self._columns[name] for name in columns}
        frame: pd.DataFrame = pandas.DataFrame(
            {
                name: pandas.Series(np.asarray(found) if isinstance(found, array) else found, dtype=columns[name])
                for name, found in values.items()
            }
        )
        return frame

    def _fill(self, name: str) -> None:
        column = self._columns[name]
        if (gap := self._num_rows - len(column)) > 0:
            column.extend([_MISSING[self._types[name]]] * gap)


def _typed(name: str, values: Sequence[Any], kind: str) -> MutableSequence[Any]:
    if kind in _PACKED:
        return array(_PACKED[kind], values)
    for value in values:
        if not isinstance(value, _VALUES[kind]):
            raise TypeError(f"{name}: {value!r} is no {kind}")
    return list(values)
