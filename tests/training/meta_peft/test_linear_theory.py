"""The trainer, on one matrix with peft's LoRA around it, against the linear theory's reference implementation."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.meta_peft_linear.linear import draw_problem, moments_of, relative_error
from analysis.meta_peft_linear.retraining import Adapters, Alternating, retrain_lora_ml
from tests.dcs_runs import arguments
from tests.meta_peft_runs import squared

DIM, NUM_TASKS, NUM_SAMPLES = 6, 3, 60


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(DIM, DIM, bias=False, dtype=torch.float64)
        nn.init.zeros_(self.map.weight)

    def forward(self, x):
        return self.map(x)


def half_squared(model, batch):
    return squared(model, batch) / 2


def made(folder, seed=0, *, config, rank=1, **changes):
    """A trainer with noise-free samples of a drawn problem, all of a task in each batch, and the problem."""
    from peft import LoraConfig

    from spectra.training.meta_peft import MetaPeftTrainer

    problem = draw_problem(seed, dim=DIM, num_tasks=NUM_TASKS, rank=1)
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((NUM_TASKS, NUM_SAMPLES, DIM))
    outputs = inputs @ problem.tasks.mT if hasattr(problem.tasks, "mT") else inputs @ np.swapaxes(problem.tasks, -1, -2)
    data = {
        f"task{place}": [{"x": torch.tensor(x), "y": torch.tensor(y)} for x, y in zip(*pair, strict=True)]
        for place, pair in enumerate(zip(inputs, outputs, strict=True))
    }
    options = {"per_device_train_batch_size": NUM_SAMPLES, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    run = MetaPeftTrainer(
        Linear(),
        LoraConfig(r=rank, lora_alpha=rank, target_modules=["map"]),
        data,
        arguments(folder, **(options | {"logging_steps": 10_000} | changes)),
        config=config,
        loss_fn=half_squared,
    )
    return run, problem, moments_of(inputs, outputs)


def starts(run):
    """The adapters as peft has drawn them: (T, d, q) each."""
    parts = {"lora_B": [], "lora_A": []}
    for task in run.adapters.tasks:
        for name, parameter in run.adapters.task_parameters(task).items():
            kind = next(kind for kind in parts if kind in name)
            parts[kind].append(parameter.detach().numpy().copy())
    return Adapters(np.stack(parts["lora_B"]), np.swapaxes(np.stack(parts["lora_A"]), -1, -2))


def base_of(run):
    return run.retrained().model.map.weight.detach().numpy()


def test_alternating_steps_are_those_of_the_reference(tmp_path):
    schedule = Alternating(rounds=12, inner_steps=4, adapter_learning_rate=0.02, base_learning_rate=0.09)
    run, _, moments = made(
        tmp_path,
        config={"schedule": "alternating", "inner_steps": 4, "adapter_lr": 0.02},
        optim="sgd",
        learning_rate=0.09 / NUM_TASKS,  # ours sums over tasks, the reference takes the mean
        max_steps=12 * 5,
    )
    base, adapters = retrain_lora_ml(moments, starts(run), schedule)

    run.train()

    # Sums over samples in another order, sixty steps long.
    np.testing.assert_allclose(base_of(run), base, rtol=0, atol=1e-12)
    np.testing.assert_allclose(starts(run).product, adapters.product, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_three_tasks_recover_the_base(tmp_path):
    run, problem, _ = made(
        tmp_path,
        config={"tasks_per_step": NUM_TASKS},
        learning_rate=0.05,
        max_steps=600,
        lr_scheduler_type="cosine",
        weight_decay=0.0,
    )

    run.train()

    assert relative_error(problem.base, base_of(run)) < 1e-3


def test_without_adapters_the_base_is_left_with_what_tasks_add(tmp_path):
    run, problem, _ = made(
        tmp_path,
        config={"method": "standard", "tasks_per_step": NUM_TASKS},
        learning_rate=0.05,
        max_steps=200,
        lr_scheduler_type="cosine",
    )

    run.train()

    error = base_of(run) - problem.base
    added = problem.tasks.mean(axis=0) - problem.base
    # Least squares over 60 samples a task: near the mean of the task matrices, whose rank is 3.
    assert np.linalg.norm(error - added) < 0.5 * np.linalg.norm(added)
    assert relative_error(problem.base, base_of(run)) > 0.1
