"""Grids: from words to settings with seeds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.results.sweep_record import short_option
from spectra.training.recipe.options import options_of
from spectra.training.recipe.parts import PARTS
from spectra.training.sweep.grid import checked_seeds, grid_points, option_name, parse_axis, parse_seeds, read_settings

WORDS = st.text(st.sampled_from("abc/ .-_=|*é$"), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("words", "option", "values"),
    [
        ("training.learning_rate=1e-4,3e-4", "training.learning_rate", [1e-4, 3e-4]),
        ("method=plain, dcs", "method", ["plain", "dcs"]),
        ("adapter.targets=[query, value],all-linear", "adapter.targets", [["query", "value"], "all-linear"]),
        ("method={name: dcs, lam: 0.3},plain", "method", [{"name": "dcs", "lam": 0.3}, "plain"]),
        ("tempbalance=true,none", "tempbalance", [True, "none"]),
        ("data.train_size=64,", "data.train_size", [64]),
    ],
)
def test_values_are_yaml_with_commas_between_them(words, option, values):
    assert parse_axis(words) == (option, values)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("training.learning_rate", "--grid 'training.learning_rate': expected option=value,value"),
        ("method=", "--grid 'method=': expected option=value,value"),
        ("=dcs", "--grid '=dcs': expected option=value,value"),
        ("method=[dcs", "--grid 'method=[dcs' cannot be read as YAML"),
        ("method={lam: 1, lam: 2}", "--grid 'method={lam: 1, lam: 2}': given twice"),
    ],
)
def test_words_that_are_no_axis_are_refused(words, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parse_axis(words)


def test_seeds_are_ranges_and_numbers():
    assert parse_seeds("0..4") == (0, 1, 2, 3, 4)
    assert parse_seeds("3, 1,10..11") == (3, 1, 10, 11)


@pytest.mark.parametrize("words", ["", "a", "4..0", "1.5", "-1", "0..", "4294967296", "0..99999999"])
def test_words_that_are_no_seeds_are_refused(words):
    with pytest.raises(InputError, match=re.escape(f"--seeds {words!r}: expected whole numbers such as 0..4 or 0,1,2")):
        parse_seeds(words)


def test_a_seed_that_is_there_twice_is_refused():
    with pytest.raises(InputError, match="seeds: 2 is there twice"):
        parse_seeds("0..2,2")


@pytest.mark.parametrize("seeds", [[], [True], [-1], [0.5]])
def test_seeds_have_to_be_numbers_of_numpy(seeds):
    with pytest.raises(InputError, match="seeds: expected whole numbers from 0 to 4294967295, got"):
        checked_seeds(seeds)


def test_a_grid_is_all_combinations_seed_by_seed():
    points = grid_points({"training.learning_rate": [1e-4, 3e-4], "method": ["plain", "dcs"]}, [0, 1])
    assert [(point.seed, *point.options.values()) for point in points] == [
        (seed, rate, method) for seed in (0, 1) for rate in (1e-4, 3e-4) for method in ("plain", "dcs")
    ]
    assert points[1].name == "learning_rate=0.0001,method=dcs-seed-0"
    assert points[1].setting == "learning_rate=0.0001 method=dcs"
    assert points[1].changes == ("training.learning_rate=0.0001", 'method.name="dcs"')


def test_without_a_grid_there_is_a_run_for_each_seed():
    assert [(point.name, point.setting) for point in grid_points({}, [3, 4])] == [("seed-3", "recipe"), ("seed-4", "recipe")]


def test_settings_with_names_are_combined_with_the_grid(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "plain:\nguided: {method: {name: dcs, lam: 0.3}, training: {learning_rate: 1e-4}, tempbalance: recommended}\n"
    )
    settings = read_settings(file)
    assert settings == {
        "plain": (),
        "guided": ('method.name="dcs"', "method.lam=0.3", "training.learning_rate=0.0001", 'tempbalance="recommended"'),
    }
    points = grid_points({"data.train_size": [64, 256]}, [0], settings)
    assert [point.setting for point in points] == [
        f"{name} train_size={size}" for name in ("plain", "guided") for size in (64, 256)
    ]
    assert points[-1].name == "guided,train_size=256-seed-0"
    assert points[-1].changes == (*settings["guided"], "data.train_size=256")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected names with changes, such as 'guided: {method: dcs}'."),
        ("- dcs", "expected names with changes"),
        ("plain: dcs", "plain: expected options by name, got 'dcs'."),
        ("a: {method: dcs}\na: {}", "a: given twice, in lines 1 and 2"),
        ("a: {method: [", "cannot be read as YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text, message):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_settings(file)


def test_a_file_of_settings_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read settings from '.*none.yaml': No such file"):
        read_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"seed": [1, 2]}, "--grid seed: it is no option of a grid. Give the seeds as --seeds 0..4."),
        ({"training.seed": [1, 2]}, "--grid training.seed: it is no option of a grid."),
        ({"output": ["a"]}, "--grid output: it is no option of a grid."),
        ({"name": ["a"]}, "--grid name: it is no option of a grid."),
        ({"method": ["plain"], "method.name": ["dcs"]}, "--grid method.name: it is there twice. Give all its values at once."),
        ({"method": []}, "--grid method: expected values, got []. Give at least one."),
        ({"method": "dcs"}, "--grid method: expected values, got 'dcs'."),
        ({"training.learning_rate": [1e-4, 0.0001]}, "--grid training.learning_rate: 0.0001 is there twice. Leave one out."),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid, message):
    with pytest.raises(InputError, match=re.escape(message)):
        grid_points(grid, [0])


def test_options_have_one_name_each():
    assert option_name("method.name") == option_name(" method") == "method"
    assert option_name("tempbalance") == option_name("diagnostics.tempbalance") == "diagnostics.tempbalance"
    assert option_name("training.learning_rate") == "training.learning_rate"


def test_short_names_of_options_are_told_apart():
    options = [f"{part}.{f.name}" for part, kind in PARTS.items() for f in options_of(kind)]
    assert len({short_option(option) for option in options}) == len(options)


@given(st.lists(WORDS, min_size=2, max_size=4, unique=True))
def test_names_of_runs_are_fit_for_files_and_differ(words):
    names = [point.name for point in grid_points({"model": words}, [0, 1])]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.=+,-]{1,160}", name) and name[0] not in ".-" for name in names)
