"""Data shifts made by hand."""

from __future__ import annotations

import math

from spectra.results.data_shift import DataShift
from spectra.results.shift_summary import SampleShift


def sample_of(number=0, before=(20.0, 10), after=None, **changes):
    """A sample with nats and tokens of its original and, if it is accepted, of its response."""
    nats, tokens = after or before
    known = {
        "row_id": f"{number:032x}", "decision": "accepted" if after else "rejected", "nll_original": before[0],
        "tokens_original": before[1], "nll_response": nats, "tokens_response": tokens, "rouge_l": 0.5, "bleu": 0.25,
    }  # fmt: skip
    return SampleShift(**known | changes)


def shift_of(*differences, kept=0, **changes):
    """Accepted samples whose nats per token changed by these differences, and some whose response stayed."""
    samples = [sample_of(n, (2.0 + n % 7 / 10, 1), (2.0 + n % 7 / 10 + each, 1)) for n, each in enumerate(differences)]
    samples += [sample_of(len(samples) + n, rouge_l=math.nan, bleu=math.nan) for n in range(kept)]
    return DataShift.of(samples, **{"model": {"model": "tiny", "weights": "abc"}} | changes)
