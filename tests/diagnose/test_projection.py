"""The time of an analysis: closed forms for one worker and few layers, and bounds for any."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.diagnose.machine_rates import MachineRates
from spectra.diagnose.memory_need import bytes_of
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.projection import can_be_projected, project, seconds_of
from spectra.sources import open_source

# Solving takes nothing: what is left are products of 1 flop in 1 s, and reading.
RATES = MachineRates(product_flops=1.0, solver_seconds=((1, 0.0), (2, 0.0)))
ENOUGH = 10**12


def plan_of(*shapes, **settings):
    tensors = {f"l{number}.weight": np.broadcast_to(np.float32(1.0), shape) for number, shape in enumerate(shapes)}
    return plan_analysis(open_source(tensors), resolve_settings("default", **settings))


def test_one_worker_takes_the_sum_of_products_solver_and_reading():
    rates = MachineRates(1e9, ((100, 0.5), (1000, 5.0)), read_seconds=1e-6)
    found = project(plan_of((1000, 3000), (4000, 1000)), rates, workers=1, budget=ENOUGH)
    assert found.seconds == pytest.approx(3e9 / 1e9 + 4e9 / 1e9 + 2 * 5.0 + 7e6 * 1e-6)
    assert found.at_once == 1


def test_workers_share_the_layers_the_longest_first():
    # Products of 3, 2 and 2 times 600**3: 3 beside 2 and 2.
    plan = plan_of((1800, 600), (1200, 600), (600, 1200))
    assert project(plan, RATES, workers=2, budget=ENOUGH).seconds == pytest.approx(4 * 600**3)
    assert project(plan, RATES, workers=3, budget=ENOUGH).seconds == pytest.approx(3 * 600**3)


def test_layers_that_do_not_fit_together_come_one_after_the_other():
    plan = plan_of((1800, 600), (1200, 600))
    needs = [bytes_of([job], plan.settings) for job in plan.jobs]
    tight = project(plan, RATES, workers=2, budget=max(needs))
    assert (tight.seconds, tight.at_once, tight.peak_bytes) == (pytest.approx(5 * 600**3), 1, max(needs))
    assert project(plan, RATES, workers=2, budget=sum(needs)).peak_bytes == sum(needs)


@given(
    shapes=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=10),
    workers=st.integers(1, 5),
    spare=st.integers(0, 10**8),
)
def test_the_time_lies_between_perfect_sharing_and_one_worker_and_memory_is_kept(shapes, workers, spare):
    plan = plan_of(*shapes)
    budget = max(bytes_of([job], plan.settings) for job in plan.jobs) + spare
    found = project(plan, RATES, workers=workers, budget=budget)
    alone = sum(seconds_of([job], plan.settings, RATES) for job in plan.jobs)
    assert alone / workers * (1 - 1e-12) <= found.seconds <= alone * (1 + 1e-12)
    assert found.peak_bytes <= budget
    assert found.at_once <= workers


def test_random_orders_are_spectra_of_their_own():
    once = project(plan_of((600, 600)), RATES, workers=1, budget=ENOUGH).seconds
    thrice = project(plan_of((600, 600), randomize=True, num_replicas=2), RATES, workers=1, budget=ENOUGH).seconds
    assert thrice == pytest.approx(3 * once)


def test_a_busy_machine_takes_longer_now():
    rates = MachineRates(1.0, ((1, 0.0), (2, 0.0)), core_share=0.25)
    found = project(plan_of((10, 10)), rates, workers=1, budget=ENOUGH)
    assert found.seconds_now == pytest.approx(4 * found.seconds)


def test_what_is_not_counted_is_named():
    found = project(plan_of((60, 60), bootstrap_samples=10, vectors=True), RATES, workers=1, budget=ENOUGH)
    assert found.not_counted == ("bootstrap_samples", "vectors")


@pytest.mark.parametrize(
    ("changes", "known"), [({}, True), ({"method": "gram"}, True), ({"method": "svd"}, False), ({"subsample": "farms"}, False)]
)
def test_the_time_is_known_for_gram_matrices(changes, known):
    assert can_be_projected(resolve_settings("default", **changes)) is known


def test_empty_weights_take_no_time():
    assert seconds_of(plan_of((0, 5), (3, 3)).jobs[:1], resolve_settings("default"), RATES) == 0.0
    assert math.isfinite(project(plan_of((0, 5), (3, 3)), RATES, workers=2, budget=ENOUGH).seconds)
