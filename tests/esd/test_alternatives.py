import math
import sys
import warnings

import numpy as np
import pytest

from spectra import InputError, MissingPackageError, fit_power_law
from spectra.esd.alternatives import Verdict, compare_alternatives
from tests.data.samples import sample

NAMES = ("lognormal", "exponential", "stretched_exponential", "truncated_power_law")


def by_name(values, xmin="ks"):
    return {law.name: law for law in compare_alternatives(values, fit_power_law(values, xmin))}


def vuong(differences):
    """Normalised ratio and p-value of Vuong's test, by their definition."""
    ratio = differences.sum() / (math.sqrt(len(differences)) * differences.std())
    return ratio, math.erfc(abs(ratio) / math.sqrt(2.0))


def test_the_exponential_is_compared_by_closed_forms():
    # Maximum likelihood: rate 1 / (mean - xmin). powerlaw's optimiser stops at 1e-4.
    for seed in range(3):
        values = sample("lognormal", 300, seed)
        xmin = float(values[100])
        tail = values[100:]
        alpha, rate = 1.0 + len(tail) / np.log(tail / xmin).sum(), 1.0 / (tail.mean() - xmin)
        power_law = math.log((alpha - 1.0) / xmin) - alpha * np.log(tail / xmin)
        ratio, pvalue = vuong(power_law - math.log(rate) + rate * (tail - xmin))
        law = by_name(values, xmin)["exponential"]
        assert law.log_likelihood_ratio == pytest.approx(ratio, abs=2e-2)
        assert law.pvalue == pytest.approx(pvalue, abs=1e-2)


def test_the_truncated_power_law_equals_powerlaws_where_that_finds_the_maximum():
    import powerlaw

    values = sample("lognormal", 300, seed=1)
    fit = fit_power_law(values, float(values[180]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = powerlaw.Fit(values[180:] / fit.xmin, xmin=1.0, parameter_ranges={"alpha": [1.0, None]}, verbose=False)
        ratio, pvalue = theirs.distribution_compare("power_law", "truncated_power_law", nested=True, normalized_ratio=True)
    law = by_name(values, fit.xmin)["truncated_power_law"]
    assert law.log_likelihood_ratio == pytest.approx(float(ratio), rel=2e-2)
    assert law.pvalue == pytest.approx(float(pvalue), rel=5e-2)


def test_the_right_law_wins():
    rng = np.random.default_rng(0)
    exponential = by_name(1.0 + rng.exponential(size=500), 1.0)
    assert exponential["exponential"].verdict is Verdict.ALTERNATIVE
    pareto = by_name(rng.random(2000) ** (-1.0 / 1.5), 1.0)
    assert pareto["exponential"].verdict is Verdict.POWER_LAW
    assert pareto["exponential"].log_likelihood_ratio > 0.0
    assert pareto["truncated_power_law"].verdict is Verdict.UNDECIDED
    lognormal = by_name(1.0 + np.exp(0.5 * rng.standard_normal(500)), 1.0)
    assert lognormal["lognormal"].verdict is Verdict.ALTERNATIVE


def test_the_contained_law_never_wins_against_the_containing_one():
    for seed in range(6):
        values = sample("pareto", 200, seed)
        law = by_name(values, float(values[20]))["truncated_power_law"]
        assert law.log_likelihood_ratio <= 0.0
        assert law.verdict is not Verdict.POWER_LAW


def test_an_exponent_above_three_is_compared_as_it_is():
    # powerlaw 2 caps alpha at 3 by default: the comparison would be with another power law, far from the best.
    values = np.random.default_rng(2).random(1500) ** (-1.0 / 4.0)  # alpha = 5
    laws = by_name(values, 1.0)
    assert laws["exponential"].verdict is Verdict.POWER_LAW


def test_scaling_changes_no_comparison():
    values = sample("exponential", 200, seed=3)
    fit, scaled = fit_power_law(values), fit_power_law(values * 2.0**-30)
    assert compare_alternatives(values, fit) == compare_alternatives(values * 2.0**-30, scaled)


def test_nothing_is_printed_and_nothing_warned(capsys):
    values = sample("uniform", 60, seed=0)
    laws = compare_alternatives(values, fit_power_law(values))
    assert tuple(law.name for law in laws) == NAMES
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 2.0], [1.0, 1.0 + 1e-12, 1.0 + 2e-12, 1.0 + 5e-12]])
def test_hardly_any_tail_decides_nothing_or_fails(values):
    for law in compare_alternatives(values, fit_power_law(values)):
        assert math.isfinite(law.pvalue) != (law.verdict is Verdict.FAILED)


def test_to_dict_has_every_field():
    values = sample("pareto", 50, seed=0)
    assert set(compare_alternatives(values, fit_power_law(values))[0].to_dict()) == {
        "name", "log_likelihood_ratio", "pvalue", "verdict",
    }  # fmt: skip


def test_a_fit_of_another_spectrum_is_refused():
    values = sample("pareto", 50, seed=0)
    with pytest.raises(InputError, match="Pass the spectrum that was fitted"):
        compare_alternatives(values[:-1], fit_power_law(values))


def test_a_missing_powerlaw_is_named(monkeypatch):
    values = sample("pareto", 50, seed=0)
    fit = fit_power_law(values)
    monkeypatch.setitem(sys.modules, "powerlaw", None)
    with pytest.raises(MissingPackageError, match='pip install "powerlaw'):
        compare_alternatives(values, fit)
