"""Profiles: the TempBalance family's numbers (H9), and what is refused."""

import dataclasses
from typing import get_type_hints

import numpy as np
import pytest
import torch

import spectra
from spectra.diagnose.profiles import PROFILES, resolve_settings
from spectra.results.settings import AnalysisSettings, SettingsChanges, setting_meanings
from tests.models import heavy_tailed


def tempbalance_alpha(eigenvalues, xmin_pos, dtype):
    """`tempbalance.md` a.3 as the released code computes it: torch, one evaluation at index int(n / xmin_pos)."""
    values = torch.sort(torch.as_tensor(eigenvalues).to(dtype)).values
    start = int(len(values) / xmin_pos)
    n = float(len(values) - start)
    logs = torch.log(values[start:])
    return float(1 + n / (torch.sum(logs) - n * torch.log(values[start])))


@pytest.mark.parametrize("xmin_pos", [2.0, 1.5, 3.0])
@pytest.mark.parametrize("shape", [(200, 100), (101, 333), (64, 64)], ids=str)
def test_h9_median_equals_the_tempbalance_code(shape, xmin_pos):
    values = spectra.eigenvalues(heavy_tailed(*shape))
    alpha = spectra.fit_power_law(values, "median", xmin_pos=xmin_pos).alpha
    assert alpha == pytest.approx(tempbalance_alpha(values, xmin_pos, torch.float32), rel=1e-4)
    assert alpha == pytest.approx(tempbalance_alpha(values, xmin_pos, torch.float64), rel=1e-10)


def test_h9_the_profile_gives_the_codes_alpha_from_weights_to_end():
    """Linear: squared singular values. Conv2d: kernel positions concatenated, times conv_norm."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(32, 64, 3), torch.nn.Linear(96, 200), torch.nn.Embedding(100, 60), torch.nn.Conv1d(32, 64, 3)
    )
    report = spectra.analyze(model, profile="tempbalance")
    assert [layer.kind for layer in report.layers] == ["conv2d", "linear"]
    kernel = torch.flatten(model[0].weight.detach(), start_dim=2).permute(2, 0, 1) * np.sqrt(0.5)
    expected = [
        torch.square(torch.linalg.svdvals(kernel).flatten()),
        torch.square(torch.linalg.svdvals(model[1].weight.detach()).flatten()),
    ]
    for layer, values in zip(report.layers, expected, strict=True):
        assert layer.alpha == pytest.approx(tempbalance_alpha(values, 2, torch.float32), rel=1e-4)
        assert layer.lambda_max == pytest.approx(float(values.max()), rel=1e-5)


def test_every_profile_is_made_of_settings_that_pass_their_own_checks():
    for name in PROFILES:
        assert resolve_settings(name) == PROFILES[name]


def test_the_typed_changes_are_the_settings_that_have_a_flag():
    flagged = {f.name for f in dataclasses.fields(AnalysisSettings) if f.metadata["group"]}
    assert set(get_type_hints(SettingsChanges)) == flagged


def test_every_setting_says_what_it_means():
    assert all(setting_meanings().values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"moe": "per-expert"}, "Did you mean 'per_expert'"),
        ({"conv_mode": "sliced"}, "Did you mean 'slices'"),
        ({"kinds": "Linear"}, "Did you mean 'linear'"),
        ({"tw_level": 99}, r"probability in \(0, 1\)"),
        ({"window_rows": 1}, "whole number of at least 2"),
        ({"num_replicas": 0}, "whole number of at least 1"),
        ({"bootstrap_samples": 1.5}, "whole number"),
        ({"max_fingers": 5}, "belongs to xmin 'clip'"),
        ({"xmin_pos": 3.0}, "belongs to xmin 'median'"),
        ({"mp_fit": "yes"}, "True or False"),
        ({"small_sample_rule": True}, "unknown setting"),
        ({"mpfit": True}, "Did you mean 'mp_fit'"),
        ({"window_rows": 30}, "window_rows belongs to subsample 'farms', which nobody asked for"),
        ({"window_aspect": 2.0}, "belongs to subsample 'farms'"),
        ({"windows_per_side": 2}, "belongs to subsample 'farms'"),
        ({"mp_method": "kde"}, "mp_method belongs to mp_fit and randomize, which nobody asked for"),
        ({"tw_level": 0.9}, "belongs to mp_fit and randomize"),
        ({"num_replicas": 2, "mp_fit": True}, "num_replicas belongs to randomize"),
        ({"inverse": True, "subsample": "farms"}, "inverse and subsample 'farms' exclude each other"),
        ({"inverse": True, "vectors": True}, "vectors needs xmin among the weight's own eigenvalues, and inverse"),
        ({"vectors": True, "subsample": "farms"}, "and subsample 'farms' fits others"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_refused(changes, message):
    with pytest.raises(spectra.InputError, match=message):
        resolve_settings("default", **changes)


def test_what_another_setting_works_with_is_accepted_beside_it():
    windows = {"subsample": "farms", "window_rows": 20, "window_aspect": 2.0, "windows_per_side": 3}
    assert resolve_settings("default", **windows).window_rows == 20
    assert resolve_settings("default", randomize=True, num_replicas=3, tw_level=0.9).num_replicas == 3
    assert resolve_settings("default", mp_fit=True, mp_method="kde").mp_method == "kde"
    assert resolve_settings("weightwatcher", mp_method="kde_compat").mp_method == "kde_compat"
