"""What passes for a whole number as an argument."""

from __future__ import annotations

from numbers import Integral


def is_whole_number(value: object, *, least: int | None = None) -> bool:
    """Say whether a value is a whole number, Python's or NumPy's; True and False are none.

    Args:
        value: Anything.
        least: That it must reach; ``None``: any will do.

    Returns:
        Whether it is one.
    """
    return not isinstance(value, bool) and isinstance(value, Integral) and (least is None or int(value) >= least)
