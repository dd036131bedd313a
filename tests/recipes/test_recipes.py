"""Recipes that come along: they can be read, and say where their values are from."""

import re

import pytest

from spectra.errors import InputError
from spectra.recipes import described, recipe_path, shipped
from spectra.training.recipe import parse_recipe, read_recipe, recipe_text

PUBLISHED = [name for name in shipped() if not name.startswith("small-")]
SMALL = [name for name in shipped() if name.startswith("small-")]
FAMILIES = ("tempbalance", "alphadecay", "guided-dropout", "dcs", "sdft", "meta-peft", "lora-ranks")

# How a comment on a value begins: a source that the head of the file names, or a choice with its reason.
SOURCES = ("paper", "code", "framework")
SOURCE = re.compile(rf"({'|'.join(SOURCES)})\b|our choice: \S")


def lines_of(name):
    return shipped()[name].read_text(encoding="utf-8").splitlines()


def head_of(name):
    return [line for line in lines_of(name) if line.startswith("#")]


def changes_of(name):
    """Yield changes that the head of a recipe speaks of, those between two commas together."""
    for line in head_of(name):
        for clause in re.split(r"[,;(] |\(", line):
            found = [change.rstrip(".:") for change in re.findall(r"--set (\S+)", clause)]
            if found:
                yield found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_has_a_published_and_a_small_recipe(family):
    assert [name for name in PUBLISHED if name.startswith(family)]
    assert f"small-{family}" in SMALL


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_can_be_read_and_written_and_read_again(name):
    recipe = read_recipe(shipped()[name])
    assert parse_recipe(recipe_text(recipe)) == recipe


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_writes_to_a_folder_of_its_own_name(name):
    recipe = read_recipe(shipped()[name])
    assert (recipe.output, recipe.name) == (f"runs/{name}", name)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_begins_with_what_it_is_and_the_command_that_runs_it(name):
    first, second, *_ = lines_of(name)
    assert first == f"# {described()[name]}"
    assert first.endswith((".", ":"))
    assert second.startswith(f"# Run: spectra finetune {name} ")
    assert max(map(len, lines_of(name))) <= 128


@pytest.mark.parametrize("name", shipped())
def test_changes_that_a_shipped_recipe_speaks_of_can_be_made(name):
    for changes in changes_of(name):
        read_recipe(shipped()[name], changes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_of_a_published_recipe_has_its_source_beside_it(name):
    values = [line for line in lines_of(name) if line and not line.startswith(("#", "output:")) and not line.endswith(":")]
    silent = [line for line in values if not SOURCE.match(line.partition("  # ")[2])]
    assert len(values) > 10
    assert silent == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_nothing_is_wrong_with_a_published_recipe_but_files_that_are_the_users(name, monkeypatch, tmp_path):
    from spectra.training.recipe.checking.checks import faults

    monkeypatch.chdir(tmp_path)
    missing = re.compile(r"data\.\w+ .*(No such file|is no folder)")
    assert [fault for fault in faults(read_recipe(shipped()[name], ["model.device=cpu"])) if not missing.match(fault)] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_says_which_paper_and_which_code_it_speaks_of(name):
    head, text = "\n".join(head_of(name)), "\n".join(lines_of(name))
    assert re.search(r"^# paper: arXiv \d{4}\.\d{5}\b", head, re.MULTILINE)
    for source in ("code", "framework"):
        is_used = re.search(rf"  # {source}\b|; {source}\b", text.replace(head, ""))
        assert not is_used or re.search(rf"; {source}: [\w-]+(/[\w-]+ on GitHub)?", head)


@pytest.mark.parametrize("name", shipped())
def test_files_that_a_shipped_recipe_brings_along_are_there(name):
    text = shipped()[name].read_text(encoding="utf-8")
    paths = re.findall(r"\$\{RECIPE_DIR\}/(\S+)", text)
    assert paths or name in PUBLISHED
    for path in paths:
        assert (shipped()[name].parent / path).exists()


@pytest.mark.parametrize("name", shipped())
def test_no_variable_is_left_in_a_shipped_recipe(name):
    assert "${" not in recipe_text(read_recipe(shipped()[name]))


def test_a_recipe_is_found_by_its_name_and_by_its_path(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("model: demo")
    assert recipe_path("small-dcs") == shipped()["small-dcs"]
    assert recipe_path(own) == recipe_path(str(own)) == own


def test_a_file_goes_before_a_shipped_recipe_of_its_name_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small-dcs").mkdir()
    (tmp_path / "small-plain").write_text("model: demo")
    assert recipe_path("small-dcs") == shipped()["small-dcs"]
    assert recipe_path("small-plain").read_text() == "model: demo"


@pytest.mark.parametrize("word", ["small-dsc", "small-dsc.yaml", "recipes/small-dsc.yaml"])
def test_a_recipe_that_is_not_there_is_refused_with_the_closest_name(word):
    with pytest.raises(InputError, match=rf"no recipe '{word}': no file, .* Did you mean 'small-dcs'\? Known: alphadecay-c4, "):
        recipe_path(word)


def test_names_are_in_alphabetical_order():
    assert list(shipped()) == sorted(shipped()) == list(described())
