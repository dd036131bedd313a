"""Defined outcomes of hard cases (H14), and invariances of whole rows (H10)."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectra
from spectra.results.records import LayerStatus


def heavy_tailed(rows=200, cols=80, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, cols)) * (1.0 - rng.random(cols)) ** (-1.0 / 3.0)


def row_of(matrix, **arguments):
    report = spectra.analyze({"layer.weight": matrix}, workers=1, **arguments)
    (row,) = report.layers
    return row


RNG = np.random.default_rng(5)
LOW_RANK = {
    "constant": np.full((128, 128), 0.02),
    "rank one": np.outer(RNG.standard_normal(128), RNG.standard_normal(128)),
    "rank ten": RNG.standard_normal((128, 10)) @ RNG.standard_normal((10, 96)),
}


@pytest.mark.parametrize("matrix", LOW_RANK.values(), ids=LOW_RANK)
@pytest.mark.parametrize("method", ["auto", "svd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tail_of_round_off_is_none(matrix, method, dtype):
    # The half of the eigenvalues that the profile fits begins among those that are zero but for rounding.
    row = row_of(matrix.astype(dtype), profile="tempbalance", method=method)
    assert (row.status, math.isnan(row.alpha)) == ("no_tail", True)
    assert "round-off of zero" in row.notes


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e5])
def test_small_eigenvalues_that_float32_knows_are_fitted(condition):
    # A median that many times under the largest eigenvalue, of an outlier as trained layers have; digits as in float64.
    rows = heavy_tailed(256, 200)
    values = np.linalg.eigvalsh(rows.T @ rows)
    outlier = np.outer(np.ones(256), np.ones(200)) * math.sqrt(condition * np.median(values) / (256 * 200))
    rows = (rows + outlier).astype(np.float32)
    ours, exact = (row_of(rows, profile="tempbalance", precision=precision) for precision in ("float32", "float64"))
    assert ours.status == "ok"
    assert ours.alpha == pytest.approx(exact.alpha, rel=1e-3)


HARD = {
    "zero": (np.zeros((60, 30)), "zero"),
    "constant": (np.ones((60, 30)), "no_tail"),
    "rank one": (np.outer(np.arange(1.0, 61.0), np.arange(1.0, 31.0)), "no_tail"),
    "orthogonal": (np.eye(40), "no_tail"),
    "nan": (np.where(np.eye(40) > 0, np.nan, 1.0), "nonfinite"),
    "infinite": (np.where(np.eye(40) > 0, np.inf, 1.0), "nonfinite"),
    "one row": (np.ones((1, 50)), "too_few_evals"),
    "one column": (np.ones((50, 1)), "too_few_evals"),
    "empty": (np.ones((0, 50)), "empty"),
    "few": (heavy_tailed(30, 7), "too_few_evals"),
}


# H14
@pytest.mark.parametrize("name", HARD)
def test_hard_cases_have_a_status_and_no_invented_numbers(name):
    matrix, status = HARD[name]
    row = row_of(matrix)
    assert row.status == status
    assert math.isnan(row.alpha)
    assert math.isnan(row.ks_distance)
    assert math.isnan(row.alpha_weighted)
    assert row.num_tail is None
    assert (row.label, row.fit_quality) == ("", "")
    assert -1 not in row.to_dict().values()


@pytest.mark.parametrize("profile", ["default", "weightwatcher"])
def test_hard_cases_enter_no_mean(profile):
    good = heavy_tailed()
    model = {f"{name}.weight": matrix for name, (matrix, _) in HARD.items()}
    mixed = spectra.analyze({**model, "good.weight": good}, profile=profile)
    alone = spectra.analyze({"good.weight": good}, profile=profile)
    assert mixed.summary.metrics["alpha"] == alone.summary.metrics["alpha"]
    assert mixed.summary.num_failed == 2
    assert mixed.summary.num_reliable + mixed.summary.num_doubtful == 1


def test_norms_are_given_where_the_fit_is_not():
    row = row_of(np.outer(np.arange(1.0, 61.0), np.arange(1.0, 31.0)))
    assert row.matrix_rank == 1
    assert row.entropy == 0.0
    assert row.stable_rank == pytest.approx(1.0, rel=1e-12)
    assert row_of(np.zeros((60, 30))).matrix_rank == 0


# H10: exact arithmetic would leave these unchanged; 1e-8 as the specification states, 1e-6 for rotations (products with a
# computed orthogonal matrix round every entry).
@given(st.floats(1e-6, 1e6), st.integers(0, 100))
def test_scaling_changes_neither_alpha_nor_distance_nor_stable_rank(factor, seed):
    matrix = heavy_tailed(seed=seed)
    assert_same_shape(row_of(matrix), row_of(matrix * factor), rel=1e-8)


@given(st.integers(0, 100))
def test_transposing_and_permuting_changes_nothing(seed):
    matrix = heavy_tailed(seed=seed)
    rng = np.random.default_rng(seed)
    shuffled = matrix[rng.permutation(matrix.shape[0])][:, rng.permutation(matrix.shape[1])]
    assert_same_shape(row_of(matrix), row_of(matrix.T), rel=1e-8)
    assert_same_shape(row_of(matrix), row_of(shuffled), rel=1e-8)


@given(st.integers(0, 100))
def test_rotating_changes_nothing(seed):
    matrix = heavy_tailed(seed=seed)
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((matrix.shape[0],) * 2))
    right, _ = np.linalg.qr(rng.standard_normal((matrix.shape[1],) * 2))
    assert_same_shape(row_of(matrix), row_of(left @ matrix @ right), rel=1e-6)


def assert_same_shape(a, b, rel):
    for column in ("alpha", "ks_distance", "stable_rank", "alpha_hill", "entropy"):
        assert getattr(a, column) == pytest.approx(getattr(b, column), rel=rel), column
    assert (a.num_tail, a.matrix_rank, a.label) == (b.num_tail, b.matrix_rank, b.label)


def test_columns_agree_with_their_definitions():
    matrix = heavy_tailed()
    row = row_of(matrix)
    values = np.sort(np.linalg.svd(matrix, compute_uv=False) ** 2)
    fit = spectra.fit_power_law(values)
    assert row.alpha == pytest.approx(fit.alpha, rel=1e-10)
    assert row.alpha_weighted == pytest.approx(fit.alpha * math.log10(values[-1]), rel=1e-10)
    assert row.log10_alpha_norm == pytest.approx(math.log10((values**fit.alpha).sum()), rel=1e-10)
    assert row.matrix_rank == np.linalg.matrix_rank(matrix)
    assert (row.num_rows, row.num_cols, row.num_params, row.aspect_ratio) == (200, 80, 16_000, 2.5)
    assert row.num_eigenvalues == len(values)


@pytest.mark.parametrize(("alpha", "label"), [(1.5, "over-trained"), (3.0, ""), (8.0, "under-trained")])
def test_labels_follow_alpha(alpha, label):
    u = (np.arange(50) + 0.5) / 50  # a twentieth of the spectrum: longer than the edge of a random one even at alpha 8
    tail = np.concatenate([np.linspace(0.01, 0.99, 950), (1.0 - u) ** (-1.0 / (alpha - 1.0))])
    assert row_of(np.diag(np.sqrt(tail))).label == label


def test_labels_need_evidence_but_not_in_the_compat_profile():
    small = np.diag(np.sqrt((1.0 - (np.arange(30) + 0.5) / 30) ** (-1.0 / 0.5)))
    assert row_of(small).label == ""
    assert row_of(small, profile="weightwatcher").label == "over-trained"


def test_compat_profile_fits_short_spectra_by_weightwatchers_rule():
    # The effective rule of WeightWatcher 0.7.7 under 20 values: 1 + (k - 1) / sum, tails of at least 8, smallest D.
    values = np.sort((1.0 - np.random.default_rng(4).random(15)) ** (-1.0 / 1.5))
    best = (2.0, 0.0)
    for i in range(len(values) - 7):
        tail = values[i:]
        alpha = 1.0 + (len(tail) - 1.0) / np.log(tail / tail[0]).sum()
        distance = np.abs(1.0 - (tail / tail[0]) ** (1.0 - alpha) - np.arange(len(tail)) / len(tail)).max()
        best = min(best, (distance, alpha))
    assert row_of(np.diag(np.sqrt(values)), profile="weightwatcher").alpha == pytest.approx(best[1], rel=1e-10)


def test_absolute_threshold_of_the_compat_profile_breaks_scale_invariance_on_purpose():
    matrix = heavy_tailed() * 1e-4
    assert row_of(matrix).status == "ok"
    assert row_of(matrix, profile="weightwatcher").num_null > 0


def test_float32_admits_missing_ranks():
    rng = np.random.default_rng(0)
    low_rank = (rng.standard_normal((60, 20)) @ rng.standard_normal((20, 40))).astype(np.float32)
    row = row_of(low_rank, precision="float32")
    assert row.matrix_rank is None
    assert math.isnan(row.sv_min)
    assert "method 'svd' gives them" in row.notes
    assert row_of(low_rank, precision="float32", method="svd").matrix_rank == 20


def test_statuses_are_words():
    assert {status.value for status in LayerStatus} == {
        "ok", "too_few_evals", "no_tail", "zero", "depthwise", "empty", "nonfinite", "meta", "unreadable", "no_base",
        "unchanged",
    }  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_have_the_same_row_on_a_device(name):
    matrix, status = HARD[name]
    here, there = row_of(matrix), row_of(matrix, device="cpu:0")
    assert (there.status, there.notes) == (status, here.notes)
    assert (there.num_null, there.matrix_rank, there.rank_loss) == (here.num_null, here.matrix_rank, here.rank_loss)
    assert there.lambda_max == pytest.approx(here.lambda_max, rel=1e-12, nan_ok=True)


def test_where_a_matrix_was_computed_instead_is_in_its_notes():
    from spectra.diagnose.layer import diagnosed
    from spectra.diagnose.plan import plan_analysis
    from spectra.diagnose.profiles import resolve_settings
    from spectra.diagnose.spectra_of import Found
    from spectra.esd.eigenvalues import spectrum
    from spectra.esd.spectrum import pool
    from spectra.sources import open_source

    matrix, settings = heavy_tailed(), resolve_settings("default")
    (job,) = plan_analysis(open_source({"a.weight": matrix}), settings).jobs
    found = spectrum(lambda start, stop: matrix[start:stop], matrix.shape)
    moved = dataclasses.replace(found, note="too little memory on cuda:0: computed on the CPU")
    row, _ = diagnosed(job, Found(moved, moved), settings)
    assert row.status == "ok"
    assert row.notes.startswith(moved.note)
    assert pool([found, moved, moved], 200).note == moved.note
