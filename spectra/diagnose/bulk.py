"""The Marchenko-Pastur columns of a layer: as an analysis fills them, or afterwards, from the spectrum that it saved."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, cast

from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.esd.marchenko_pastur import MarchenkoPasturFit
    from spectra.results.report import Report


def bulk_columns(fit: MarchenkoPasturFit) -> dict[str, Any]:
    """Return the columns of a fitted bulk.

    Args:
        fit: Of a layer's spectrum.

    Returns:
        Values by column.
    """
    return {
        "lambda_plus": fit.lambda_plus,
        "lambda_minus": fit.lambda_minus,
        "mp_sigma": fit.sigma,
        "mp_sigma_rescaled": fit.sigma_rescaled,
        "mp_scale": fit.scale,
        "mp_soft_rank": fit.soft_rank,
        "num_spikes": fit.num_spikes,
        "mp_ks_distance": fit.ks_distance,
        "mp_bulk_ks_distance": fit.bulk_ks_distance,
        "mp_quality": "good" if fit.is_reliable else "poor",
    }


def with_bulk(report: Report, layer_name: str) -> Report:
    """Fit the bulk of one layer, unless the analysis has done so (``mp_fit=True``).

    Args:
        report: A report with spectra.
        layer_name: Name of one of its layers or matrices.

    Returns:
        The report, with the columns of the bulk in the row of that layer.

    Raises:
        InputError: No such layer, one without spectrum, or one whose saved spectrum is not that of its matrices.
    """
    from spectra.esd.marchenko_pastur import fit_marchenko_pastur

    values = report.eigenvalues(layer_name)
    row = next((layer for layer in report.layers if layer.matrix_name == layer_name), None)
    if row is None:  # the spectra of all experts are kept
        raise InputError(f"'{layer_name}' has no row in this report. Analyse with moe='per_expert' to draw one expert.")
    settings = report.settings
    size = min(row.num_rows, row.num_cols) * row.num_matrices
    is_operator = settings.conv_mode == "operator" and row.kind.startswith("conv")
    if settings.inverse or settings.subsample != "none" or is_operator or len(values) != size:
        raise InputError(
            f"layer '{layer_name}': the saved spectrum is not that of its matrices, and only these have a Marchenko-Pastur "
            "bulk. Analyse the model without inverse, subsample and conv_mode 'operator'; a low-rank product has none."
        )
    if math.isfinite(row.lambda_plus):
        return report
    fit = fit_marchenko_pastur(
        values,
        (row.num_rows, row.num_cols),
        num_matrices=row.num_matrices,
        method=settings.mp_method,
        tw_level=cast(Any, settings.tw_level),
    )
    if fit.num_spikes is None:
        raise InputError(f"layer '{layer_name}' has no Marchenko-Pastur bulk: {'; '.join(fit.notes)}.")
    filled = dataclasses.replace(row, **bulk_columns(fit))
    return dataclasses.replace(report, layers=tuple(filled if layer is row else layer for layer in report.layers))
