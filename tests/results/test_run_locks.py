import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from spectra.errors import ResultsError
from spectra.results.run_locks import is_held, locked, refuse_others

HOLDER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from spectra.results.run_locks import locked

with locked(Path(sys.argv[1]), Path("output")):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / ".lock"


def test_a_lock_is_held_within_and_free_after(lock):
    with locked(lock, lock.parent):
        assert is_held(lock)
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert not is_held(lock)


def test_a_lock_that_another_process_holds_is_an_error_that_names_it_and_ends_with_it(lock):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdin=-1, stdout=-1, text=True) as other:
        other.stdout.readline()
        said = rf"results' is being written by process {other.pid} on .*Let it end"
        with pytest.raises(ResultsError, match=said), locked(lock, lock.parent / "results"):
            pass
        other.kill()
    with locked(lock, lock.parent):
        assert is_held(lock)


def test_whoever_is_at_work_is_named_and_what_cannot_be_done(lock):
    refuse_others([], lock.parent, "started over")
    with locked(lock, lock.parent), pytest.raises(ResultsError, match=r"written by process \d+ on .*cannot be started over"):
        refuse_others([lock], lock.parent, "started over")


def test_a_lock_that_cannot_be_made_is_named(lock):
    lock.mkdir()
    with pytest.raises(ResultsError, match="Is a directory"), locked(lock, lock.parent):
        pass


def test_a_lock_that_is_to_be_removed_leaves_nothing_and_says_since_when(lock):
    with locked(lock, lock.parent, removed=True):
        assert lock.read_text().endswith(" UTC")
        with (
            pytest.raises(ResultsError, match=r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\. Let it end"),
            locked(lock, lock.parent),
        ):
            pass
    assert not lock.exists()


def test_of_many_that_lock_and_remove_at_once_one_holds_it_at_a_time(lock):
    holders, most = [], []

    def hold(_):
        with locked(lock, lock.parent, wait=60, removed=True):
            holders.append(1)
            most.append(len(holders))
            holders.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(40)))
    assert (len(most), max(most)) == (40, 1)
