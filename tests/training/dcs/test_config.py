import re

import pytest

from spectra.errors import InputError
from spectra.training.dcs import DCSConfig, dcs_config
from spectra.training.dcs.config import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_defaults_but_for_what_it_names(name):
    found, plain = dcs_config(name).to_dict(), DCSConfig().to_dict()
    assert {option: value for option, value in found.items() if value != plain[option]} == dict(PRESETS[name])


def test_changes_win_over_a_preset_and_by_name_over_a_mapping():
    found = dcs_config({"preset": "uniform", "tau": 4.0, "lam": 0.1}, lam=0.2)
    assert (found.eta, found.tau, found.lam) == (0.0, 4.0, 0.2)
    assert dcs_config(found, tau=1.0).lam == 0.2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lam": 1.1}, "lam: expected a number in [0, 1], got 1.1"),
        ({"tau": 0.0}, "tau: expected a number above 0, got 0.0"),
        ({"tau": True}, "tau: expected a number above 0, got True"),
        ({"generations": 0}, "generations: expected a whole number of at least 1, got 0"),
        ({"update_every": "step"}, "update_every: expected 'epoch' or a number of optimizer steps, got 'step'"),
        ({"discordance": "agrmax"}, "Did you mean 'argmax'?"),
        ({"error_quantile": 0.0}, "error_quantile: expected a number in (0, 1], got 0.0"),
        ({"weighted_fisher": "yes"}, "weighted_fisher: expected True or False, got 'yes'"),
        ({"v_min": 2.0}, "v_min"),
        ({"mode": "sample", "update_every": 5}, "mode: 'sample' draws an epoch at a time. Leave update_every at 'epoch'"),
        ({"mode": "sample", "batch_norm_weights": True}, "batch_norm_weights: with mode='sample' the loss has no weights"),
    ],
)
def test_values_that_cannot_be_are_named(options, said):
    with pytest.raises(InputError, match=re.escape(said)):
        DCSConfig(**options)


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match=r"lam: .*tau: .*top_k: .*rho"):
        DCSConfig(lam=-1.0, tau=-1.0, top_k=0, rho=2.0)


@pytest.mark.parametrize(
    ("option", "hint"), [("temperature", "tau"), ("lambda_", "lam"), ("alpha", "lam"), ("warm_up_rounds", "warmup_rounds")]
)
def test_an_option_by_another_name_is_told_its_own(option, hint):
    with pytest.raises(InputError, match=f"unknown option '{option}'. Did you mean '{hint}'"):
        dcs_config(**{option: 1})


def test_what_is_no_configuration_and_no_preset_is_refused():
    with pytest.raises(InputError, match="unknown preset 'unifrom'. Did you mean 'uniform'"):
        dcs_config("unifrom")
    with pytest.raises(InputError, match="expected a DCSConfig, a preset's name or options by name, got 3"):
        dcs_config(3)
