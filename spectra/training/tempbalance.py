"""TempBalance at work: multipliers of the learning rate from the spectra of a model's layers, kept up to date in training.

At each update the layers are measured, their scores become multipliers by the policy (``spectra.policies.learning_rate``), and
these come into force with the next optimizer step (``spectra.training.lr_scale``). A policy whose target is the weight decay
makes this AlphaDecay; everything else is the same.

Source: arXiv 2312.00359 (NeurIPS 2023) and 2410.12178 (EMNLP 2024); arXiv 2506.14562 for weight decay. What is ours: the
multiplier is kept apart from the scheduler, the choice of the interval, parts in turn, layers that are skipped, the thread.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from spectra._version import __version__
from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.esd.eigenvalues import MATRIX_ERRORS
from spectra.fisher.distributed import is_distributed, rank
from spectra.policies.learning_rate import scales_of, scores_of
from spectra.results.records import LayerDiagnostics, LayerStatus, layer_from_dict
from spectra.results.scale_log import ScaleLog, ScaleLogHeader, ScaleRecord
from spectra.results.words import counted
from spectra.training.balanced_layers import balanced_layers
from spectra.training.lr_scale import OptimizerScale, split_for_target
from spectra.training.parameter_groups import BASE, WEIGHT_DECAY, group_unit, parameter_units, unwrapped_optimizer
from spectra.training.tempbalance_config import TempBalanceConfig, tempbalance_config
from spectra.training.update_clock import UpdateClock

STATE_VERSION = 1
_NAMED = 4  # of many faults


@dataclass(frozen=True)
class _Pending:
    """A measurement in a thread."""

    step: int
    rows: Future[tuple[LayerDiagnostics, ...]]


class TempBalance:
    """Balances a model's learning rates (or weight decays) while it trains.

    Make it after the optimizer and before the scheduler, and call :meth:`step` once after each optimizer step:

    .. code-block:: python

        balance = TempBalance(model, optimizer, policy="recommended")
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
        for batch in batches:
            ...
            optimizer.step()
            scheduler.step()
            balance.step()

    Two of them, one with a policy of learning rates and one of weight decays, can share an optimizer: make both before the
    scheduler. Each has its own units, such as blocks for the one and layers for the other.

    The optimizer's parameter groups are split by unit; their learning rates stay those of the scheduler, and are multiplied
    only inside ``optimizer.step()``. In a run of several processes make it, and call it, in all of them.

    Args:
        model: That is trained; wrapped for parallel or compiled training, sharded (FSDP2, FSDP1), or with adapters, whose
            effective weights are measured (LoRA, AdaLoRA, LoHa, LoKr or VeRA). It is not changed.
        optimizer: Of the model's parameters, or accelerate's wrapper of one.
        config: Options; see :class:`~spectra.training.tempbalance_config.TempBalanceConfig`.
        resume: State of the run that this one continues; see :meth:`load_state_dict`. Nothing is measured to begin with.
        strict: Refuse a state of other units or another policy; else take of ``resume`` what fits.
        **changes: Options by name.

    Attributes:
        config: The options.
        policy: What is measured, and how it becomes multipliers.
        scores: Score of each unit at the last update, such as its mean alpha; units without one are missing.
        scales: Multiplier of each unit; 1 where there is no score.
        members: Layers of each unit.
        left_out: Layers that enter no score, with the reason.
        num_steps: Optimizer steps so far.
        num_updates: Measurements that came into force.

    Raises:
        InputError: Options that cannot be, no layer to balance, parameters of the optimizer that the model does not have, or a
            scheduler that is attached already.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        config: TempBalanceConfig | Mapping[str, Any] | None = None,
        *,
        resume: Mapping[str, Any] | None = None,
        strict: bool = True,
        **changes: Any,
    ) -> None:
        self.config = tempbalance_config(config, **changes)
        if self._is_asynchronous and is_distributed():
            raise InputError("asynchronous: several processes must measure together. Leave it out, or set deterministic.")
        found = balanced_layers(model, self.config.resolved_policy, optimizer)
        self.policy, self.members, self._meter = found.policy, found.members, found.meter
        self._log = self._opened_log(type(model).__name__)
        units = parameter_units(model, found.members, norms_follow=self.config.norms_follow)
        split_for_target(optimizer, model, units, self.policy.target)
        self._controller = OptimizerScale.of(optimizer)
        self._controller.claim(self.policy.target)
        self._layers, self._takes_no_part = found.layers, found.left_out
        self._seen_steps = self._controller.num_steps
        self._is_removed = False
        self._rows: dict[str, LayerDiagnostics] = {}
        self._clock = UpdateClock(self.config.interval, budget=self.config.budget, device=found.device)
        self._next_part = 0
        self._pending: _Pending | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._warned: set[str] = set()
        self.left_out = dict(found.left_out)
        self.scores: dict[str, float] = {}
        self.scales: dict[str, float] = dict.fromkeys(self.members, 1.0)
        self.num_steps = 0
        self.num_updates = 0
        try:
            self._set(self.scales)  # what the optimizer cannot do is said before training
            self._warn_of_decay(optimizer)
            if resume is not None:
                self.load_state_dict(resume, strict=strict)
        except InputError:
            self.remove()
            raise
        if resume is None and self.config.start_step == 0:
            self._update_now()

    @property
    def interval(self) -> int | None:
        """Steps between updates; ``None`` while ``"auto"`` has not chosen yet."""
        return self._clock.interval

    @property
    def share(self) -> float:
        """Share of the time that went into updates, in all runs that this one goes on from."""
        return self._clock.share

    @property
    def seconds_of_updates(self) -> float:
        """What updates took in this process."""
        return self._clock.seconds_of_updates

    def step(self) -> None:
        """Count an optimizer step, and update the multipliers where that is due.

        A call after which the optimizer has made no step, as accelerate's accumulation and mixed precision leave some out, does
        nothing.
        """
        if self._is_removed or self._controller.num_steps == self._seen_steps:
            return
        self._seen_steps = self._controller.num_steps
        self.num_steps += 1
        is_due = self._clock.tick()
        if self._pending is not None:
            self._collect(wait=self.num_steps - self._pending.step >= self.config.max_staleness)
        if self.num_steps < self.config.start_step or self._pending is not None:
            return
        if is_due or self.num_steps == self.config.start_step:
            self.update()

    def update(self) -> None:
        """Measure what is due, and set the multipliers: now, or, in a thread, at a later step."""
        if not self._is_asynchronous:
            self._update_now()
            return
        if self._pending is not None:
            self._collect(wait=True)
        with self._clock.updating(), self._going_on():
            snapshot = self._meter.snapshot(self._due())
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="spectra-tempbalance")
            self._pending = _Pending(self.num_steps, self._thread.submit(snapshot.measure))

    def logs(self) -> dict[str, float]:
        """Return what a training log should show: spread of the scores, multipliers, cost.

        Returns:
            Names that start with ``tempbalance/``, or ``alphadecay/`` for weight decays, to numbers; empty before the first
            update.
        """
        if not self.num_updates:
            return {}
        values, metric = list(self.scores.values()), self.policy.metric
        numbers = {f"{metric}_mean": statistics.fmean(values), f"{metric}_std": statistics.pstdev(values)} if values else {}
        numbers |= {"scale_min": min(self.scales.values()), "scale_max": max(self.scales.values())}
        numbers |= {"updates": self.num_updates, "share_of_time": self.share}
        numbers |= {"seconds_per_update": self._clock.total_seconds / self.num_updates}
        numbers |= {f"scale/{unit}": scale for unit, scale in self.scales.items()}
        return {f"{self.policy.method}/{name}": number for name, number in numbers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides the multipliers to come, as plain values that JSON can hold.

        A measurement in a thread is waited for. What ``skip_below`` compares with is not part of it: after loading, each layer
        is measured once.
        """
        if self._pending is not None:
            self._collect(wait=True)
        return {
            "version": STATE_VERSION,
            "config": self.config.to_dict() | {"log": None},
            "num_steps": self.num_steps,
            "num_updates": self.num_updates,
            "next_part": self._next_part,
            "scores": dict(self.scores),
            "scales": dict(self.scales),
            "clock": self._clock.state_dict(),
            "rows": [{k: v for k, v in row.to_dict().items() if v not in (None, "")} for row in self._rows.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Go on where another run stopped: the multipliers to come are those of the uninterrupted run.

        Args:
            state: Of its ``state_dict``.
            strict: Refuse a state of other units or another policy; else take what fits.

        Raises:
            InputError: Another version, or, if strict, units that are missing or renamed, or another policy.
        """
        if state.get("version") != STATE_VERSION:
            raise InputError(f"TempBalance: a state of version {state.get('version')}, this is {STATE_VERSION}. Start anew.")
        if strict:
            self._refuse_other(state)
        known = set(self._layers)
        rows = [layer_from_dict(row) for row in state["rows"]]
        self._pending = None
        self._rows = {row.matrix_name: row for row in rows if row.layer_name in known}
        self.num_steps, self.num_updates = state["num_steps"], state["num_updates"]
        self._next_part = state["next_part"] % self.config.parts
        self.scores = {unit: score for unit, score in state["scores"].items() if unit in self.members}
        self.scales = dict.fromkeys(self.members, 1.0) | {u: s for u, s in state["scales"].items() if u in self.members}
        self._clock.load_state_dict(state["clock"])
        self._set(self.scales)

    def remove(self) -> None:
        """Take the multipliers off the optimizer; its groups stay split, and multipliers of the other target at work."""
        if not self._is_removed:
            self._is_removed = True
            self._controller.release(self.policy.target)
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    @property
    def _is_asynchronous(self) -> bool:
        return self.config.asynchronous and not self.config.deterministic

    def _due(self) -> list[str]:
        """The layers that this update measures: those of its part, without those that have hardly changed."""
        if not self._rows:
            return list(self._layers)
        part = [layer for number, layer in enumerate(self._layers) if number % self.config.parts == self._next_part]
        self._next_part = (self._next_part + 1) % self.config.parts
        if not self.config.skip_below:
            return part
        changes = self._meter.change(part)
        return [layer for layer in part if not changes[layer] < self.config.skip_below]

    def _update_now(self) -> None:
        due: Collection[str] = ()
        before = self.num_updates
        with self._clock.updating(), self._going_on():
            due = self._due()
            self._take(self._meter.measure(due) if due else ())
        if self.num_updates > before:
            self._record(len(due))

    def _collect(self, *, wait: bool) -> None:
        """Let what a thread has measured come into force."""
        assert self._pending is not None
        if not wait and not self._pending.rows.done():
            return
        pending, self._pending = self._pending, None
        with self._going_on():
            rows = pending.rows.result()
            self._take(rows)
            self._record(len({row.layer_name for row in rows}))

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Let training go on with the multipliers as they are, whatever goes wrong with an update."""
        try:
            yield
        except MATRIX_ERRORS as error:
            self._warn("failed", f"the multipliers could not be updated ({error}) and stay as they are")

    def _take(self, rows: Sequence[LayerDiagnostics]) -> None:
        measured = {row.matrix_name: row for row in rows}
        known = self._rows | measured
        place = {layer: number for number, layer in enumerate(self._layers)}
        in_order = sorted(known.values(), key=lambda row: place[row.layer_name])
        found = scores_of(in_order, self.policy)
        scores = self._averaged(found.scores, {row.layer_name for row in rows})
        scales = dict.fromkeys(self.members, 1.0) | scales_of(scores, self.policy)
        self._set(scales)
        self._rows = known
        self.scores, self.scales = scores, scales
        self.left_out = {**self._takes_no_part, **found.left_out}
        self.num_updates += 1
        self._warn_of_rows()

    def _averaged(self, new: Mapping[str, float], measured: Collection[str]) -> dict[str, float]:
        """Give old scores their weight in the new ones of units that were measured."""
        keep = self.config.ema
        if not keep:
            return dict(new)
        averaged = {}
        for unit, score in new.items():
            old = self.scores.get(unit, score)
            is_measured = any(layer in measured for layer in self.members[unit])
            averaged[unit] = keep * old + (1.0 - keep) * score if is_measured else old
        return averaged

    def _set(self, scales: Mapping[str, float]) -> None:
        units = self._controller.units(self.policy.target)
        known = {unit: scale for unit, scale in scales.items() if unit in units}
        self._controller.set(known, target=self.policy.target, keep_lr_times_wd=self.config.keep_lr_times_wd)

    def _warn_of_rows(self) -> None:
        broken = [row.layer_name for row in self._rows.values() if row.status == LayerStatus.NONFINITE]
        if broken:
            self._warn(
                "nonfinite",
                f"{counted(len(broken), 'layer')} with NaN or infinite weights, such as '{broken[0]}': they enter no score",
            )
        if set(self.scales.values()) == {1.0}:
            what = f"{counted(len(self.scores), 'unit')} with a score" if len(self.scores) < 2 else "all scores are equal"
            self._warn("equal", f"{what}: there is nothing to balance, all multipliers are 1")

    def _warn_of_decay(self, optimizer: Optimizer) -> None:
        if self.policy.target != WEIGHT_DECAY:
            return
        groups = unwrapped_optimizer(optimizer).param_groups
        if not any(float(group["weight_decay"]) for group in groups if group_unit(group, WEIGHT_DECAY) != BASE):
            self._warn("no decay", "the weight decay of all units is 0, which no multiplier changes: set one in the optimizer")

    def _warn(self, cause: str, message: str) -> None:
        if cause not in self._warned and rank() == 0:
            warnings.warn(f"TempBalance, step {self.num_steps}: {message.rstrip('.')}.", SpectraWarning, stacklevel=4)
        self._warned.add(cause)

    def _opened_log(self, model: str) -> ScaleLog | None:
        if self.config.log is None or rank():
            return None
        policy = self.config.resolved_policy.to_dict()
        return ScaleLog(self.config.log, ScaleLogHeader(policy=policy, units=self.members, model=model, version=__version__))

    def _record(self, num_measured: int) -> None:
        if self._log is None:
            return
        record = ScaleRecord(
            step=self.num_steps,
            seconds=self._clock.total_seconds,
            share=self.share,
            scores=dict(self.scores),
            scales=dict(self.scales),
            num_measured=num_measured,
            target=str(self.policy.target),
        )
        try:
            self._log.append(record)
        except ResultsError as error:
            self._log = None
            self._warn("log", f"the log is not written any more: {error}")

    def _refuse_other(self, state: Mapping[str, Any]) -> None:
        policy, stored_policy = self.config.to_dict()["policy"], state["config"]["policy"]
        if stored_policy != policy:
            unlike = ", ".join(f"'{option}'" for option, value in policy.items() if stored_policy.get(option) != value)
            raise InputError(
                f"TempBalance: the state is of another policy ({unlike} changed). Use the policy of that run, or pass "
                "strict=False, to TempBalance or TempBalanceCallback, to take what fits."
            )
        stored = state["scales"]
        changes = [f"'{unit}' is gone" for unit in stored if unit not in self.members]
        changes += [f"'{unit}' is new" for unit in self.members if unit not in stored]
        if changes:
            more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
            raise InputError(
                f"TempBalance: the state is of other units: {'; '.join(changes[:_NAMED])}{more}. Pass strict=False, to "
                "TempBalance or TempBalanceCallback, to take what fits."
            )
