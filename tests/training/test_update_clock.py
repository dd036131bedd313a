"""When updates are due: at fixed steps, or as often as a share of the time allows."""

import pytest
import torch

from spectra.errors import InputError
from spectra.training.update_clock import UpdateClock

CPU = torch.device("cpu")


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def run(clock, time, *, step, update, steps):
    """Return the steps at which updates happened; one happens before the first."""
    with clock.updating():
        time.seconds += update
    due = []
    for number in range(1, steps + 1):
        time.seconds += step
        if clock.tick():
            due.append(number)
            with clock.updating():
                time.seconds += update
    return due


def test_fixed_intervals_count_steps_from_update_to_update():
    time = Time()
    assert run(UpdateClock(3, budget=0.05, device=CPU, now=time), time, step=1.0, update=1.0, steps=10) == [3, 6, 9]


@pytest.mark.parametrize(
    ("update", "budget", "interval"),
    [(1.0, 0.05, 20), (0.9, 0.05, 18), (2.0, 0.5, 4), (1e-6, 0.05, 1), (1e6, 0.05, 1000)],
    ids=["a step", "rounded up", "often", "every step", "at most 1000"],
)
def test_auto_keeps_updates_within_their_share(update, budget, interval):
    time = Time()
    clock = UpdateClock("auto", budget=budget, device=CPU, now=time)
    run(clock, time, step=1.0, update=update, steps=3 * max(interval, 10))
    assert clock.interval == interval


def test_auto_waits_until_the_first_update_is_paid_for_as_well():
    time = Time()
    due = run(UpdateClock("auto", budget=0.05, device=CPU, now=time), time, step=1.0, update=1.0, steps=80)
    # Two updates of a second are 5 % of 40 s: of the first second and 39 steps. From then on one in 20 steps is less.
    assert due == [39, 59, 79]


def test_the_share_of_the_time_stays_under_the_budget():
    time = Time()
    clock = UpdateClock("auto", budget=0.05, device=CPU, now=time)
    run(clock, time, step=0.5, update=0.3, steps=1000)
    assert 0.045 < clock.share <= 0.05


def test_one_slow_step_does_not_change_the_interval():
    time = Time()
    clock = UpdateClock("auto", budget=0.1, device=CPU, now=time)
    with clock.updating():
        time.seconds += 1.0
    for seconds in (1.0, 1.0, 100.0, 1.0, 1.0):
        time.seconds += seconds
        clock.tick()
    assert clock.interval == 10


def test_a_state_goes_on_with_the_interval_and_the_count_of_the_other_clock():
    time = Time()
    first = UpdateClock("auto", budget=0.05, device=CPU, now=time)
    run(first, time, step=1.0, update=0.4, steps=11)
    second = UpdateClock("auto", budget=0.05, device=CPU, now=time)
    second.load_state_dict(first.state_dict())
    assert (second.interval, second.steps_since_update) == (first.interval, first.steps_since_update)
    assert second.total_seconds == first.total_seconds == pytest.approx(0.4)
    assert second.seconds_of_updates == 0.0
    assert second.share == first.share


def test_an_interval_of_every_step_grows_again_when_updates_become_slow():
    time = Time()
    clock = UpdateClock("auto", budget=0.05, device=CPU, now=time)
    run(clock, time, step=1.0, update=1e-6, steps=20)
    assert clock.interval == 1
    run(clock, time, step=1.0, update=0.5, steps=2000)
    assert clock.interval == 10


@pytest.mark.parametrize("interval", [0, -1, 2.5, "often", True, None])
def test_what_is_no_interval_is_refused(interval):
    with pytest.raises(InputError, match=r"interval: expected 'auto' or a whole number of at least 1, got"):
        UpdateClock(interval, budget=0.05, device=CPU)


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5, float("nan")])
def test_a_budget_out_of_range_is_refused(budget):
    with pytest.raises(InputError, match=r"budget: expected a share of the time in \(0, 1\], got"):
        UpdateClock("auto", budget=budget, device=CPU)
