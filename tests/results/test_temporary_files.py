"""Files that appear whole: names that nobody else has, and leftovers of the dead told from files of the living."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from spectra.results.temporary_files import is_temporary, moved_into_place, remove_leftovers
from tests import killing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_in_place_of_an_earlier_one_and_others_may_read_it(tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(b"earlier")
    with moved_into_place(path) as file:
        file.write(b"half")
        assert path.read_bytes() == b"earlier"
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path, error):
    with pytest.raises(error), moved_into_place(tmp_path / "report.json"):
        raise error
    assert names(tmp_path) == []


def test_threads_that_write_one_file_leave_that_of_one_of_them(tmp_path):
    together = threading.Barrier(8)

    def write(number):
        with moved_into_place(tmp_path / "a") as file:
            together.wait()
            file.write(b"%d" % number * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert names(tmp_path) == ["a"]
    assert len(set((tmp_path / "a").read_bytes())) == 1


def write_half(path):
    with moved_into_place(path) as file:
        file.write(b"half")
        file.flush()
        killing.step(path.parent)


@killing.pytestmark
def test_what_a_killed_writer_leaves_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    assert killing.is_killed_at(2, tmp_path, write_half, tmp_path / "dead.json")
    (abandoned,) = names(tmp_path)
    assert is_temporary(abandoned)
    with moved_into_place(tmp_path / "living.json") as file:
        remove_leftovers(tmp_path)
        (left,) = names(tmp_path)
        assert left.startswith(".living.json.")
        file.write(b"whole")
    assert (tmp_path / "living.json").read_bytes() == b"whole"
    assert names(tmp_path) == ["living.json"]


def test_a_file_of_a_writer_without_a_lock_is_removed_when_it_is_old(tmp_path):
    young, old = tmp_path / ".f.safetensors.12.tmp", tmp_path / ".f.safetensors.345.tmp"
    for path in (young, old):
        path.touch()
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [young.name]


def test_files_of_others_stay_and_a_missing_folder_has_none(tmp_path):
    for name in (".thesis.tex.tmp", "a.0123456789abcdef.tmp", ".a.0123456789abcdef", "0123456789abcdef.tmp"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
        assert not is_temporary(name)
    before = names(tmp_path)
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "missing")
    assert names(tmp_path) == before
