"""The weights of all samples of a training set: what was recorded of each, round after round."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.policies.drop_prob import chosen
from spectra.results.sample_history import SampleHistory
from spectra.results.weight_rounds import WeightRound, plain_json, read_round
from spectra.training.dcs.boosting import (
    Boosted,
    BoostingRule,
    boost,
    counted_discordance,
    effective_sample_share,
    top_share,
    weighted_discordance,
)
from spectra.training.dcs.relative_errors import ERROR_FORMS, relative_errors
from spectra.training.dcs.sample_arrays import ROWS, fresh_arrays, read_arrays, record_into, stacked_rows
from spectra.whole_numbers import is_whole_number

STATE_VERSION = 1
WARMUP = "warmup"

_LEAST_EFFECTIVE_SHARE = 0.5  # below it a warning says what to do; our choice

Records = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


class SampleWeights:
    """Weights v of N samples, mean 1, and the rounds that changed them.

    While a student is trained or evaluated, :meth:`record` takes what became of each sample; :meth:`update` ends a round.

    Args:
        num_samples: N.
        rule: How a round changes weights.
        warmup_rounds: Rounds at the start that change nothing: a fresh head agrees with a teacher by chance only. With several
            rounds in a pass over the data each of them counts.
        error_form: For regressions: what is recorded is the error, at least 0, and becomes a discordance in this form when a
            round ends (``linear``, ``square`` or ``exponential``; AdaBoost.R2, Drucker 1997). Default: discordances are
            recorded.
        error_quantile: For regressions: errors are relative to this quantile of them. Default: to the largest.

    Attributes:
        num_samples: N.
        rounds: All rounds so far.

    Raises:
        InputError: A value that cannot be.

    Example:
        >>> weights = SampleWeights(4, BoostingRule(rho=0.0, num_classes=2), warmup_rounds=0)
        >>> weights.record([0, 1, 2, 3], [1.0, 0.0, 0.0, 0.0], 10)
        >>> weights.update(10).eps, weights.values.round(3).tolist()
        (0.25, [1.464, 0.845, 0.845, 0.845])
    """

    def __init__(
        self,
        num_samples: int,
        rule: BoostingRule,
        *,
        warmup_rounds: int = 1,
        error_form: str | None = None,
        error_quantile: float | None = None,
    ) -> None:
        for name, value, least in (("num_samples", num_samples, 1), ("warmup_rounds", warmup_rounds, 0)):
            if not is_whole_number(value, least=least):
                raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r}.")
        if error_form is not None:
            chosen(error_form, ERROR_FORMS, "error_form")
        elif error_quantile is not None:
            raise InputError("error_quantile: only for regressions. Give error_form too, or leave it out.")
        self.num_samples = num_samples
        self._rule, self._warmup_rounds = rule, warmup_rounds
        self._error_form, self._error_quantile = error_form, error_quantile
        self._is_warned = False
        self.restart()

    @property
    def values(self) -> NDArray[np.float64]:
        """The weights, shape ``(N,)``; a view that cannot be written to."""
        view: NDArray[np.float64] = self._arrays["weights"].view()
        view.flags.writeable = False
        return view

    @property
    def num_rounds(self) -> int:
        """Rounds so far, skipped ones among them."""
        return len(self.rounds)

    def restart(self) -> None:
        """Go back to weights of 1, as each generation of students does; rounds and history are forgotten."""
        self.rounds: list[WeightRound] = []
        self._arrays = fresh_arrays(self.num_samples)
        self._rows: dict[str, list[NDArray[Any]]] = {name: [] for name in ROWS}
        self._rounds_of_rows: list[int] = []
        self._num_since_row = 0

    def record(
        self,
        index: ArrayLike,
        discordance: ArrayLike,
        step: ArrayLike,
        *,
        loss: ArrayLike | None = None,
        predicted: ArrayLike | None = None,
    ) -> None:
        """Take what became of some samples.

        A record of an earlier step than a sample's last one is left out; one of the same step takes its place. Of several for
        one sample in the same call that of the latest step counts, the first of these if there are more.

        Args:
            index: Shape ``(M,)``: which samples.
            discordance: Shape ``(M,)``, in [0, 1]; for regressions the errors. What is not finite counts as 1 in the round.
            step: Of the optimizer: one number, or shape ``(M,)``.
            loss: Of the task, shape ``(M,)``. Default: not known.
            predicted: The student's class, shape ``(M,)``; -1 where it is not known, as by default.

        Raises:
            InputError: Shapes that do not fit, an index that no sample has, or a discordance out of range.
        """
        self._refuse_out_of_range(np.asarray(discordance, dtype=np.float64))
        given = {"recorded": discordance, "losses": loss, "predicted": predicted, "steps": step}
        record_into(self._arrays, index, given)

    def pending(self) -> Records:
        """Return what was recorded since the last round: for other processes to record, too.

        Returns:
            Index, discordance (or error), step, loss and predicted class, in the order of the samples.
        """
        index = np.flatnonzero(self._arrays["is_pending"])
        discordance, step, loss, predicted = (
            self._arrays[name][index] for name in ("recorded", "steps", "losses", "predicted")
        )
        return index, discordance, step, loss, predicted

    def update(self, step: int) -> WeightRound:
        """End a round, in which all samples count with the last that was recorded of them; 0 if nothing ever was.

        Args:
            step: Optimizer steps that were done.

        Returns:
            What it did; also appended to ``rounds``.
        """
        known = self._arrays["steps"] >= 0
        return self._end_round(step, known, None if known.any() else known, keeps_row=True)

    def update_seen(self, step: int) -> WeightRound:
        """End a round of the samples that were recorded since the last one: for several rounds in a pass over the data.

        The history keeps a round for each pass, not every one.

        Args:
            step: Optimizer steps that were done.

        Returns:
            What it did; also appended to ``rounds``.
        """
        pending = self._arrays["is_pending"].copy()
        ends_pass = self._num_since_row + pending.sum() >= self.num_samples
        return self._end_round(step, pending, pending, keeps_row=bool(ends_pass))

    def history(self) -> SampleHistory:
        """Return all that was kept; labels, the teacher's predictions and settings are for the caller to add."""
        rows: dict[str, Any] = stacked_rows(self._rows, self.num_samples)
        rounds = tuple(self.rounds[number] for number in self._rounds_of_rows)
        return SampleHistory(rounds=rounds, weights=self._arrays["weights"].copy(), **rows)

    def state_dict(self) -> dict[str, NDArray[Any] | str]:
        """Return all that a run needs to go on as if it had not stopped: arrays, and ``meta``, which is JSON."""
        meta = {
            **self._kind(),
            "is_warned": self._is_warned,
            "rounds": [vars(each) for each in self.rounds],
            "rounds_of_rows": self._rounds_of_rows,
            "num_since_row": self._num_since_row,
        }
        rows = stacked_rows(self._rows, self.num_samples)
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        return {**arrays, **rows, "meta": json.dumps(plain_json(meta), allow_nan=False)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped; the rule may be another one.

        Args:
            state: Of its ``state_dict``.

        Raises:
            ResultsError: It is of other samples or another kind of discordance, or damaged. Nothing is changed then.
        """
        try:
            meta = json.loads(state["meta"])
            kind = {name: meta[name] for name in self._kind()}
            rounds = [read_round(each) for each in meta["rounds"]]
            numbers = [int(number) for number in meta["rounds_of_rows"]]
            num_since_row, is_warned = int(meta["num_since_row"]), bool(meta["is_warned"])
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"this is no state of sample weights ({error!r}). Continue from another checkpoint.") from error
        if kind != self._kind():
            raise ResultsError(
                f"the saved sample weights are of {_in_words(kind)}, this run has {_in_words(self._kind())}. Continue with the "
                "data and the options it began with, or start anew."
            )
        arrays, rows = read_arrays(state, self.num_samples, len(numbers))
        self.rounds, self._rounds_of_rows = rounds, numbers
        self._num_since_row, self._is_warned = num_since_row, is_warned
        self._arrays, self._rows = arrays, rows

    def _end_round(
        self, step: int, counted: NDArray[np.bool_], seen: NDArray[np.bool_] | None, *, keeps_row: bool
    ) -> WeightRound:
        """Let the discordances of some samples count, and change all weights, or those of the samples that were seen."""
        given = self._arrays["recorded"][counted]
        if self._error_form is not None:
            given = relative_errors(given, form=self._error_form, quantile=self._error_quantile)
        discordance = np.zeros(self.num_samples)
        discordance[counted] = given
        done = self._boosted(discordance, seen)
        self._arrays["weights"] = done.weights
        self._arrays["discordance"][counted] = np.where(np.isfinite(given), given, 1.0)
        num_seen = int(self._arrays["is_pending"].sum())
        self._arrays["is_pending"][:] = False
        self.rounds.append(self._round(step, done, num_seen))
        self._num_since_row += num_seen
        if keeps_row:
            self._keep_row()
        self._warn_once(self.rounds[-1])
        return self.rounds[-1]

    def _boosted(self, discordance: NDArray[np.float64], seen: NDArray[np.bool_] | None) -> Boosted:
        weights = self._arrays["weights"]
        if self.num_rounds >= self._warmup_rounds:
            return boost(weights, discordance, self._rule, seen=seen)
        eps = weighted_discordance(weights, counted_discordance(discordance), seen)
        return Boosted(weights=weights, eps=eps, step_size=0.0, skipped=WARMUP)

    def _round(self, step: int, done: Boosted, num_seen: int) -> WeightRound:
        return WeightRound(
            number=self.num_rounds,
            step=int(step),
            eps=done.eps,
            step_size=done.step_size,
            skipped=done.skipped,
            ess=effective_sample_share(done.weights),
            v_max=float(done.weights.max()),
            top_share=top_share(done.weights),
            num_seen=num_seen,
        )

    def _keep_row(self) -> None:
        self._num_since_row = 0
        self._rounds_of_rows.append(self.num_rounds - 1)
        for name, dtype in ROWS.items():
            self._rows[name].append(self._arrays[name].astype(dtype))

    def _warn_once(self, last: WeightRound) -> None:
        if last.ess < _LEAST_EFFECTIVE_SHARE and not self._is_warned:
            self._is_warned = True
            warnings.warn(
                f"sample weights, round {last.number}: the effective share of the samples is {last.ess:.0%}, the largest "
                f"weight {last.v_max:.3g} times the mean. A few samples, often the mislabelled ones, lead the training. Raise "
                "rho, lower alpha_max, or clip with v_min and v_max.",
                SpectraWarning,
                stacklevel=4,
            )

    def _kind(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "num_samples": self.num_samples, "is_regression": self._error_form is not None}

    def _refuse_out_of_range(self, values: NDArray[np.float64]) -> None:
        is_error = self._error_form is not None
        wrong = values[np.isfinite(values) & ((values < 0.0) | (values > (math.inf if is_error else 1.0)))]
        if len(wrong):
            raise InputError(f"discordance: expected numbers {'of at least 0' if is_error else 'in [0, 1]'}, got {wrong[0]}.")


def _in_words(kind: Mapping[str, Any]) -> str:
    what = "regression errors" if kind["is_regression"] else "discordances"
    return f"{what} of {kind['num_samples']} samples (version {kind['version']})"
