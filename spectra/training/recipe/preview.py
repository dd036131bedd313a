"""What a recipe would do: assembled as for a run, in a folder that is left again, without training or measuring for long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from spectra.results.words import counted
from spectra.training.guided_dropout import GuidedDropoutCallback
from spectra.training.libraries import quiet
from spectra.training.parameter_groups import plain_parameter_name
from spectra.training.recipe.assembly.assembling import Assembled, assembled
from spectra.training.recipe.memory_estimate import memory_estimate
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.preview_record import PlannedBalance, PlannedDropout, PlannedGroups, PlannedUnit, Preview
from spectra.training.tempbalance_callback import TempBalanceCallback

_EPOCHS = {"epoch": ", after each epoch", "ends": ""}


def preview(recipe: Recipe) -> Preview:
    """Say what a recipe would do; nothing is trained, nothing is written that stays.

    The model is loaded (and, from the hub, downloaded unless it is in the cache), and measured once where learning rates or
    weight decays are balanced. What takes longer, as the Fisher of the training data or responses in the model's own words, is
    named and not done.

    Args:
        recipe: That has passed the checks.

    Returns:
        The preview.
    """
    with TemporaryDirectory(prefix="spectra-preview-") as folder, quiet():
        return _preview_of(recipe, assembled(recipe, Path(folder), prepare=False))


def _preview_of(recipe: Recipe, ready: Assembled) -> Preview:
    trainer = ready.trainer
    optimizer = trainer.create_optimizer()  # split by unit where diagnostics are attached
    adapters = dict(_adapters(trainer.model)) if recipe.adapter.name != "none" else {}
    memory = memory_estimate(trainer.model, optimizer, [tensor for _, part in adapters.values() for tensor in part])
    epochs, steps_per_epoch, num_train, _, examples_per_step, _, num_steps = trainer.set_initial_training_values(
        trainer.args, trainer.get_train_dataloader()
    )
    return Preview(
        name=str(recipe.name),
        model=recipe.model.name,
        method=recipe.method.name,
        adapter=recipe.adapter.name,
        output=recipe.output,
        num_train=num_train,
        num_eval=_size(trainer.eval_dataset),
        num_test=_size(ready.test_data),
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        num_epochs=epochs,
        examples_per_step=examples_per_step,
        num_parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        num_trained=sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"]),
        groups=_groups(optimizer),
        balances=tuple(_balances(trainer)),
        dropout=tuple(_dropout(trainer)),
        adapter_ranks={name: rank for name, (rank, _) in adapters.items()},
        memory=memory,
        first=tuple(_first(recipe, num_train, num_steps)),
        files=tuple(_files(recipe)),
        notes=ready.notes,
    )


def _size(data: Any) -> int:
    """Count examples; those of several tasks are data by name."""
    return 0 if data is None else sum(map(len, data.values())) if isinstance(data, Mapping) else len(data)


def _groups(optimizer: Any) -> tuple[PlannedGroups, ...]:
    alike: dict[tuple[float, float], list[int]] = {}
    for group in optimizer.param_groups:
        rates = (group["lr"], group.get("weight_decay", 0.0))
        alike.setdefault(rates, []).append(sum(parameter.numel() for parameter in group["params"]))
    return tuple(
        PlannedGroups(learning_rate=rate, weight_decay=decay, num_groups=len(sizes), num_parameters=sum(sizes))
        for (rate, decay), sizes in alike.items()
    )


def _balances(trainer: Any) -> Iterator[PlannedBalance]:
    """Let the callbacks measure the model as they do when training begins."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TempBalanceCallback):
            told = {"model": trainer.model, "optimizer": trainer.optimizer}
            callback.on_train_begin(trainer.args, trainer.state, trainer.control, **told)
            balance = callback.balance
            assert balance is not None
            if not balance.num_updates:  # they begin at a later step
                balance.update()
                balance.state_dict()  # waits for a thread
            callback.on_train_end(trainer.args, trainer.state, trainer.control)
            policy = balance.policy
            yield PlannedBalance(
                method=policy.method,
                target=policy.target,
                metric=policy.metric,
                first_step=balance.config.start_step,
                units=tuple(
                    PlannedUnit(
                        name=unit, num_layers=len(layers), score=balance.scores.get(unit), multiplier=balance.scales[unit]
                    )
                    for unit, layers in balance.members.items()
                ),
            )


def _dropout(trainer: Any) -> Iterator[PlannedDropout]:
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, GuidedDropoutCallback):
            with callback.guided.apply(trainer.model) as applied:
                for site, drop_prob in applied.rates.items():
                    yield PlannedDropout(site=site, before=applied.previous[site], drop_prob=drop_prob)


def _adapters(model: nn.Module) -> Iterator[tuple[str, tuple[int, list[Tensor]]]]:
    """Yield the modules that have an adapter, with its rank and its parameters; several adapters of a module are alike."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            parts = [getattr(module, part) for part in module.adapter_layer_names]
            yield (
                plain_parameter_name(name),
                (max(module.r.values()), [tensor for part in parts for tensor in part.parameters()]),
            )


def _first(recipe: Recipe, num_train: int, num_steps: int) -> Iterator[str]:
    """Say what a run does before it trains."""
    diagnostics, guided = recipe.diagnostics, recipe.diagnostics.guided_dropout
    if recipe.method.name == "sdft":
        yield f"the model rewrites {counted(num_train, 'response')} in its own words"
    if recipe.adapter.ranks == "alpha":
        yield "spectra of the weights are measured for the ranks; until then all modules have the mean rank"
    measured = [(guided.samples, "drop probabilities")] if guided is not None and guided.plan is None else []
    measured += [(None, "ranks")] if recipe.adapter.ranks == "fisher" else []
    measured += [(None, "diagnostics.fisher")] if diagnostics.fisher else []
    if measured:
        samples = num_train if any(limit is None for limit, _ in measured) else min(num_train, measured[0][0] or num_train)
        uses = ", ".join(use for _, use in measured)
        yield f"the Fisher is measured on {counted(samples, 'training example')}, for {uses}; these are not known before"
    if recipe.method.name == "dcs" and (number := _num_teachers(recipe)):
        yield f"{counted(number, 'teacher')} fine-tuned by the same arguments: {number * num_steps:,} steps more"
    if diagnostics.spectra != "none":
        yield "spectra of all weights are recorded"


def _num_teachers(recipe: Recipe) -> int:
    """Count the models that are trained before the last student."""
    from spectra.training.dcs.config import dcs_config

    config = dcs_config(recipe.method.options)
    return config.generations if config.needs_teacher else 0


def _files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    diagnostics, guided, ranks = recipe.diagnostics, recipe.diagnostics.guided_dropout, recipe.adapter.ranks
    yield "recipe.yaml, environment.json", "what runs, where and with which versions"
    if recipe.method.name == "sdft":
        yield "responses.jsonl", "the training data in the model's own words"
    if diagnostics.fisher or ranks == "fisher" or (guided is not None and guided.plan is None):
        yield "diagnostics/*fisher.safetensors", "the Fisher of the training data"
    if guided is not None:
        yield "dropout-plan.yaml", "drop probabilities"
    if ranks is not None:
        yield "rank-plan.yaml", "adapter ranks"
    if diagnostics.spectra != "none":
        yield "diagnostics/", f"spectra before training{_EPOCHS[diagnostics.spectra]} and after it"
    yield "metrics.jsonl", "every log line of training"
    for name in ("tempbalance", "alphadecay"):
        if getattr(diagnostics, name) is not None:
            yield f"{name}.jsonl", "multipliers over steps"
    if recipe.training.save_strategy != "no":
        yield "checkpoints/", "from which the same command goes on"
    yield "model/", "the adapter" if recipe.adapter.name != "none" and recipe.method.name != "meta_peft" else "the model"
    yield "results.json, summary.md, figures/", "what came out"
