import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.results.rank_correlation import rank_correlation


def kendall_by_pairs(first, second):
    """Tau without ties: agreeing pairs minus the others, over all pairs."""
    signs = [
        math.copysign(1.0, (first[i] - first[j]) * (second[i] - second[j]))
        for i, j in itertools.combinations(range(len(first)), 2)
    ]
    return sum(signs) / len(signs)


def spearman_by_ranks(first, second):
    """Rho without ties: 1 - 6 sum d^2 / (n (n^2 - 1)), with d the differences of ranks."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    n = len(first)
    return 1.0 - 6.0 * float(((ranks[0] - ranks[1]) ** 2).sum()) / (n * (n**2 - 1))


@given(st.integers(3, 9).flatmap(lambda n: st.permutations(range(n))))
def test_both_agree_with_their_definitions(order):
    found = rank_correlation(range(len(order)), order)
    assert found.kendall == pytest.approx(kendall_by_pairs(range(len(order)), order), abs=1e-12)
    assert found.spearman == pytest.approx(spearman_by_ranks(range(len(order)), order), abs=1e-12)


@given(st.integers(3, 6).flatmap(lambda n: st.permutations(range(n))))
def test_the_p_value_is_the_share_of_orders_at_least_as_extreme(order):
    n = len(order)
    taus = [abs(kendall_by_pairs(range(n), other)) for other in itertools.permutations(range(n))]
    share = sum(tau >= abs(kendall_by_pairs(range(n), order)) - 1e-12 for tau in taus) / len(taus)
    assert rank_correlation(range(n), order).pvalue == pytest.approx(share)


@pytest.mark.parametrize(
    ("n", "smallest", "too_small"), [(2, 1.0, True), (3, 1 / 3, True), (4, 1 / 12, True), (5, 1 / 60, False)]
)
def test_a_perfect_order_of_few_is_no_evidence(n, smallest, too_small):
    found = rank_correlation(range(n), range(n))
    assert (found.spearman, found.kendall) == pytest.approx((1.0, 1.0))
    assert found.smallest_pvalue == pytest.approx(smallest) == pytest.approx(found.pvalue)
    assert found.is_too_small is too_small


def test_words_say_what_the_sample_can_show():
    assert str(rank_correlation([1, 2, 3], [3, 2, 1])) == (
        "Spearman ρ −1.00, Kendall τ −1.00 (n = 3)\nn = 3 is too few: even a perfect order has p = 0.33"
    )
    assert str(rank_correlation(range(5), range(5))) == "Spearman ρ 1.00, Kendall τ 1.00, p = 0.017 (n = 5)"
    assert str(rank_correlation(range(9), range(9))) == "Spearman ρ 1.00, Kendall τ 1.00, p < 0.001 (n = 9)"


@pytest.mark.parametrize(
    ("first", "second"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0])], ids=["none", "one", "equal"]
)
def test_what_has_no_order_has_no_correlation(first, second):
    found = rank_correlation(first, second)
    assert math.isnan(found.spearman)
    assert math.isnan(found.kendall)
    assert str(found) == f"no rank correlation (n = {len(first)})"


@pytest.mark.parametrize("second", [[1.0], [1.0, math.nan], [1.0, math.inf]], ids=str)
def test_numbers_that_cannot_be_ranked_are_refused(second):
    with pytest.raises(InputError, match="rank correlation: expected as many finite numbers of both, got 2 and"):
        rank_correlation([1.0, 2.0], second)
