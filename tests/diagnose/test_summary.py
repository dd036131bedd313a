import numpy as np
import pytest

import spectra


def test_quantiles_and_moments_are_numpys():
    rng = np.random.default_rng(0)
    report = spectra.analyze({f"layer.{i}.weight": rng.standard_normal((60, 40)) for i in range(7)})
    alphas = [row.alpha for row in report.layers]
    metric = report.summary.metrics["alpha"]
    quantiles = (metric.min, metric.q25, metric.median, metric.q75, metric.max)
    assert quantiles == pytest.approx(np.quantile(alphas, [0.0, 0.25, 0.5, 0.75, 1.0]), rel=1e-14)
    assert (metric.mean, metric.std) == pytest.approx((np.mean(alphas), np.std(alphas, ddof=1)), rel=1e-14)
    assert metric.count == 7


def test_a_single_layer_has_no_standard_deviation():
    report = spectra.analyze({"a.weight": np.random.default_rng(0).standard_normal((60, 40))})
    metric = report.summary.metrics["alpha"]
    assert np.isnan(metric.std)
    assert metric.min == metric.median == metric.max == report.layers[0].alpha
