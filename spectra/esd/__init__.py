r"""From a matrix to its empirical spectral distribution, the fit of its tail, and its metrics.

Array code only: nothing here knows of models, files or layers. Eigenvalues are always
:math:`\lambda_i = \sigma_i^2` of the matrix, ascending, in float64 and *not* divided by a dimension.
"""
