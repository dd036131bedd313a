"""Changes of weights → their spectra, of which ranks are always known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spectra.diagnose.kept_grams import KeptGrams
from spectra.diagnose.layer import spectra_by_job
from spectra.esd.deflation import deflated_spectrum
from spectra.esd.eigenvalues import MATRIX_ERRORS
from spectra.esd.spectrum import Spectrum, pool
from spectra.esd.subspaces import SingularBasis
from spectra.matrices import WeightMatrices
from spectra.results.settings import AnalysisSettings


def settings_of_changes(settings: AnalysisSettings) -> AnalysisSettings:
    """Return the settings for spectra of changes: of the numbers as they are, whatever a profile does to weights.

    Args:
        settings: Resolved settings of the weights' analysis.
    """
    plain = AnalysisSettings()
    names = ("conv_norm", "normalize", "subsample", "inverse", "precision", "method", "randomize")
    return dataclasses.replace(settings, **{name: getattr(plain, name) for name in names})


def spectra_of_changes(
    jobs: Sequence[WeightMatrices], settings: AnalysisSettings, *, device: str, grams: KeptGrams
) -> dict[int, Spectrum | Exception]:
    """Decompose changes; what their Gram matrices do not resolve, by deflation.

    Args:
        jobs: Not yet read.
        settings: Of the numbers as they are: no factor on the eigenvalues, float64.
        device: Where Gram matrices are computed and solved.
        grams: Keeps the Gram matrices.

    Returns:
        By the identity of a job its spectrum, or what went wrong with it.
    """
    by_gram = dataclasses.replace(settings, method="gram")
    found = spectra_by_job(jobs, by_gram, device=device, grams=grams)
    return {id(job): _resolved(job, found[id(job)], grams) for job in jobs if id(job) in found}


def _resolved(job: WeightMatrices, found: Spectrum | Exception, grams: KeptGrams) -> Spectrum | Exception:
    if isinstance(found, Exception) or found.rank is not None:
        return found
    shape = (job.num_rows, job.num_cols)
    try:
        if job.num_matrices == 1:
            basis = SingularBasis(next(job.readers()), shape, gram=grams.of(job, shape))
            return deflated_spectrum(basis, found.eigenvalues)
        return pool([_of_one(SingularBasis(read, shape)) for read in job.readers()], max(shape))  # one after the other
    except MATRIX_ERRORS as error:
        return error


def _of_one(basis: SingularBasis) -> Spectrum:
    gram, scale = basis.gram
    return deflated_spectrum(basis, np.asarray(np.linalg.eigvalsh(gram) / scale / scale, dtype=np.float64))
