from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.esd.xmin_search import TailCandidates, search, search_exhaustively, tail_candidates
from tests.data.samples import KINDS, sample
from tests.fixtures_htsr import ANSWERS
from tests.strategies import spectra


@given(spectra(min_size=3, max_size=400))
def test_search_finds_the_exhaustive_answer(values):
    if values[0] == values[-1]:
        return
    candidates = tail_candidates(values)
    assert search(candidates) == search_exhaustively(candidates)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [30, 400, 3000])
def test_search_finds_the_exhaustive_answer_on_samples(kind, size):
    for seed in range(5):
        candidates = tail_candidates(sample(kind, size, seed))
        assert search(candidates) == search_exhaustively(candidates)


@pytest.mark.parametrize("name", ANSWERS)
def test_search_finds_the_exhaustive_answer_on_exact_quantiles(name):
    candidates = tail_candidates(np.sort(ANSWERS[name][0]()))
    assert search(candidates) == search_exhaustively(candidates)


def test_equal_distances_give_the_first_candidate():
    # Three values in geometric progression: both candidates fit equally badly.
    candidates = tail_candidates(np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]))
    distances = [candidates.deviation(i).max() for i in range(len(candidates.alphas))]
    assert search(candidates)[0] == int(np.argmin(distances))


@given(spectra(min_size=3))
def test_exponents_equal_the_textbook_sum(values):
    if values[0] == values[-1]:
        return
    candidates = tail_candidates(values)
    for i in range(0, len(candidates.alphas), 7):
        tail = values[values >= candidates.values[i]]
        expected = 1.0 + len(tail) / np.log(tail / tail[0]).sum()
        assert candidates.alphas[i] == pytest.approx(expected, rel=1e-10)


@given(spectra(min_size=6, max_size=200), st.data())
def test_a_window_restricts_the_candidates_and_nothing_else(values, data):
    if values[0] == values[-1]:
        return
    candidates = tail_candidates(values)
    first = data.draw(st.integers(0, len(candidates.alphas) - 1))
    stop = data.draw(st.integers(first + 1, len(candidates.alphas)))
    distances = [candidates.deviation(i).max() for i in range(first, stop)]
    best, distance = search(candidates, slice(first, stop))
    assert best == first + int(np.argmin(distances))
    assert distance == min(distances)


def test_a_spectrum_of_eight_thousand_values_needs_few_full_evaluations():
    # The point of the bounds is the cost, so the cost is counted (not timed): full evaluations among 8191 candidates.
    for kind in KINDS[:4]:
        counting = CountingCandidates(**vars(tail_candidates(sample(kind, 8192, seed=3))))
        search(counting)
        assert len(CountingCandidates.evaluated) <= 100, kind
        CountingCandidates.evaluated.clear()


class CountingCandidates(TailCandidates):
    evaluated: ClassVar[list[int]] = []

    def deviation(self, candidate):
        self.evaluated.append(candidate)
        return super().deviation(candidate)


@pytest.mark.parametrize("values", [[1e-300, 1.0, 1e100], [5e-324, 1.0, 1e308], [5e-324, 1e-323, 2e-323]])
def test_any_range_of_float64_is_searched(values):
    candidates = tail_candidates(np.array(values))
    assert search(candidates) == search_exhaustively(candidates)
    assert np.isfinite(candidates.alphas).all()
