"""Data shifts as records: what samples come to, words, files."""

import dataclasses
import json
import math

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spectra.errors import InputError, ResultsError
from spectra.results.data_shift import DataShift, load_data_shift
from spectra.results.mean_interval import mean_interval
from spectra.results.shift_summary import ShiftSummary
from tests.data_shifts import sample_of, shift_of

TWO = [sample_of(0, (30.0, 10), (10.0, 20)), sample_of(1, (2.0, 2))]
LIKELIHOODS = st.tuples(st.floats(0.0, 1e4), st.integers(1, 1000))


def test_nats_per_token_are_weighted_by_tokens_and_differences_by_samples():
    whole = ShiftSummary.of(TWO, seed=3)
    assert (whole.mean_nll_original, whole.mean_nll_response) == (32.0 / 12, 12.0 / 22)
    assert (whole.perplexity_original, whole.perplexity_response) == (math.exp(32.0 / 12), math.exp(12.0 / 22))
    assert (whole.mean_tokens_original, whole.mean_tokens_response) == (6.0, 11.0)
    assert [one.difference for one in TWO] == [-2.5, 0.0]
    assert whole.difference == -1.25
    assert (whole.difference_low, whole.difference_high) == mean_interval([-2.5, 0.0], seed=3)


def test_accepted_samples_are_summarised_apart():
    shift = DataShift.of(TWO, model={"model": "tiny"}, seed=3)
    assert shift.overall == ShiftSummary.of(TWO, seed=3)
    accepted = ShiftSummary.of(TWO[:1], seed=3)
    assert dataclasses.replace(shift.accepted, difference_low=0.0, difference_high=0.0) == dataclasses.replace(
        accepted, difference_low=0.0, difference_high=0.0
    )
    assert math.isnan(shift.accepted.difference_low)  # of a single sample
    assert shift_of(kept=3).accepted is None


def test_similarity_is_averaged_over_samples_with_a_candidate():
    samples = [sample_of(rouge_l=0.5, bleu=0.1), sample_of(rouge_l=0.7, bleu=0.3), sample_of(rouge_l=math.nan, bleu=math.nan)]
    whole = ShiftSummary.of(samples)
    assert (whole.rouge_l, whole.bleu) == pytest.approx((0.6, 0.2), rel=1e-15)
    assert math.isnan(ShiftSummary.of(samples[2:]).rouge_l)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert ShiftSummary.of([sample_of(0, (1e4, 1))]).perplexity_original == math.inf


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="there are no samples to summarise"):
        ShiftSummary.of([])
    with pytest.raises(InputError, match="there are no samples to summarise"):
        DataShift.of([], model={})


@pytest.mark.parametrize(
    ("shift", "note"),
    [
        (
            shift_of(*[-0.5] * 30, num_left_out=2),
            "2 samples left out: a prompt leaves no room for a response; raise max_length",
        ),
        (shift_of(*[-0.5] * 19), "only 19 accepted: the interval of their difference is too narrow"),
        (shift_of(*[0.4, 0.6] * 10), "less likely to this model than the originals, the reverse"),
        (
            DataShift.of([sample_of(n, (20.0, 10), (20.0, 16)) for n in range(20)], model={}),
            "1.6 times the tokens of the originals: longer texts are likelier token by token",
        ),
    ],
    ids=["left out", "few", "reverse", "longer"],
)
def test_what_is_doubtful_is_noted(shift, note):
    assert len(shift.notes) == 1
    assert note in shift.notes[0]


def test_nothing_is_noted_where_nothing_is_doubtful():
    assert shift_of(*[-0.5] * 20, kept=3).notes == ()
    assert shift_of(kept=3).notes == ()


def test_in_words_it_is_two_lines():
    first, second = str(shift_of(*[-1.0, -0.5] * 10, kept=5)).split("\n")
    # By hand: 45.7 nats in 20 tokens of accepted originals, 100 in 50 of the kept; rewriting takes 15 nats away.
    assert first.startswith("25 samples: 2.081 nats per token of the originals (perplexity 8.016), 1.867 of the selected")
    assert "difference per sample -0.6 (95 % interval -0.7" in first
    assert second.startswith("20 accepted: difference -0.75 (95 % interval -0.8")
    assert second.endswith("1 tokens for 1, ROUGE-L 0.500, BLEU 0.250")
    assert str(shift_of(kept=5)).endswith("\nno accepted response")


def test_the_table_has_a_row_for_each_sample():
    frame = shift_of(-1.0, kept=1).to_pandas()
    assert list(frame["decision"]) == ["accepted", "rejected"]
    assert list(frame["difference"]) == [-1.0, 0.0]
    assert list(frame["mean_nll_original"]) == [2.0, 2.0]
    assert frame["rouge_l"].isna().tolist() == [False, True]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(LIKELIHOODS, st.none() | LIKELIHOODS), min_size=1, max_size=3), st.integers(0, 3))
def test_what_is_saved_is_read_back(tmp_path_factory, likelihoods, seed):
    samples = [sample_of(n, before, after) for n, (before, after) in enumerate(likelihoods)]
    shift = DataShift.of(samples, model={"model": "tiny"}, num_left_out=1, max_length=9, seed=seed)
    path = tmp_path_factory.mktemp("shift") / "new" / "out.shift.json"
    shift.save(path)
    assert repr(load_data_shift(path)) == repr(shift)  # NaN is not equal to itself
    assert json.loads(path.read_text())["overall"]["num_samples"] == len(samples)


def test_missing_numbers_are_null_and_endless_ones_words(tmp_path):
    shift = DataShift.of([sample_of(0, (1e4, 1), (1e4, 1), rouge_l=math.nan)], model={})
    content = shift.to_dict()
    assert content["accepted"]["perplexity_original"] == "inf"
    assert content["accepted"]["difference_low"] is None
    assert content["samples"][0]["rouge_l"] is None
    assert content["interval"] == {"level": 0.95, "num_draws": 10_000}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no data shift at '.*out\.shift\.json'\. Make it again: spectra distill shift"),
        ("{", "is no data shift, or a damaged one"),
        ("[1]", "is no data shift, or a damaged one"),
        ('{"a": 1}', "is no data shift, or a damaged one"),
        ('{"schema_version": 9}', "has schema version 9, this Spectra reads 1"),
        ('{"schema_version": 1}', "is no data shift, or a damaged one"),
    ],
    ids=["missing", "torn", "list", "other", "version", "fields"],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, content, message):
    path = tmp_path / "out.shift.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ResultsError, match=message):
        load_data_shift(path)


@pytest.mark.parametrize("wrong", ["much", None, [1.0]], ids=["text", "null", "list"])
def test_a_field_of_another_type_is_damage(tmp_path, wrong):
    path = tmp_path / "out.shift.json"
    content = shift_of(-1.0).to_dict()
    content["samples"][0]["tokens_original"] = wrong
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="is no data shift, or a damaged one"):
        load_data_shift(path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write to"):
        shift_of(-1.0).save(tmp_path / "file" / "out.shift.json")
