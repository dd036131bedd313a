import signal
from contextlib import suppress

import pytest
from transformers import Trainer, TrainerCallback

from spectra.errors import Terminated
from spectra.training.recipe.run.stopping import Stopping
from tests.dcs_runs import arguments, bert, samples


class Signals(TrainerCallback):
    def __init__(self, step, *numbers):
        self.step, self.numbers = step, numbers

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            for number in self.numbers:
                signal.raise_signal(number)


def ended(folder, step, *numbers, **changes):
    """Train six steps, in two epochs of three, with signals in one of them."""
    options = {"num_train_epochs": 2, "eval_strategy": "epoch", **changes}
    made = Trainer(bert(), arguments(folder, **options), train_dataset=samples(12), eval_dataset=samples(4))
    made.add_callback(Signals(step, *numbers))
    stopping = Stopping()
    made.add_callback(stopping)
    try:
        with pytest.raises(KeyboardInterrupt):
            made.train()
    finally:
        stopping.release()
    return made.state.global_step, sorted(path.name for path in folder.iterdir()), "eval_loss" in str(made.state.log_history)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_the_end_of_the_step_with_a_checkpoint(tmp_path, number):
    assert ended(tmp_path, 2, number) == (2, ["checkpoint-2"], False)


def test_at_the_end_of_an_epoch_it_is_evaluated_first(tmp_path):
    assert ended(tmp_path, 3, signal.SIGINT) == (3, ["checkpoint-3"], True)


def test_a_second_signal_stops_at_once(tmp_path):
    assert ended(tmp_path, 2, signal.SIGINT, signal.SIGINT) == (1, [], False)


def test_checkpoints_that_are_due_are_written_as_ever(tmp_path):
    saved = ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    assert ended(tmp_path, 5, signal.SIGINT, save_strategy="steps", save_steps=2) == (5, saved, True)


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with suppress(KeyboardInterrupt):
        ended(tmp_path, 2, signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_after_the_last_step_is_told_to_who_asks(number, raised):
    stopping = Stopping()
    assert stopping.release() is None
    stopping.on_train_begin(None, None, None)
    signal.raise_signal(number)
    assert type(stopping.release()) is raised
