"""Recipes of cells: what is written down makes the same recipe again."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectra.training.sweep.cells import cell_of, checked_recipes, common_recipe, differences, recipe_of_cell, same_run
from spectra.training.sweep.grid import grid_points

GRID = {
    "method": ["plain", "dcs", {"name": "dcs", "lam": 0.3}],
    "training.max_steps": [5, 10],
    "adapter": ["lora"],
    "tempbalance": [None, "recommended"],
    "model.device": ["cpu"],
}


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(GRID)), unique=True), st.integers(0, 2**32 - 1))
def test_a_cell_makes_its_recipe_again(recipe, tmp_path, options, seed):
    points = grid_points({option: GRID[option] for option in options}, [seed])
    common = common_recipe(recipe, (), tmp_path / "sweep")
    for point, made in zip(points, checked_recipes(recipe, (), points, tmp_path / "sweep"), strict=True):
        cell = cell_of(point, made, common)
        assert recipe_of_cell(common, cell, tmp_path / "sweep") == made
        assert made.seed == seed
        assert made.name == cell.name
        assert made.output == str(tmp_path / "sweep" / "runs" / cell.name)


def test_an_output_with_dollars_stays_as_it_is(recipe, tmp_path):
    folder = tmp_path / "${sweep}"
    (made,) = checked_recipes(recipe, (), grid_points({}, [0]), folder)
    assert made.output == str(folder / "runs" / "seed-0")


def test_options_of_a_method_stay_when_its_name_is_a_value_of_the_grid(recipe, tmp_path):
    points = grid_points({"method": ["plain", "dcs"]}, [0])
    plain, dcs = checked_recipes(recipe, ["method={name: dcs, lam: 0.3}"], points, tmp_path)
    assert (plain.method.name, dcs.method.options["lam"]) == ("plain", 0.3)


def test_what_differs_is_named_with_both_values(recipe, tmp_path):
    points = grid_points({"training.learning_rate": [1e-4, 3e-4], "method": ["plain", "dcs"]}, [0])
    first, *_, last = checked_recipes(recipe, (), points, tmp_path)
    found = differences(last, first)
    assert found[0] == 'method.name: "dcs", was "plain"'
    assert "method.lam: 0.5, was not given" in found
    assert found[-1] == "training.learning_rate: 0.0003, was 0.0001"
    assert differences(first, first) == []


@pytest.mark.parametrize("change", ["name=other", "output=there", "report_to=[tensorboard]"])
def test_names_make_no_other_run(recipe, tmp_path, change):
    one, other = common_recipe(recipe, (), tmp_path), common_recipe(recipe, [change], tmp_path)
    assert same_run(one) == same_run(other)
    assert same_run(common_recipe(recipe, ["seed=1"], tmp_path)) != same_run(one)
