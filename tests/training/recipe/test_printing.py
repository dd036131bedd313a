"""Recipes in full: what is written is read back equal, and says where its values come from."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import ResultsError
from spectra.training.dcs.config import PRESETS
from spectra.training.recipe import parse_recipe, read_recipe, recipe_of, recipe_text, write_recipe
from spectra.training.recipe.diagnostics_part import CONTROLS
from spectra.training.recipe.parts import DTYPES, TASKS
from spectra.training.recipe.training_part import SCHEDULES

WORDS = st.text(min_size=1, max_size=8).filter(lambda text: text.strip()) | st.sampled_from(
    [
        "1e-4",
        "no",
        "${HOME}",
        "$${A}",
        "${",
        "null",
        "0x1f",
        "010",
        "<<",
        "a: b",
        "# a",
        "2020-01-01",
        "1.5e3",
        "a\u2028b",
        "\U0001f600",
    ]
)
RATES = st.floats(1e-12, 1e3)
COUNTS = st.integers(1, 10**9)


def some(**options):
    return st.fixed_dictionaries({}, optional=options)


DATA = st.fixed_dictionaries(
    {"train": WORDS},
    optional={"eval": WORDS, "text_column": WORDS, "label_column": WORDS, "train_size": COUNTS, "max_length": COUNTS},
)
METHODS = st.one_of(
    st.just({"name": "plain"}),
    st.fixed_dictionaries({"name": st.just("dcs"), "preset": st.sampled_from(sorted(PRESETS))}),
    st.fixed_dictionaries({"name": st.just("dcs"), "lam": st.floats(0, 1), "tau": RATES}),
    st.fixed_dictionaries({"name": st.just("sdft"), "task": st.just("code"), "test_column": WORDS}),
    st.fixed_dictionaries(
        {"name": st.just("meta_peft"), "tasks_per_step": COUNTS, "head_modules": st.lists(WORDS, min_size=1)}
    ),
)
ADAPTERS = st.just("none") | st.builds(
    lambda options: {"name": "lora", **options},
    some(rank=COUNTS, alpha=RATES, dropout=st.floats(0, 0.99), targets=st.lists(WORDS, min_size=1, max_size=3))
    | some(rank=COUNTS, ranks=WORDS),
)
DROPOUTS = st.builds(lambda plan, control: {"plan": plan, "control": control}, WORDS, st.sampled_from(CONTROLS)) | some(
    p_upper=st.floats(0.1, 0.9),
    p_lower=st.floats(0, 0.1),
    mean_p=st.none() | st.floats(0, 0.3),
    include=st.lists(WORDS, max_size=2),
)
BALANCES = st.none() | some(
    interval=COUNTS, policy=some(tau=RATES, exclude=st.lists(WORDS, max_size=2)), asynchronous=st.booleans()
)
TRAINING = some(
    learning_rate=RATES,
    num_train_epochs=RATES,
    warmup_steps=st.integers(0, 9) | st.floats(0.01, 0.99),
    lr_scheduler_type=st.sampled_from(SCHEDULES),
    arguments=st.dictionaries(WORDS, st.none() | WORDS | RATES | st.lists(WORDS), max_size=2),
)
RECIPES = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"name": WORDS}, optional={"task": st.sampled_from(TASKS), "dtype": st.sampled_from(DTYPES)}
        ),
        "data": DATA,
        "output": WORDS,
    },
    optional={
        "method": METHODS,
        "adapter": ADAPTERS,
        "training": TRAINING,
        "seed": st.integers(0, 2**32 - 1),
        "name": WORDS,
        "diagnostics": some(tempbalance=BALANCES, alphadecay=BALANCES, guided_dropout=DROPOUTS, fisher=st.booleans()),
        "report_to": st.just("none") | st.lists(WORDS.filter(lambda word: word != "none"), max_size=2),
    },
)


@settings(deadline=None, max_examples=150)
@given(RECIPES)
def test_a_recipe_that_was_written_is_read_back_equal(content):
    recipe = recipe_of(content)
    text = recipe_text(recipe)
    assert parse_recipe(text) == recipe
    assert recipe_text(parse_recipe(text)) == text


def test_writing_makes_a_file_that_reads_equal(tmp_path):
    recipe = recipe_of({"model": "demo", "data": {"train": "a.txt"}, "output": "runs/a", "method": "dcs", "adapter": "lora"})
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    with pytest.raises(ResultsError, match="cannot write to"):
        write_recipe(recipe, tmp_path / "none" / "recipe.yaml")


def test_defaults_say_where_they_come_from_and_given_values_do_not():
    lines = recipe_text(
        recipe_of(
            {
                "model": "demo",
                "data": {"train": "a.txt"},
                "output": "runs/a",
                "method": "meta_peft",
                "training": {"weight_decay": 0.1},
                "diagnostics": {"tempbalance": "emnlp2024-glue", "guided_dropout": "plan.yaml"},
            }
        )
    ).splitlines()
    assert "  learning_rate: 5.0e-05  # transformers" in lines
    assert "  weight_decay: 0.1" in lines
    assert "  schedule: joint  # released code of Block et al. (2025), arXiv 2410.22264: convai, vision" in lines
    assert "      tau: 10.0  # arXiv 2410.12178, eq. 4" in lines
    assert "      s_below: 1.25" in lines
    assert "    control: guided  # arXiv 2406.14005" in lines
    assert not any("p_upper" in line for line in lines)  # a plan is given


def test_other_readers_of_yaml_understand_it_too():
    recipe = recipe_of(
        {
            "model": "no",
            "data": {"train": "a.txt"},
            "output": "runs/010",
            "name": "1e-4",
            "method": {"name": "dcs", "preset": "literal-adaboost"},
            "training": {"learning_rate": 1e-4},
        }
    )
    content = yaml.safe_load(recipe_text(recipe))
    assert content == recipe.to_dict()
    assert (content["model"]["name"], content["name"], content["method"]["alpha_max"]) == ("no", "1e-4", math.inf)
