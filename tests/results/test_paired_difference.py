"""Differences in pairs against closed forms, SciPy and a plain loop."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spectra.results.paired_difference import holm, paired_difference

P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8)


def test_the_interval_is_the_mean_and_its_error_times_the_quantile_of_student():
    values, baseline = [0.91, 0.88, 0.93, 0.90], [0.90, 0.86, 0.88, 0.91]
    found = paired_difference(values, baseline)
    differences = [0.01, 0.02, 0.05, -0.01]
    error = statistics.stdev(differences) / 2.0
    quantile = 3.182446305284263  # of Student's t at 97.5 % with 3 degrees of freedom, any table
    assert found.num_pairs == 4
    assert found.mean == pytest.approx(0.0175)
    assert found.std_error == pytest.approx(error)
    assert (found.low, found.high) == (pytest.approx(0.0175 - quantile * error), pytest.approx(0.0175 + quantile * error))
    assert found.p_wilcoxon is None  # too few pairs


def test_p_values_are_those_of_one_sample_tests_of_the_differences():
    rng = np.random.default_rng(0)
    values, baseline = rng.normal(0.5, 1.0, 9), rng.normal(0.0, 1.0, 9)
    found = paired_difference(values.tolist(), baseline.tolist())
    assert found.p_value == pytest.approx(stats.ttest_1samp(values - baseline, 0.0).pvalue, rel=1e-12)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(values, baseline).pvalue, rel=1e-12)


def test_student_s_sleep_data_give_the_published_answer():
    # Student (1908), additional hours of sleep by two drugs. R's paired t.test of its data set 'sleep' prints p = 0.002833,
    # interval -2.4598858 to -0.7001142, mean -1.58.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(-1.58)
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)
    assert (found.low, found.high) == (pytest.approx(-2.4598858, abs=5e-8), pytest.approx(-0.7001142, abs=5e-8))


def test_one_pair_has_a_difference_and_nothing_more():
    found = paired_difference([0.9], [0.8])
    assert found.mean == pytest.approx(0.1)
    assert (found.std_error, found.low, found.high, found.p_value, found.p_wilcoxon) == (None,) * 5


@pytest.mark.parametrize("number", [2, 7])
def test_no_difference_at_all_is_no_evidence(number):
    found = paired_difference([0.8] * number, [0.8] * number)
    assert (found.mean, found.low, found.high, found.p_value, found.p_wilcoxon) == (0.0, 0.0, 0.0, 1.0, None)


def test_differences_that_are_all_the_same_but_for_rounding_have_no_p_value():
    found = paired_difference([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])  # 0.1, up to the last digit of each
    assert found.p_value is None
    assert (found.std_error, found.low, found.high) == (0.0, found.mean, found.mean)


def test_seven_equal_differences_have_a_p_value_of_ranks():
    found = paired_difference([1.5] * 7, [1.0] * 7)
    assert found.p_wilcoxon == pytest.approx(2.0 / 2**7)  # all seven signs alike, both ways


def test_holm_gives_the_adjusted_values_of_a_textbook_example():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_could_not_be_tested_counts_among_the_tests():
    assert holm([0.01, None]) == [0.02, None]
    assert holm([]) == []


@settings(deadline=None, max_examples=60)
@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_rejects_what_his_procedure_rejects(p_values, level):
    # As in the paper: the smallest p value against level / m, the next against level / (m - 1), until one is above.
    rejected, remaining = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
    while remaining and p_values[remaining[0]] * len(remaining) <= level:
        rejected.add(remaining.pop(0))
    adjusted = holm(p_values)
    assert {place for place, p in enumerate(adjusted) if p <= level} == rejected
    assert all(p <= q <= 1.0 or math.isclose(p, q) for p, q in zip(p_values, adjusted, strict=True))
