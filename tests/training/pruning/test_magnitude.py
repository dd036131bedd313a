"""Magnitude pruning of one weight."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.training.pruning import magnitude_mask


def test_the_smallest_weights_go_whatever_their_sign():
    weight = torch.tensor([[0.5, -3.0, 0.1], [-0.2, 2.0, -1.0]])
    assert magnitude_mask(weight, 0.5).tolist() == [[False, True, False], [False, True, True]]


@given(st.integers(1, 60), st.floats(0, 1), st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
@settings(deadline=None, max_examples=50)
def test_the_count_is_exact_and_what_goes_is_no_larger_than_what_stays(size, sparsity, dtype):
    weight = torch.randn(size, generator=torch.Generator().manual_seed(size)).to(dtype)
    keep_mask = magnitude_mask(weight, sparsity)
    assert int((~keep_mask).sum()) == round(sparsity * size)
    if 0 < int(keep_mask.sum()) < size:
        assert weight[~keep_mask].abs().max() <= weight[keep_mask].abs().min()


def test_a_whole_number_of_weights_can_be_given_as_its_share():
    sizes = (3, 7, 49, 1023, 4096 * 11008)
    counts = [(size, count) for size in sizes for count in (1, size // 3, size // 2, size - 1)]
    assert [round(count / size * size) for size, count in counts] == [count for _, count in counts]


def test_the_mask_is_that_of_torch_where_nothing_is_tied():
    from torch.nn.utils import prune

    layer = torch.nn.Linear(8, 6)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    expected = prune.L1Unstructured(amount=17).compute_mask(layer.weight, torch.ones(6, 8))
    np.testing.assert_array_equal(magnitude_mask(layer.weight, 17 / 48).numpy(), expected.numpy().astype(bool))


def test_equal_weights_go_by_position_and_zeros_before_them():
    assert magnitude_mask(torch.ones(2, 3), 1 / 3).tolist() == [[False, False, True], [True, True, True]]
    assert magnitude_mask(torch.tensor([1.0, 1.0, -0.0, 0.0]), 0.5).tolist() == [True, True, False, False]


def test_a_convolution_is_one_layer():
    weight = torch.arange(1.0, 2 * 3 * 2 * 2 + 1).reshape(2, 3, 2, 2)
    assert magnitude_mask(weight, 0.5).flatten().tolist() == [False] * 12 + [True] * 12


def test_the_weight_is_left_as_it_is():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    keep_mask = magnitude_mask(weight, 0.5)
    assert (weight.tolist(), keep_mask.requires_grad) == ([1.0, 2.0], False)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(sparsity):
    with pytest.raises(InputError, match="sparsity: expected a share from 0 to 1, got"):
        magnitude_mask(torch.ones(3), sparsity)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_without_a_size_are_refused(bad):
    with pytest.raises(NonFiniteWeightsError, match="1 of 3 weights are NaN or infinite"):
        magnitude_mask(torch.tensor([1.0, bad, 2.0]), 0.5)
