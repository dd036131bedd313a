import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError
from spectra.esd.trace_log import trace_log_condition
from tests.fixtures_htsr import ANSWERS
from tests.strategies import spectra


def count_by_products(values):
    """WeightWatcher 0.7.7, RMT_Util.detX_constraint, line by line."""
    if len(values) < 2 or not values[0] < values[-1]:
        return 0, 0
    scale = np.sqrt(len(values)) / np.sqrt(np.sum(values))
    rescaled = scale * scale * values
    number, index = len(values), 0
    for index in range(len(values) - 1, 0, -1):
        if np.prod(rescaled[index:]) < 1.0:
            number = len(values) - index
            break
    return number, index


def count_exactly(values):
    """The same in rational arithmetic: the product of the k largest times n**k against sum**k."""
    exact = [Fraction(float(v)) for v in values]
    total, n = sum(exact), len(exact)

    def below(k):
        tail = exact[n - k :]
        numerator, denominator = product([f.numerator for f in tail]), product([f.denominator for f in tail])
        return numerator * total.denominator**k * n**k < denominator * total.numerator**k

    if not below(n - 1):
        return n
    low, high = 1, n - 1
    while low < high:  # once below 1, the product stays there: the values that follow are below the mean
        middle = (low + high) // 2
        low, high = (low, middle) if below(middle) else (middle + 1, high)
    return low


def product(numbers):
    """Multiply pairwise: the numerators of 16 384 values have a million digits."""
    while len(numbers) > 1:
        numbers = [math.prod(numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
    return numbers[0]


# htsr.md section 17.
@pytest.mark.parametrize(("name", "number"), [("A", 119), ("B", 154), ("C", 281)])
def test_closed_form_spectra_give_the_published_numbers(name, number):
    values = ANSWERS[name][0]()
    found = trace_log_condition(values, 50)
    assert (found.num_erg, found.gap) == (number, number - 50)
    assert found.value == np.sort(values)[-number]
    assert found.value_rescaled == pytest.approx(found.value / values.mean(), rel=1e-14)


@given(spectra())
def test_number_is_weightwatchers_where_its_product_does_not_overflow(values):
    number, index = count_by_products(values)
    found = trace_log_condition(values)
    assert found.num_erg == number
    if number:
        assert found.value == values[index]


# H13.
@pytest.mark.parametrize("size", [20, 1000, pytest.param(16_384, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["bulk", "tail"])
def test_number_is_the_one_of_rational_arithmetic(size, kind):
    rng = np.random.default_rng(size)
    values = np.sort(rng.random(size) ** 2 * 4.0 if kind == "bulk" else (1.0 - rng.random(size)) ** -0.7)
    assert trace_log_condition(values).num_erg == count_exactly(values)


def test_large_spectra_do_not_overflow():
    # WeightWatcher's product is infinite here and answers too late (htsr.md section 10).
    from spectra.esd.marchenko_pastur import bulk_cdf

    grid = np.linspace(0.0, 4.0, 200_001) ** 2 / 4.0
    values = np.interp((np.arange(4096) + 0.5) / 4096, bulk_cdf(grid, 1.0), grid)
    with np.errstate(over="ignore"):
        assert count_by_products(values)[0] < trace_log_condition(values).num_erg == 2995


def test_a_product_of_exactly_one_is_not_below_one():
    values = np.array([0.5, 0.5, 0.5, 0.5, 2.0, 2.0])  # mean 1; products 2, 4, 2, 1, 1/2
    assert trace_log_condition(values).num_erg == count_exactly(values) == 5


def test_sum_of_logarithms_over_the_tail():
    values = ANSWERS["B"][0]()
    found = trace_log_condition(values, 51)
    expected = sum(math.log(v / values.mean()) for v in np.sort(values)[-51:])
    assert found.logdet_tail == pytest.approx(expected, rel=1e-13)
    assert found.mean_logdet_tail == pytest.approx(expected / 51, rel=1e-13)


@given(spectra(), st.integers(-300, 300))
def test_scaling_changes_only_the_value(values, exponent):
    found, scaled = trace_log_condition(values, 1), trace_log_condition(np.ldexp(values, exponent), 1)
    assert scaled.num_erg == found.num_erg
    assert scaled.logdet_tail == found.logdet_tail
    assert scaled.value == math.ldexp(found.value, exponent) or math.isnan(found.value)


@given(spectra(), st.integers(0, 2**32 - 1))
def test_order_does_not_matter(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    assert trace_log_condition(shuffled).num_erg == trace_log_condition(values).num_erg


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [2.0, 2.0, 2.0]])
def test_constant_and_short_spectra_have_no_number(values):
    found = trace_log_condition(values)
    assert found.num_erg == 0
    assert math.isnan(found.value)
    assert found.gap is None


def test_zeros_end_the_product():
    found = trace_log_condition([0.0, 0.0, 0.0, 5.0, 6.0], 3)
    assert found.num_erg == 3
    assert found.value == 0.0
    assert math.isnan(found.logdet_tail)


def test_largest_floats_do_not_overflow():
    assert trace_log_condition([1e307, 1e308, 1e308]).num_erg == trace_log_condition([0.1, 1.0, 1.0]).num_erg


@pytest.mark.parametrize("num_tail", [0, -1, 4])
def test_tail_beyond_the_spectrum_is_refused(num_tail):
    with pytest.raises(InputError, match="a number from 1 to 3"):
        trace_log_condition([1.0, 2.0, 3.0], num_tail)
