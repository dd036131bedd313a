"""The parts of a recipe: what they say of their options, and the words they share with what they are for."""

import dataclasses
import inspect
import subprocess
import sys

import pytest

from spectra.errors import InputError
from spectra.policies.drop_controls import CONTROLS
from spectra.policies.drop_prob import DropRule
from spectra.policies.dropout_plan import dropout_plan
from spectra.results.fisher_records import Aggregate
from spectra.training import pretrained, recipe
from spectra.training.recipe import (
    AdapterPart,
    DataPart,
    GuidedDropoutPart,
    MethodPart,
    ModelPart,
    Recipe,
    TrainingPart,
    diagnostics_part,
    other_words,
    parts,
)
from spectra.training.recipe.options import options_of, sources_of
from spectra.training.recipe.training_part import SCHEDULES


@pytest.mark.parametrize("kind", [Recipe, *parts.PARTS.values(), GuidedDropoutPart])
def test_every_option_says_what_it_means_and_a_default_where_it_comes_from(kind):
    for field in options_of(kind):
        assert field.metadata["meaning"]
        has_number = isinstance(field.default, int | float | str)  # none and parts say nothing
        assert field.metadata["source"] or not has_number, field.name


def test_words_are_those_of_the_modules_they_are_for():
    assert (parts.TASKS, parts.DTYPES) == (pretrained.TEXT_TASKS, pretrained.DTYPES)
    assert diagnostics_part.CONTROLS == CONTROLS
    assert tuple(DropRule) == diagnostics_part.DROP_RULES
    assert tuple(Aggregate) == diagnostics_part.AGGREGATES


def test_options_of_guided_dropout_are_those_of_its_plans():
    of_plans = {
        name: parameter.default
        for name, parameter in inspect.signature(dropout_plan).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert {f.name: f.default for f in options_of(GuidedDropoutPart)} == {**of_plans, "plan": None, "samples": None}


def test_options_of_training_are_those_of_transformers():
    from transformers import TrainingArguments
    from transformers.trainer_utils import SchedulerType

    theirs = {f.name: f.default for f in dataclasses.fields(TrainingArguments)}
    ours = {f.name: f for f in options_of(TrainingPart) if f.name != "arguments"}
    assert set(ours) <= set(theirs)
    assert set(SCHEDULES) <= {str(word.value) for word in SchedulerType}
    shared = [name for name, f in ours.items() if f.metadata["source"] == "transformers" and f.default is not None]
    assert {name: ours[name].default for name in shared} == {name: theirs[name] for name in shared}


def test_words_of_other_tools_lead_to_options_there_are():
    known = {f"{name}.{f.name}" for name, kind in parts.PARTS.items() for f in options_of(kind)}
    known |= {f.name for f in options_of(Recipe)}
    assert set(other_words._OTHERS.values()) <= known


def test_parts_can_be_made_by_hand_and_refuse_what_cannot_be():
    made = Recipe(model=ModelPart(name="demo"), data=DataPart(train="a.txt"), output="runs/a", method=MethodPart(name="dcs"))
    assert (made.name, made.method.options["lam"]) == ("a", 0.5)
    assert Recipe(model={"name": "demo"}, data={"train": "a.txt"}, output="..", method={"name": "dcs"}).name == ".."
    with pytest.raises(InputError, match="dtype: expected one of auto, .* task: expected|task: expected .* dtype: expected"):
        ModelPart(name="demo", dtype="float8", task="none")
    with pytest.raises(InputError, match="lam: expected a number in"):
        MethodPart(name="dcs", options={"lam": 2})
    with pytest.raises(InputError, match="options: expected options by name, got 3"):
        MethodPart(name="dcs", options=3)
    with pytest.raises(InputError, match="rank: it is of an adapter, and there is none"):
        AdapterPart(name="none", rank=4)
    with pytest.raises(
        InputError, match="name: missing: a folder, a hub id, or demo. nmae: unknown option. Did you mean 'name'?"
    ):
        ModelPart.of({"nmae": "demo"})


def test_sources_are_of_defaults_only():
    assert sources_of(TrainingPart, {"learning_rate": 5e-5, "weight_decay": 0.1}) == {("learning_rate",): "transformers"}


def test_public_names_are_what_they_say():
    assert set(recipe.__all__) <= set(dir(recipe))
    assert all(getattr(recipe, name) is not None for name in recipe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'run_recipes'"):
        recipe.run_recipes  # noqa: B018


HEAVY = {"torch", "transformers", "numpy", "pandas", "scipy", "datasets"}


def modules_after(code):
    program = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def test_importing_loads_nothing_heavy_and_neither_does_a_plain_recipe():
    code = (
        "from spectra.training.recipe import parse_recipe, recipe_text\n"
        "text = 'model: demo\\ndata: {train: a.txt}\\nadapter: lora\\noutput: runs/a\\n'\n"
        "assert parse_recipe(recipe_text(parse_recipe(text)))\n"
        "parse_recipe(text, ['method={name: sdft, task: math}'])"
    )
    assert modules_after(code) & HEAVY == set()


def test_options_of_methods_are_checked_without_torch():
    code = (
        "from spectra.training.recipe import parse_recipe\n"
        "text = 'model: demo\\ndata: {train: a.txt}\\nguided_dropout: true\\noutput: runs/a\\n'\n"
        "[parse_recipe(text, ['method=' + method]) for method in ('dcs', 'meta_peft')]"
    )
    assert modules_after(code) & HEAVY <= {"numpy"}
