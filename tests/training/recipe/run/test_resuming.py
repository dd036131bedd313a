import json
import shutil

import pytest
import torch

from spectra.errors import ResultsError
from spectra.training.recipe.run.resuming import POSITION, Resuming, last_checkpoint, remove_torn_checkpoints
from spectra.training.recipe.run.stopping import Stopping
from tests.dcs_runs import arguments, bert, parameters, samples
from tests.training.dcs.full_disk import full_disk

# 22 samples in steps of 4: six steps of an epoch, the last one of two samples. Dropout is at work.
STEPS = {"max_steps": 10, "save_strategy": "steps", "save_steps": 3, "logging_steps": 4, "lr_scheduler_type": "constant"}


catching = []


def trainer(folder, start=None, **changes):
    from transformers import Trainer

    made = Trainer(bert(), arguments(folder, **(STEPS | changes)), train_dataset=samples(22), eval_dataset=samples(5, seed=1))
    Resuming(made, start, lambda: (7, {"training": 1.5}))
    catching.append(Stopping())
    made.add_callback(catching[-1])
    return made


def release():
    while catching:  # handlers are put back in reverse order
        catching.pop().release()


def history(made):
    return [
        {name: value for name, value in line.items() if "runtime" not in name and "per_second" not in name}
        for line in made.state.log_history
    ]


def trained(made, start=None):
    made.train(resume_from_checkpoint=None if start is None else str(start.folder))
    return made


@pytest.fixture(autouse=True)
def released():
    """Signals are caught by nobody when a test is over."""
    yield
    release()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    made = trained(trainer(tmp_path_factory.mktemp("whole"), eval_strategy="epoch"))
    release()
    return made


@pytest.mark.parametrize("step", [3, 6, 9, 10], ids=["within an epoch", "at its end", "in the last", "at the very end"])
def test_a_training_goes_on_from_each_checkpoint_with_the_same_weights_losses_and_mean_loss(whole, tmp_path, step):
    shutil.copytree(f"{whole.args.output_dir}/checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    start = last_checkpoint(tmp_path)
    assert (start.step, start.position.num_lines, start.position.seconds) == (step, 7, {"training": 1.5})
    made = trained(trainer(tmp_path, start, eval_strategy="epoch"), start)
    assert made.state.global_step == 10
    assert torch.equal(parameters(made.model), parameters(whole.model))
    assert history(made) == history(whole)


def test_a_trainer_alone_takes_a_step_too_many_and_forgets_losses(tmp_path):
    """What this module is for; should transformers mend it, the module can shrink."""
    from transformers import Trainer

    def plain():
        return Trainer(bert(), arguments(tmp_path, **STEPS), train_dataset=samples(22))

    first, again = plain(), plain()
    first.train()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert again.state.global_step == 11
    later = plain()
    later.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert [line["loss"] for line in later.state.log_history if "loss" in line] != [
        line["loss"] for line in first.state.log_history if "loss" in line
    ]


def test_a_checkpoint_at_the_end_of_an_epoch_is_written_after_its_evaluation(whole):
    state = json.loads((last_checkpoint_at(whole, 6) / "trainer_state.json").read_text())
    assert [line["step"] for line in state["log_history"] if "eval_loss" in line] == [6]


def last_checkpoint_at(whole, step):
    from pathlib import Path

    return Path(whole.args.output_dir) / f"checkpoint-{step}"


def damaged(folder, how):
    if how == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "no position":
        (folder / POSITION).unlink()
    elif how == "position of another version":
        (folder / POSITION).write_text('{"schema_version": 9}')
    else:
        text = (folder / "trainer_state.json").read_bytes()
        (folder / "trainer_state.json").write_bytes(text[: len(text) // 2])


@pytest.mark.parametrize("how", ["empty", "no position", "position of another version", "half a state"])
def test_a_checkpoint_that_was_not_finished_is_removed_and_the_one_before_it_taken(whole, tmp_path, how):
    for step in (9, 10):
        shutil.copytree(last_checkpoint_at(whole, step), tmp_path / f"checkpoint-{step}")
    damaged(tmp_path / "checkpoint-10", how)
    remove_torn_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-9"]
    assert last_checkpoint(tmp_path).step == 9


def test_checkpoints_of_trainings_inside_need_no_position(whole, tmp_path):
    for step in (9, 10):
        shutil.copytree(last_checkpoint_at(whole, step), tmp_path / "teacher" / f"checkpoint-{step}")
        (tmp_path / "teacher" / f"checkpoint-{step}" / POSITION).unlink()
    damaged(tmp_path / "teacher" / "checkpoint-10", "half a state")
    (tmp_path / "checkpoint-notes").mkdir()
    remove_torn_checkpoints(tmp_path)
    assert [path.name for path in (tmp_path / "teacher").iterdir()] == ["checkpoint-9"]
    assert (tmp_path / "checkpoint-notes").exists()
    assert last_checkpoint(tmp_path) is None


def test_a_run_without_checkpoints_begins(tmp_path):
    remove_torn_checkpoints(tmp_path / "missing")
    assert last_checkpoint(tmp_path / "missing") is None


def test_a_checkpoint_for_which_the_disk_has_no_room_is_taken_away(tmp_path):
    made = trainer(tmp_path)
    with full_disk(20_000), pytest.raises(ResultsError, match=r"cannot write to '.*checkpoint-3'"):
        made.train()
    assert not (tmp_path / "checkpoint-3").exists()
