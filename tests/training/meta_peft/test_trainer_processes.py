"""Meta-PEFT in two processes: the base and the adapters of one, and no process that waits for ever."""

import pytest
import torch
from torch import distributed

from tests.dcs_runs import bert
from tests.forked import found_by_group
from tests.meta_peft_runs import ia3, lora, state_of, tasks, trainer

pytestmark = pytest.mark.slow

WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# Adam's eps keeps gradients that are zero but for rounding small.
STEPS = {"num_train_epochs": 2, "adam_epsilon": 1e-4}
RUNS = {
    "joint": (None, lora),
    "one of ia3": (None, ia3),
    "accumulated": ({"tasks_per_step": 3}, lora),
    "two of three": ({"tasks_per_step": 2, "task_weighting": "equal"}, lora),
    "alternating": ({"schedule": "alternating", "inner_steps": 2}, lora),
    "standard": ("standard", lora),
    "last layer": ("last_layer_ml", lora),
    "reptile": ({"method": "reptile", "inner_steps": 2}, lora),
}


def made(folder, config, peft_config, **options):
    size = 2 if distributed.is_initialized() else 4  # 4 in all; with 2 batches of each a step, some parts are uneven
    return trainer(
        folder,
        config,
        bert(**WITHOUT_DROPOUT),
        peft_config(),
        tasks({"books": 21, "dvd": 12, "kitchen": 7}),
        per_device_train_batch_size=size,
        **(STEPS | options),
    )


def all_runs(folder):
    found = {}
    for name, (config, peft_config) in RUNS.items():
        run = made(folder / name, config, peft_config)
        run.train()
        found[name] = state_of(run.model) | {"steps": torch.tensor(run.state.global_step)}
    return found


def test_two_processes_come_to_the_base_and_the_adapters_of_one(tmp_path):
    first, second = found_by_group(all_runs, tmp_path)
    alone = all_runs(tmp_path / "one")

    for name in RUNS:
        for key, tensor in alone[name].items():
            torch.testing.assert_close(first[name][key], second[name][key], rtol=0, atol=0)
            # Gradients are added up in another order, and Adam divides them by their size; a step is 5e-3.
            torch.testing.assert_close(first[name][key], tensor, rtol=0, atol=2e-5)


def sequences(folder):
    run = made(folder / "run", {"sampling": "temperature", "temperature": 2.0}, lora)
    loader = run.get_train_dataloader()
    return {"tasks": [[part.task for part in step] for step in loader]}


def test_processes_draw_the_same_tasks(tmp_path):
    first, second = found_by_group(sequences, tmp_path)

    assert first == second == sequences(tmp_path / "one")


def resumed(folder):
    found = {}
    options = {"save_strategy": "steps", "save_steps": 3}
    whole = made(folder / "run", {"tasks_per_step": 2}, lora, **options)
    whole.train()
    found["whole"] = state_of(whole.model)
    again = made(folder / "again", {"tasks_per_step": 2}, lora, **options)
    again.train(str(folder / "run" / "checkpoint-3"))
    found["again"] = state_of(again.model)
    return found


def test_a_resumed_run_in_two_processes_equals_an_uninterrupted_one(tmp_path):
    for found in found_by_group(resumed, tmp_path):
        assert all(torch.equal(tensor, found["again"][name]) for name, tensor in found["whole"].items())
