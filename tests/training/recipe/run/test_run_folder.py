import dataclasses
import itertools
import json
import os
import subprocess
import sys

import pytest

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.recipe.parts import ModelPart
from spectra.training.recipe.printing import recipe_text
from spectra.training.recipe.reading import parse_recipe, read_recipe
from spectra.training.recipe.run.run_folder import environment_notes, is_finished, opened_folder
from tests.training.dcs.full_disk import full_disk

FRESH = [".lock", "environment.json", "recipe.yaml"]
TEXT = "model: demo\ndata: {train: texts.txt}\noutput: %s\n"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "a"


@pytest.fixture
def recipe(folder):
    return parse_recipe(TEXT % folder)


def changed(folder, *changes):
    return parse_recipe(TEXT % folder, changes)


def run(recipe, *, finish=False, **options):
    """Begin a run and leave it with something of each kind."""
    with opened_folder(recipe, **options) as folder:
        for name in ("metrics.jsonl", "tempbalance.jsonl", "dropout-plan.yaml", "responses.jsonl", "responses.manifest.json"):
            (folder / name).write_text("of a run")
        for name in ("checkpoints/checkpoint-5", "model", "diagnostics/before", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if finish:
            (folder / "results.json").write_text("{}")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_begins_with_its_recipe_and_its_environment(recipe, folder):
    with opened_folder(recipe, num_processes=2) as opened:
        assert opened == folder
        assert names(folder) == FRESH
    assert read_recipe(folder / "recipe.yaml") == recipe
    assert json.loads((folder / "environment.json").read_text())["num_processes"] == 2
    assert environment_notes(folder) == ()
    assert not is_finished(folder)


def test_a_run_that_stopped_keeps_what_it_has(recipe, folder):
    before = names(run(recipe))
    with opened_folder(recipe):
        assert names(folder) == before


@pytest.mark.parametrize("change", ["name=another", "report_to=[tensorboard]"])
def test_a_run_may_be_called_otherwise(recipe, folder, change):
    run(recipe)
    with opened_folder(changed(folder, change)):
        assert (folder / "metrics.jsonl").exists()
    assert read_recipe(folder / "recipe.yaml") == changed(folder, change)


def test_a_folder_that_was_moved_holds_the_same_run(recipe, folder):
    run(recipe)
    moved = folder.rename(folder.with_name("b"))
    with opened_folder(changed(moved, f"name={recipe.name}")):
        assert (moved / "metrics.jsonl").exists()


def test_another_recipe_is_refused_and_each_difference_named(recipe, folder):
    run(recipe)
    other = changed(folder, "seed=1", "training.learning_rate=1e-4", "method=dcs", "name=x")
    with pytest.raises(InputError) as found, opened_folder(other):
        pass
    message = str(found.value)
    assert f"'{folder}' holds a run of another recipe" in message
    assert "seed (--set): 42 there, 1 now" in message
    assert "training.learning_rate (--set): 5e-05 there, 0.0001 now" in message
    assert 'method.name (--set): "plain" there, "dcs" now' in message
    assert "method.tau (--set): missing there" in message
    assert "name (--set): " not in message.replace("method.name (--set): ", "")
    assert message.endswith("Choose another output, or start over with --force.")


@pytest.mark.parametrize("change", ["training.num_train_epochs=5", "training={max_steps: 40}"])
def test_a_longer_run_is_another_and_how_to_train_on_is_said(recipe, folder, change):
    run(recipe, finish=True)
    with (
        pytest.raises(InputError, match=rf"cannot be made longer or shorter.*model: {folder}/model"),
        opened_folder(changed(folder, change)),
    ):
        pass


def test_force_removes_what_a_run_makes_and_nothing_else(recipe, folder):
    run(recipe, finish=True)
    (folder / "thoughts.md").write_text("mine")
    other = changed(folder, "seed=1")
    with opened_folder(other, force=True):
        assert names(folder) == [".lock", "environment.json", "recipe.yaml", "thoughts.md"]
    assert read_recipe(folder / "recipe.yaml") == other


def test_a_start_over_that_is_killed_anywhere_has_not_begun_or_begins_again(recipe, folder, monkeypatch):
    real, outcomes = os.unlink, set()
    for kill in range(1, 9):
        whole = names(run(recipe, finish=True))
        calls = itertools.count(1)

        def dying(*arguments, calls=calls, kill=kill, **options):
            if next(calls) == kill:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        monkeypatch.setattr(os, "unlink", dying)
        with pytest.raises(KeyboardInterrupt), opened_folder(recipe, force=True):
            raise KeyboardInterrupt
        monkeypatch.undo()
        has_begun = not ((folder / "environment.json").exists() and is_finished(folder))
        outcomes.add(has_begun)
        with opened_folder(recipe):
            assert names(folder) == (FRESH if has_begun else whole)
    assert outcomes == {True, False}


def test_a_start_that_was_killed_is_begun_again(recipe, folder):
    run(recipe)
    (folder / "environment.json").unlink()
    (folder / ".recipe.yaml.0123456789abcdef.tmp").write_text("half")
    with opened_folder(recipe):
        assert names(folder) == FRESH


@pytest.mark.parametrize("stranger", ["thoughts.md", "model", "recipe.yaml", "environment.json"])
def test_a_folder_of_something_else_is_left_alone_even_by_force(recipe, folder, stranger):
    folder.mkdir(parents=True)
    (folder / stranger).write_text("mine")
    for force in (False, True):
        with (
            pytest.raises(InputError, match=rf"output \(line 3\): '.*' holds '{stranger}' and no"),
            opened_folder(recipe, force=force),
        ):
            pass
    assert names(folder) == [stranger]


def test_a_file_is_no_folder(recipe, folder):
    folder.parent.mkdir()
    folder.write_text("mine")
    with pytest.raises(InputError, match="is a file. Choose a folder for the run"), opened_folder(recipe):
        pass


def test_another_number_of_processes_is_refused_until_the_run_is_finished(recipe, folder):
    run(recipe, num_processes=2)
    with pytest.raises(InputError, match="began with 2 processes, here are 1"), opened_folder(recipe):
        pass
    run(recipe, num_processes=2, finish=True)
    with opened_folder(recipe):
        assert is_finished(folder)


@pytest.mark.parametrize(
    "option", ["data.eval=%s", "data.test=%s", "diagnostics.guided_dropout=%s", "adapter={name: lora, ranks: %s}"]
)
def test_a_file_that_is_another_meanwhile_is_refused_until_the_run_is_finished(folder, tmp_path, option):
    file = tmp_path / "file.csv"
    file.write_text("before")
    recipe = changed(folder, option % file)
    run(recipe)
    run(recipe)
    file.write_text("after")
    with pytest.raises(InputError, match=r"file.csv' is not what it was when the run in '.*' began"), opened_folder(recipe):
        pass
    with opened_folder(recipe, force=True):
        (folder / "results.json").touch()
    file.write_text("later")
    with pytest.warns(SpectraWarning, match=r"file.csv' is not what it was .* its results are of the"), opened_folder(recipe):
        assert is_finished(folder)
    file.unlink()
    with opened_folder(recipe):
        assert is_finished(folder)


def test_files_of_tasks_are_looked_at(folder, tmp_path):
    (tmp_path / "tasks" / "books").mkdir(parents=True)
    (tmp_path / "tasks" / "books" / "train.csv").write_text("before")
    recipe = parse_recipe(f"{{model: demo, method: meta_peft, data: {{tasks: {tmp_path}/tasks}}, output: {folder}}}")
    run(recipe)
    (tmp_path / "tasks" / "books" / "train.csv").write_text("after")
    with pytest.raises(InputError, match=r"books/train.csv' is not what it was"), opened_folder(recipe):
        pass


def test_another_environment_is_noted_once(recipe, folder):
    run(recipe)
    file = folder / "environment.json"
    began = json.loads(file.read_text())
    file.write_text(json.dumps(began | {"packages": began["packages"] | {"torch": "0.1"}, "gpus": ["H200"]}))
    for _ in range(2):
        with opened_folder(recipe):
            pass
    (note,) = environment_notes(folder)
    assert note.startswith("The run went on with another environment: torch 0.1 before, ")
    assert note.count("torch") == note.count("H200") == 1


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 1}', '{"schema_version": 9}'])
def test_a_damaged_environment_is_named(recipe, folder, content):
    run(recipe)
    (folder / "environment.json").write_text(content)
    with pytest.raises(ResultsError, match=r"environment\.json' (is no|has schema)"), opened_folder(recipe):
        pass


def test_a_damaged_recipe_is_named(recipe, folder):
    run(recipe)
    (folder / "recipe.yaml").write_text("model: [")
    with (
        pytest.raises(InputError, match="It is of an earlier run. Choose another output, or start over"),
        opened_folder(recipe),
    ):
        pass
    with opened_folder(recipe, force=True):
        assert read_recipe(folder / "recipe.yaml") == recipe


def test_a_second_process_is_refused(recipe, folder):
    program = (
        "import sys; from spectra.training.recipe.reading import parse_recipe\n"
        "from spectra.training.recipe.run.run_folder import opened_folder\n"
        "with opened_folder(parse_recipe(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program, recipe_text(recipe)], stdin=-1, stdout=-1, text=True) as other:
        other.stdout.readline()
        for force in (False, True):
            with (
                pytest.raises(ResultsError, match=f"is being written by process {other.pid}"),
                opened_folder(recipe, force=force),
            ):
                pass
        other.kill()
    with opened_folder(recipe):
        assert names(folder) == FRESH


def test_a_full_disk_at_the_start_leaves_nothing_in_the_way(recipe, folder):
    with full_disk(10), pytest.raises(ResultsError, match="cannot write"), opened_folder(recipe):
        pass
    with opened_folder(recipe):
        assert names(folder) == FRESH


def test_where_options_were_given_makes_no_difference(recipe, folder):
    run(recipe)
    with opened_folder(dataclasses.replace(recipe, places={}, model=ModelPart(name="demo"))):
        assert (folder / "metrics.jsonl").exists()
