"""Options of policies: checked when they are made, plain when they are saved."""

import dataclasses
import functools
import json

import pytest
import yaml

from spectra.errors import InputError
from spectra.policies.learning_rate import ScaleMap, ScalePolicy
from spectra.policies.sparsity import SparsityPolicy
from spectra.policies.units import UnitKind, UnitPolicy


def test_words_and_lists_become_members_and_tuples():
    policy = ScalePolicy(map="rank", unit="layer", kinds="linear", exclude=["lm_head", "score"], winsorize=[1, 10])
    assert policy.map is ScaleMap.RANK
    assert policy.unit is UnitKind.LAYER
    assert policy.kinds == ("linear",)
    assert policy.exclude == ("lm_head", "score")
    assert policy.winsorize == (1.0, 10.0)


@pytest.mark.parametrize("kind", [UnitPolicy, ScalePolicy, SparsityPolicy])
def test_every_option_says_what_it_means_and_where_it_comes_from(kind):
    for field in dataclasses.fields(kind):
        assert field.metadata["meaning"]
        assert field.metadata["source"]


def test_options_survive_json_and_yaml():
    policy = ScalePolicy(name="mine", map="log2", winsorize=(1.5, 9.0), analysis={"kinds": ("linear",), "min_evals": 50})
    assert ScalePolicy.from_dict(json.loads(json.dumps(policy.to_dict()))).to_dict() == policy.to_dict()
    assert ScalePolicy.from_dict(yaml.safe_load(yaml.safe_dump(policy.to_dict()))).to_dict() == policy.to_dict()


def _first(layer_name):
    return layer_name.split(".")[0]


def test_a_function_is_saved_by_its_name_and_does_not_come_back():
    saved = UnitPolicy(unit=_first).to_dict()
    assert saved["unit"] == "_first"
    assert UnitPolicy(unit=functools.partial(_first)).to_dict()["unit"] == "partial"
    with pytest.raises(InputError, match="unit: expected layer, block or a function, got '_first'"):
        UnitPolicy.from_dict(saved)


def test_policies_do_not_share_their_settings():
    settings = {"min_evals": 50}
    policy = ScalePolicy(analysis=settings)
    settings["min_evals"] = 5
    assert dataclasses.replace(policy, tau=5.0).analysis == policy.analysis == {"min_evals": 50}
    assert policy.analysis is not dataclasses.replace(policy, tau=5.0).analysis


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "sigmiod"}, "map: expected one of linear, .*, got 'sigmiod'. Did you mean 'sigmoid'?"),
        ({"metric": "alfa"}, "metric: expected a column of numbers, .*, got 'alfa'. Did you mean 'alpha'?"),
        ({"metric": "num_tail"}, "metric: expected a column of numbers"),
        ({"unit": "blocks"}, "unit: expected layer, block or a function, got 'blocks'. Did you mean 'block'?"),
        ({"kinds": ("linear", "conv4d")}, "kinds: expected kinds of layers, of linear, .*, got .*conv4d"),
        ({"exclude": [3]}, "exclude: expected a word, or a list of words"),
        ({"remove_first": "no"}, "remove_first: expected true or false, got 'no'"),
        ({"hill_convention": "text"}, "hill_convention: expected one of code, paper"),
        ({"winsorize": (10, 1)}, "winsorize: expected none, or two numbers"),
        ({"winsorize": 10}, "winsorize: expected none, or two numbers"),
        ({"tau": "1e-4"}, "tau: expected a number above 0, got '1e-4'"),
        ({"tau": float("nan")}, "tau: expected a number above 0, got nan"),
        ({"s_above": 11}, r"s_above: expected a number in \[0, 10\], got 11"),
        ({"r_min": -0.1}, "r_min: expected a number of at least 0, got -0.1"),
        ({"r_max": True}, "r_max: expected a number above 0, got True"),
        ({"r_min": 2.0}, "r_min and r_max: expected r_min <= r_max, got 2.0 and 1.5"),
        ({"r_min": 0.0, "map": "linear", "normalize": "geometric"}, "r_min: a multiplier of 0 makes every geometric mean 0"),
        ({"metric": "stable_rank", "hill_convention": "paper"}, "'paper' is of the metric alpha, not of 'stable_rank'"),
        ({"target": "momentum"}, "target: expected one of learning_rate, weight_decay"),
        ({"name": ""}, "name: expected a word, got ''"),
        ({"analysis": "default"}, "analysis: expected options by name, got 'default'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_name_of_the_option(options, message):
    with pytest.raises(InputError, match=message):
        ScalePolicy(**options)


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match="map: expected.*tau: expected.*normalize: expected"):
        ScalePolicy(map="square", tau=-1, normalize="median")


def test_unknown_options_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match="unknown option 'sabove'. Did you mean 's_above'?.* Known: name, metric"):
        ScalePolicy.from_dict({"sabove": 1.0})
    with pytest.raises(InputError, match="unknown option '3'"):
        ScalePolicy.from_dict({3: 1.0})
