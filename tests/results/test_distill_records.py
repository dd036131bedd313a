import json
import math

import pytest
from hypothesis import given, settings

from spectra.errors import InputError, ResultsError
from spectra.results.distill_records import DECISIONS, REASONS, DistillRecord, load_records
from spectra.results.journal import Journal
from tests.distilled import record_of, records


def write(path, *content):
    with Journal(path) as journal:
        for each in content:
            journal.append(each)
    return path


@settings(deadline=None, max_examples=50)
@given(records())
def test_a_record_comes_back_from_json_as_it_was(record):
    assert DistillRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_records_are_read_by_the_name_of_the_output_or_their_own(tmp_path):
    written = tuple(record_of(number, decision) for number, decision in enumerate(DECISIONS))
    file = write(tmp_path / "own.v2.records.jsonl", *(record.to_dict() for record in written))
    for name in ("own.v2.jsonl", "own.v2.json", "own.v2.csv", file.name):
        assert load_records(tmp_path / name) == written
    assert load_records(str(file)) == written


def test_a_run_without_records_is_an_empty_one(tmp_path):
    assert load_records(write(tmp_path / "own.records.jsonl")) == ()


def test_a_line_that_is_being_written_is_left_out_and_left_alone(tmp_path):
    file = write(tmp_path / "own.records.jsonl", record_of().to_dict())
    file.write_bytes(file.read_bytes() + b'{"row_id": "f')
    before = file.read_bytes()
    assert load_records(file) == (record_of(),)
    assert file.read_bytes() == before


def test_records_that_are_not_there_are_asked_for(tmp_path):
    (tmp_path / "own.jsonl").touch()
    with pytest.raises(
        ResultsError, match=r"no records at '.*own\.records\.jsonl'. 'spectra distill' writes them .* continues"
    ):
        load_records(tmp_path / "own.jsonl")


def test_a_line_that_is_no_record_is_named(tmp_path):
    file = write(tmp_path / "own.records.jsonl", record_of().to_dict(), {"step": 3})
    with pytest.raises(ResultsError, match=r"own\.records\.jsonl', line 2: this is no record .* Delete the line"):
        load_records(file)
    (tmp_path / "bad.records.jsonl").write_text("{}}\n")
    with pytest.raises(ResultsError, match="line 1: damaged"):
        load_records(tmp_path / "bad.records.jsonl")


def test_all_faults_of_the_fields_are_named_at_once():
    content = record_of().to_dict() | {"row": "3", "seconds": None, "turn": True, "candidte": "x"}
    del content["template"]
    with pytest.raises(ResultsError) as caught:
        DistillRecord.from_dict(content)
    assert str(caught.value) == (
        "this is no record of a rewriting run: there is no 'template'; 'candidte' is not known. Did you mean 'candidate'?; "
        "'seconds' is NoneType, expected float; 'row' is str, expected int; 'turn' is bool, expected int."
    )


def test_null_is_for_fields_that_may_be_unknown():
    content = record_of().to_dict()
    unknown = dict.fromkeys(("candidate", "extracted_original", "extracted_candidate"))
    assert DistillRecord.from_dict(content | unknown).candidate is None
    with pytest.raises(ResultsError, match="'prompt' is NoneType, expected str"):
        DistillRecord.from_dict(content | {"prompt": None})
    with pytest.raises(ResultsError, match="'candidate' is int, expected str or null"):
        DistillRecord.from_dict(content | {"candidate": 3})


def test_whole_seconds_are_seconds():
    assert DistillRecord.from_dict(record_of().to_dict() | {"seconds": 2}).seconds == 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decision": "taken"}, "unknown decision 'taken', known: accepted, identical, rejected"),
        ({"reason": "mismatch"}, "decision 'accepted' with reason 'mismatch'"),
        ({"decision": "rejected", "reason": None}, "decision 'rejected' with reason None"),
        ({"decision": "rejected", "reason": "wrong"}, "unknown reason 'wrong', known: empty, truncated, "),
        ({"decision": "rejected", "reason": "leak"}, "its response is not the original, although no candidate was accepted"),
        ({"decision": "identical"}, "its response is not the original"),
    ],
)
def test_records_that_cannot_be_are_refused(changes, message):
    content = record_of().to_dict() | changes
    with pytest.raises(InputError, match="^the record of sample '0{32}' cannot be: .*" + message):
        DistillRecord(**content)
    with pytest.raises(ResultsError, match=message):
        DistillRecord.from_dict(content)


def test_the_length_ratio_is_of_characters():
    assert record_of(original="äöü", response="abcdef").length_ratio == 2.0
    assert record_of(decision="rejected").length_ratio == 1.0
    assert math.isnan(record_of(original="", response="a").length_ratio)


def test_every_word_has_its_meaning():
    assert all(DECISIONS.values())
    assert all(REASONS.values())
    assert len(set(REASONS.values())) == len(REASONS)
