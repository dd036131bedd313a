"""From a stored tensor to the 2-D matrices that are analysed, or to the reason why it is not."""

from spectra.matrices.context import ModelContext
from spectra.matrices.convolution import operator_matrices
from spectra.matrices.layout import KINDS, matrices_of
from spectra.matrices.pooled_experts import pool_experts
from spectra.matrices.weights import WeightMatrices

__all__ = ["KINDS", "ModelContext", "WeightMatrices", "matrices_of", "operator_matrices", "pool_experts"]
