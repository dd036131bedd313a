import copy
import math

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from spectra.errors import InputError
from spectra.fisher.neighborhood import neighborhood
from spectra.fisher.regions import regions_of
from tests.fisher.by_hand import fisher_by_hand, random_fisher


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.ConvTranspose2d(3, 4, 2), nn.Linear(4, 5), nn.LayerNorm(5)).to(dtype)


def around(model, **settings):
    return neighborhood(model, random_fisher(model), **{"seed": 0, "include_vectors": True, **settings})


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_bit_equal(model, state):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.reshape(-1).view(torch.uint8), state[name].reshape(-1).view(torch.uint8)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level", ["tensor", "parameter"])
def test_the_weights_move_within_the_region_and_come_back_bit_by_bit(dtype, level):
    model = net(dtype)
    before = state_of(model)
    place = around(model)
    region = regions_of(random_fisher(model), level)["top"]
    place.move(region, 0.3, -0.7)
    for name, parameter in model.named_parameters():
        mask = region.get(name, torch.zeros(parameter.shape, dtype=torch.bool))
        mask = torch.ones(parameter.shape, dtype=torch.bool) if mask is None else mask
        first, second = place.directions[name]
        expected = (before[name].double() + 0.3 * first.double() - 0.7 * second.double()).to(dtype)
        assert torch.equal(parameter.detach()[~mask], before[name][~mask])
        # One unit in the last place of the weight's dtype, for sums of which the largest term is about 3.
        atol = 4.0 * torch.finfo(dtype).eps
        torch.testing.assert_close(parameter.detach()[mask], expected[mask], rtol=0.0, atol=atol)
    place.restore()
    assert_bit_equal(model, before)


def test_steps_start_at_the_center_and_do_not_add_up():
    model = net()
    place = around(model)
    region = regions_of(random_fisher(model))["whole"]
    place.move(region, 1.0, 0.5)
    once = state_of(model)
    place.move(region, -1.5, 1.5)
    place.move(region, 1.0, 0.5)
    assert_bit_equal(model, once)


def test_rows_of_convolutions_are_output_channels():
    model = net()
    place = around(model)
    weight, (first, _) = place.weights["0.weight"], place.directions["0.weight"]
    torch.testing.assert_close(first.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), rtol=1e-6, atol=0.0)
    weight, (first, _) = place.weights["1.weight"], place.directions["1.weight"]  # stored (in, out, height, width)
    by_output = [tensor.transpose(0, 1).flatten(1).norm(dim=1) for tensor in (first, weight)]
    torch.testing.assert_close(*by_output, rtol=1e-6, atol=0.0)
    assert (first.flatten(1).norm(dim=1) - weight.flatten(1).norm(dim=1)).abs().min() > 1e-3


def gpt2():
    config = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, vocab_size=11, n_positions=6, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config)


def test_rows_of_gpt2_are_stored_columns_and_its_tied_weight_moves_once():
    model = gpt2()
    before = state_of(model)
    place = around(model)
    name = "transformer.h.0.attn.c_attn.weight"
    first, _ = place.directions[name]
    torch.testing.assert_close(first.norm(dim=0), place.weights[name].norm(dim=0), rtol=1e-6, atol=0.0)
    assert "lm_head.weight" not in place.weights
    place.move(dict.fromkeys(place.weights), 1.0, 0.0)
    assert model.lm_head.weight is model.transformer.wte.weight
    expected = before["lm_head.weight"] + place.directions["transformer.wte.weight"][0]
    assert torch.equal(model.lm_head.weight.detach(), expected)
    place.restore()
    assert_bit_equal(model, before)


def test_a_parameters_direction_depends_on_its_place_in_the_model_and_not_on_what_else_is_known():
    model = net()
    part = copy.deepcopy(random_fisher(model))
    object.__setattr__(part, "tensors", part.tensors[4:])
    whole, some = around(model), neighborhood(model, part, seed=0, include_vectors=True)
    assert set(some.weights) == {"2.weight", "2.bias", "3.weight", "3.bias"}
    for name, directions in some.directions.items():
        assert all(torch.equal(one, other) for one, other in zip(directions, whole.directions[name], strict=True))


def test_two_seeds_and_both_directions_differ():
    model = net()
    first, second = around(model).directions["2.weight"]
    assert not torch.equal(first, second)
    assert not torch.equal(first, around(model, seed=1).directions["2.weight"][0])


def test_extents_and_counts_are_those_of_a_plain_loop():
    model = net()
    with torch.no_grad():
        model[2].weight[1] = 0.0  # a row that stands
    place = around(model, include_vectors=False)
    region = regions_of(random_fisher(model), "parameter")["bottom"]
    squares, moving = np.zeros(2), {}
    for name, mask in region.items():
        for number in (0, 1):
            moved = (place.directions[name][number].double() * mask).flatten().tolist()
            squares[number] += sum(entry**2 for entry in moved)
            moving.setdefault(name, sum(entry != 0.0 for entry in moved))
    assert place.extent(region) == pytest.approx(tuple(np.sqrt(squares)), rel=1e-12)
    assert place.num_moving(region) == (sum(count > 0 for count in moving.values()), sum(moving.values()))
    assert moving["0.bias"] == moving["3.weight"] == 0
    norm = math.sqrt(sum(float(weight.detach().double().square().sum()) for weight in model.parameters()))
    assert place.weight_norm() == pytest.approx(norm, rel=1e-12)


def test_another_model_is_refused():
    fisher = random_fisher(nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(InputError, match=r"knows '0.weight', the model has no such parameter. Did you mean 'weight'\?"):
        neighborhood(nn.Linear(3, 4), fisher, seed=0, include_vectors=True)
    with pytest.raises(InputError, match=r"'0.weight' has shape \(4, 3\) in the Fisher information and \(5, 3\) in the model"):
        neighborhood(nn.Sequential(nn.Linear(3, 5)), fisher, seed=0, include_vectors=True)


def test_nothing_is_kept_of_the_graph():
    model = net()
    place = neighborhood(model, fisher_by_hand(model, lambda name, shape: 1.0), seed=0, include_vectors=True)
    assert not any(tensor.requires_grad for pair in place.directions.values() for tensor in pair)
    assert not any(tensor.requires_grad for tensor in place.weights.values())
