import io
import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectra.errors import ResultsError
from spectra.results import journal
from spectra.results.journal import Journal, json_line, read_journal, sound_records
from tests.training.dcs.full_disk import full_disk

RECORDS = [{"row_id": f"{number:032x}", "response": f"naïve “{number}” \u2028\x85\n"} for number in range(3)]

# Says the number of each record that is kept. With a limit the system ends it at that byte, as it ends a process: on the spot.
WRITER = """
import resource, signal, sys
from pathlib import Path
from spectra.results.journal import Journal, read_journal

path, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
with Journal(path) as journal:
    for number in range(len(read_journal(path)), 10**9):
        journal.append({"number": number, "text": chr(97 + number % 26) * 100})
        print(number, flush=True)
"""


def written(path, records):
    with Journal(path) as to:
        for record in records:
            to.append(record)
    return path


def any_json():
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    return st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(), any_json(), max_size=4), max_size=6))
def test_what_is_written_is_read(tmp_path, records):
    (tmp_path / "a.jsonl").unlink(missing_ok=True)
    path = written(tmp_path / "a.jsonl", records)
    assert read_journal(path) == records
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]] == records


def test_halves_of_surrogate_pairs_are_kept_in_valid_utf8(tmp_path):
    path = written(tmp_path / "a.jsonl", [{"response": "\ud83d"}, RECORDS[0]])
    assert path.read_text(encoding="utf-8").startswith('{"response": "\\ud83d"}\n')
    assert read_journal(path) == [{"response": "\ud83d"}, RECORDS[0]]


def test_other_scripts_can_be_read_in_the_file(tmp_path):
    assert "你好".encode() in written(tmp_path / "a.jsonl", [{"response": "你好"}]).read_bytes()


def test_a_line_torn_at_any_byte_is_cut_off_and_written_over(tmp_path):
    whole, last = b"".join(map(json_line, RECORDS[:2])), json_line(RECORDS[2])
    path = tmp_path / "a.jsonl"
    for kept in range(len(last)):
        path.write_bytes(whole + last[:kept])
        assert read_journal(path) == RECORDS[:2]
        assert path.read_bytes() == whole + last[:kept]  # reading leaves it to its writer
        Journal(path).close()
        assert path.read_bytes() == whole
        assert written(path, RECORDS[2:]).read_bytes() == whole + last


def test_the_first_line_may_be_torn(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"row')
    assert read_journal(written(tmp_path / "a.jsonl", RECORDS)) == RECORDS


@pytest.mark.parametrize("line", [b'{"row_id": "1', b"", b"\x00\x00\x00\x00", b"\xff{}", b"[" * 10**5, b"{} {}"])
def test_a_damaged_line_among_others_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json_line(RECORDS[0]) + line + b"\n" + json_line(RECORDS[1]))
    with pytest.raises(ResultsError, match=r"a\.jsonl', line 2: damaged \(.*\)\. Delete the line to go on without its record"):
        read_journal(path)


def test_a_line_that_is_no_object_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"{}\n[1]\n")
    with pytest.raises(ResultsError, match=r"a\.jsonl', line 2: expected a record, got list"):
        read_journal(tmp_path / "a.jsonl")


def test_a_journal_that_is_missing_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"cannot read '.*a\.jsonl': No such file or directory\. Check the path"):
        read_journal(tmp_path / "a.jsonl")


def test_a_journal_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"cannot write to '.*': Is a directory"):
        Journal(tmp_path)


@pytest.mark.parametrize("wrong", [float("nan"), object()], ids=["NaN", "object"])
def test_a_record_that_is_no_json_leaves_no_trace(tmp_path, wrong):
    path = tmp_path / "a.jsonl"
    with Journal(path) as to:
        to.append(RECORDS[0])
        with pytest.raises((TypeError, ValueError), match="JSON"):
            to.append({"row_id": "1", "value": wrong})
        to.append(RECORDS[1])
    assert read_journal(path) == RECORDS[:2]


def test_on_a_full_disk_nothing_is_torn_and_the_writer_can_go_on(tmp_path):
    path, long = tmp_path / "a.jsonl", {"row_id": "1", "response": "x" * 5000}
    with Journal(path) as to:
        to.append(RECORDS[0])
        with full_disk(2000), pytest.raises(ResultsError, match=r"cannot write to '.*a\.jsonl': File too large\. Free space"):
            to.append(long)
        assert path.read_bytes() == json_line(RECORDS[0])
        to.append(long)
    assert read_journal(path) == [RECORDS[0], long]


class InParts(io.FileIO):
    """A file system that takes a few bytes at a time, as some do over a network; Ctrl-C comes at one of them."""

    interrupted_at = None

    def write(self, data):
        if self.interrupted_at is not None:
            self.interrupted_at -= 1
            if self.interrupted_at < 0:
                self.interrupted_at = None
                raise KeyboardInterrupt
        return super().write(data[:7])


def in_parts(path):
    to = Journal(path)
    to._file.close()
    to._file = InParts(path, "ab")
    return to


def test_records_are_whole_where_they_are_written_in_parts(tmp_path):
    with in_parts(tmp_path / "a.jsonl") as to:
        for record in RECORDS:
            to.append(record)
    assert read_journal(tmp_path / "a.jsonl") == RECORDS


@pytest.mark.parametrize("part", [0, 1, 5])
def test_an_interrupted_record_is_taken_back(tmp_path, part):
    with in_parts(tmp_path / "a.jsonl") as to:
        to.append(RECORDS[0])
        to._file.interrupted_at = part
        with pytest.raises(KeyboardInterrupt):
            to.append(RECORDS[1])
        to.append(RECORDS[2])
    assert read_journal(tmp_path / "a.jsonl") == [RECORDS[0], RECORDS[2]]


def test_the_disk_is_asked_at_most_once_a_second_and_at_the_end(tmp_path, monkeypatch):
    clock, synced = [0.0], []
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(journal.os, "fsync", lambda _: synced.append(clock[0]))  # it cannot be seen from outside
    with Journal(tmp_path / "a.jsonl") as to:
        for tenth in range(25):
            clock[0] = tenth / 10
            to.append(RECORDS[0])
    assert synced == [1.0, 2.0, 2.4]


@pytest.mark.parametrize("when", ["append", "close"])
def test_a_disk_that_is_gone_is_named(tmp_path, monkeypatch, when):
    def gone(_):
        raise OSError(5, "Input/output error")

    to = Journal(tmp_path / "a.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "fsync", gone)  # no disk can be pulled out here
        patch.setattr(journal, "_SECONDS_BETWEEN_SYNCS", 0.0)
        with pytest.raises(ResultsError, match=r"cannot write to '.*a\.jsonl': Input/output error"):
            to.append(RECORDS[0]) if when == "append" else to.close()
    if when == "append":
        to.close()


def writer(path, limit=0):
    program = [sys.executable, "-c", WRITER, str(path), str(limit)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def numbered(count):
    return [{"number": number, "text": chr(97 + number % 26) * 100} for number in range(count)]


@pytest.mark.slow
def test_no_record_is_lost_when_its_writer_is_killed(tmp_path):
    path = tmp_path / "a.jsonl"
    for life in range(20):
        with writer(path) as one:
            for _ in range(life + 1):
                one.stdout.readline()
            one.kill()
            last = one.stdout.read().split("\n")[-2:]
        found = read_journal(path)
        assert found == numbered(len(found))
        assert len(found) > int(last[0] or 0)


@pytest.mark.slow
def test_no_record_is_lost_when_its_writer_is_killed_within_one(tmp_path):
    path = tmp_path / "a.jsonl"
    for kept in range(12):
        whole, size = sum(map(len, map(json_line, numbered(kept)))), len(json_line(numbered(kept + 1)[-1]))
        limit = whole + 1 + kept * (size - 2) // 11  # from the first byte to the last but one
        with writer(path, limit) as one:
            assert one.wait() == -signal.SIGXFSZ
        assert path.stat().st_size == limit
        assert read_journal(path) == numbered(kept)


def test_sound_records_are_those_between_the_damaged(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json_line(RECORDS[0]) + b"\x00\x00\n[1]\n\n" + json_line(RECORDS[1]) + b'{"row')
    assert list(sound_records(path)) == RECORDS[:2]
    with pytest.raises(ResultsError, match=r"cannot read '.*b\.jsonl': No such file or directory\. Check the path"):
        list(sound_records(tmp_path / "b.jsonl"))


@pytest.mark.parametrize("replaced", [False, True])
def test_a_record_is_not_written_to_a_file_that_was_moved_away_or_removed(tmp_path, replaced):
    path = tmp_path / "a.jsonl"
    with Journal(path) as to:
        to.append(RECORDS[0])
        path.rename(tmp_path / "b.jsonl")
        if replaced:
            path.touch()
        said = "another file has taken its place" if replaced else "No such file or directory"
        with pytest.raises(ResultsError, match=rf"cannot write to '.*': {said}\. Bring its folder or disk back or choose"):
            to.append(RECORDS[1])
    assert read_journal(tmp_path / "b.jsonl") == RECORDS[:1]


class Stubborn(io.FileIO):
    """A disk that takes half a record, and then not even gives it back, for once."""

    fails = 2

    def write(self, data):
        if self.fails == 2:
            self.fails = 1
            super().write(data[:9])
            raise OSError(5, "Input/output error")
        return super().write(data)

    def truncate(self, size=None):
        if self.fails == 1:
            self.fails = 0
            raise OSError(5, "Input/output error")
        return super().truncate(size)


def test_a_torn_line_that_could_not_be_taken_back_at_once_is_before_the_next(tmp_path):
    with Journal(tmp_path / "a.jsonl") as to:
        to.append(RECORDS[0])
        to._file.close()
        to._file = Stubborn(to.path, "ab")
        with pytest.raises(ResultsError, match="Input/output error"):
            to.append(RECORDS[1])
        assert not to.path.read_bytes().endswith(b"\n")
        to.append(RECORDS[2])
    assert read_journal(tmp_path / "a.jsonl") == [RECORDS[0], RECORDS[2]]
