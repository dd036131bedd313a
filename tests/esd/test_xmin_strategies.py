import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, fit_power_law
from spectra.esd.power_law import parse_xmin
from spectra.esd.xmin_strategies import spectrum_peak
from tests.data.samples import KINDS, sample
from tests.esd.demo_spectra import demo_spectra
from tests.fixtures_htsr import ANSWERS
from tests.forked import asked_of_weightwatcher
from tests.strategies import spectra


def published_peak(values, *, compat):
    """The loop of the TempBalance code (fix-finger) in float64; with ``compat=False`` its lower bound is the one meant."""
    logs = np.log10(values)
    counts, edges = np.histogram(logs, 100)
    peak = 10 ** edges[np.argmax(counts)]
    low, high = 0.95 * peak, 1.5 * peak
    low = np.log10(low) if compat else low
    alphas, distances = np.zeros(len(values) - 1), np.ones(len(values) - 1)
    for i, xmin in enumerate(values[:-1]):
        if low <= xmin <= high:
            n = len(values) - i
            alphas[i] = 1 + n / np.log(values[i:] / xmin).sum()
            distances[i] = np.abs(1 - (values[i:] / xmin) ** (1 - alphas[i]) - np.arange(n) / n).max()
    best = np.argmin(distances)
    return alphas[best], values[best], distances[best]


@pytest.mark.parametrize("strategy", ["peak", "peak_compat"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_peak_equals_a_plain_loop(strategy, kind, scale):
    values = sample(kind, 300, seed=4) * scale
    alpha, xmin, distance = published_peak(values, compat=strategy == "peak_compat")
    fit = fit_power_law(values, strategy)
    if alpha == 0.0:  # the published code's answer where no candidate lies in the window
        assert "near the peak" in fit.notes[-1]
        return
    assert fit.xmin == xmin
    assert fit.alpha == pytest.approx(alpha, rel=1e-12)
    assert fit.ks_distance == pytest.approx(distance, abs=1e-12)


def test_peak_equals_a_plain_loop_on_the_demo_model(demo_folder):
    for name, values in demo_spectra(demo_folder).items():
        for compat in (False, True):
            fit = fit_power_law(values, "peak_compat" if compat else "peak")
            alpha, xmin, _ = published_peak(values, compat=compat)
            assert (fit.alpha, fit.xmin) == pytest.approx((alpha, xmin), rel=1e-12), name


def test_the_published_window_has_a_lower_bound_only_for_large_peaks():
    # A bulk at 50 and a broad floor below: log10(0.95 * 50) = 1.68 lets candidates in that 0.95 * 50 keeps out.
    rng = np.random.default_rng(0)
    values = np.sort(np.concatenate([np.geomspace(2.0, 40.0, 60), 50.0 + rng.random(200), 51.0 * rng.random(80) ** (-1 / 2)]))
    peak = spectrum_peak(values)
    assert 49.0 < peak < 51.1
    meant, published = fit_power_law(values, "peak"), fit_power_law(values, "peak_compat")
    assert 0.95 * peak <= meant.xmin <= 1.5 * peak
    assert published.ks_distance <= meant.ks_distance


def test_a_window_without_candidates_falls_back_and_says_so():
    # The fullest bin is the last one, which holds the largest value five times: no candidate, nor is anything near it.
    values = np.concatenate([np.geomspace(1.0, 10.0, 40), np.full(5, 100.0)])
    fit, whole = fit_power_law(values, "peak"), fit_power_law(values)
    assert (fit.alpha, fit.xmin, fit.strategy) == (whole.alpha, whole.xmin, "peak")
    assert "searched among all" in fit.notes[-1]


def test_the_note_about_the_fallback_makes_no_fit_doubtful():
    tail = (1.0 - (np.arange(400) + 0.5) / 400) ** (-1.0 / 1.5)
    values = np.concatenate([np.full(60, 2.0 * tail.max()), tail, np.linspace(0.5, 1.0, 20)])
    fit = fit_power_law(values, "peak", min_tail=2)
    whole = fit_power_law(values)
    assert len(fit.notes) == len(whole.notes) + 1
    assert fit.is_reliable == whole.is_reliable


@given(spectra(min_size=3), st.integers(-20, 20))
def test_scaling_by_a_power_of_two_scales_only_the_peak(values, exponent):
    if values[0] == values[-1]:
        return
    factor = 2.0**exponent
    assert spectrum_peak(values * factor) == spectrum_peak(values) * factor
    fit, scaled = fit_power_law(values, "peak"), fit_power_law(values * factor, "peak")
    assert scaled.alpha == fit.alpha
    assert scaled.xmin == fit.xmin * factor


@pytest.mark.parametrize("values", [[1.0, 1.0 + 1e-15, 1.0 + 2e-15], [5e-324, 1.0, 1e308], [1e-300, 1e-300, 2e-300]])
def test_the_peak_of_any_range_is_found(values):
    assert fit_power_law(values, "peak").alpha > 1.0
    assert fit_power_law(values, "peak_compat").alpha > 1.0


def clipped_by_hand(values, max_fingers=10, threshold=1.0):
    """The algorithm of the specification, literally: number removed, fit, raw alpha."""
    raw = fit_power_law(values)
    for j in range(2, max_fingers):
        fit = fit_power_law(values[:-j])
        if fit.alpha + threshold < raw.alpha:
            return j, fit, raw.alpha
        if fit.alpha <= 2.0:
            break
    return 0, raw, raw.alpha


@given(spectra(min_size=40), st.integers(0, 12), st.floats(0.0, 2.0))
def test_clip_follows_the_definition(values, max_fingers, threshold):
    if values[0] == values[-15]:
        return
    num_removed, fit, raw_alpha = clipped_by_hand(values, max_fingers, threshold)
    clipped = fit_power_law(values, "clip", max_fingers=max_fingers, finger_threshold=threshold)
    assert (clipped.num_fingers, clipped.alpha, clipped.raw_alpha) == (num_removed, fit.alpha, raw_alpha)
    assert (clipped.xmin, clipped.xmax, clipped.num_tail) == (fit.xmin, fit.xmax, fit.num_tail)
    assert clipped.num_eigenvalues == len(values)


def test_fingers_are_removed_and_counted():
    values = sample("gaussian_matrix", 257, seed=1)
    clipped, compat = (fit_power_law(values, name) for name in ("clip", "clip_compat"))
    assert (clipped.num_fingers, compat.num_fingers) == (7, 6)
    assert compat.alpha == clipped.alpha < clipped.raw_alpha == fit_power_law(values).alpha
    assert compat.num_tail == clipped.num_tail + clipped.num_fingers
    assert clipped.xmax == values[-1 - clipped.num_fingers]


def test_other_strategies_count_no_fingers():
    fit = fit_power_law(ANSWERS["A"][0]())
    assert fit.num_fingers is None
    assert math.isnan(fit.raw_alpha)


def test_clipping_stops_before_nothing_is_left():
    fit = fit_power_law([1.0, 1.5, 2.0, 3.0, 5.0], "clip")
    assert fit.num_fingers == 0 or fit.xmax < 5.0


@pytest.mark.slow
def test_clip_equals_weightwatcher(demo_folder, tmp_path):
    # H5: all 39 matrices of the demo model, and samples.
    cases = dict(demo_spectra(demo_folder)) | {f"{kind}-{n}": sample(kind, n, seed=n) for kind in KINDS for n in (40, 300)}
    np.savez(tmp_path / "spectra.npz", **cases)
    printed = asked_of_weightwatcher(Path(__file__).with_name("watch_clip.py"), tmp_path / "spectra.npz")
    line = next(line for line in printed if line.startswith("FITS "))
    changed = 0
    for name, theirs in json.loads(line.removeprefix("FITS ")).items():
        fit = fit_power_law(cases[name], "clip_compat", null_threshold=1e-5)
        ours = (fit.alpha, fit.raw_alpha, fit.xmin, fit.xmax, fit.alpha_std_error)
        assert ours == pytest.approx(tuple(theirs[c] for c in ("alpha", "raw_alpha", "xmin", "xmax", "sigma")), rel=1e-12), name
        assert fit.ks_distance == pytest.approx(theirs["D"], abs=1e-12), name
        assert (fit.num_fingers, fit.num_tail) == (theirs["num_fingers"], theirs["num_pl_spikes"]), name
        changed += name in demo_spectra(demo_folder) and theirs["num_fingers"] > 0
    assert changed == 11  # htsr.md section 5


@pytest.mark.parametrize(
    ("alias", "name"), [("xmin_mid", "median"), ("xmin_peak", "peak"), ("xmin_peak_compat", "peak_compat")]
)
def test_names_of_other_code_are_translated(alias, name):
    assert parse_xmin(alias) == name
    values = ANSWERS["B"][0]()
    assert fit_power_law(values, alias) == fit_power_law(values, name)


@pytest.mark.parametrize("arguments", [{"max_fingers": -1}, {"finger_threshold": -0.5}, {"finger_threshold": np.nan}])
def test_settings_out_of_range_are_refused(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        fit_power_law([1.0, 2.0, 3.0, 4.0], "clip", **arguments)
