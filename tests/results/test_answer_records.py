import json

import pytest

from spectra.errors import ResultsError
from spectra.results.answer_records import AnswerRecord, load_answers
from spectra.results.journal import json_line
from tests.answered import answer_of


def test_a_record_survives_json():
    for record in (answer_of(), answer_of(is_correct=None, extracted_answer=None, nll_reference=None, answer="½ é")):
        assert AnswerRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize(
    ("finish", "cut_off"),
    [("stop", False), ("unknown", False), ("too_long", False), ("length", True), ("content_filter", True)],
)
def test_an_answer_is_cut_off_if_it_neither_ended_nor_never_began(finish, cut_off):
    assert answer_of(finish_reason=finish).is_truncated == cut_off


def test_all_faults_of_a_record_are_named():
    content = answer_of().to_dict() | {"rouge-l": 1.0, "n_tokens": True, "is_correct": 1}
    del content["row"]
    with pytest.raises(ResultsError) as caught:
        AnswerRecord.from_dict(content)
    assert str(caught.value) == (
        "this is no record of an answer: there is no 'row'; 'rouge-l' is not known. Did you mean 'rouge_l'?; "
        "'n_tokens' is bool, expected int; 'is_correct' is int, expected bool or null."
    )


@pytest.mark.parametrize("name", ["scores.json", "scores.records.jsonl"])
def test_answers_are_found_beside_their_scores(tmp_path, name):
    records = (answer_of(0), answer_of(1, is_correct=False))
    (tmp_path / "scores.records.jsonl").write_bytes(b"".join(json_line(one.to_dict()) for one in records))
    assert load_answers(tmp_path / name) == records


def test_missing_answers_are_told_how_to_be_made(tmp_path):
    with pytest.raises(ResultsError, match=r"no answers at '.*scores\.records\.jsonl'.*'spectra distill evaluate' writes them"):
        load_answers(tmp_path / "scores.json")


def test_a_line_that_is_no_answer_is_named(tmp_path):
    (tmp_path / "scores.records.jsonl").write_bytes(json_line(answer_of().to_dict()) + b'{"row": 1}\n')
    with pytest.raises(ResultsError, match=r"line 2: this is no record of an answer: there is no 'row_id'.*Delete the line"):
        load_answers(tmp_path / "scores.json")
