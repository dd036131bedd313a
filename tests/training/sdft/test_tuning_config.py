"""Options of fine-tuning on responses, and what the paper trained with."""

import dataclasses
import json
from pathlib import Path

import pytest

from spectra.errors import InputError
from spectra.training.sdft.tuning_config import RECIPES, LoraOptions, ResponseTuningConfig, reference_tuning, tuning_config


def test_the_defaults_are_the_references():
    options = ResponseTuningConfig()
    assert (options.learning_rate, options.lr_scheduler_type, options.max_length) == (1e-4, "cosine", 1024)
    assert options.per_device_train_batch_size * options.gradient_accumulation_steps == 8
    assert options.lora == LoraOptions(rank=8, alpha=16, dropout=0.0, targets=None)


@pytest.mark.parametrize("kind", [LoraOptions, ResponseTuningConfig])
def test_every_option_says_what_it_means_and_where_it_comes_from(kind):
    assert all(field.metadata["meaning"] and field.metadata["source"] for field in dataclasses.fields(kind))


def test_recipes_differ_where_the_scripts_of_the_reference_do():
    assert {name: reference_tuning(name).num_train_epochs for name in RECIPES} == {
        "alpaca": 2, "dolly": 2, "gsm8k": 5, "gsm8k-full": 1, "lima": 2, "magicoder": 2, "openfunctions": 5, "openhermes": 2,
    }  # fmt: skip
    assert {name for name in RECIPES if reference_tuning(name).lora is None} == {"gsm8k-full"}
    assert {name: reference_tuning(name).learning_rate for name in ("gsm8k", "gsm8k-full")} == {
        "gsm8k": 1e-4, "gsm8k-full": 1e-5,
    }  # fmt: skip


def test_options_are_taken_as_such_by_name_and_by_data_set():
    changed = ResponseTuningConfig(num_train_epochs=5, seed=1)
    assert tuning_config("gsm8k", seed=1) == changed
    assert tuning_config({"num_train_epochs": 5}, seed=1) == changed
    assert tuning_config(dataclasses.replace(changed, seed=7), seed=1) == changed
    assert tuning_config() == ResponseTuningConfig()


def test_options_of_the_adapter_are_taken_by_name():
    options = tuning_config(lora={"rank": 64, "alpha": 128, "targets": "all-linear"})
    assert options.lora == LoraOptions(rank=64, alpha=128, targets="all-linear")
    assert tuning_config(lora={"targets": "q_proj"}).lora.targets == ("q_proj",)
    assert tuning_config(lora=None).lora is None


def test_options_survive_a_file():
    options = tuning_config("gsm8k", guided_dropout=Path("plan.json"), lora={"targets": ["q_proj", "v_proj"]})
    plain = json.loads(json.dumps(options.to_dict()))
    assert plain["guided_dropout"] == "plan.json"
    assert tuning_config(plain) == dataclasses.replace(options, guided_dropout="plan.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learning_rate": 0.0, "seed": -1},
            r"learning_rate: expected a number above 0, got 0.0\. seed: expected a whole number",
        ),
        ({"learning_rate": "1e-4"}, "learning_rate: expected a number above 0, got '1e-4'"),
        ({"lr_scheduler_type": "cosin"}, r"got 'cosin'\. Did you mean 'cosine'\?"),
        ({"num_train_epochs": 0}, "num_train_epochs"),
        ({"per_device_train_batch_size": 0}, "expected a whole number of at least 1, got 0"),
        ({"gradient_accumulation_steps": True}, "gradient_accumulation_steps"),
        ({"max_length": 1}, "max_length: expected a whole number of at least 2"),
        ({"bf16": "yes"}, "bf16: expected true, false or none, got 'yes'"),
        ({"lora": "r8"}, "lora: expected options by name, or none, got 'r8'"),
        ({"lora": {"rank": 0}}, "lora: rank: expected a whole number of at least 1, got 0"),
        ({"lora": {"r": 8}}, "lora: unknown option 'r'"),
        ({"lora": {"dropout": 1.0}}, r"lora: dropout: expected a share in \[0, 1\)"),
        ({"lora": {"targets": []}}, "lora: targets: expected names of modules, 'all-linear' or none"),
        ({"learning_rates": 1e-4}, "unknown option 'learning_rates'. Did you mean 'learning_rate'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        tuning_config(options)


def test_other_words_are_refused():
    with pytest.raises(InputError, match=r"unknown data set 'gsm8'\. Did you mean 'gsm8k'\? Known: alpaca"):
        tuning_config("gsm8")
    with pytest.raises(
        InputError, match="config: expected a ResponseTuningConfig, a data set's name or options by name, got 5"
    ):
        tuning_config(5)
