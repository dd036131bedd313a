"""Hundreds of malformed checkpoints: each ends in one line or in rows that say so; none runs code, hangs, fills the memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.malformed import folders, headers, pickles
from tests.malformed.cases import MARKER
from tests.malformed.child import MEMORY

ROOT = Path(__file__).parents[2]

FAMILIES = {"headers": lambda: headers.CASES, "pickles": pickles.cases, "folders": folders.cases}


def start():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.malformed.child"],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def answers(cases, folder):
    """Run all cases in one process; in another one after a case that ended it."""
    child, found = start(), {}
    for number, (name, case) in enumerate(cases.items()):
        home = folder / str(number)
        home.mkdir()
        path = str(case.build(home))
        child.stdin.write(json.dumps([name, str(home), path, case.options]) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if line:
            _, *answer = json.loads(line)
        else:
            answer, child = [f"killed ({child.wait()})", "", "", 0], start()
        found[name] = (case, path, home, *answer)
    child.stdin.close()
    child.wait()
    child.stdout.close()
    return found


def fault(case, path, home, code, out, err, grown):
    """Say what is wrong with how a case ended; nothing, where it is right."""
    if code not in case.ends:
        return f"exit code {code}: {err[:300]}"
    if code == 2 and (out or err.count("\n") != 1 or not err.startswith("spectra: ")):
        return f"more or less than one line: {err[:300]!r}"
    if code == 2 and len(err) > 1000 + 3 * len(path):
        return f"a line of {len(err)} characters"
    shown = out + err
    if "Traceback" in shown or "internal error" in shown or "Warning:" in shown:
        return f"a traceback or warning: {shown[:600]}"
    if any((ord(letter) < 32 and letter != "\n") or 0x7F <= ord(letter) < 0xA0 for letter in shown):
        return f"control characters: {shown!r}"
    if grown > MEMORY:
        return f"took {grown >> 20} MiB"
    if any(MARKER in (*inner, *files) for _, inner, files in os.walk(home)):
        return "ran code"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_malformed_checkpoint_does_more_than_to_be_refused(family, tmp_path):
    found = answers(FAMILIES[family](), tmp_path)
    assert {name: words for name, answer in found.items() if (words := fault(*answer))} == {}


def test_the_corpus_is_large():
    assert sum(len(make()) for make in FAMILIES.values()) >= 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("headers", "a name that clears the screen"),
        ("headers", "absurd sides beside a zero"),
        ("pickles", "os.system in a zip"),
    ],
)
def test_a_process_of_its_own_ends_as_well(family, name, tmp_path):
    case = FAMILIES[family]()[name]
    command = [sys.executable, "-m", "spectra", "analyze", str(case.build(tmp_path)), "--quiet", *case.options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert fault(case, "", tmp_path, done.returncode, done.stdout, done.stderr, 0) == ""
