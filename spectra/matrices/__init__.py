"""From a stored tensor to the 2-D matrices that are analysed, or to the reason why it is not."""

from spectra.matrices.layout import WeightMatrices, matrices_of, read_matrices

__all__ = ["WeightMatrices", "matrices_of", "read_matrices"]
