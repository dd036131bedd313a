"""Ctrl-C, SIGTERM, a full disk and a second run, as the command tells them."""

import os
import signal
import subprocess
import sys

import click
import pytest

from spectra.cli.interrupted import Interrupted, ended, keeping, sigterm_like_ctrl_c
from spectra.cli.main import main
from spectra.errors import Terminated
from spectra.results.run_locks import locked
from tests.training.dcs.full_disk import full_disk

COMMAND = "analyze"

STOPPED = """
import sys
from spectra.cli.main import main
from tests.cli.interrupts import ctrl_c_in

function, number, *arguments = sys.argv[1:]
with ctrl_c_in(function, int(number)):
    sys.exit(main(arguments))
"""


def stopped(function, number, *arguments):
    """Run a command in a process of its own, and send it a signal when it calls a function."""
    command = [sys.executable, "-c", STOPPED, function, str(int(number)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("function", "number", "code"), [("report_of", signal.SIGINT, 130), ("write_result", signal.SIGTERM, 143)]
)
def test_a_signal_keeps_finished_layers_says_so_in_one_line_and_lets_others_in(run, model, tmp_path, function, number, code):
    folder = tmp_path / "out"
    kept = f"spectra: interrupted. Finished layers are kept in '{folder}'; the same command continues there.\n"
    assert stopped(function, number, "analyze", model, "-o", folder) == (code, "", kept)
    assert os.listdir(folder) == ["progress.jsonl"]
    assert run(model, "-o", folder, "-q")[0] == 0
    assert sorted(os.listdir(folder)) == ["layers.csv", "report.json", "spectra.safetensors"]


def test_a_signal_where_nothing_is_kept_says_no_more_than_that(model):
    assert stopped("report_of", signal.SIGTERM, "analyze", model) == (143, "", "spectra: interrupted\n")


def test_with_force_another_command_continues(model, tmp_path):
    code, _, err = stopped("report_of", signal.SIGTERM, "analyze", model, "-o", tmp_path / "out", "--force")
    assert (code, err.split("; ")[1]) == (143, "the same command without --force continues there.\n")


def test_work_is_said_to_be_kept_where_it_is(tmp_path):
    for file, said in ((tmp_path, f"The texts are kept in '{tmp_path}'; the same command continues there."), (None, "")):
        with pytest.raises(Interrupted) as caught, keeping("The texts", file):
            raise KeyboardInterrupt
        assert (str(caught.value), caught.value.code) == (said, 130)
    with pytest.raises(Interrupted) as caught, keeping("The texts", tmp_path / "missing"):
        raise Terminated
    assert (str(caught.value), caught.value.code) == ("", 143)


def test_a_process_that_does_not_speak_ends_without_a_word(capsys):
    exits = [ended(KeyboardInterrupt(), ". Go on."), ended(Terminated(), speaks=False)]
    assert [left.exit_code for left in exits] == [130, 143]
    assert all(isinstance(left, click.exceptions.Exit) for left in exits)
    assert capsys.readouterr().err == "spectra: interrupted. Go on.\n"


def test_sigterm_is_left_to_those_who_have_their_own_way_with_it():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("theirs"))
    try:
        with sigterm_like_ctrl_c():
            signal.raise_signal(signal.SIGTERM)
        assert seen == ["theirs"]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(Terminated), sigterm_like_ctrl_c():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("command", ["analyze", "compare"])
def test_a_folder_in_use_is_refused_in_one_line_that_says_by_whom(model, tmp_path, capsys, command):
    folder = tmp_path / "out"
    folder.mkdir()
    with locked(folder / ".lock", folder):
        assert main([command, model, *([model] if command == "compare" else []), "-o", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"spectra: '{folder}' is being written by process {os.getpid()} on '")
    assert " since " in err


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(run, refused, model, tmp_path):
    folder = tmp_path / "out"
    with full_disk(6000):
        line = refused(model, "-o", folder)
    assert line == f"cannot write to '{folder / 'progress.jsonl'}': File too large. Free space or choose another folder."
    assert run(model, "-o", folder, "-q")[0] == 0


def test_a_page_for_which_there_is_no_room_leaves_the_result_and_is_written_later(run, model, tmp_path):
    pytest.importorskip("plotly")
    folder = tmp_path / "out"
    with full_disk(1_000_000):  # the library of charts is in the page
        code, _, err = run(model, "-o", folder, "--report", "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert f"cannot write to '{folder / 'report.html'}': File too large." in err
    assert sorted(os.listdir(folder)) == ["layers.csv", "report.json", "spectra.safetensors"]
    assert run(model, "-o", folder, "--report", "-q")[0] == 0
    assert "report.html" in os.listdir(folder)
