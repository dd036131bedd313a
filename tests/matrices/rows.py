"""Reading the rows of a model without an analysis: shared by the tests of matrices."""

import numpy as np

from spectra.matrices import ModelContext, matrices_of
from spectra.results.records import SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.sources import open_source


def decisions(model, **settings):
    """Each tensor of a model, a state dict or a path, and what is decided of it."""
    source = open_source(model)
    context = ModelContext.of(source)
    return [(tensor, matrices_of(tensor, context, AnalysisSettings(**settings))) for tensor in source.tensors]


def rows_of(model, **settings):
    """All rows, in order."""
    return [row for _, found in decisions(model, **settings) if isinstance(found, tuple) for row in found]


def skipped_of(model, **settings):
    """Names and reasons of what is skipped."""
    return {tensor.name: found.reason for tensor, found in decisions(model, **settings) if isinstance(found, SkippedTensor)}


def matrices(row):
    """The matrices of a row, each read whole."""
    found = [read(0, row.num_rows) for read in row.readers()]
    assert len(found) == row.num_matrices
    assert {array.shape for array in found} <= {(row.num_rows, row.num_cols)}
    return found


def matrix(row):
    """The one matrix of a row."""
    (found,) = matrices(row)
    return np.asarray(found)
