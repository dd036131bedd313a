"""What the rows of the table claim about methods, checked.

A proof has the name that rows refer to and is called with the row, so that the tolerance on the page is the one used.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spectra
from tests.weightwatcher_table.comparing import (
    Asked,
    report_of,
)
from tests.weightwatcher_table.models import MATRIX, OTHER, Net, pareto, tuned
from tests.weightwatcher_table.proofs_of_options import raises, same_table
from tests.weightwatcher_table.rows import Row

detailed = same_table
analyze_vectors = same_models = normalize_evals = raises


def described(row: Row, asked: Asked) -> None:
    from safetensors.torch import save_file

    from spectra.cli.main import main

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
        save_file(Net().state_dict(), Path(folder) / "model.safetensors")
        assert main(["analyze", f"{folder}/model.safetensors", "--profile", "weightwatcher", "--dry-run", "--json"]) == 0
    ours = {
        layer["layer_name"]: {
            "N": max(layer["num_rows"], layer["num_cols"]), "M": min(layer["num_rows"], layer["num_cols"]),
            "rf": layer["num_matrices"], "num_evals": layer["num_eigenvalues"],
        }
        for layer in json.loads(out.getvalue())["layers"]
    }  # fmt: skip
    theirs = asked.value(row.key)
    assert ours == {other["longname"]: {name: other[name] for name in ("N", "M", "rf", "num_evals")} for other in theirs}


def summarized(row: Row, asked: Asked) -> None:
    ours = report_of("net", (), "weightwatcher").summary.metrics
    names = {
        "alpha": "alpha", "alpha_weighted": "alpha_weighted", "log_alpha_norm": "log10_alpha_norm",
        "log_norm": "log10_sum_eigenvalues",
        "log_spectral_norm": "log10_lambda_max", "stable_rank": "stable_rank",
    }  # fmt: skip
    assert {name: ours[names[name]].mean for name in names} == pytest.approx(asked.value(row.key), rel=row.tolerance)


def spectrum_of_a_layer(row: Row, asked: Asked) -> None:
    ours = spectra.analyze(Net()).eigenvalues("conv")
    np.testing.assert_allclose(ours, asked.value(row.key), rtol=0.0, atol=row.tolerance * ours[-1])


def weights_of_a_layer(row: Row, asked: Asked) -> None:
    np.testing.assert_array_equal(asked.value(row.key), Net().get_submodule("wide").weight.detach())


def module_of_a_layer(row: Row, asked: Asked) -> None:
    assert asked.value(row.key) == list(Net().get_submodule("wide").weight.shape)


def _distances(row: Row, asked: Asked, method: str, tolerance: float) -> tuple[float, float]:
    """Compare the dense layers, and return both numbers of the convolution."""
    from spectra.diagnose.distances import distances

    ours = {layer.layer_name: layer.distance for layer in distances(Net(), tuned(), method=method).layers}
    theirs = {other["longname"]: other["delta_W"] for other in asked.value(row.key)}
    dense = theirs.keys() - {"conv"}
    assert {name: ours[name] for name in dense} == pytest.approx({name: theirs[name] for name in dense}, rel=tolerance)
    return ours["conv"], theirs["conv"]


def distances_raw(row: Row, asked: Asked) -> None:
    ours, theirs = _distances(row, asked, "euclidean", row.tolerance)
    assert ours == pytest.approx(theirs, rel=row.tolerance)


def distances_euclidean(row: Row, asked: Asked) -> None:
    ours, theirs = _distances(row, asked, "euclidean", 1e-6)
    change = tuned().conv.weight.detach().double() - Net().conv.weight.detach().double()
    assert theirs == pytest.approx(float(change.flatten(2).norm(dim=(0, 1)).mean()), rel=1e-6)
    assert ours == pytest.approx(float(change.norm()), rel=1e-12)


def distances_cka(row: Row, asked: Asked) -> None:
    ours, theirs = _distances(row, asked, "cka", 1e-5)
    assert ours != pytest.approx(theirs, rel=1e-3)


def matrix_distances(row: Row, asked: Asked) -> None:
    from spectra.diagnose.distances import cka_similarity, euclidean_distance

    readers = [lambda start, stop, w=w: w[start:stop] for w in (MATRIX, OTHER)]
    ours = [function(*readers, MATRIX.shape) for function in (euclidean_distance, cka_similarity)]
    assert ours == pytest.approx(asked.value(row.key), rel=row.tolerance)


def returns_nothing(row: Row, asked: Asked) -> None:
    assert asked.value(row.key) is None


def _ranks(weights: Any) -> list[int]:
    matrix = np.asarray(weights, dtype=np.float64)
    parts = matrix.reshape(*matrix.shape[:2], -1).transpose(2, 0, 1)
    singular = np.linalg.svd(parts, compute_uv=False)
    return (singular > 1e-5 * singular.max()).sum(axis=1).tolist()


def _same_ranks(row: Row, asked: Asked, *, keep: str | float) -> None:
    from spectra.transform import smooth

    ours, theirs = smooth(Net(), keep, exclude=["tiny"]), asked.value(row.key)
    for name in theirs.keys() - {"tiny.weight"}:
        assert _ranks(ours[name]) == _ranks(theirs[name]), name


def smoothed_trace_log(row: Row, asked: Asked) -> None:
    _same_ranks(row, asked, keep="trace_log")


def smoothed_power_law(row: Row, asked: Asked) -> None:
    _same_ranks(row, asked, keep="power_law")


def smoothed_fraction(row: Row, asked: Asked) -> None:
    _same_ranks(row, asked, keep=0.3)


def smoothed_mp(row: Row, asked: Asked) -> None:
    from spectra.transform import smooth

    ours, theirs = smooth(Net(), "mp", exclude=["tiny"]), asked.value(row.key)
    assert _ranks(ours["wide.weight"]) != _ranks(theirs["wide.weight"])
    assert max(_ranks(ours["wide.weight"]) + _ranks(theirs["wide.weight"])) < 60


def sharpened(row: Row, asked: Asked) -> None:
    from spectra.transform import sharpen

    assert asked.value(row.key) == [False, True]
    assert set(sharpen(Net(), seed=0)) == set(Net().state_dict())


def smooth_matrix(row: Row, asked: Asked) -> None:
    from spectra.transform import smooth

    ours = smooth({"a.weight": MATRIX}, 0.25)["a.weight"]
    np.testing.assert_allclose(ours, asked.value(row.key), rtol=0.0, atol=row.tolerance * np.abs(ours).max())


def vector_metrics(row: Row, asked: Asked) -> None:
    from spectra.esd.localization import vector_metrics as ours_of

    ours, theirs = ours_of(MATRIX), asked.value(row.key)
    for name, found in (
        ("localization_ratio", ours.localization_ratio),
        ("participation_ratio", ours.participation_ratio),
        ("discete_entropy", ours.entropy),
    ):
        np.testing.assert_allclose(found, [other[name] for other in theirs], rtol=row.tolerance)
    assert all(math.isnan(other["discrete_entropy"]) for other in theirs)
    assert np.ptp([other["entropy"] for other in theirs]) < 1e-12


def fitted(row: Row, asked: Asked) -> None:
    for size, theirs in zip((12, 60, 400), asked.value(row.key), strict=True):
        alpha, _, xmin, xmax, distance, sigma, num_tail = theirs[:7]
        small = {"min_tail": 8, "bias_correction": True} if size < 20 else {}
        fit = spectra.fit_power_law(pareto(size), null_threshold=1e-5, **small)
        assert (fit.alpha, fit.xmin, fit.xmax, fit.ks_distance) == pytest.approx(
            (alpha, xmin, xmax, distance), rel=row.tolerance
        )
        assert (fit.alpha_std_error, fit.num_tail) == pytest.approx((sigma, num_tail), rel=row.tolerance)


def fitted_from_xmin(row: Row, asked: Asked) -> None:
    theirs = asked.value(row.key)
    assert theirs[2] < 2.0
    assert theirs == asked.value("net: fit_powerlaw(values)")[2]
    assert spectra.fit_power_law(pareto(400), 2.0).xmin == 2.0


def mp_fitted(row: Row, asked: Asked) -> None:
    from spectra.esd.marchenko_pastur import fit_marchenko_pastur

    fit = fit_marchenko_pastur(spectra.eigenvalues(MATRIX), MATRIX.shape, method="kde_compat", tw_level="ww")
    ours = [fit.num_spikes, fit.sigma_rescaled, fit.soft_rank, fit.lambda_minus, fit.lambda_plus, fit.scale]
    assert ours == pytest.approx(asked.value(row.key), rel=row.tolerance)


def combined(row: Row, asked: Asked) -> None:
    ours = np.sort(np.concatenate([spectra.eigenvalues(matrix) for matrix in (MATRIX, OTHER)]))
    np.testing.assert_allclose(ours, asked.value(row.key), rtol=0.0, atol=row.tolerance * ours[-1])
