import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

import spectra
from spectra.errors import InputError
from spectra.results.run_spectra import AFTER, BEFORE, load_run_spectra
from spectra.training.libraries import quiet
from spectra.training.recipe.run.diagnosing import SpectraCallback
from tests.dcs_runs import arguments, bert, parameters, samples

ALL = [BEFORE, "epoch-001", "epoch-002", AFTER]


def ticking_clock():
    """A second passes with every look: an analysis takes one, and at least as many pass beside it."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def run(folder, *callbacks, model=None, resume=None, budget=1.0, when="epoch", **changes):
    """Train for three epochs of nine steps; return the trainer and the callback."""
    trainer = Trainer(
        bert() if model is None else model,
        arguments(folder / "checkpoints", **changes),
        train_dataset=samples(),
        eval_dataset=samples(8, seed=1),
        callbacks=list(callbacks),
    )
    clock = {} if budget < 1.0 else {"now": ticking_clock()}
    callback = SpectraCallback(folder, when, budget=budget, **clock).attach(trainer)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, callback


class Watch(TrainerCallback):
    """Notes what training depends on, at the end of every epoch and of training, after the callback that is tested."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        draws = torch.rand(1, generator=torch.Generator().set_state(torch.get_rng_state())).item()
        gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        modes = [module.training for module in model.modules()]
        wanted = [p.requires_grad for p in model.parameters()]
        numbers = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002 - what users draw from
        self.seen.append((draws, gradients, modes, wanted, numbers, torch.get_num_threads()))

    on_train_end = on_epoch_end


def test_a_run_is_the_same_with_and_without(tmp_path):
    watches = Watch(), Watch()
    trainers = [run(tmp_path / when, watch, when=when)[0] for when, watch in zip(("none", "epoch"), watches, strict=True)]
    assert torch.equal(*(parameters(trainer.model) for trainer in trainers))
    losses = [[line["loss"] for line in trainer.state.log_history if "loss" in line] for trainer in trainers]
    assert losses[0] == losses[1]
    assert watches[0].seen == watches[1].seen
    assert len(watches[0].seen) == 4


def test_spectra_are_recorded_before_after_each_epoch_and_after(tmp_path):
    model = bert()
    first = spectra.analyze(model)
    trainer, callback = run(tmp_path, model=model)
    found = load_run_spectra(tmp_path)
    assert callback.recorded == [one.name for one in found] == ALL
    assert [(one.step, one.epoch) for one in found] == [(0, 0.0), (9, 1.0), (18, 2.0), (27, 3.0)]
    assert [row.alpha for row in found[0].report.layers] == [row.alpha for row in first.layers]
    assert [row.lambda_max for row in found[-1].report.layers] == [
        row.lambda_max for row in spectra.analyze(trainer.model).layers
    ]
    assert callback.num_analyses == 4
    assert callback.skipped == []
    assert callback.seconds > 0.0
    assert 0.0 < callback.share < 1.0


def test_both_ends_alone_or_nothing_may_be_asked_for(tmp_path):
    assert run(tmp_path / "ends", when="ends")[1].recorded == [BEFORE, AFTER]
    callback = run(tmp_path / "none", when="none")[1]
    assert (callback.recorded, callback.num_analyses, callback.seconds) == ([], 0, 0.0)
    assert not (tmp_path / "none" / "diagnostics").exists()


def test_epochs_that_would_cost_too_much_are_left_out_and_listed(tmp_path):
    trainer, callback = run(tmp_path, budget=1e-9)
    assert callback.recorded == [BEFORE, AFTER]
    first, second = callback.skipped
    assert first.startswith("after epoch 1 (step 9): an analysis takes about ")
    assert "more than was left of the budget (1e-07 % of the " in first
    assert second.startswith("after epoch 2 (step 18)")
    logged = [line["spectra/skipped"] for line in trainer.state.log_history if "spectra/skipped" in line]
    assert logged == [0, 1, 2]


def test_the_log_says_what_was_found_once(tmp_path):
    trainer, _ = run(tmp_path)
    lines = [line for line in trainer.state.log_history if "spectra/alpha_mean" in line]
    found = load_run_spectra(tmp_path)
    assert [line["spectra/alpha_mean"] for line in lines] == [one.report.summary.metrics["alpha"].mean for one in found[:3]]
    assert [line["step"] for line in lines] == [1, 10, 19]
    assert [line["spectra/analyses"] for line in lines] == [1, 2, 3]


class Clock:
    """Seconds that pass when they are told to, and one tick at each look: an analysis takes a tick."""

    def __init__(self, tick):
        self.seconds = 0.0
        self.tick = tick

    def __call__(self):
        self.seconds += self.tick
        return self.seconds


@settings(deadline=None, max_examples=20)
@given(epochs=st.integers(1, 12), seconds=st.floats(1.0, 100.0), budget=st.floats(0.02, 0.5))
def test_a_run_in_which_both_ends_are_within_the_budget_keeps_to_it(epochs, seconds, budget, tmp_path_factory):
    clock = Clock(0.25)
    callback = SpectraCallback(tmp_path_factory.mktemp("run"), budget=budget, now=clock)
    args, control = SimpleNamespace(load_best_model_at_end=False), TrainerControl()
    state = TrainerState(max_steps=10 * epochs)
    callback.on_train_begin(args, state, control, model=nn.Linear(12, 12))
    for epoch in range(1, epochs + 1):
        clock.seconds += seconds
        state.global_step, state.epoch = 10 * epoch, float(epoch)
        control.should_training_stop = epoch == epochs
        callback.on_epoch_end(args, state, control)
    callback.on_train_end(args, state, control)
    assert len(callback.recorded) + len(callback.skipped) == epochs + 1
    ends = 2 * clock.tick
    if ends <= budget * epochs * seconds:
        # The clock ticks when it is read, so that times are too long by a few ticks at most, of which the budget is a share.
        assert callback.seconds <= budget * clock.seconds * (1 + 1e-9)
    else:
        assert callback.recorded == [BEFORE, AFTER]


def test_a_run_that_goes_on_records_what_one_without_a_break_does(tmp_path):
    class Killed(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 20:
                raise KeyboardInterrupt

    whole, _ = run(tmp_path / "whole", save_strategy="epoch")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Killed(), save_strategy="epoch")
    stale = tmp_path / "killed" / "diagnostics" / "epoch-002" / "report.json"
    changed = stale.stat().st_mtime_ns
    trainer, callback = run(
        tmp_path / "killed", save_strategy="epoch", resume=str(tmp_path / "killed" / "checkpoints" / "checkpoint-9")
    )
    assert torch.equal(parameters(trainer.model), parameters(whole.model))
    assert callback.recorded == ALL
    assert stale.stat().st_mtime_ns > changed
    alphas = [
        [[row.lambda_max for row in one.report.layers] for one in load_run_spectra(tmp_path / name)]
        for name in ("whole", "killed")
    ]
    assert alphas[0] == alphas[1]
    lines = [
        [(line["step"], line["spectra/alpha_mean"]) for line in one.state.log_history if "spectra/alpha_mean" in line]
        for one in (whole, trainer)
    ]
    assert lines[0] == lines[1]


def test_seconds_count_over_a_break(tmp_path):
    _, before = run(tmp_path, save_strategy="epoch")
    _, after = run(tmp_path, save_strategy="epoch", resume=str(tmp_path / "checkpoints" / "checkpoint-27"))
    assert after.recorded == ALL
    kept = before.state()["attributes"]["_restored"]
    assert after.seconds > kept["seconds_between"] > 0.0


def test_a_run_that_starts_over_forgets_the_analyses_of_the_one_before(tmp_path):
    run(tmp_path)
    _, callback = run(tmp_path, budget=1e-9)
    assert [one.name for one in load_run_spectra(tmp_path)] == callback.recorded == [BEFORE, AFTER]


def test_the_best_state_is_what_is_recorded_as_after(tmp_path):
    trainer, callback = run(
        tmp_path, save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, learning_rate=5e-2
    )
    assert callback.recorded == [BEFORE, "epoch-001", "epoch-002", "epoch-003", AFTER]
    after = next(one for one in load_run_spectra(tmp_path) if one.name == AFTER)
    assert after.step == trainer.state.best_global_step
    assert after.epoch == pytest.approx(after.step / 9)  # steps of an epoch
    expected = spectra.analyze(trainer.model)
    assert [row.lambda_max for row in after.report.layers] == [row.lambda_max for row in expected.layers]


def test_a_run_may_end_within_an_epoch(tmp_path):
    _, callback = run(tmp_path, max_steps=12)
    assert [(one.name, one.step) for one in load_run_spectra(tmp_path)] == [(BEFORE, 0), ("epoch-001", 9), (AFTER, 12)]
    assert callback.skipped == []


def test_of_an_adapter_the_effective_weights_are_recorded(tmp_path):
    from peft import LoraConfig, get_peft_model

    with quiet():
        model = get_peft_model(bert(hidden_size=24), LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    trainer, callback = run(tmp_path, model=model)
    found = load_run_spectra(tmp_path)
    assert callback.recorded == ALL
    expected = spectra.analyze(trainer.model, lora="merged")
    assert [row.lambda_max for row in found[-1].report.layers] == [row.lambda_max for row in expected.layers]
    assert len({len(one.report.layers) for one in found}) == 1


def test_another_model_may_be_looked_at(tmp_path):
    other = nn.Linear(12, 12)
    callback = SpectraCallback(tmp_path, "ends", model=other)
    trainer = Trainer(bert(), arguments(tmp_path / "checkpoints"), train_dataset=samples())
    callback.attach(trainer)
    trainer.train()
    assert {len(one.report.layers) for one in load_run_spectra(tmp_path)} == {1}


def test_a_model_without_matrices_is_trained_and_the_reason_is_listed(tmp_path):
    trainer = Trainer(bert(), arguments(tmp_path / "checkpoints"), train_dataset=samples())
    callback = SpectraCallback(tmp_path, model=nn.LayerNorm(4)).attach(trainer)
    trainer.train()
    assert callback.recorded == []
    assert callback.skipped[0].startswith("before training: 'module LayerNorm' has no weight to analyse")
    assert callback.skipped[-1].startswith("after training: ")


def test_only_the_first_process_works(tmp_path):
    callback = SpectraCallback(tmp_path)
    args, control, state = SimpleNamespace(), TrainerControl(), TrainerState(is_world_process_zero=False, max_steps=1)
    callback.on_train_begin(args, state, control, model=nn.Linear(12, 12))
    callback.on_epoch_end(args, state, control)
    callback.on_train_end(args, state, control)
    assert (callback.recorded, callback.skipped) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_divided_weights_are_left_to_the_saved_model(tmp_path):
    callback = SpectraCallback(tmp_path)
    args, control, state = SimpleNamespace(fsdp="full_shard"), TrainerControl(), TrainerState(max_steps=1)
    callback.on_train_begin(args, state, control, model=nn.Linear(12, 12))
    callback.on_train_end(args, state, control)
    assert callback.recorded == []
    assert callback.skipped == ["all: the weights are divided over processes. Analyse the saved model with 'spectra analyze'"]


def test_unknown_words_and_budgets_are_refused(tmp_path):
    with pytest.raises(InputError, match="when: unknown word 'epochs'. Did you mean 'epoch'. Known: epoch, ends, none"):
        SpectraCallback(tmp_path, "epochs")
    with pytest.raises(InputError, match=r"budget: expected a share of the time in \(0, 1\], got 2"):
        SpectraCallback(tmp_path, budget=2)
