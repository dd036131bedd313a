import json
import re
from dataclasses import asdict, dataclass

import pytest

from spectra.errors import ResultsError
from spectra.results.typed_records import checked_fields, records_beside


@dataclass(frozen=True)
class Reading:
    name: "str"
    size: "int"
    mean: "float | None"
    is_good: "bool"


def reading(content):
    return Reading(**checked_fields(Reading, content, "a reading"))


GOOD = Reading("a", 3, 0.5, True)


def test_fields_are_what_they_were():
    assert reading(json.loads(json.dumps(asdict(GOOD)))) == GOOD
    assert reading(asdict(GOOD) | {"mean": None}).mean is None
    assert reading(asdict(GOOD) | {"mean": 2}).mean == 2  # JSON writes a whole number without its point


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 3.5}, "'size' is float, expected int"),
        ({"size": True}, "'size' is bool, expected int"),
        ({"is_good": 1}, "'is_good' is int, expected bool"),
        ({"mean": "0.5"}, "'mean' is str, expected float or null"),
        ({"nmae": "a"}, "'nmae' is not known. Did you mean 'name'?"),
    ],
)
def test_fields_of_another_kind_are_named(change, said):
    with pytest.raises(ResultsError, match=re.escape(f"this is no record of a reading: {said}")):
        reading(asdict(GOOD) | change)


def test_all_faults_are_named_at_once():
    with pytest.raises(ResultsError, match=r"there is no 'is_good'.*'size' is str"):
        reading({"name": "a", "size": "3", "mean": None})


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.records.jsonl"])
def test_records_are_found_beside_the_output(tmp_path, name):
    (tmp_path / "out.records.jsonl").write_text(json.dumps(asdict(GOOD)) + "\n")
    assert records_beside(tmp_path / name, reading, what="readings", command="read") == (GOOD,)


def test_a_run_that_is_not_complete_is_told_how_to_go_on(tmp_path):
    with pytest.raises(ResultsError, match=r"no readings at '.*out.records.jsonl'. 'read' writes them .* the same command"):
        records_beside(tmp_path / "out.jsonl", reading, what="readings", command="read")


def test_a_line_that_is_none_is_named(tmp_path):
    lines = [asdict(GOOD), {"name": "b"}]
    (tmp_path / "out.records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ResultsError, match=r"line 2: .*there is no 'size'.*Delete the line"):
        records_beside(tmp_path / "out.jsonl", reading, what="readings", command="read")


def test_a_run_that_is_not_complete_says_how_far_it_is(tmp_path):
    (tmp_path / "out.records.rank-00000-of-00002.jsonl").write_text((json.dumps(asdict(GOOD)) + "\n") * 3)
    with pytest.raises(ResultsError, match=r"no readings at .*out.records.jsonl' \(so far 3\)"):
        records_beside(tmp_path / "out.jsonl", reading, what="readings", command="read")
