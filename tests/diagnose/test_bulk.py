import dataclasses

import numpy as np
import pytest

import spectra
from spectra.diagnose.bulk import with_bulk
from spectra.errors import InputError

MODEL = {"a.weight": np.random.default_rng(0).standard_normal((90, 60)), "b.weight": np.eye(20)}
MODEL["conv.weight"] = np.random.default_rng(1).standard_normal((20, 10, 3, 3))


@pytest.mark.parametrize("name", ["a", "conv"])
def test_a_bulk_fitted_afterwards_is_that_of_an_analysis(name):
    late = with_bulk(spectra.analyze(MODEL, workers=1), name)
    early = spectra.analyze(MODEL, workers=1, mp_fit=True)
    rows = [next(row for row in report.layers if row.layer_name == name) for report in (late, early)]
    assert rows[0].to_dict() == rows[1].to_dict()


def test_a_bulk_of_the_analysis_stays():
    report = spectra.analyze(MODEL, workers=1, mp_fit=True, mp_method="kde")
    assert with_bulk(report, "a") is report


def test_other_layers_stay_as_they_are():
    report = spectra.analyze(MODEL, workers=1)
    assert with_bulk(report, "a").layers[1:] == report.layers[1:]


@pytest.mark.parametrize("settings", [{"inverse": True}, {"subsample": "farms"}, {"conv_mode": "operator"}], ids=str)
def test_spectra_that_are_not_those_of_matrices_are_refused(settings):
    report = spectra.analyze(MODEL, workers=1, **settings)
    with pytest.raises(InputError, match="layer 'conv': the saved spectrum is not that of its matrices"):
        with_bulk(report, "conv")


def test_a_spectrum_without_bulk_is_refused_with_the_reason():
    report = spectra.analyze({"v.weight": np.ones((1, 30))}, workers=1)
    with pytest.raises(InputError, match="layer 'v' has no Marchenko-Pastur bulk: a vector has no bulk"):
        with_bulk(report, "v")


def test_an_expert_without_a_row_is_refused():
    report = spectra.analyze(MODEL, workers=1)
    with pytest.raises(InputError, match="'a' has no row in this report. Analyse with moe='per_expert'"):
        with_bulk(dataclasses.replace(report, layers=()), "a")
