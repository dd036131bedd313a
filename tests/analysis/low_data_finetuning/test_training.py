"""Cells are recipes that are run, and come out the same again."""

from dataclasses import replace

import pytest

from analysis.low_data_finetuning.checking import differences
from analysis.low_data_finetuning.methods import ALPHADECAY, FULL, LORA, MATCHED_DECAY, MEAN_DECAY
from analysis.low_data_finetuning.protocol import DEV, TEST, Cell
from analysis.low_data_finetuning.training import run

SMALL = Cell(
    task="SST-2", size=8, adapter=FULL, method=ALPHADECAY, learning_rate=1e-4, seed=0, split=TEST, epochs=1, max_length=8,
    num_judged=8,
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread(demo_folder):
    """Cells set the number of threads of their process; put it back."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_cell_is_equal_to_the_last_bit_when_it_is_run_again(work):
    first, second = (run(SMALL, work, "cpu") for _ in range(2))
    assert differences(first, second) == []
    assert 0.0 <= first["accuracy"] <= 1.0
    assert (first["num_train"], first["num_steps"]) == (8, 1)


def test_the_control_of_decay_has_the_mean_of_alphadecay_in_the_checkpoint(work):
    method, control = (
        run(replace(SMALL, method=name), work, "cpu")["mean_multipliers"] for name in (ALPHADECAY, MATCHED_DECAY)
    )
    # 1.498 has four digits
    assert method["alphadecay"][0] == pytest.approx(MEAN_DECAY, abs=5e-4)
    assert set(control["alphadecay"]) == {MEAN_DECAY}


def test_a_cell_of_tuning_is_judged_on_dev_and_an_adapter_trains_fewer_parameters(work):
    row = run(replace(SMALL, split=DEV, adapter=LORA, task="RTE"), work, "cpu")
    assert row["split"] == DEV
    assert row["num_trainable"] < 1_000_000
