import builtins
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError, MissingPackageError
from spectra.results.distill_records import DECISIONS, REASONS
from spectra.results.selection_report import LengthRatio, SelectionReport
from tests.distilled import record_of, records, run_of

TYPICAL = {"accepted": [1.5, 0.5, 2.0, 3.0, 1.0], "identical": 1, "rejected": {"leak": 1, "mismatch": 2, "truncated": 1}}


def test_decisions_and_reasons_are_counted_the_most_frequent_reason_first():
    report = SelectionReport.of(run_of(**TYPICAL))
    assert (report.num_samples, report.accepted, report.identical, report.num_rejected) == (10, 5, 1, 4)
    assert list(report.rejected.items()) == [("mismatch", 2), ("truncated", 1), ("leak", 1)]
    assert report.share_changed == 0.5


def test_lengths_are_those_of_the_accepted():
    # Sorted 0.5, 1, 1.5, 2, 3: with five values the quartiles are the second, third and fourth.
    assert SelectionReport.of(run_of(**TYPICAL)).length_ratio == LengthRatio(1.6, 1.0, 1.5, 2.0)
    assert SelectionReport.of(run_of(accepted=[1.0, 2.0])).length_ratio == LengthRatio(1.5, 1.25, 1.5, 1.75)


def test_one_accepted_response_is_its_own_quartile():
    assert SelectionReport.of(run_of(accepted=[2.5])).length_ratio == LengthRatio(2.5, 2.5, 2.5, 2.5)


def test_without_an_accepted_response_there_is_no_length():
    report = SelectionReport.of(run_of(identical=3))
    assert report.length_ratio is None
    assert report.to_dict()["length_ratio"] is None
    assert "no accepted response;" in str(report)


def test_an_empty_original_has_no_length_ratio():
    found = SelectionReport.of([record_of(original="", response="abc"), record_of()]).length_ratio
    assert found == LengthRatio(1.5, 1.5, 1.5, 1.5)


def test_tokens_per_second_are_over_all_candidates():
    report = SelectionReport.of([record_of(n_tokens=30, seconds=2.0), record_of(decision="rejected", n_tokens=10, seconds=0.5)])
    assert (report.num_tokens, report.tokens_per_second) == (40, 16.0)


def test_speed_without_time_is_not_known():
    report = SelectionReport.of([record_of(seconds=0.0)])
    assert math.isnan(report.tokens_per_second)
    assert report.to_dict()["tokens_per_second"] is None
    assert str(report).endswith("; 8 tokens written")


def test_it_says_all_in_two_lines():
    assert str(SelectionReport.of(run_of(**TYPICAL))) == (
        "10 samples: 5 accepted (50.0%), 1 identical, 4 rejected (mismatch 2, truncated 1, leak 1)\n"
        "accepted responses have 1.5 times the characters of the originals in the median (quartiles 1 and 2, mean 1.6); "
        "80 tokens written, 16 per second"
    )
    assert str(SelectionReport.of(run_of(identical=1))).startswith("1 sample: 0 accepted (0.0%), 1 identical, 0 rejected\n")


def test_groups_are_reports_the_largest_first():
    run = run_of(**TYPICAL)
    names = ["b", "a", "a", "a", "b", "c", "a", "a", "b", "c"]
    groups = SelectionReport.of(run, groups=names).groups
    assert list(groups) == ["a", "b", "c"]
    for name, group in groups.items():
        assert group == SelectionReport.of([record for record, own in zip(run, names, strict=True) if own == name])


@pytest.mark.parametrize(("accepted", "warns"), [(19, True), (20, False)])
def test_few_changes_are_noted_below_a_fifth(accepted, warns):
    # Reasons of a fifth each stay below the other threshold.
    reasons = dict.fromkeys(("mismatch", "leak", "truncated"), 20)
    report = SelectionReport.of(run_of(accepted=[1.5] * accepted, identical=40 - accepted, rejected=reasons))
    notes = [
        "19 of 100 responses changed (19.0%): training on this set differs little from training on the original one; see why "
        "candidates were rejected"
    ]
    assert list(report.notes) == (notes if warns else [])


def test_a_model_that_repeats_the_originals_is_noted_as_such():
    [note] = SelectionReport.of(run_of(accepted=[1.5], identical=9)).notes
    assert note.endswith("; the model mostly repeats the originals")


@pytest.mark.parametrize(("rejected", "warns"), [(31, True), (30, False)])
def test_many_rejections_for_one_reason_are_noted_above_three_in_ten(rejected, warns):
    report = SelectionReport.of(run_of(accepted=[1.5] * (75 - rejected), rejected={"truncated": rejected, "leak": 25}))
    notes = ["31 of 100 responses (31.0%) rejected as 'truncated': stopped at the length limit; raise max_new_tokens"]
    assert list(report.notes) == (notes if warns else [])


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_comes_with_a_remedy(reason):
    few, many = SelectionReport.of(run_of(rejected={reason: 3})).notes
    assert few.startswith("0 of 3 responses changed (0.0%)")
    assert many.startswith(f"3 of 3 responses (100.0%) rejected as '{reason}': {REASONS[reason]}; ")


def test_json_holds_everything():
    report = SelectionReport.of(run_of(**TYPICAL), groups=["x"] * 9 + ["y"])
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    groups = content.pop("groups")
    assert content == {
        "schema_version": 1, "num_samples": 10, "accepted": 5, "identical": 1, "share_changed": 0.5,
        "rejected": {"mismatch": 2, "truncated": 1, "leak": 1}, "notes": [],
        "length_ratio": {"mean": 1.6, "lower_quartile": 1.0, "median": 1.5, "upper_quartile": 2.0},
        "num_tokens": 80, "tokens_per_second": 16.0,
    }  # fmt: skip
    assert (groups["x"]["num_samples"], groups["y"]["rejected"]) == (9, {"truncated": 1})
    assert list(content["rejected"]) == list(report.rejected)


def test_the_table_has_a_row_for_the_whole_and_for_each_group():
    frame = SelectionReport.of(run_of(**TYPICAL), groups=["x"] * 5 + ["y"] * 5).to_pandas()
    assert frame["group"].isna().tolist() == [True, False, False]
    assert frame["group"].tolist()[1:] == ["x", "y"]
    assert frame["num_samples"].tolist() == [10, 5, 5]
    assert frame["rejected"].tolist() == [4, 0, 4]
    assert frame["rejected_mismatch"].tolist() == [2, 0, 2]
    assert frame["share_changed"].tolist() == [0.5, 1.0, 0.0]
    assert frame["length_ratio_median"].tolist()[:2] == [1.5, 1.5]
    assert math.isnan(frame["length_ratio_median"][2])
    assert "rejected_leak" in frame
    assert "rejected_empty" not in frame


def test_tables_without_pandas_name_the_extra(monkeypatch):
    real = builtins.__import__

    def without_pandas(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(MissingPackageError, match=r"spectra-nn\[frames\]"):
        SelectionReport.of([record_of()]).to_pandas()


def test_nothing_to_report_on_is_refused():
    with pytest.raises(InputError, match="there are no records to report on. Wait"):
        SelectionReport.of([])


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "b", "c"]])
def test_groups_that_are_not_one_for_each_record_are_refused(groups):
    with pytest.raises(InputError, match=f"groups has {len(groups)} value.* for 2 records"):
        SelectionReport.of([record_of(), record_of()], groups=groups)


@settings(deadline=None, max_examples=50)
@given(st.lists(records(), min_size=1, max_size=12), st.data())
def test_groups_add_up_and_order_does_not_count(run, data):
    names = data.draw(st.lists(st.sampled_from("ab"), min_size=len(run), max_size=len(run)))
    report = SelectionReport.of(run, groups=names)
    assert sum((report.accepted, report.identical, *report.rejected.values())) == len(run)
    for field in ("num_samples", *DECISIONS, "num_tokens"):
        field = field.replace("rejected", "num_rejected")
        assert sum(getattr(group, field) for group in report.groups.values()) == getattr(report, field)
    turned = SelectionReport.of(run[::-1])
    assert (turned.rejected, turned.notes, turned.length_ratio) == (report.rejected, report.notes, report.length_ratio)
    json.dumps(report.to_dict(), allow_nan=False)
