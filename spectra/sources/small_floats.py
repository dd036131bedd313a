"""Values of floating-point numbers of eight and four bits, which NumPy does not know.

================  ====  ========  ========  ====  ==================================================
dtype             sign  exponent  mantissa  bias  special
================  ====  ========  ========  ====  ==================================================
float8_e4m3fn     1     4         3         7     NaN where all bits but the sign are 1; no infinity
float8_e4m3fnuz   1     4         3         8     NaN at negative zero; no infinity
float8_e5m2       1     5         2         15    as IEEE 754: infinities and NaN at exponent 31
float8_e5m2fnuz   1     5         2         16    NaN at negative zero; no infinity
float8_e8m0fnu    no    8         0         127   a power of two; NaN at 255
float4_e2m1fn     1     2         1         1     none
================  ====  ========  ========  ====  ==================================================

Sources: arXiv 2209.05433 (E4M3 and E5M2), arXiv 2206.02915 (the variants ``fnuz``), and "OCP Microscaling Formats (MX)
Specification v1.0", 2023 (E8M0 and E2M1).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

# dtype → bits of exponent and mantissa, bias.
_FIELDS = {
    "float8_e4m3fn": (4, 3, 7),
    "float8_e4m3fnuz": (4, 3, 8),
    "float8_e5m2": (5, 2, 15),
    "float8_e5m2fnuz": (5, 2, 16),
    "float4_e2m1fn": (2, 1, 1),
}

#: The dtypes in which weights are stored one number to a byte.
FLOAT8_DTYPES = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")

#: Powers of two: in use for scales only.
SCALE_DTYPE = "float8_e8m0fnu"


@cache
def values_of(dtype: str) -> NDArray[np.float32]:
    """Return the value of every code of a dtype, so that ``values_of(dtype)[codes]`` decodes.

    Args:
        dtype: One of the table above.

    Returns:
        256 float32 numbers, 16 for four bits; all are exact. Not to be written to.

    Example:
        >>> values_of("float4_e2m1fn")[:8].tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    if dtype == SCALE_DTYPE:
        values = np.ldexp(1.0, np.arange(256) - 127)
        values[255] = np.nan
    else:
        values = _signed(dtype, *_FIELDS[dtype])
    values = values.astype(np.float32)
    values.flags.writeable = False
    return values


def _signed(dtype: str, exponent_bits: int, mantissa_bits: int, bias: int) -> NDArray[np.float64]:
    magnitudes = np.arange(1 << (exponent_bits + mantissa_bits))
    exponents, mantissas = magnitudes >> mantissa_bits, magnitudes & ((1 << mantissa_bits) - 1)
    # Without the leading one below the smallest exponent: subnormal numbers.
    significands = mantissas + np.where(exponents > 0, 1 << mantissa_bits, 0)
    positive = np.ldexp(significands.astype(np.float64), np.maximum(exponents, 1) - bias - mantissa_bits)
    if dtype == "float8_e4m3fn":
        positive[-1] = np.nan
    if dtype == "float8_e5m2":
        positive[-4:] = [np.inf, np.nan, np.nan, np.nan]
    values = np.concatenate([positive, -positive])
    if dtype.endswith("fnuz"):
        values[len(positive)] = np.nan
    return values
