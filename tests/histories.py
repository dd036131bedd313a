"""Sample histories made by hand, and any that can be."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis.extra import numpy as arrays

from spectra.results.sample_history import SampleHistory, WeightRound


def round_of(number, **changes):
    """A round of four samples that changed weights."""
    known = {"step": 10 * (number + 1), "eps": 0.25, "step_size": 0.5, "skipped": None, "ess": 0.9, "v_max": 2.0}
    return WeightRound(**known | {"number": number, "top_share": 0.02, "num_seen": 4} | changes)


def tiny_history(**changes):
    """Three rounds of four samples; sample 2 is the hardest, then 0, then 3 and 1, of which 1 was never seen."""
    nan = np.nan
    known = {
        "rounds": (round_of(0, skipped="warmup", step_size=0.0, ess=1.0, v_max=1.0), round_of(1), round_of(2, eps=np.nan)),
        "weights": np.array([1.0, 0.5, 2.0, 0.5]),
        "weights_by_round": np.array([[1, 1, 1, 1], [1, 0.75, 1.5, 0.75], [1, 0.5, 2, 0.5]], np.float32),
        "discordance_by_round": np.array([[1, nan, 1, 0.25], [0, nan, 1, 0.25], [nan, nan, 1, 0.25]], np.float32),
        "losses_by_round": np.array([[0.5, nan, 2, 0.125], [0.25, nan, 3, 0.125], [nan, nan, 4, 0.125]], np.float32),
        "predicted_by_round": np.array([[0, -1, 1, 2], [1, -1, 1, 2], [-1, -1, 0, 2]], np.int32),
        "labels": np.array([0, 1, 0, 2]),
        "teacher_predictions": np.array([0, 1, 2, 2]),
        "class_names": ("no", "maybe", "yes"),
        "settings": {"discordance": "argmax", "eta": 0.5, "v_max": 4.0},
    }
    return SampleHistory(**known | changes)


def history_of(num_rounds, num_samples=30, *, seed=0, skipped=(), smallest=0.25, is_regression=False, **changes):
    """A run in which weights spread out, from 1 towards ``smallest`` and beyond 3."""
    rng = np.random.default_rng(seed)
    discordance = rng.random((num_rounds, num_samples)).astype(np.float32)
    spread = np.linspace(0.0, 1.0, num_rounds + 1)[1:, None] * np.log(smallest) * (1.0 - 2.0 * rng.random(num_samples))
    weights = np.exp(spread)
    weights[[number for number in range(num_rounds) if number in skipped]] = 1.0
    weights /= weights.mean(axis=1, keepdims=True)
    why = [skipped.get(number) if skipped else None for number in range(num_rounds)]
    shape = (num_rounds, num_samples)
    known = {
        "rounds": tuple(round_of(n, skipped=why[n], ess=1.0 - 0.01 * n, eps=0.3 - 0.01 * n) for n in range(num_rounds)),
        "weights": weights[-1],
        "weights_by_round": weights.astype(np.float32),
        "discordance_by_round": discordance,
        "losses_by_round": rng.random(shape).astype(np.float32),
        "predicted_by_round": np.full(shape, -1, np.int32) if is_regression else rng.integers(0, 3, shape, np.int32),
        "labels": 5.0 * rng.random(num_samples) if is_regression else rng.integers(0, 3, num_samples),
        "teacher_predictions": 5.0 * rng.random(num_samples) if is_regression else rng.integers(0, 3, num_samples),
    }
    return SampleHistory(**known | changes)


# Sums of these are exact in any order.
_SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan])
_LOSSES = st.sampled_from([0.0, 0.125, 0.5, 3.0, np.inf, np.nan])
_WORDS = st.text(st.characters(codec="utf-8"), max_size=5)


@st.composite
def histories(draw):
    """Any history, with numbers of any kind where they are allowed."""
    num_rounds, num_samples = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    shape = (num_rounds, num_samples)
    positive = st.floats(0.0, 2.0**20, width=32)
    classes = st.none() | arrays.arrays(np.int64, num_samples) | arrays.arrays(np.float64, num_samples)
    start = draw(st.integers(0, 5))
    rounds = tuple(
        WeightRound(
            number=start + row, step=draw(st.integers(0)), eps=draw(st.floats()), step_size=draw(st.floats()),
            skipped=draw(st.none() | _WORDS), ess=draw(st.floats()), v_max=draw(st.floats()), top_share=draw(st.floats()),
            num_seen=draw(st.integers(0)), seconds=draw(st.floats()),
        )
        for row in range(num_rounds)
    )  # fmt: skip
    return SampleHistory(
        rounds=rounds,
        weights=draw(arrays.arrays(np.float64, num_samples, elements=st.floats(0.0, 1e300))),
        weights_by_round=draw(arrays.arrays(np.float32, shape, elements=positive)),
        discordance_by_round=draw(arrays.arrays(np.float32, shape, elements=_SHARES)),
        losses_by_round=draw(arrays.arrays(np.float32, shape, elements=_LOSSES)),
        predicted_by_round=draw(arrays.arrays(np.int32, shape)),
        labels=draw(classes),
        teacher_predictions=draw(classes),
        class_names=tuple(draw(st.lists(_WORDS, max_size=3))),
        settings=draw(st.dictionaries(_WORDS, st.none() | st.booleans() | st.integers() | _WORDS | st.floats(-1e9, 1e9))),
    )
