import os
import re
import sys
import threading

import pytest

from spectra.errors import InputError, SpectraError
from spectra.training.sdft.extractors.run_tests import passes_tests

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of POSIX")

DOUBLE = "def double(x):\n    return 2 * x\n"


def test_a_right_program_passes():
    assert passes_tests(DOUBLE, "assert double(3) == 6") is None


def test_a_wrong_program_fails_in_a_line_that_says_where():
    said = passes_tests(DOUBLE, "x = 3\nassert double(x) == 7, 'not\\nseven'")
    assert said == "AssertionError: not seven (tests.py, line 2: assert double(x) == 7, 'not\\nseven')"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("def double(x: return", "SyntaxError: .*program.py, line 1"),
        ("1 / 0", r"ZeroDivisionError: division by zero \(program.py, line 1: 1 / 0\)"),
        ("import sys; sys.exit(0)", "ended with status 0 before the tests were done"),
        ("import os; os._exit(0)", "ended with status 0 before the tests were done"),
        ("import sys; sys.exit('no arguments')", "no arguments"),
        ("import os; os.abort()", "ended with status -6 before"),
        ("input()", "EOFError"),
        ("x = bytearray(2**30)", "MemoryError"),
        ("open('x', 'wb').write(bytes(2**25))", "File too large"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("raise ValueError('x' * 10**6)", "^ValueError: x{288}$"),
    ],
    ids=lambda text: text[:20],
)
def test_whatever_goes_wrong_is_said_in_a_line(program, said):
    line = passes_tests(program, "pass", memory_mib=256)
    assert line is not None
    assert "\n" not in line
    assert re.search(said, line)


def test_a_program_without_an_end_is_ended():
    assert passes_tests("while True: pass", "pass", seconds=0.5) == "not done after 0.5 s"


def test_what_a_program_started_ends_with_it(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # the child holds the fifo open; a reader meets its end when all who write have ended
    child = f"open({str(fifo)!r}, 'w'); import time; time.sleep(600)"
    start = f"subprocess.Popen([sys.executable, '-c', \"keep = {child}\"])"
    program = f"import subprocess, sys\n{start}\nopen({str(fifo)!r}, 'w').close()"
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()), daemon=True)
    reader.start()
    assert passes_tests(program, "pass") is None
    reader.join(60)
    assert read == [""]


def test_a_program_sees_nothing_of_this_process(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "x")
    alone = ["'SECRET_KEY' not in os.environ", "sys.argv == ['program']", "'spectra' not in sys.modules"]
    alone.append("sorted(os.listdir()) == ['program.py', 'tests.py']")
    assert passes_tests("import os, sys", "\n".join(f"assert {one}" for one in alone)) is None


def test_what_is_kept_for_main_is_not_run():
    assert passes_tests("if __name__ == '__main__':\n    1 / 0", "pass") is None


def test_classes_that_look_themselves_up_are_found():
    program = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    assert passes_tests(program, "import pickle\nassert pickle.loads(pickle.dumps(A(1))) == A(1)") is None


def test_a_program_that_prints_much_passes():
    assert passes_tests("print('x' * 10**6)", "print('y' * 10**6)") is None


def test_no_tests_are_refused():
    with pytest.raises(InputError, match="tests: there are none, and no program can fail them"):
        passes_tests(DOUBLE, " \n")


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("nan")}, {"memory_mib": 0}])
def test_limits_must_be_positive(limits):
    with pytest.raises(InputError, match="expected positive limits"):
        passes_tests(DOUBLE, "pass", **limits)


def test_limits_that_cannot_be_set_are_refused():
    with pytest.raises(SpectraError, match=r"memory_mib=1125899906842624 cannot be set as limits here \(.*\). Try others."):
        passes_tests(DOUBLE, "pass", memory_mib=2**50)


def test_windows_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SpectraError, match="Windows does not know"):
        passes_tests(DOUBLE, "pass")
