"""Rates: laws between and beyond the sizes that are measured, and real measurements of a small plan."""

import dataclasses

import numpy as np
import pytest

from spectra.diagnose.machine_rates import MachineRates, measure_rates
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.errors import SourceError
from spectra.sources import open_source

RATES = MachineRates(1e9, ((100, 0.01), (1000, 1.0)))


@pytest.mark.parametrize(
    ("rows", "seconds"), [(10, 1e-4), (100, 0.01), (1000, 1.0), (10**2.5, 0.1), (2000, 8.0), (8000, 512.0)]
)
def test_the_solver_follows_a_square_a_power_law_and_a_cube(rows, seconds):
    assert RATES.solver(rows) == pytest.approx(seconds)


def test_matrices_beyond_the_cache_take_longer_by_the_share_of_matrix_vector_products():
    slow = dataclasses.replace(RATES, slowdown=2.0)
    assert slow.solver(1000) == RATES.solver(1000)
    # Twice as long for 0.4 of the work, all but the last eighth of which is on matrices of more than 1000 rows.
    assert slow.solver(2000) == pytest.approx(8.0 * (1 + 0.4 * 7 / 8))
    assert slow.solver(10**6) / RATES.solver(10**6) == pytest.approx(1.4)


def jobs_of(shapes):
    weights = {f"{name}.weight": np.ones(shape, np.float32) for name, shape in shapes.items()}
    return plan_analysis(open_source(weights), resolve_settings("default")).jobs


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_machine_has_rates(precision):
    rates = measure_rates(jobs_of({"a": (300, 200), "b": (50, 40)}), workers=2, precision=precision, budget=1)
    assert rates.product_flops > 0
    sizes = [size for size, _ in rates.solver_seconds]
    assert sizes == sorted(sizes)
    assert all(seconds > 0 for _, seconds in rates.solver_seconds)
    assert rates.read_seconds > 0
    assert rates.slowdown == 1.0  # nothing here is larger than a cache
    assert 0 < rates.core_share <= 1


def test_weights_that_cannot_be_read_are_left_to_the_analysis():
    def fail(start, stop):
        raise SourceError("gone")

    (job,) = jobs_of({"a": (30, 20)})
    broken = dataclasses.replace(job, tensor=dataclasses.replace(job.tensor, read=fail))
    rates = measure_rates([broken], workers=1, precision="float64", budget=10**9)
    assert rates.read_seconds == 0.0
