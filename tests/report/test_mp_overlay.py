import dataclasses

import numpy as np
import pytest
from scipy.integrate import trapezoid

import spectra
from spectra.diagnose.bulk import with_bulk
from spectra.errors import InputError
from spectra.esd.marchenko_pastur import bulk_density
from spectra.report.figures import mp_overlay


def weights(rows=90, cols=60, spikes=2, seed=0):
    """Noise with columns that stand out."""
    matrix = np.random.default_rng(seed).standard_normal((rows, cols))
    matrix[:, :spikes] *= 4.0
    return {"a.weight": matrix}


@pytest.fixture(scope="module")
def report():
    return spectra.analyze(weights(), mp_fit=True, randomize=True, workers=1)


def labelled(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def test_the_law_is_that_of_the_fit_scaled_to_what_is_no_spike(report):
    [row] = report.layers
    law = next(line for label, line in labelled(mp_overlay(report, "a")).items() if label.startswith("Marchenko–Pastur"))
    x, y = law.get_data()
    unit = max(row.num_rows, row.num_cols) * row.mp_sigma**2
    share = 1.0 - row.num_spikes / row.num_eigenvalues
    expected = share * bulk_density(x / unit, row.num_cols / row.num_rows) / unit
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)
    assert trapezoid(y, x) == pytest.approx(share, rel=1e-3)  # 401 points


@pytest.mark.parametrize("shape", [(60, 60), (60, 90)])
def test_square_and_wide_layers_have_the_same_law_as_their_fit(shape):
    report = with_bulk(spectra.analyze(weights(*shape), workers=1), "a")
    [row] = report.layers
    x, y = mp_overlay(report, "a").axes[0].get_lines()[0].get_data()
    unit = max(shape) * row.mp_sigma**2
    expected = (1.0 - row.num_spikes / 60) * bulk_density(x / unit, min(shape) / max(shape)) / unit
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-9)  # at the edges roots of roundings


def test_edge_and_spikes_are_marked(report):
    [row] = report.layers
    found = labelled(mp_overlay(report, "a"))
    assert found[rf"edge $\lambda_+ = {row.lambda_plus:.3g}$"].get_xdata()[0] == row.lambda_plus
    assert row.num_spikes == 2
    assert f"2 spikes, largest {row.lambda_max:.3g}" in found


def test_spikes_right_of_the_axis_are_counted(report):
    axes = mp_overlay(report, "a").axes[0]
    assert axes.get_xlim()[1] == pytest.approx(2.5 * report.layers[0].lambda_plus)
    assert [text.get_text() for text in axes.texts] == ["2 more →"]


def test_the_law_of_the_weights_in_random_order_is_drawn_where_it_is_known(report):
    words = f"law of the weights in random order (largest {report.layers[0].rand_lambda_max:.3g})"
    assert words in labelled(mp_overlay(report, "a"))
    assert words not in labelled(mp_overlay(with_bulk(spectra.analyze(weights(), workers=1), "a"), "a"))


def test_noise_has_no_spikes_and_fills_the_axis():
    report = with_bulk(spectra.analyze(weights(spikes=0), workers=1), "a")
    axes = mp_overlay(report, "a", wide=True).axes[0]
    assert len(axes.get_lines()) == 2
    assert axes.get_xlim()[1] >= report.layers[0].lambda_max


def test_a_doubtful_bulk_is_called_so(report):
    doubted = dataclasses.replace(report, layers=(dataclasses.replace(report.layers[0], mp_quality="poor"),))
    distance = f"$D = {report.layers[0].mp_bulk_ks_distance:.2f}$"
    assert f"Marchenko–Pastur, doubtful ({distance})" in labelled(mp_overlay(doubted, "a"))


def test_a_layer_without_bulk_is_refused():
    with pytest.raises(InputError, match=r"layer 'a' has no Marchenko-Pastur bulk in this report. Analyse with mp_fit=True"):
        mp_overlay(spectra.analyze(weights(), workers=1), "a")
