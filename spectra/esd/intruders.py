r"""Intruder dimensions: leading singular vectors of a matrix that another one does not have.

By arXiv 2410.21228 a singular vector :math:`u` of the fine-tuned matrix is an intruder if
:math:`\max_j |\langle u, v_j \rangle| < \epsilon` over all singular vectors :math:`v_j` of the matrix before. The
k leading left singular vectors are looked at, as in Hugging Face's PEFT, whose counts a test compares with ours
(``peft.tuners.lora.intruders.reduce_intruder_dimension``).
"""

from __future__ import annotations

import numpy as np

from spectra.esd.eigenvalues import FloatArray
from spectra.esd.subspaces import Side, SingularBasis


def new_directions(
    vectors: FloatArray, base: SingularBasis, leading: FloatArray, *, threshold: float, side: Side = "left"
) -> dict[int, float]:
    r"""Find the intruders among singular vectors.

    Most leading vectors come close to a leading one of the base, and then are none; and where the leading vectors of the base
    leave less of a vector than the largest cosine found, no other one can be closer:
    :math:`|\langle u, v_j \rangle|^2 \le 1 - \sum_{i \le k} \langle u, v_i \rangle^2`. All singular vectors of the base are
    computed only where neither holds.

    Args:
        vectors: Shape ``(length, p)``: leading singular vectors of the other matrix, unit columns.
        base: The matrix before.
        leading: Shape ``(length, k)``: its leading singular vectors, orthonormal.
        threshold: The cosine under which a vector is new, in (0, 1].
        side: Which singular vectors all of these are.

    Returns:
        By position among ``vectors`` the largest absolute cosine of each intruder to a singular vector of the base; see
        :meth:`SingularBasis.largest_cosines`.

    Raises:
        NonFiniteWeightsError: A NaN or infinite entry of the base.
    """
    cosines = np.abs(vectors.T @ leading)
    largest = cosines.max(axis=1, initial=0.0)
    rest = np.sqrt(np.maximum(1.0 - (cosines**2).sum(axis=1), 0.0))
    is_open = (largest < threshold) & (rest > largest)
    if is_open.any():
        largest[is_open] = base.largest_cosines(vectors[:, is_open], side)
    return {int(position): float(largest[position]) for position in np.flatnonzero(largest < threshold)}
