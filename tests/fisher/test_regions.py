import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spectra.errors import InputError
from spectra.fisher.regions import regions_of
from tests.fisher.by_hand import fisher_by_hand, random_fisher


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))


NAMES = ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight"]


def test_halves_of_tensors_go_by_their_mean_and_not_by_their_sum():
    means = {"0.weight": 1.0, "0.bias": 2.0, "1.weight": 0.5, "1.bias": 3.0, "2.weight": 0.1}
    regions = regions_of(fisher_by_hand(net(), lambda name, shape: means[name]))
    assert list(regions["whole"]) == NAMES
    # Five tensors: the bottom half has two. By sums, '0.weight' (12 entries) would lead.
    assert list(regions["bottom"]) == ["1.weight", "2.weight"]
    assert list(regions["top"]) == ["0.weight", "0.bias", "1.bias"]
    assert all(mask is None for region in regions.values() for mask in region.values())


def test_equal_tensors_are_ordered_as_the_model_is():
    regions = regions_of(fisher_by_hand(net(), lambda name, shape: 1.0), "tensor")
    assert list(regions["bottom"]) == NAMES[:2]


def test_halves_of_tensors_need_no_values():
    full, small = (fisher_by_hand(net(), lambda name, shape: len(name), keep=keep) for keep in ("values", "traces"))
    assert regions_of(full) == regions_of(small)


def flat(region, fisher):
    """Which entries move, over all tensors in their order; the slow, obvious way."""
    parts = []
    for tensor in fisher.tensors:
        mask = region.get(tensor.name, np.zeros(tensor.shape, bool))
        parts += (np.ones(tensor.shape, bool) if mask is None else np.asarray(mask)).ravel().tolist()
    return np.array(parts)


@given(seed=st.integers(0, 1000), num_values=st.integers(1, 40))
def test_halves_of_parameters_are_the_lowest_and_the_highest_with_ties_in_order(seed, num_values):
    rng = np.random.default_rng(seed)
    fisher = fisher_by_hand(net(), lambda name, shape: rng.integers(0, num_values, shape))  # few values: many ties
    regions = regions_of(fisher, "parameter")
    values = np.concatenate([fisher.values[tensor.name].ravel() for tensor in fisher.tensors])
    expected = np.zeros(values.size, bool)
    expected[np.argsort(values, kind="stable")[: values.size // 2]] = True
    np.testing.assert_array_equal(flat(regions["bottom"], fisher), expected)
    np.testing.assert_array_equal(flat(regions["top"], fisher), ~expected)


def test_tensors_without_a_parameter_in_a_half_are_not_in_it():
    fisher = fisher_by_hand(net(), lambda name, shape: float(name == "0.weight"))
    regions = regions_of(fisher, "parameter")  # '0.weight' has 12 of 32 parameters, the tied zeros fill up the bottom half
    assert set(regions["bottom"]) == {"0.bias", "1.weight", "1.bias"} | {"2.weight"}
    assert "0.weight" in regions["top"]
    assert "0.bias" not in regions["top"]


def test_values_of_two_precisions_are_compared_exactly():
    fisher = random_fisher(net())
    tiny = np.nextafter(np.float64(fisher.values["2.weight"][0, 0]), 1.0)
    values = {**fisher.values, "0.bias": np.full(4, tiny)}
    regions = regions_of(dataclasses.replace(fisher, values=values), "parameter")
    assert sum(int(mask.sum()) for mask in regions["bottom"].values()) == 16


def test_scalars_and_empty_parameters_are_no_problem():
    model = nn.Module()
    model.scale, model.shift, model.none = (nn.Parameter(torch.zeros(shape)) for shape in [(), (), (0, 3)])
    fisher = fisher_by_hand(model, lambda name, shape: float(name == "scale"))
    regions = regions_of(fisher, "parameter")
    assert {name: list(region) for name, region in regions.items()} == {
        "whole": ["scale", "shift"], "top": ["scale"], "bottom": ["shift"],
    }  # fmt: skip
    assert regions["top"]["scale"].shape == ()
    assert list(regions_of(fisher)["bottom"]) == ["shift"]


def test_the_whole_needs_no_halves():
    model = nn.Linear(3, 1, bias=False)
    assert regions_of(fisher_by_hand(model, lambda name, shape: np.nan), wanted=["whole"]) == {"whole": {"weight": None}}


def test_refusals():
    model = net()
    fisher = fisher_by_hand(model, lambda name, shape: 1.0)
    with pytest.raises(InputError, match=r"unknown level 'tensors'. Did you mean 'tensor'\? Known: tensor, parameter."):
        regions_of(fisher, "tensors")
    with pytest.raises(InputError, match=r"unknown region 'botom'. Did you mean 'bottom'\? Known: whole, top, bottom."):
        regions_of(fisher, wanted=["top", "botom"])
    with pytest.raises(InputError, match=r"level='parameter' needs the values .* keep='values'"):
        regions_of(fisher_by_hand(model, lambda name, shape: 1.0, keep="traces"), "parameter")
    with pytest.raises(InputError, match="Fisher information of '1.weight' is not finite"):
        regions_of(fisher_by_hand(model, lambda name, shape: np.nan if name == "1.weight" else 1.0))
    one = fisher_by_hand(nn.Linear(3, 1, bias=False), lambda name, shape: 1.0)
    with pytest.raises(InputError, match="knows 1 tensor, two halves need 2. Pass level='parameter'"):
        regions_of(one)
    with pytest.raises(InputError, match="knows 1 parameter, two halves need 2"):
        regions_of(fisher_by_hand(nn.Linear(1, 1, bias=False), lambda name, shape: 1.0), "parameter")
