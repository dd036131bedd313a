"""Meta-PEFT on transformers' ``Trainer``: a base is retrained on several tasks, each with an adapter that is thrown away.

Block et al. (2025), arXiv 2410.22264: there PEFT-ML, with LoRA LoRA-ML; in the first version Meta-Adapters and Meta-LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from spectra.errors import InputError
from spectra.training.dcs.randomness import kept_randomness
from spectra.training.diagnostic_flags import attach_diagnostics
from spectra.training.meta_peft.adapter_configs import head_names
from spectra.training.meta_peft.adapters import TaskAdapters
from spectra.training.meta_peft.checks import (
    checked_tasks,
    own_arguments,
    refuse_arguments,
    refuse_run,
    refuse_steps,
    warn_of_short_tasks,
)
from spectra.training.meta_peft.config import Head, MetaPeftConfig, Method, Offload, Schedule, meta_peft_config
from spectra.training.meta_peft.offload import keep_on_device
from spectra.training.meta_peft.reptile import reptile_gradients
from spectra.training.meta_peft.retrained import RetrainedBase, retrained_base
from spectra.training.meta_peft.retraining_info import RetrainingInfo, write_info
from spectra.training.meta_peft.run_record import check_run, rows_fingerprint, save_run
from spectra.training.meta_peft.sampling import Exhausted, StepSampler
from spectra.training.meta_peft.steps import Batch, PartCollator, StepLoader, TaskData, TaskPart
from spectra.training.meta_peft.task_balance import give_own_groups, task_factors, with_means
from spectra.training.parameter_groups import unwrapped_optimizer

# Of a model and a batch of one task: their mean loss.
LossFunction = Callable[[nn.Module, Any], Tensor]


class MetaPeftTrainer(Trainer):
    """Retrains a base on several tasks so that adapters fit it better.

    .. code-block:: python

        trainer = MetaPeftTrainer(model, LoraConfig(r=4, task_type="SEQ_CLS"), tasks, args)
        trainer.train()
        base = trainer.retrained()
        adapted = base.adapt(new_data, LoraConfig(r=8, task_type="SEQ_CLS"), other_args)

    The sum over tasks of ``min over theta_t of L_t(W, theta_t)`` is minimised over the base ``W`` (section 3): each task has an
    adapter ``theta_t`` and a head, all are trained together with ``W``, and only ``W`` is kept. There is nothing of second
    order: at the best adapter the derivative by the base is the partial one. In theory three tasks or more recover what they
    share if the adapters' rank is no larger than it needs to be; later ranks should be at least that of retraining.

    A step is one of the optimizer: of ``tasks_per_step`` tasks, each with ``per_device_train_batch_size`` times
    ``gradient_accumulation_steps`` rows on each device, whose gradients are summed. All processes work on the same tasks.
    Checkpoints hold the base under its own names, so that ``from_pretrained`` loads it, and a folder for each task's adapter.

    Args:
        model: The base: of transformers, or any module if ``loss_fn`` is given. It is wrapped, and trained in place.
        peft_config: Of any method that peft can switch between: for all tasks, or one for each. Baselines without adapters do
            not look at it.
        tasks: Rows of each task, by place, as ``Trainer`` takes them.
        args: A ``TrainingArguments``. Its learning rate is that of the base.
        config: Options: a :class:`~spectra.training.meta_peft.MetaPeftConfig`, options by name, or the name of the method:
            ``"peft_ml"``, ``"standard"``, ``"reptile"``, ``"last_layer_ml"``.
        eval_tasks: Rows to evaluate each task on, with its own adapter and head. ``eval_loss`` and other metrics are means over
            tasks, those of a task are called ``eval_<task>_loss``.
        loss_fn: A function of model and batch that returns the mean loss. Default: the model's own loss.
        probe: Adapts a base and says how well that went: a function of a :class:`~spectra.training.meta_peft.RetrainedBase`
            that returns metrics by name. It is asked at each evaluation, so that ``metric_for_best_model="probe_accuracy"``
            chooses the base that a task it has not seen can use best.
        **options: As for ``Trainer``.

    Attributes:
        config: The options.
        adapters: The model with an adapter per task.

    Raises:
        InputError: Fewer than two tasks, one without rows, options that cannot be, or what
            :class:`~spectra.training.meta_peft.TaskAdapters` refuses.
    """

    # What the base class calls optional is always there.
    model: Any
    args: Any
    train_dataset: Any
    eval_dataset: Any

    def __init__(
        self,
        model: nn.Module,
        peft_config: Any = None,
        tasks: Mapping[str, Any] | None = None,
        args: Any = None,
        *,
        config: MetaPeftConfig | str | Mapping[str, Any] | None = None,
        eval_tasks: Mapping[str, Any] | None = None,
        loss_fn: LossFunction | None = None,
        probe: Callable[[RetrainedBase], Mapping[str, float]] | None = None,
        **options: Any,
    ) -> None:
        self.config = meta_peft_config(config)
        tasks = checked_tasks(tasks, eval_tasks)
        refuse_arguments(model, args, options, loss_fn=loss_fn, probe=probe, eval_tasks=eval_tasks, tasks=tasks)
        refuse_steps(args, self.config, len(tasks))
        if self.config.uses_adapters and peft_config is None:
            raise InputError("peft_config: 'peft_ml' needs one, such as peft.LoraConfig(r=4).")
        self.adapters = TaskAdapters(
            model,
            peft_config if self.config.uses_adapters else None,
            tuple(tasks),
            head=self.config.head_of(bool(head_names(model, Head.SHARED, self.config.head_modules))),
            head_modules=self.config.head_modules,
            base_trainable=self.config.base_trainable,
            seed=args.seed,
        )
        self.loss_fn = loss_fn
        self.probe = probe
        self.num_micro_batches = args.gradient_accumulation_steps
        self.max_inner_norm = args.max_grad_norm
        super().__init__(
            self.adapters.model,
            own_arguments(args, self.config, removes_columns=loss_fn is None),
            train_dataset=TaskData(tasks),
            eval_dataset=None if eval_tasks is None else dict(eval_tasks),
            **options,
        )
        sizes = {task: len(rows) for task, rows in tasks.items()}
        warn_of_short_tasks(sizes, self.config, self._rows_of_a_part)
        self.factors = task_factors(sizes, self.config, self.step_sampler().on_exhausted, self._rows_of_a_part)
        self._is_best = False
        self._rows_of_tasks: dict[str, str] = {}
        if self.config.tempbalance is not None:
            attach_diagnostics(self, tempbalance=self.config.tempbalance, model=self.base_and_tasks())

    def train(self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **options: Any) -> Any:
        """Retrain the base.

        Args:
            resume_from_checkpoint: As for ``Trainer``.
            *arguments: As for ``Trainer``.
            **options: As for ``Trainer``.

        Returns:
            What ``Trainer.train`` returns; the base itself is :meth:`retrained`.

        Raises:
            InputError: FSDP or DeepSpeed, or several devices in one process.
            ResultsError: The checkpoint is of other tasks or options.
        """
        refuse_run(self)
        self._is_best = False
        self._fingerprints()  # before anything is drawn
        return super().train(resume_from_checkpoint, *arguments, **options)

    def retrained(self) -> RetrainedBase:
        """Return the base as it is now, without adapters: a copy.

        Returns:
            The base, ready to be saved or adapted; its head, if tasks have their own, is the one it had.
        """
        return retrained_base(self.adapters, self._info())

    def get_train_dataloader(self) -> Any:
        """Return a loader whose items are steps; processes have parts of the same tasks."""
        collate = self.data_collator
        if self.args.remove_unused_columns:
            collate = self._get_collator_with_removed_columns(collate, description="training")
        return StepLoader(
            self.train_dataset,
            batch_sampler=self.step_sampler(),
            collate_fn=PartCollator(collate, self._train_batch_size, self.accelerator.num_processes),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )

    def step_sampler(self) -> StepSampler:
        """Return what chooses the tasks and rows of each step: a function of seed, epoch and step."""
        tasks = self.train_dataset.tasks
        takes_all = self.config.schedule == Schedule.ALTERNATING
        seed = self.args.data_seed
        return StepSampler(
            [len(rows) for rows in tasks.values()],
            self._rows_of_a_part,
            tasks_per_step=self.config.tasks_per_step or (len(tasks) if takes_all else 1),
            sampling=self.config.sampling,
            temperature=self.config.temperature,
            on_exhausted=Exhausted.RESTART if takes_all else self.config.on_exhausted,
            seed=self.args.seed if seed is None else seed,
            rank=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
        )

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Take a step. Its parts know what they count, so that no items are counted here."""
        return [next(epoch_iterator)], None

    def create_optimizer(self, model: Any = None) -> Any:
        """Make an optimizer over the base and all tasks, each with its learning rate."""
        self.adapters.register_all()  # also for DistributedDataParallel, which knows the parameters that it begins with
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.adapters.has_adapters:
            rate = self.args.learning_rate if self.config.adapter_lr is None else self.config.adapter_lr
            give_own_groups(optimizer, self._parameters_of_tasks(), rate)
        return optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Take the gradients of a step.

        Args:
            model: In training, wrapped or not.
            inputs: The parts of the step.
            num_items_in_batch: Not used.

        Returns:
            The mean loss over the parts.

        Raises:
            InputError: A batch that is not of one task.
        """
        if not isinstance(inputs, list) or not all(isinstance(part, TaskPart) for part in inputs):
            raise InputError("a batch must be of one task. Pass the tasks to the trainer, which makes the batches itself.")
        model.train()
        if self.config.adapter_offload == Offload.CPU:
            self._keep_on_device({part.task for part in inputs})
        if self.config.method == Method.REPTILE:
            return self._reptile_step(model, inputs[0])
        base, adapter = self._what_moves()
        losses = []
        for place, part in enumerate(inputs):
            for number, batch in enumerate(part.batches):
                self.adapters.activate(part.task, base=base, adapter=adapter)
                is_last = place == len(inputs) - 1 and number == len(part.batches) - 1
                with nullcontext() if is_last else self.accelerator.no_sync(model):
                    losses.append(self._backward(model, batch, batch.share, self.factors[part.task]))
        self._drop_gradients(base=base, adapter=adapter)
        return torch.stack(losses).sum() / len(inputs)

    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Return the loss of a batch of one task."""
        if isinstance(inputs, Mapping) and "adapter_names" in inputs:
            raise InputError("adapter_names: a batch must be of one task; peft does not train adapters side by side in one.")
        if self.loss_fn is None:
            return super().compute_loss(model, inputs, return_outputs)
        loss = self.loss_fn(model, inputs)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise InputError("loss_fn: expected one number, the mean over the batch. Take the mean of losses of single rows.")
        return (loss, None) if return_outputs else loss

    def prediction_step(self, model: nn.Module, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """Evaluate a batch; with a loss of the user's, by that alone."""
        if self.loss_fn is None:
            return super().prediction_step(model, inputs, *arguments, **options)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.loss_fn(model, self._prepare_inputs(inputs)).detach(), None, None

    def evaluate(self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval") -> Any:
        """Evaluate each task with its own adapter and head.

        Args:
            eval_dataset: Rows by task. Default: ``eval_tasks``.
            ignore_keys: As for ``Trainer``.
            metric_key_prefix: As for ``Trainer``.

        Returns:
            Metrics of each task, their means over tasks, and those of the probe.

        Raises:
            InputError: Tasks that are not trained.
        """
        with kept_randomness(self.args.device):  # that training draws does not depend on how often it is evaluated
            metrics = self._evaluated(eval_dataset, ignore_keys, metric_key_prefix)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test") -> Any:
        """Predict rows of tasks, each with its own adapter and head.

        Args:
            test_dataset: Rows by task.
            ignore_keys: As for ``Trainer``.
            metric_key_prefix: As for ``Trainer``.

        Returns:
            What ``Trainer.predict`` returns, by task.

        Raises:
            InputError: Tasks that are not trained.
        """
        self._check_tasks(test_dataset, "test_dataset")
        found = {}
        for task, rows in test_dataset.items():
            self._use(task)
            found[task] = super().predict(rows, ignore_keys, metric_key_prefix)
        return found

    def _evaluated(self, given: Any, ignore_keys: list[str] | None, metric_key_prefix: str) -> dict[str, float]:
        tasks = self.eval_dataset if given is None else given
        self._check_tasks(tasks, "eval_tasks")
        by_task: dict[str, dict[str, float]] = {}
        for task, rows in tasks.items():
            self._use(task)
            if given is not None:  # of which a trainer with persistent workers would keep the first loader
                getattr(self, "_eval_dataloaders", {}).pop("eval", None)
            found = self.evaluation_loop(
                self.get_eval_dataloader(task if given is None else rows),
                description=f"Evaluation of {task}",
                prediction_loss_only=True if self.compute_metrics is None else None,
                ignore_keys=ignore_keys,
                metric_key_prefix=metric_key_prefix,
            )
            by_task[task] = {
                name: value for name, value in (found.metrics or {}).items() if not name.endswith("_preparation_time")
            }
        metrics = with_means(by_task, metric_key_prefix)
        if self.probe is not None:
            metrics |= {f"{metric_key_prefix}_probe_{name}": value for name, value in self._probed().items()}
        return metrics

    def _probed(self) -> Mapping[str, float]:
        found = None if self.probe is None else self.probe(self.retrained())
        if not isinstance(found, Mapping):
            raise InputError(f"probe: expected metrics by name, such as {{'accuracy': 0.5}}, got {type(found).__name__}.")
        return found

    def _check_tasks(self, given: Any, what: str) -> None:
        if not isinstance(given, Mapping) or not given or set(given) - set(self.adapters.tasks):
            raise InputError(f"{what}: expected rows by task; tasks are {', '.join(self.adapters.tasks)}.")

    def _use(self, task: str) -> None:
        if self.config.adapter_offload == Offload.CPU:
            self._keep_on_device({task})
        self.adapters.activate(task)

    def floating_point_ops(self, inputs: Any) -> Any:
        """Count the operations of a step."""
        count = super().floating_point_ops
        return sum(count(batch.inputs) for part in inputs for batch in part.batches)

    def _track_num_input_tokens(self, inputs: Any) -> None:
        for part in inputs:
            for batch in part.batches:
                super()._track_num_input_tokens(batch.inputs)  # type: ignore[no-untyped-call]

    @property
    def _rows_of_a_part(self) -> int:
        """Of a task in one step, on all devices; of Reptile in all its steps on the task."""
        inner = self.config.num_inner_steps if self.config.method == Method.REPTILE else self.num_micro_batches
        rows: int = self._train_batch_size * self.accelerator.num_processes * inner
        return rows

    def _what_moves(self) -> tuple[bool, bool]:
        """Whether this step changes the base, and whether adapters."""
        if self.config.schedule == Schedule.JOINT:
            return True, True
        is_base = self.state.global_step % (self.config.num_inner_steps + 1) == self.config.num_inner_steps
        return is_base, not is_base

    def _drop_gradients(self, *, base: bool, adapter: bool) -> None:
        """See to it that what is not to move has no gradient, whatever a loss has done to the model meanwhile."""
        held = {} if base else self.adapters.base_parameters()
        for task in () if adapter else self.adapters.tasks:
            held |= self.adapters.task_parameters(task)
        for parameter in held.values():
            parameter.grad = None

    def _backward(self, model: nn.Module, batch: Batch, share: float, factor: float = 1.0) -> Tensor:
        """Take the gradients of a batch, and return what it adds to the loss of its part."""
        inputs = self._prepare_inputs(batch.inputs)
        with self.compute_loss_context_manager():
            loss: Tensor = self.compute_loss(model, inputs)
        self.accelerator.backward(loss * (share * factor))
        return loss.detach() * share

    def _reptile_step(self, model: nn.Module, part: TaskPart) -> Tensor:
        self.adapters.activate(part.task)
        return reptile_gradients(
            list(self.adapters.base_parameters().values()),
            list(self.adapters.task_parameters(part.task).values()),
            [partial(self._backward, model, batch, batch.alone) for batch in part.batches],
            learning_rate=self.args.learning_rate if self.config.inner_lr is None else self.config.inner_lr,
            max_grad_norm=self.max_inner_norm,
            num_tasks=len(self.adapters.tasks),
        )

    def _keep_on_device(self, used: set[str]) -> None:
        parameters = {task: list(self.adapters.task_parameters(task).values()) for task in self.adapters.tasks}
        optimizer = None if self.optimizer is None else unwrapped_optimizer(self.optimizer)
        keep_on_device(self.args.device, used, parameters, optimizer)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the base under its own names, and the adapters."""
        if not self.args.should_save:
            return
        folder = Path(self.args.output_dir if output_dir is None else output_dir)
        self.adapters.save(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        write_info(folder, self._info())
        save_run(folder, self._fingerprints(), self._options())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_run(Path(resume_from_checkpoint), self._fingerprints(), self._options())
        self.adapters.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self.adapters.load(str(self.state.best_model_checkpoint))
        self._is_best = True

    def base_and_tasks(self) -> nn.Module:
        """The base as a plain model, whose spectra are its own whichever adapter is at work; parameters of tasks beside it."""
        view = self.adapters.base_view()
        view.of_tasks = nn.ParameterList(self._parameters_of_tasks())
        return view

    def _info(self) -> RetrainingInfo:
        is_best, metric = self._is_best, str(self.args.metric_for_best_model)
        return RetrainingInfo(
            method=str(self.config.method),
            tasks=self.adapters.tasks,
            ranks=self.adapters.ranks,
            peft_type=self.adapters.peft_type,
            head=self.adapters.head,
            head_modules=self.adapters.head_modules,
            num_steps=(self.state.best_global_step if is_best else None) or self.state.global_step,
            selected_by=metric if is_best else "last",
            metrics={metric: self.state.best_metric} if is_best and self.state.best_metric is not None else {},
        )

    def _parameters_of_tasks(self) -> list[nn.Parameter]:
        return [one for task in self.adapters.tasks for one in self.adapters.task_parameters(task).values()]

    def _fingerprints(self) -> dict[str, str]:
        if not self._rows_of_tasks:
            with kept_randomness(self.args.device):
                self._rows_of_tasks = {task: rows_fingerprint(rows) for task, rows in self.train_dataset.tasks.items()}
        return self._rows_of_tasks

    def _options(self) -> dict[str, Any]:
        """What a run that is resumed must have in common with the one before."""
        configs = self.adapters.model.peft_config if self.adapters.has_adapters else {}
        return self.config.to_dict() | {
            "seed": self.args.seed,
            "data_seed": self.args.data_seed,
            "rows of a task in a step": self._rows_of_a_part,
            "peft_config": {task: _without_base(config.to_dict()) for task, config in configs.items()},
        }


def _without_base(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the name of the base, which peft fills in when it saves a configuration."""
    return {name: value for name, value in config.items() if name != "base_model_name_or_path"}
