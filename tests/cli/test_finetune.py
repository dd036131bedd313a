"""``spectra finetune``: what it prints and writes, how it goes on, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spectra.recipes import shipped
from spectra.results.run_record import load_run
from spectra.training.recipe import parse_recipe, read_recipe
from tests.cli.interrupts import ctrl_c_in
from tests.pretrained import save_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"), "BertForSequenceClassification", num_labels=2)


@pytest.fixture
def recipe(tmp_path, bert):
    """A recipe of six steps in two epochs."""
    rows = [f"the film was {word}\t{word}" for _ in range(5) for word in ("good", "bad")]
    (tmp_path / "films.tsv").write_text("\n".join(("text\tlabel", *rows)) + "\n", encoding="utf-8")
    content = {
        "model": str(bert),
        "data": {
            **{use: str(tmp_path / "films.tsv") for use in ("train", "eval", "test")},
            "text_column": "text",
            "label_column": "label",
            "max_length": 16,
        },
        "diagnostics": {"spectra": "none"},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 4, "logging_steps": 1},
        "output": str(tmp_path / "run"),
    }
    file = tmp_path / "films.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_a_run_prints_its_results_and_where_they_are(run, recipe, tmp_path):
    code, out, err = run(recipe)
    assert code == 0, err
    first, of_eval, of_test = out.splitlines()
    record = load_run(tmp_path / "run")
    assert first.startswith("'run' is finished: 6 steps, 0:00:")
    assert of_eval == f"eval (10 examples): {metrics(record.eval_metrics, 'eval_')}"
    assert of_test == f"test (10 examples): {metrics(record.test_metrics, 'test_')}"
    *evaluations, last = err.splitlines()
    assert [line.partition(":")[0] for line in evaluations[:2]] == ["3/6 steps", "6/6 steps"]
    folder = tmp_path / "run"
    assert last == (f"Model in '{folder}/model'. Read '{folder}/summary.md'. See: spectra report {folder} --open")
    assert (folder / "summary.md").is_file()


def metrics(values, prefix):
    from spectra.results.run_metrics import metric_names

    return ", ".join(f"{name} {values[prefix + name]:.4g}" for name in metric_names(values, prefix))


def test_a_finished_run_shows_its_results_again_even_without_its_data(run, recipe, tmp_path):
    _, first, _ = run(recipe, "--quiet")
    (tmp_path / "films.tsv").unlink()
    code, again, err = run(recipe, "-q")
    assert (code, err) == (0, "")
    assert again == first.replace("is finished", "was finished before")


def test_quiet_leaves_the_results(run, recipe):
    code, out, err = run(recipe, "--quiet")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 3


def test_an_interrupted_run_goes_on(run, recipe, tmp_path):
    with ctrl_c_in("step"):
        code, out, err = run(recipe)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "spectra: interrupted. The same command goes on from the last checkpoint."
    assert not (tmp_path / "run" / "results.json").exists()
    code, out, err = run(recipe)
    assert code == 0, err
    assert out.startswith("'run' is finished: 6 steps")


def test_another_recipe_in_the_folder_is_refused_unless_it_may_start_over(run, refused, recipe, tmp_path):
    run(recipe, "--quiet")
    said = refused(recipe, "--set", "training.learning_rate=1e-3", "--quiet")
    assert "training.learning_rate (--set): 5e-05 there, 0.001 now" in said
    assert run(recipe, "--set", "training.learning_rate=1e-3", "--quiet", "--force")[0] == 0
    assert read_recipe(tmp_path / "run" / "recipe.yaml").training.learning_rate == 1e-3


def test_all_faults_are_named_at_once_and_nothing_is_written(run, recipe, tmp_path):
    code, out, err = run(
        recipe, "--set", "training.learning_rate=fast", "--set", "methd=dcs", "--set", "data.label_column=lable"
    )
    assert (code, out) == (2, "")
    first, *faults = err.splitlines()
    assert first == f"spectra: '{recipe}' has 3 faults:"
    assert [fault.split()[0] for fault in faults] == ["training.learning_rate", "methd", "data.label_column"]
    assert all(fault.startswith("  ") for fault in faults)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--dry-run", "--print-config"])
def test_a_fault_is_one_wherever_one_looks(run, recipe, flag):
    code, out, err = run(recipe, flag, "--set", "seed=first")
    assert (code, out) == (2, "")
    assert err.startswith(f"spectra: '{recipe}' has a fault:\n  seed (--set): expected a whole number")


def test_other_processes_of_a_launch_are_silent(run, recipe, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run(recipe, "--set", "seed=first") == (2, "", "")
    assert run("no-such-recipe") == (2, "", "")


def test_a_recipe_that_is_nowhere_is_refused(refused):
    assert "no recipe 'no-such-recipe'" in refused("no-such-recipe")
    assert refused("--quiet") == "say which recipe: a YAML file, or one of --list."


def test_no_arguments_are_a_call_for_help(run):
    code, out, _ = run()
    assert code == 0
    assert "Usage: spectra finetune [OPTIONS] RECIPE" in out


def test_the_config_is_a_recipe_that_says_the_same(run, recipe):
    code, out, err = run(recipe, "--print-config", "--set", "method=dcs")
    assert (code, err) == (0, "")
    assert parse_recipe(out) == read_recipe(recipe, ["method=dcs"])
    assert "  # transformers" in out


@pytest.mark.parametrize("name", ["runs/a: b", "#1", "1e5", "'quoted'"])
def test_the_output_may_have_any_name(run, recipe, name):
    _, out, _ = run(recipe, "--print-config", "--output", name)
    assert parse_recipe(out).output == name


def test_recipes_that_come_along_go_by_their_names(run):
    code, out, _ = run("--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == list(shipped())
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
    name = next(iter(shipped()))
    assert parse_recipe(run(name, "--print-config")[1]) == read_recipe(shipped()[name])


def test_a_dry_run_writes_nothing(run, recipe, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(recipe, "--dry-run")
    assert code == 0, err
    assert "6 (2 epochs of 3), 4 examples each" in out
    assert f"Would write to '{tmp_path / 'run'}':" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_says_that_a_run_is_over(run, recipe, tmp_path):
    run(recipe, "--quiet")
    note = f"Note: '{tmp_path / 'run'}' holds a finished run, whose results would be shown. --force starts over.\n"
    assert run(recipe, "--dry-run")[1].endswith(note)
    assert not run(recipe, "--dry-run", "--force")[1].endswith(note)


def test_printing_a_config_imports_nothing_heavy(recipe):
    program = (
        "import sys\nfrom spectra.cli.finetune import finetune\n"
        f"finetune.main([{str(recipe)!r}, '--print-config'], standalone_mode=False)\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "numpy", "pandas"} & set(done.stderr.splitlines()) == set()
    assert yaml.safe_load(done.stdout)["output"] == str(Path(recipe).parent / "run")


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_help_fits_its_width(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    _, out, _ = run("--help")
    examples = out.index("Examples:")
    assert max(map(len, out[:examples].splitlines())) <= int(width)
    for heading in ("Options:", "Look before it runs:", "Output:", "Examples:"):
        assert heading in out
