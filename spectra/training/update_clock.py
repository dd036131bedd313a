"""When a diagnostic that costs time is computed again: every so many steps, or as often as a share of the time allows."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import distributed

from spectra.errors import InputError

LEAST_INTERVAL, MOST_INTERVAL = 1, 1000

# After each update so many steps are timed with the device waited for: enough for a median, few enough to cost nothing.
_TIMED_STEPS = 5
_REMEMBERED = 25


class UpdateClock:
    r"""Says at which steps an update is due.

    With ``"auto"`` the interval is the smallest whose updates take at most a share of the time of the steps,

    .. math:: \text{interval} \ge T_u / (\text{budget} \cdot T_s) ,

    between 1 and 1000, with :math:`T_u` and :math:`T_s` the medians of the seconds of an update and of a step. It is chosen
    anew some steps after each update; in a run of several processes by the slowest of them, for all.

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
        whole = isinstance(interval, int) and not isinstance(interval, bool) and interval >= 1
        if interval != "auto" and not whole:
            raise InputError(f"interval: expected 'auto' or a whole number of at least 1, got {interval!r}.")
        if not 0.0 < budget <= 1.0:
            raise InputError(f"budget: expected a share of the time in (0, 1], got {budget}.")
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
        self._last_step: float | None = None

    @property
    def share(self) -> float:
        """Share of the time since the start that went into updates."""
        return self.seconds_of_updates / max(self._now() - self._started, 1e-9)

    def tick(self) -> bool:
        """Count a step.

        Returns:
            Whether an update is due.
        """
        self.steps_since_update += 1
        if self._is_auto and self.steps_since_update <= _TIMED_STEPS:
            self._time_step()
            if self.steps_since_update == _TIMED_STEPS:
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

    def state_dict(self) -> dict[str, int | None]:
        """Return what decides when the next update is due."""
        return {"interval": self.interval, "steps_since_update": self.steps_since_update}

    def load_state_dict(self, state: dict[str, int | None]) -> None:
        """Go on where another clock stopped.

        Args:
            state: Of its ``state_dict``.
        """
        if self._is_auto:
            self.interval = state["interval"]
        self.steps_since_update = state["steps_since_update"] or 0
        self._last_step = None

    def _time_step(self) -> None:
        self._wait()
        now = self._now()
        if self._last_step is not None:
            self._steps.append(now - self._last_step)
        self._last_step = now

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _chosen(self) -> int:
        ratio = 1.0
        if self._updates and self._steps:
            ratio = statistics.median(self._updates) / max(statistics.median(self._steps), 1e-9)
        interval = min(max(math.ceil(ratio / self._budget), LEAST_INTERVAL), MOST_INTERVAL)
        if distributed.is_available() and distributed.is_initialized():
            slowest = torch.tensor(interval, device=self._device)
            distributed.all_reduce(slowest, op=distributed.ReduceOp.MAX)
            interval = int(slowest)
        return interval
