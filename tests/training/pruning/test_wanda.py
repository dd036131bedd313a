"""Wanda's choice of weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.training.pruning import wanda_mask


def by_the_paper(weight, norms, each):
    """Algorithm 1 of the paper, row by row: sort |W| * norms and drop the first ones."""
    keep = np.ones(weight.shape, dtype=bool)
    for row in range(len(weight)):
        keep[row, np.argsort(np.abs(weight[row]) * norms, kind="stable")[:each]] = False
    return keep


@pytest.mark.parametrize("each", [0, 3, 4, 7])
def test_it_is_the_algorithm_of_the_paper(each):
    rng = np.random.default_rng(0)
    weight, norms = rng.standard_normal((5, 7)).astype(np.float32), rng.random(7).astype(np.float32)
    found = wanda_mask(torch.from_numpy(weight), torch.from_numpy(norms), each / 7)
    np.testing.assert_array_equal(found.numpy(), by_the_paper(weight, norms, each))


def test_weights_are_compared_within_each_output():
    weight = torch.tensor([[1.0, 2.0], [10.0, 20.0]])
    assert wanda_mask(weight, torch.ones(2), 0.5).tolist() == [[False, True], [False, True]]


def test_a_large_input_saves_a_small_weight():
    weight = torch.tensor([[1.0, 2.0]])
    assert wanda_mask(weight, torch.tensor([3.0, 1.0]), 0.5).tolist() == [[True, False]]


@given(st.integers(1, 6), st.integers(1, 9), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_the_count_is_exact_and_even_among_outputs(rows, cols, sparsity):
    weight = torch.randn(rows, cols, generator=torch.Generator().manual_seed(rows * cols))
    pruned = (~wanda_mask(weight, torch.rand(cols, generator=torch.Generator().manual_seed(1)), sparsity)).sum(1)
    assert int(pruned.sum()) == round(sparsity * rows * cols)
    assert int(pruned.max() - pruned.min()) <= 1


@given(st.integers(-10, 10))
@settings(deadline=None, max_examples=10)
def test_the_scale_of_the_norms_does_not_matter(power):
    weight, norms = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), torch.arange(1.0, 7.0)
    assert torch.equal(wanda_mask(weight, norms * 2.0**power, 0.5), wanda_mask(weight, norms, 0.5))


def test_zeros_come_before_weights_whose_input_is_zero():
    weight = torch.tensor([[5.0, 0.0, 1.0, 0.0]])
    assert wanda_mask(weight, torch.zeros(4), 0.75).tolist() == [[False, False, True, False]]


def test_half_precision_products_do_not_overflow():
    weight = torch.tensor([[60000.0, 50000.0, 1.0]], dtype=torch.float16)
    assert wanda_mask(weight, torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64), 2 / 3).tolist() == [[False, True, False]]


@pytest.mark.parametrize(("shape", "num_norms"), [((2, 3), 2), ((2, 3, 4), 3)])
def test_other_shapes_are_refused(shape, num_norms):
    with pytest.raises(InputError, match="wanda: expected a weight of shape"):
        wanda_mask(torch.ones(shape), torch.ones(num_norms), 0.5)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_norms_that_are_none_are_refused(bad):
    with pytest.raises(InputError, match="input norms have to be finite and not negative"):
        wanda_mask(torch.ones(1, 2), torch.tensor([1.0, bad]), 0.5)


def test_weights_without_a_size_are_refused():
    with pytest.raises(NonFiniteWeightsError, match="1 of 2 weights are NaN or infinite"):
        wanda_mask(torch.tensor([[1.0, float("nan")]]), torch.ones(2), 0.5)
