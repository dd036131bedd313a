import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import ResultsError
from spectra.results.scale_log import ScaleLog, ScaleLogHeader, ScaleRecord, load_scale_log

UNITS = {f"encoder.layer.{n}": (f"encoder.layer.{n}.query", f"encoder.layer.{n}.key") for n in range(3)}


def header_of(**changes):
    about = {"policy": {"name": "recommended", "metric": "alpha", "kinds": ("linear", "conv2d"), "winsorize": (1.0, math.inf)}}
    return ScaleLogHeader(**about | {"units": UNITS, "model": "BertModel", "version": "0.1.0"} | changes)


def record_of(step, **changes):
    scores = {unit: 3.0 + n + 0.01 * step for n, unit in enumerate(UNITS)}
    about = {"scores": scores, "scales": dict.fromkeys(UNITS, 1.5), "seconds": 0.25, "share": 0.04}
    return ScaleRecord(**about | {"step": step, "num_measured": 6, "target": "learning_rate"} | changes)


def log_with(path, records, **changes):
    log = ScaleLog(path, header_of(**changes))
    for record in records:
        log.append(record)
    return log


def steps(path):
    return [record.step for record in load_scale_log(path).records]


def same(a, b):
    return repr(a) == repr(b)  # NaN equals NaN here


numbers = st.floats(allow_infinity=False)


@given(
    score=numbers,
    scale=numbers,
    seconds=numbers,
    share=numbers,
    unit=st.text(max_size=5),
    step=st.integers(0, 10**9),
)
def test_what_is_appended_is_read_back(tmp_path_factory, score, scale, seconds, share, unit, step):
    path = tmp_path_factory.mktemp("log") / "scales.jsonl"
    record = record_of(step, scores={unit: score}, scales={unit: scale}, seconds=seconds, share=share)
    log_with(path, [record], units={unit: ("a", "b")}, policy={})
    content = load_scale_log(path)
    assert same(content.records, (record,))
    assert content.header == header_of(units={unit: ("a", "b")}, policy={})
    assert content.notes == ()


def test_numbers_that_are_not_finite_are_null_in_the_file(tmp_path):
    path = tmp_path / "scales.jsonl"
    log_with(path, [record_of(1, scores={"a": math.nan, "b": math.inf})])
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines())
    assert first["policy"]["winsorize"] == [1.0, None]
    assert second["scores"] == {"a": None, "b": None}
    assert all(map(math.isnan, load_scale_log(path).records[0].scores.values()))


def test_every_record_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    log = ScaleLog(tmp_path / "new" / "scales.jsonl", header_of())
    assert steps(log.path) == []
    for step in (0, 10, 20):
        log.append(record_of(step))
        assert steps(log.path)[-1] == step
    assert [path.name for path in log.path.parent.iterdir()] == ["scales.jsonl"]


def test_a_line_that_a_crash_cut_off_is_left_out_and_noted(tmp_path):
    log = log_with(tmp_path / "scales.jsonl", [record_of(0), record_of(10)])
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-7])
    content = load_scale_log(log.path)
    assert [record.step for record in content.records] == [0]
    assert content.notes == ("line 3 is no record and is left out: it was cut off by a crash, is being written, or was edited",)


@pytest.mark.parametrize("line", ["[1, 2]", "3", "null", '{"step": 3}', "\0\0\0"])
def test_a_line_that_is_no_record_is_left_out_and_noted(tmp_path, line):
    log = log_with(tmp_path / "scales.jsonl", [record_of(0)])
    with log.path.open("a") as file:
        file.write(line + "\n")
    log.append(record_of(10))
    content = load_scale_log(log.path)
    assert [record.step for record in content.records] == [0, 10]
    assert [note[:6] for note in content.notes] == ["line 3"]


def test_a_continued_run_drops_the_torn_line_and_goes_on(tmp_path):
    log = log_with(tmp_path / "scales.jsonl", [record_of(0), record_of(10)])
    log.path.write_bytes(log.path.read_bytes()[:-7])
    log_with(log.path, [record_of(10), record_of(20)], version="0.2.0")
    content = load_scale_log(log.path)
    assert [record.step for record in content.records] == [0, 10, 20]
    assert content.notes == ()


def test_a_continued_run_replaces_what_was_recorded_from_its_step_on(tmp_path):
    path = tmp_path / "scales.jsonl"
    log_with(path, [record_of(step) for step in (0, 10, 20, 30)])
    log_with(path, [record_of(15, seconds=9.0)])  # from a checkpoint of step 12, with another interval
    assert steps(path) == [0, 10, 15]
    log_with(path, [record_of(0)])  # from the beginning
    assert steps(path) == [0]


def test_two_targets_of_one_step_are_both_kept(tmp_path):
    path = tmp_path / "scales.jsonl"
    log_with(path, [record_of(step, target=target) for step in (0, 10) for target in ("learning_rate", "weight_decay")])
    assert steps(path) == [0, 0, 10, 10]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"policy": {"name": "other"}}, "policy"),
        ({"units": {"a": ("b",)}}, "units"),
        ({"model": "Other", "policy": {}}, "policy and model"),
    ],
    ids=["policy", "units", "both"],
)
def test_the_log_of_another_run_is_only_replaced_by_force(tmp_path, changes, what):
    path = tmp_path / "scales.jsonl"
    log_with(path, [record_of(0)])
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=rf"holds the log of another run \(its {what} differ\). Choose another file"):
        ScaleLog(path, header_of(**changes))
    assert path.read_bytes() == before
    ScaleLog(path, header_of(**changes), force=True)
    assert load_scale_log(path).records == ()


def test_a_log_that_was_removed_does_not_come_back_without_its_header(tmp_path):
    log = ScaleLog(tmp_path / "scales.jsonl", header_of())
    log.path.unlink()
    with pytest.raises(ResultsError, match=r"cannot write to '.*scales.jsonl': No such file"):
        log.append(record_of(0))


@pytest.mark.parametrize("content", ["", "no JSON\n", "[]\n", "3\n", "{}\n", '{"schema_version": 1}\n', '{"layer": {}}\n'])
def test_other_files_are_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "other.jsonl"
    path.write_text(content)
    for use in (load_scale_log, lambda file: ScaleLog(file, header_of())):
        with pytest.raises(ResultsError, match=r"'.*other.jsonl' is no log of scales: its first line .* Give the .jsonl file"):
            use(path)
    assert path.read_text() == content


def test_other_endings_are_refused(tmp_path):
    for use in (load_scale_log, lambda file: ScaleLog(file, header_of())):
        with pytest.raises(ResultsError, match=r"'.*a.csv': a log of scales is a file that ends in .jsonl. Choose such a name"):
            use(tmp_path / "a.csv")


def test_a_missing_file_a_folder_and_another_version_are_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"there is no log at '.*none.jsonl'. Training with TempBalance writes one"):
        load_scale_log(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ResultsError, match=r"cannot read '.*folder.jsonl': Is a directory"):
        load_scale_log(tmp_path / "folder.jsonl")
    path = tmp_path / "later.jsonl"
    first = dataclasses.asdict(header_of(policy={}))
    path.write_text(json.dumps({"schema_version": 2} | first) + "\n")
    with pytest.raises(ResultsError, match="has schema version 2, this Spectra reads 1. Read it with the Spectra that"):
        load_scale_log(path)
    path.write_text(json.dumps({"schema_version": 1} | first | {"surprise": 1}) + "\n")
    with pytest.raises(ResultsError, match="is damaged: .*surprise.* Train again, with another file"):
        load_scale_log(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot write to '.*file': .*Free space or choose another folder"):
        ScaleLog(tmp_path / "file" / "scales.jsonl", header_of())
