"""Plans made by hand, and hypothesis strategies for any."""

from __future__ import annotations

import hypothesis.strategies as st

from spectra.policies.plan import Plan
from spectra.policies.plan_checks import TARGETS

MEMBERS = {
    "encoder.layer.0": ("encoder.layer.0.query", "encoder.layer.0.dense"),
    "encoder.layer.1": ("encoder.layer.1.query", "encoder.layer.1.dense"),
}

_NUMBERS = {
    "learning_rate": st.floats(0.0, 1e300, exclude_min=True),
    "weight_decay": st.floats(0.0, 1e300),
    "sparsity": st.floats(0.0, 1.0, exclude_max=True),
    "adapter_rank": st.integers(1, 2**20),
}
# Words that YAML 1.1 takes for something else, beside any text.
_TEXT = st.sampled_from(["1", "on", "no", "null", "~", "1e-4", ".5e3", "0x1f", "1:30", "2001-01-01", "<<", "=", "- a", "#", ""])
TEXT = _TEXT | st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = TEXT.filter(bool)


def tiny_plan(**changes):
    """A plan of two blocks of two layers each."""
    known = {
        "policy": "tempbalance",
        "target": "learning_rate",
        "model": "tiny",
        "fingerprint": "ab" * 32,
        "values": {"encoder.layer.0": 0.5, "encoder.layer.1": 1.5},
        "scores": {"encoder.layer.0": 2.0, "encoder.layer.1": 3.0},
        "settings": {"metric": "alpha", "tau": 10.0},
        "members": MEMBERS,
        "left_out": {"embeddings": "embedding"},
    }
    return Plan(**known | changes)


@st.composite
def plans(draw):
    """Any plan that can be."""
    policy = draw(st.sampled_from(list(TARGETS)))
    units = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    layers = iter(draw(st.lists(NAMES, min_size=3 * len(units), max_size=3 * len(units), unique=True)))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    plain = st.none() | st.booleans() | st.integers() | finite | TEXT
    return Plan(
        policy=policy,
        target=TARGETS[policy],
        model=draw(TEXT),
        fingerprint=draw(TEXT),
        version=draw(TEXT),
        notes=tuple(draw(st.lists(TEXT, max_size=2))),
        values={unit: draw(_NUMBERS[TARGETS[policy]]) for unit in units},
        scores={unit: draw(finite) for unit in units if draw(st.booleans())},
        settings=draw(st.dictionaries(TEXT, plain | st.lists(plain, max_size=2), max_size=3)),
        members={unit: tuple(next(layers) for _ in range(draw(st.integers(1, 3)))) for unit in units},
        left_out={name: draw(TEXT) for name in draw(st.lists(NAMES, max_size=2, unique=True))},
    )
