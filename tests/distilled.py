"""Records of rewriting runs made by hand, and any that can be."""

from __future__ import annotations

import hypothesis.strategies as st

from spectra.results.distill_records import DECISIONS, REASONS, DistillRecord


def record_of(number=0, decision="accepted", **changes):
    """A sample whose response became one and a half times as long, or did not change."""
    reason = "mismatch" if decision == "rejected" else None
    candidate = {"accepted": "b" * 15, "identical": "a" * 10, "rejected": "c" * 12}[decision]
    known = {
        "row_id": f"{number:032x}", "decision": decision, "reason": reason, "prompt": "Why?", "original": "a" * 10,
        "candidate": candidate, "response": candidate if decision == "accepted" else "a" * 10, "extracted_original": "3",
        "extracted_candidate": "3", "n_tokens": 8, "finish_reason": "stop", "template": "rewrite/v1", "seconds": 0.5,
        "attempt": 1, "row": number, "turn": -1,
    }  # fmt: skip
    return DistillRecord(**known | changes)


def accepted_of(*ratios, original=100):
    """Accepted records whose lengths differ by these ratios."""
    texts = [("a" * original, "b" * round(ratio * original)) for ratio in ratios]
    return [record_of(n, original=old, candidate=new, response=new) for n, (old, new) in enumerate(texts)]


def run_of(*, accepted=(), identical=0, rejected=None):
    """A whole run: ratios of the accepted, a number of identical ones, and numbers of rejected ones by reason."""
    records = accepted_of(*accepted) + [record_of(decision="identical") for _ in range(identical)]
    for reason, count in (rejected or {}).items():
        records += [record_of(decision="rejected", reason=reason) for _ in range(count)]
    return [record_of(**vars(record) | {"number": n, "row_id": f"{n:032x}", "row": n}) for n, record in enumerate(records)]


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def records(draw):
    """Any record."""
    decision = draw(st.sampled_from(list(DECISIONS)))
    original = draw(_TEXTS)
    return DistillRecord(
        row_id=draw(_TEXTS), decision=decision, reason=draw(st.sampled_from(list(REASONS))) if decision == "rejected" else None,
        prompt=draw(_TEXTS), original=original, candidate=draw(st.none() | _TEXTS),
        response=draw(_TEXTS) if decision == "accepted" else original, extracted_original=draw(st.none() | _TEXTS),
        extracted_candidate=draw(st.none() | _TEXTS), n_tokens=draw(st.integers(0, 1000)), finish_reason=draw(_TEXTS),
        template=draw(_TEXTS), seconds=draw(st.floats(0.0, 1e6)), attempt=draw(st.integers(0, 9)), row=draw(st.integers(0)),
        turn=draw(st.integers(-1, 9)),
    )  # fmt: skip
