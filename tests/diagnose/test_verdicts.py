import math

import pytest

from spectra.diagnose.verdicts import judged
from spectra.results.comparison import METRICS_ONLY, NO_COUNTERPART, Finding
from tests.comparisons import equal_row_of, layer_of, row_of


def judge(*, is_rounding=False, **changes):
    plain = {"intruders": (), "change_rank": 30, "after": layer_of(), "findings": (), "verdict": ""}
    row = judged(row_of(**{**plain, **changes}), is_rounding=is_rounding)
    return row.findings, row.verdict


def test_a_change_without_a_name_is_told_by_its_size():
    assert judge() == ((), "changed by 0.062")


@pytest.mark.parametrize(
    ("changes", "findings", "verdict"),
    [
        ({"change_rank": 4}, (Finding.LOW_RANK,), "rank 4"),
        ({"change_rank": 5}, (), "changed by 0.062"),  # over an eighth of 32
        ({"change_rank": 4, "rounding": 0.05}, (), "changed by 0.062"),  # a tenth of it may be rounding
        ({"change_rank": None}, (), "changed by 0.062"),
        ({"rounding": 0.5}, (Finding.ROUNDING,), "rounding only"),
        ({"is_rounding": True}, (Finding.ROUNDING,), "rounding only"),
        ({"scale": 0.5, "scale_share": 0.99}, (Finding.RESCALED,), "rescaled, × 0.5"),
        ({"scale": 0.5, "scale_share": 0.98}, (), "changed by 0.062"),
        ({"principal_angles_left": (1.0, 1.0)}, (Finding.TURNED,), "turned"),
        ({"principal_angles_right": (1.0, 1.0)}, (Finding.TURNED,), "turned"),
        ({"status": NO_COUNTERPART}, (), "not compared"),
        ({"status": METRICS_ONLY, "norm_change": math.nan}, (), "no weights to compare"),
    ],
)
def test_findings_have_their_thresholds(changes, findings, verdict):
    assert judge(**changes) == (findings, verdict)


# Standard errors of 0.1 each: two of their difference are 0.283.
@pytest.mark.parametrize(
    ("alpha", "quality", "findings", "verdict"),
    [
        (2.8, "good", (Finding.HEAVIER_TAIL,), "alpha 3.10 → 2.80"),
        (3.4, "good", (Finding.LIGHTER_TAIL,), "alpha 3.10 → 3.40"),
        (2.9, "good", (), "changed by 0.062"),
        (2.0, "poor", (), "changed by 0.062"),
        (math.nan, "good", (), "changed by 0.062"),
    ],
)
def test_tails_are_heavier_or_lighter_beyond_the_errors_of_good_fits(alpha, quality, findings, verdict):
    assert judge(after=layer_of(alpha=alpha, fit_quality=quality)) == (findings, verdict)


def test_a_phrase_says_all_that_holds():
    row = judged(row_of(change_rank=2, principal_angles_left=(1.0, 1.5), after=layer_of(alpha=2.6)))
    assert row.findings == (Finding.LOW_RANK, Finding.INTRUDERS, Finding.TURNED, Finding.HEAVIER_TAIL)
    assert row.verdict == "rank 2, 1 intruder; turned; alpha 3.10 → 2.60"


def test_equal_numbers_are_unchanged_and_nothing_else():
    row = judged(equal_row_of(findings=(), verdict=""))
    assert (row.findings, row.verdict) == ((Finding.UNCHANGED,), "unchanged")
