r"""The Hill estimator: the tail exponent from the k largest eigenvalues.

.. math:: \alpha = 1 + k \Big/ \sum_{i=1}^{k} \ln \frac{x_{(n-i+1)}}{x_{(n-k)}}

with 1-based ascending order statistics, as PL_Alpha_Hill of arXiv 2312.00359 and 2410.12178. The threshold is the
next *lower* value; the ``median`` strategy of the TempBalance code takes the threshold from the tail itself and
differs by O(1/n).
"""

from __future__ import annotations

from spectra.errors import TooFewEigenvaluesError
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.xmin_search import logs_above


def alpha_hill(values: FloatArray, num_tail: int | None = None) -> float:
    """Estimate the exponent of the density from the largest values of a sample.

    Args:
        values: Shape ``(n,)``, positive, ascending.
        num_tail: How many values form the tail, in ``[1, n - 1]``. Default ``n // 2``: the papers' choice.

    Returns:
        The exponent, > 1; NaN if the tail equals its threshold throughout.

    Raises:
        TooFewEigenvaluesError: ``num_tail`` values and a threshold below them are not there.

    Example:
        >>> import numpy as np
        >>> u = (np.arange(1000) + 0.5) / 1000
        >>> round(alpha_hill((1 - u) ** (-1 / 1.5)), 3)  # Pareto quantiles, alpha = 2.5
        2.5
    """
    k = len(values) // 2 if num_tail is None else num_tail
    if not 1 <= k <= len(values) - 1:
        raise TooFewEigenvaluesError(
            f"the Hill estimator needs {k} tail values (at least 1) and one below them, got {len(values)} positive values."
        )
    log_sum = float(logs_above(values[-k:], float(values[-k - 1])).sum())
    return 1.0 + k / log_sum if log_sum > 0.0 else float("nan")
