"""Intervals of a mean by resampling."""

import math

import numpy as np
import pytest

from spectra.results import mean_interval as module
from spectra.results.mean_interval import mean_interval


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = mean_interval(values.tolist(), seed=1)
    width = 1.96 * values.std() / math.sqrt(len(values))
    # A percentile of 10,000 draws scatters by about 3 % of the width; three of that.
    assert low == pytest.approx(values.mean() - width, abs=0.09 * width)
    assert high == pytest.approx(values.mean() + width, abs=0.09 * width)


def test_means_of_two_values_are_those_that_can_be_drawn():
    assert mean_interval([0.0, 1.0], seed=0) == (0.0, 1.0)  # each end has a quarter of the draws


def test_equal_values_have_an_interval_of_a_point():
    assert mean_interval([0.5] * 5, seed=0) == (0.5, 0.5)


def test_a_seed_repeats_the_interval_and_another_moves_it():
    values = np.random.default_rng(0).normal(size=30).tolist()
    first = mean_interval(values, seed=0)
    assert first == mean_interval(values, seed=0)
    assert first != mean_interval(values, seed=1)


def test_draws_in_several_blocks_are_as_many_as_asked_for(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    whole = mean_interval(values.tolist(), seed=0, num_draws=100)
    monkeypatch.setattr(module, "_AT_ONCE", 30 * 33)
    # NumPy draws the same numbers, however many at once.
    assert mean_interval(values.tolist(), seed=0, num_draws=100) == whole
    assert [len(part) for part in module._means(values, np.random.default_rng(0), 100)] == [33, 33, 33, 1]


@pytest.mark.parametrize("values", [[], [1.0]], ids=["none", "one"])
def test_of_fewer_than_two_values_nothing_is_said(values):
    assert np.isnan(mean_interval(values, seed=0)).all()
