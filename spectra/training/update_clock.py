"""When a diagnostic that costs time is computed again: every so many steps, or as often as a share of the time allows."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from spectra.errors import InputError

if TYPE_CHECKING:  # options are checked without torch
    import torch

LEAST_INTERVAL, MOST_INTERVAL = 1, 1000

# After each update so many steps are timed with the device waited for: enough for a median, few enough to cost nothing.
_TIMED_STEPS = 5
_REMEMBERED = 25


class UpdateClock:
    r"""Says at which steps an update is due.

    With ``"auto"`` the interval is the smallest whose updates take at most a share of the time of the steps,

    .. math:: \text{interval} \ge T_u / (\text{budget} \cdot T_s) ,

    and with which all updates so far, the first one included, and the next one take at most that share of the whole time;
    between 1 and 1000, with :math:`T_u` and :math:`T_s` the medians of the seconds of an update and of a step. It is chosen
    anew after each update, once some steps have been timed; in a run of several processes by the slowest of them, for all.

    Args:
        interval: Steps between updates, or ``"auto"``.
        budget: Share of the time, in (0, 1]; for ``"auto"``.
        device: Of the model.
        now: Returns seconds.

    Raises:
        InputError: An interval below 1 or no whole number, or a budget out of range.
    """

    def __init__(
        self,
        interval: int | Literal["auto"],
        *,
        budget: float,
        device: torch.device,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        faults = [*interval_faults(interval, budget)]
        if faults:
            raise InputError(f"{'; '.join(faults)}.")
        self._is_auto = interval == "auto"
        self.interval: int | None = None if self._is_auto else int(interval)
        self.steps_since_update = 0
        self.seconds_of_updates = 0.0
        self._budget = budget
        self._device = device
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._updates: deque[float] = deque(maxlen=_REMEMBERED)
        self._now = now
        self._started = now()
        self._elapsed_before = self._seconds_before = 0.0
        self._last_step: float | None = None

    @property
    def total_seconds(self) -> float:
        """What updates took, those of the clocks that this one goes on from included."""
        return self._seconds_before + self.seconds_of_updates

    @property
    def share(self) -> float:
        """Share of the whole time that went into updates."""
        return self.total_seconds / max(self._elapsed(), 1e-9)

    def tick(self) -> bool:
        """Count a step.

        Returns:
            Whether an update is due.
        """
        self.steps_since_update += 1
        if self._is_auto and self.steps_since_update <= _TIMED_STEPS:
            self._time_step()
            if self.steps_since_update == _TIMED_STEPS or (
                self.interval is not None and self.steps_since_update == self.interval
            ):
                self.interval = self._chosen()
        return self.interval is not None and self.steps_since_update >= self.interval

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Time an update, and count steps from it on.

        Yields:
            Nothing.
        """
        self._wait()
        start = self._now()
        try:
            yield
        finally:
            self._wait()
            now = self._now()
            self._updates.append(now - start)
            self.seconds_of_updates += now - start
            self.steps_since_update = 0
            self._last_step = now

    def state_dict(self) -> dict[str, Any]:
        """Return what decides when the next update is due."""
        return {
            "interval": self.interval,
            "steps_since_update": self.steps_since_update,
            "steps": list(self._steps),
            "updates": list(self._updates),
            "elapsed": self._elapsed(),
            "seconds": self.total_seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another clock stopped.

        Args:
            state: Of its ``state_dict``.
        """
        if self._is_auto:
            self.interval = state["interval"]
        self.steps_since_update = state["steps_since_update"]
        self._steps.extend(state["steps"])
        self._updates.extend(state["updates"])
        self._elapsed_before, self._seconds_before = state.get("elapsed", 0.0), state.get("seconds", 0.0)
        self._last_step = None

    def _elapsed(self) -> float:
        return self._elapsed_before + self._now() - self._started

    def _time_step(self) -> None:
        self._wait()
        now = self._now()
        if self._last_step is not None:
            self._steps.append(now - self._last_step)
        self._last_step = now

    def _wait(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)

    def _chosen(self) -> int | None:
        """The interval by what has been timed; as it is where nothing has been."""
        import torch
        from torch import distributed

        interval = self.interval or 0
        if self._updates and self._steps:
            update, step = statistics.median(self._updates), max(statistics.median(self._steps), 1e-9)
            until_paid = (self.total_seconds + update) / self._budget - self._elapsed()
            steps = max(math.ceil(update / self._budget / step), self.steps_since_update + math.ceil(until_paid / step))
            interval = min(max(steps, LEAST_INTERVAL), MOST_INTERVAL)
        if distributed.is_available() and distributed.is_initialized():
            slowest = torch.tensor(interval, device=self._device)
            distributed.all_reduce(slowest, op=distributed.ReduceOp.MAX)
            interval = int(slowest)
        return interval or None


def interval_faults(interval: object, budget: object) -> Iterator[str]:
    """Find what is wrong with an interval and its budget.

    Args:
        interval: Should be ``"auto"`` or a whole number of at least 1.
        budget: Should be in (0, 1].

    Yields:
        A clause for each fault.
    """
    if interval != "auto" and not (isinstance(interval, int) and not isinstance(interval, bool) and interval >= 1):
        yield f"interval: expected 'auto' or a whole number of at least 1, got {interval!r}"
    if not (isinstance(budget, int | float) and not isinstance(budget, bool) and 0.0 < budget <= 1.0):
        yield f"budget: expected a share of the time in (0, 1], got {budget!r}"
