"""The matrices of a second model under the names and cuts of the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from spectra.diagnose.plan import plan_analysis
from spectra.matrices import WeightMatrices
from spectra.results.settings import AnalysisSettings
from spectra.sources import Source, StoredTensor


def in_place_of(source: Source, replaced: Mapping[str, StoredTensor]) -> Source:
    """Put other tensors in the places of a model's, so that its configuration and their neighbours say how they are cut.

    Args:
        source: The model.
        replaced: Tensors by the names of those that they stand for.

    Returns:
        The model with them.
    """
    return dataclasses.replace(source, tensors=tuple(replaced.get(tensor.name, tensor) for tensor in source.tensors))


def jobs_by_name(source: Source, settings: AnalysisSettings) -> dict[str, WeightMatrices]:
    """Cut the weights of a model into matrices.

    Args:
        source: The model.
        settings: Resolved settings.

    Returns:
        Matrices by name.

    Raises:
        SourceError: The model has no weight that could be analysed.
    """
    return {job.matrix_name: job for job in plan_analysis(source, settings).jobs}
