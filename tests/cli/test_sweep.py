"""``spectra sweep``, as a user types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import spectra.cli.sweep as module
from spectra.results.sweep_record import SweepCell, load_sweep, write_cells
from tests.training.sweep.conftest import ROOT, WORKER, orders, recipe  # noqa: F401 - fixtures

RATES = "training.learning_rate=1e-4,3e-4"


@pytest.fixture
def folder(tmp_path, orders, monkeypatch):  # noqa: F811
    """The folder of a sweep whose runs do not train."""
    monkeypatch.setattr(module, "_WORKER", WORKER)
    return tmp_path / "sweep"


def test_a_sweep_runs_and_is_told(run, recipe, folder):  # noqa: F811
    code, out, err = run(recipe, "--grid", RATES, "--seeds", "0..2", "-o", folder, "--baseline", "training.learning_rate=1e-4")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == f"6 runs of '{recipe}' (6 finished): 2 settings, 3 seeds"
    assert lines[2].split() == ["learning_rate", "seeds", "eval_accuracy"]
    assert lines[4].split()[:2] == ["0.0003", "3"]
    assert lines[4].endswith("*")
    assert lines[6] == "Differences to learning_rate=0.0001 in eval_accuracy, seed by seed"
    told = err.splitlines()
    assert told[0] == "[1/6] learning_rate=0.0001 seed 0: eval_accuracy 0.0001, 3 steps, 2 s"
    assert told[-1] == f"Summary in '{folder}/summary.md', a row for each run in '{folder}/table.csv'."
    assert (folder / "summary.md").read_text().startswith(f"# Sweep of `{recipe}`")
    assert json.loads((folder / "summary.json").read_text())["comparisons"][0]["setting"] == "learning_rate=0.0003"
    assert (folder / "figures" / "sweep.png").exists()
    assert len(list(folder.glob("runs/*/summary.md"))) == 6


def test_the_same_command_shows_the_same_and_runs_nothing(run, recipe, folder):  # noqa: F811
    first = run(recipe, "-o", folder)
    code, out, err = run(recipe, "-o", folder, "--quiet")
    assert (code, out, err) == (0, first[1], "")


def test_a_table_needs_no_recipe(run, recipe, folder):  # noqa: F811
    _, out, _ = run(recipe, "--grid", RATES, "-o", folder)
    assert run("--table", "-o", folder) == (0, out, "")


def test_a_failed_run_is_listed_and_the_exit_code_is_1(run, recipe, folder, orders):  # noqa: F811
    (orders / "learning_rate=0.0003-seed-42").write_text("fail")
    code, out, err = run(recipe, "--grid", RATES, "-o", folder)
    assert code == 1
    assert "[2/2] learning_rate=0.0003 seed 42: failed: no luck today. Try again." in err
    assert out.splitlines()[-1] == "Failed: learning_rate=0.0003-seed-42: no luck today. Try again."
    assert "## Failed runs" in (folder / "summary.md").read_text()
    assert run("--table", "-o", folder)[0] == 1


def test_a_dry_run_shows_what_would_run_and_writes_nothing(run, recipe, folder):  # noqa: F811
    code, out, err = run(recipe, "--grid", RATES, "--seeds", "0,1", "-o", folder, "--dry-run")
    assert (code, err) == (0, "")
    assert out == (
        f"Would run 4 of 4 runs of '{recipe}' in '{folder}'\n\n"
        "learning_rate  waiting: seeds\n"
        "0.0001                   0, 1\n"
        "0.0003                   0, 1\n"
    )  # fmt: skip
    assert not folder.exists()


def test_settings_with_names_can_be_the_baseline(run, recipe, folder, tmp_path):  # noqa: F811
    (tmp_path / "settings.yaml").write_text("slow: {training: {learning_rate: 1e-4}}\nfast: {training: {learning_rate: 1e-3}}")
    arguments = (recipe, "--settings", tmp_path / "settings.yaml", "--seeds", "0..1", "-o", folder, "--baseline", "slow")
    code, out, _ = run(*arguments)
    assert code == 0
    assert "Differences to slow in eval_accuracy, seed by seed" in out


def test_all_faults_are_told_at_once(run, recipe, folder):  # noqa: F811
    grid = ("--grid", "training.learning_rate=1e-4,fast", "--set", "training.bf16=maybe")
    code, out, err = run(recipe, *grid, "-o", folder)
    assert (code, out) == (2, "")
    assert err.startswith(f"spectra: '{recipe}' has 2 faults:\n  training.bf16 (--set)")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "accuracy"), "--metric accuracy: expected eval_ or test_ and a metric, such as eval_accuracy."),
        (("--baseline", "method=dcs"), "baseline: no setting has 'method=dcs'. The settings are 'recipe'."),
        (("--baseline", "slow"), "baseline: no setting has 'slow'. The settings are 'recipe'."),
        (("--seeds", "few"), "--seeds 'few': expected whole numbers such as 0..4 or 0,1,2, got 'few'."),
        (("--grid", "method"), "--grid 'method': expected option=value,value, such as training.learning_rate=1e-4,3e-4."),
        (("--grid", "method=plain", "--grid", "method=dcs"), "--grid method: it is there twice. Give all its values at once."),
        (("--jobs", "0"), "Invalid value for '--jobs'"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_made(refused, recipe, folder, arguments, message):  # noqa: F811
    assert message in refused(recipe, *arguments, "-o", folder)
    assert not folder.exists()


def test_a_metric_that_was_not_measured_is_told(refused, run, recipe, folder):  # noqa: F811
    run(recipe, "-o", folder)
    assert "no finished run has 'eval_f1'" in refused("--table", "-o", folder, "--metric", "eval_f1")


def test_a_recipe_is_needed_to_run(refused, folder):
    assert "Missing argument 'RECIPE'" in refused("-o", folder)


def test_a_recipe_that_does_not_exist_is_told(refused, folder):
    assert refused("small-plian", "-o", folder).startswith("no recipe 'small-plian'")


def test_a_table_of_no_sweep_is_told(refused, tmp_path):
    assert refused("--table", "-o", tmp_path / "none").startswith("there is no sweep at ")


def test_a_sweep_that_waits_has_a_table_of_nothing(run, tmp_path):
    write_cells(tmp_path, "recipe.yaml", [SweepCell(name="a", options={}, seed=0)])
    code, out, _ = run("--table", "-o", tmp_path)
    assert code == 0
    assert "No run is finished, so that there is nothing to compare." in out


def test_ctrl_c_says_that_the_same_command_goes_on(recipe, folder, orders):  # noqa: F811
    (orders / "seed-42").write_text("hang")
    program = (
        f"import sys; import spectra.cli.sweep as s; s._WORKER = '{WORKER}'\n"
        "from spectra.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "sweep", recipe, "-o", folder]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (folder / "runs" / "seed-42" / "pid").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines() == [
        "stopping: each run saves a checkpoint at the end of its step. Ctrl-C again stops at once.",
        "spectra: interrupted; what is finished stays, and the same command goes on",
    ]
    assert [run.state for run in load_sweep(folder).runs] == ["begun"]


def test_help_names_the_groups_and_shows_examples(run):
    code, out, _ = run("--help")
    assert code == 0
    assert re.findall(r"^(\w+):$", out, re.MULTILINE) == ["Options", "Settings", "Runs", "Comparison"]
    assert "spectra sweep small-plain --grid" in out
