"""Sweeps in real processes that do not train."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from spectra.errors import InputError, ResultsError
from spectra.results.run_locks import locked
from spectra.results.run_record import load_run
from spectra.results.sweep_record import BEGUN, FAILED, FINISHED, WAITING, load_sweep
from spectra.training.sweep.runs import plan_sweep, run_sweep
from tests.forked import run_python
from tests.training.recipe.small_runs import prepare
from tests.training.sweep.conftest import ROOT, WORKER

RATES = {"training.learning_rate": [1e-4, 3e-4]}

SWEEP = f"""
import sys
from spectra.cli.interrupted import exit_code
from spectra.training.sweep.runs import plan_sweep, run_sweep
recipe, output = sys.argv[1:]
try:
    run_sweep(plan_sweep(recipe, output=output, seeds=[0, 1]), jobs=2, worker="{WORKER}")
except KeyboardInterrupt as interrupt:
    sys.exit(exit_code(interrupt))
"""

ALONE = """
import sys
import torch
from spectra.training.recipe.running import run_recipe

torch.set_num_threads(1)
run_recipe(sys.argv[1], sys.argv[2:])
"""


class Told:
    """Writes down what it is told."""

    def __init__(self):
        self.words = []

    def began(self, cell, done, total):
        self.words.append(f"began {cell.name} {done}/{total}")

    def ended(self, run, done, total):
        self.words.append(f"{run.state} {run.cell.name} {done}/{total}")

    def stopping(self):
        self.words.append("stopping")


def states(record):
    return {run.cell.name: run.state for run in record.runs}


def settings_of(record):
    return [run.cell.setting for run in record.runs]


def rows(tmp_path):
    with (tmp_path / "sweep" / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def results(tmp_path):
    return {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "sweep" / "runs").glob("*/results.json")}


def test_every_cell_runs_in_its_folder_and_has_a_row(swept, tmp_path):
    told = Told()
    record = swept(RATES, seeds=(0, 1), progress=told)
    names = [f"learning_rate={rate}-seed-{seed}" for seed in (0, 1) for rate in ("0.0001", "0.0003")]
    assert states(record) == dict.fromkeys(names, FINISHED)
    assert [run.metrics["eval_accuracy"] for run in record.runs] == pytest.approx([0.0001, 0.0003, 0.1001, 0.1003])
    assert [run.seconds for run in record.runs] == [2.5] * 4  # spectra are measured in training
    assert told.words[:3] == [f"began {names[0]} 0/4", f"finished {names[0]} 1/4", f"began {names[1]} 1/4"]
    assert [(row["training.learning_rate"], row["seed"], row["state"], row["steps"]) for row in rows(tmp_path)] == [
        (rate, seed, "finished", "3") for seed in ("0", "1") for rate in ("0.0001", "0.0003")
    ]
    assert (tmp_path / "sweep" / rows(tmp_path)[0]["folder"] / "results.json").exists()
    assert (tmp_path / "sweep" / "logs" / f"{names[0]}.log").read_text() == "this goes to the log\n"


def test_the_same_call_runs_nothing_again(swept, tmp_path):
    record, before = swept(RATES), results(tmp_path)
    told = Told()
    assert swept(RATES, progress=told) == record
    assert told.words == []
    assert results(tmp_path) == before


def test_runs_of_other_data_are_not_put_beside_finished_ones(swept, tmp_path):
    swept(RATES)
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(f"text {n}\t{(n + 1) % 2}\n" for n in range(8)))
    before = results(tmp_path)
    with pytest.raises(InputError, match=r"train.tsv' is not what it was when the run in '.*' began. Put it back"):
        swept(RATES, seeds=(0, 1))
    assert results(tmp_path) == before


def test_a_run_that_fails_is_recorded_and_tried_again(swept, orders, tmp_path):
    order = orders / "learning_rate=0.0001-seed-0"
    order.write_text("fail")
    record = swept(RATES)
    assert list(states(record).values()) == [FAILED, FINISHED]
    assert record.runs[0].cell.error == "no luck today. Try again."
    assert rows(tmp_path)[0]["error"] == "no luck today. Try again."
    assert "Traceback" in (tmp_path / "sweep" / "logs" / f"{order.name}.log").read_text()
    order.unlink()
    record = swept(RATES)
    assert list(states(record).values()) == [FINISHED] * 2
    assert record.runs[0].cell.error is None


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ("bug", "ZeroDivisionError"),
        ("die", "it was ended by SIGKILL; the system does so when memory runs out"),
        ("exit", "it ended with exit code 3; '.*seed-0.log' says why"),
    ],
)
def test_a_run_that_dies_is_recorded_with_what_is_known(swept, orders, order, error):
    (orders / "seed-0").write_text(order)
    assert re.fullmatch(error, swept().runs[0].cell.error)


def test_another_grid_adds_runs_and_knows_those_that_are_the_same(swept, tmp_path):
    swept(RATES, seeds=(0, 1))
    before = results(tmp_path)
    record = swept({**RATES, "method": ["plain", "dcs"]})
    after = results(tmp_path)
    assert len(record.runs) == len(after) == 6
    assert {name: after[name] for name in before} == before
    assert settings_of(record) == [
        "learning_rate=0.0001 method=plain",
        "learning_rate=0.0003 method=plain",
        "learning_rate=0.0001 method=plain",
        "learning_rate=0.0003 method=plain",
        "learning_rate=0.0001 method=dcs",
        "learning_rate=0.0003 method=dcs",
    ]


def test_runs_of_an_earlier_grid_wait_until_they_are_asked_for(swept, orders, tmp_path):
    (orders / "learning_rate=0.0001-seed-0").write_text("fail")
    swept(RATES)
    told = Told()
    record = swept({"training.learning_rate": [1e-3]}, progress=told)
    assert list(states(record).values()) == [FAILED, FINISHED, FINISHED]
    assert told.words == ["began learning_rate=0.001-seed-0 0/1", "finished learning_rate=0.001-seed-0 1/1"]


def test_a_sweep_of_another_recipe_is_refused_and_what_differs_is_named(swept):
    swept(RATES)
    with pytest.raises(InputError, match=r"is a sweep of another recipe \(training.weight_decay: 0.1, was 0.0\)"):
        swept(RATES, changes=["training.weight_decay=0.1"])


def test_name_output_and_seed_of_a_recipe_make_no_other_sweep(swept, tmp_path):
    swept(RATES)
    record = swept(RATES, seeds=(1,), changes=["name=other", "output=there", "seed=7"])
    assert [run.cell.seed for run in record.runs] == [0, 0, 1, 1]


def test_the_seed_is_the_recipe_s_unless_others_are_given(recipe, tmp_path):
    plan = plan_sweep(recipe, output=tmp_path / "sweep", changes=["seed=7"])
    assert [cell.seed for cell in plan.asked] == [7]
    assert plan.recipes["seed-7"].seed == 7
    assert not (tmp_path / "sweep").exists()


def test_a_setting_that_has_changed_under_its_name_is_refused(swept, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("fast: {training: {learning_rate: 1e-3}}")
    swept(settings=file)
    file.write_text("fast: {training: {learning_rate: 1e-2}}")
    with pytest.raises(InputError, match=r"'fast' is another setting in .* \(training.learning_rate: 0.01, was 0.001\)"):
        swept(settings=file)


def test_variables_of_a_grid_mean_the_same_when_the_sweep_goes_on(swept, tmp_path):
    (tmp_path / "other.tsv").write_text((tmp_path / "train.tsv").read_text())
    grid = {"data.train": ["${RECIPE_DIR}/train.tsv", "${RECIPE_DIR}/other.tsv"]}
    first = swept(grid)
    assert swept(grid) == first


def test_a_folder_of_something_else_is_refused(swept, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds files, and no sweep. Choose another --output."):
        swept()


def test_a_sweep_that_was_killed_when_it_began_goes_on(swept, tmp_path):
    (tmp_path / "sweep").mkdir()
    for name in ("sweep.lock", "recipe.yaml", ".sweep.json.0123456789abcdef.tmp"):
        (tmp_path / "sweep" / name).touch()
    assert list(states(swept()).values()) == [FINISHED]
    assert not (tmp_path / "sweep" / ".sweep.json.0123456789abcdef.tmp").exists()


def test_two_sweeps_do_not_share_a_folder(swept, tmp_path):
    swept()
    with locked(tmp_path / "sweep" / "sweep.lock", tmp_path), pytest.raises(ResultsError, match="is being written by process"):
        swept()


def test_jobs_below_one_are_refused(swept):
    with pytest.raises(InputError, match="jobs: expected at least 1, got 0"):
        swept(jobs=0)


def test_processors_are_divided_unless_the_user_did(swept, orders, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # libraries set the others when imported
        monkeypatch.delenv(name, raising=False)
    swept(seeds=(0, 1), jobs=2)
    processors = len(os.sched_getaffinity(0))
    assert (orders / "threads").read_text().split() == [str(max(1, processors // 2))] * 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    swept(seeds=(2,), jobs=2)
    assert (orders / "threads").read_text().split()[2:] == ["3"]


@pytest.fixture(params=["hang"])
def hanging(recipe, orders, tmp_path, request):
    """A sweep in a process of its own, with two runs that hang."""
    for seed in (0, 1):
        (orders / f"seed-{seed}").write_text(request.param)
    process = subprocess.Popen([sys.executable, "-c", SWEEP, recipe, tmp_path / "sweep"], cwd=ROOT, start_new_session=True)
    runs = [tmp_path / "sweep" / "runs" / f"seed-{seed}" for seed in (0, 1)]
    until(lambda: all((run / "pid").exists() for run in runs))
    yield process, runs
    process.kill()
    process.wait()


def until(condition):
    while not condition():
        time.sleep(0.05)


def is_alive(run):
    try:
        os.kill(int((run / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_lets_runs_stop_and_the_same_call_goes_on(hanging, swept, orders, tmp_path, number, code):
    process, runs = hanging
    process.send_signal(number)
    assert process.wait() == code
    assert [(run / "stopped").read_text() for run in runs] == ["once", "once"]
    assert list(states(load_sweep(tmp_path / "sweep")).values()) == [BEGUN, BEGUN]
    for seed in (0, 1):
        (orders / f"seed-{seed}").unlink()
    assert list(states(swept(seeds=(0, 1))).values()) == [FINISHED, FINISHED]


@pytest.mark.parametrize("hanging", ["stubborn"], indirect=True)
def test_a_second_ctrl_c_ends_runs_at_once(hanging):
    process, runs = hanging
    process.send_signal(signal.SIGINT)
    until(lambda: all((run / "stopped").exists() for run in runs))
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert not any(map(is_alive, runs))


def test_runs_end_with_a_sweep_that_is_killed(hanging, tmp_path):
    process, runs = hanging
    process.kill()
    process.wait()
    until(lambda: not any(map(is_alive, runs)))
    assert list(states(load_sweep(tmp_path / "sweep")).values()) == [BEGUN, BEGUN]


@pytest.mark.slow
def test_a_run_of_a_sweep_is_the_run_of_its_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = prepare(tmp_path / "small")
    record = run_sweep(plan_sweep(path, output=tmp_path / "sweep", grid={"training.learning_rate": [1e-2]}, seeds=[1]))
    assert list(states(record).values()) == [FINISHED]
    done = run_python(ALONE, path, "training.learning_rate=1e-2", "seed=1", f"output={tmp_path / 'alone'}")
    assert done.returncode == 0, done.stderr
    alone = load_run(tmp_path / "alone")
    assert record.runs[0].metrics == {**alone.eval_metrics, **alone.test_metrics}
    weights = [
        folder / "model" / "model.safetensors"
        for folder in (tmp_path / "alone", tmp_path / "sweep/runs/learning_rate=0.01-seed-1")
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_all_faults_are_told_at_once_with_the_settings_that_have_them(recipe, tmp_path):
    with pytest.raises(InputError) as caught:
        plan_sweep(
            recipe,
            output=tmp_path / "sweep",
            grid={"training.learning_rate": [1e-4, "fast"], "data.label_column": ["label", "lable"]},
            changes=["training.bf16=maybe"],
        )
    first, *faults = str(caught.value).splitlines()
    assert first == f"'{recipe}' has 3 faults:"
    assert faults[0] == "  training.bf16 (--set): expected true or false, got 'maybe'."
    assert any("'fast'" in fault and fault.endswith("2 of 4 settings.)") for fault in faults)
    assert any("lable" in fault and "In learning_rate=0.0001 label_column=lable" in fault for fault in faults)
    assert not (tmp_path / "sweep").exists()


def test_settings_that_come_to_the_same_are_refused(recipe, tmp_path):
    with pytest.raises(InputError, match="'tempbalance=null' and 'tempbalance=none' are the same setting. Leave one out."):
        plan_sweep(recipe, output=tmp_path / "sweep", grid={"tempbalance": [None, "none"]})


def test_a_full_disk_ends_the_sweep_and_keeps_what_is_finished(swept, tmp_path, monkeypatch):
    from spectra.training.sweep import runs as module

    real, calls = module.write_table, []

    def full(folder, record):
        calls.append(record)
        if len(calls) == 2:
            raise ResultsError("cannot write to 'table.csv': No space left on device. Free space or choose another folder.")
        real(folder, record)

    monkeypatch.setattr(module, "write_table", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        swept(RATES)
    assert list(states(load_sweep(tmp_path / "sweep")).values()) == [FINISHED, WAITING]
    before = results(tmp_path)
    assert list(states(swept(RATES)).values()) == [FINISHED, FINISHED]
    assert results(tmp_path).items() >= before.items()


def test_what_is_written_down_is_plain_json(swept, tmp_path):
    swept(RATES)
    content = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [cell["options"] for cell in content["cells"]] == [{"training.learning_rate": rate} for rate in (1e-4, 3e-4)]
