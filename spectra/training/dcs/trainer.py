"""DCS on transformers' ``Trainer``: a student learns from labels and from its teacher, and dwells on samples where they differ.

A reconstruction of DCS (dynamic corrective self-distillation, arXiv 2312.07028) from its abstract and outline.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.fisher.tasks import without_peft
from spectra.results.sample_history import SampleHistory, WeightRound
from spectra.training.dcs.answers import CACHE_FILE, Answers
from spectra.training.dcs.config import DCSConfig, dcs_config
from spectra.training.dcs.data_fingerprint import dataset_fingerprint
from spectra.training.dcs.gathering import Records, check_equal, divide_again, gather_records
from spectra.training.dcs.indexed import INDEX, IndexCollator, IndexedDataset, take_index
from spectra.training.dcs.label_checks import check_labels
from spectra.training.dcs.losses import weighted_mean
from spectra.training.dcs.objective import Judged, Objective, SampleLoss, inputs_of, objective_for
from spectra.training.dcs.preparation import prepare_answers, say
from spectra.training.dcs.randomness import kept_randomness
from spectra.training.dcs.report import sample_history
from spectra.training.dcs.sample_weights import SampleWeights
from spectra.training.dcs.sampling import WeightedSampler
from spectra.training.dcs.saved_state import SavedState, load_state, save_state
from spectra.training.dcs.teacher import ADAPTER, FOLDER, last_checkpoint, logits_of

HISTORY_FILE = "sample_weights.safetensors"


class DCSTrainer(Trainer):
    """Trains a student by dynamic corrective self-distillation.

    .. code-block:: python

        trainer = DCSTrainer(model, args, config="dcs", train_dataset=data, processing_class=tokenizer)
        trainer.train()
        trainer.report().to_csv("suspects.csv", num=100, by="mean_loss")

    ``train`` first makes the teacher: the model is fine-tuned by the same arguments with another seed, its answers are kept in
    ``output_dir``, and it is put back; then the student starts from the model as it was passed. Random numbers are those of a
    run without a teacher: with ``config="plain"`` it is that of a plain ``Trainer``.

    Args:
        model: The student: a transformers model, with or without adapters of peft. A teacher that stays in memory is
            a second adapter over the same base then; under FSDP and DeepSpeed a copy.
        args: A ``TrainingArguments``.
        config: Options: a :class:`~spectra.training.dcs.DCSConfig`, options by name, or the name of the method or of
            a baseline: ``"dcs"``, ``"plain"``, ``"uniform"``, ``"label-boosting"``, ``"literal-adaboost"``.
        teacher: ``"finetune"``; or a model that knows the same labels; or its folder (for adapters: the folder of an adapter).
        sample_loss: Takes the place of the task's own loss, as for class weights: a function of logits and labels that returns
            one loss for each sample, ``(B,)``.
        **options: As for ``Trainer``. ``train_dataset`` needs a length and items by index.

    Attributes:
        config: The options.

    Raises:
        InputError: Options that cannot be, data without a stable order, or a loss for whole batches.
    """

    # What the base class calls optional is always there; the data are wrapped, so that items know their places.
    model: Any
    args: Any
    train_dataset: Any
    data_collator: Any
    objective: Objective

    def __init__(
        self,
        model: Any = None,
        args: Any = None,
        *,
        config: DCSConfig | str | Mapping[str, Any] | None = None,
        teacher: str | os.PathLike[str] | nn.Module = "finetune",
        sample_loss: SampleLoss | None = None,
        **options: Any,
    ) -> None:
        self.config = dcs_config(config)
        self.has_own_optimizers = any(one is not None for one in options.get("optimizers", ()))
        refuse_arguments(args, options)
        if self.config.generations > 1 and teacher != "finetune":
            raise InputError("generations: the first teacher of several is trained here. Leave teacher= out.")
        if not isinstance(teacher, str | os.PathLike | nn.Module):
            raise InputError(f"teacher: expected 'finetune', a model or its folder, got {teacher!r}.")
        if options.get("train_dataset") is not None:
            options["train_dataset"] = IndexedDataset(options["train_dataset"])
        super().__init__(model, args, **options)
        self.loss_is_scaled_for_ga = True  # by the number of samples, see get_batch_samples
        self.teacher = teacher
        self.sample_loss = sample_loss
        self.objective = objective_for(
            self.model, self.config, label_smoothing=self.args.label_smoothing_factor, sample_loss=sample_loss
        )
        self._weights: SampleWeights | None = None
        self._factors: Tensor | None = None
        self._answers: Answers | None = None
        self._cached: Mapping[str, str] = {}
        self._looked: list[tuple[Tensor, Judged, int]] = []
        self._fingerprint = ""  # of the data
        self._answered = ""  # of the data that there are answers about
        self.add_callback(_Rounds(self))
        self._attach_diagnostics()

    def train(self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **options: Any) -> Any:
        """Make the teacher, then train the student.

        Args:
            resume_from_checkpoint: As for ``Trainer``. ``True`` also goes on with a teacher that was not finished.
            *arguments: As for ``Trainer``.
            **options: As for ``Trainer``.

        Returns:
            What ``Trainer.train`` returns.

        Raises:
            InputError: A teacher that does not fit, data without index or labels, options for one process in several.
            ResultsError: The checkpoint is of other data, or its teacher is gone.
        """
        if self.train_dataset is None:
            raise InputError("train_dataset: there is none. Pass the data to train on.")
        if not isinstance(self.train_dataset, IndexedDataset):
            self.train_dataset = IndexedDataset(self.train_dataset)
        if self.config.mode == "sample" and self.accelerator.num_processes > 1:
            raise InputError("mode: 'sample' is for one process. Use 'weight' here.")
        self._fingerprint = self._fingerprint_of_data()
        with kept_randomness(self.args.device):
            check_labels(self.train_dataset.dataset, self.objective.kind, self._known_classes())
        checkpoint = self._checkpoint(resume_from_checkpoint)
        saved = None if checkpoint is None else load_state(checkpoint, self._fingerprint, self.config.to_dict())
        if saved is not None or self._answered != self._fingerprint:  # else train() was called before
            with kept_randomness(self.args.device):
                prepared = prepare_answers(self, self._fingerprint, saved, goes_on=bool(resume_from_checkpoint))
            self._answers, self._cached = prepared
            self._answered = self._fingerprint
        self._weights = self._new_weights()
        if saved is not None:
            self._weights.load_state_dict(saved.weights)
        self._renew_factors()
        self._looked.clear()
        if self._answers is not None:
            say(self, "training the student")
        return super().train(None if checkpoint is None else str(checkpoint), *arguments, **options)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weigh the losses of a batch; in evaluation, the model's own loss.

        Args:
            model: In training or evaluation.
            inputs: A batch.
            return_outputs: Return the model's outputs too.
            num_items_in_batch: Samples, or their weight, of all batches of this step.

        Returns:
            The loss, or a pair.

        Raises:
            InputError: The batch has no index or no labels.
        """
        if not model.training:
            inputs = {name: value for name, value in inputs.items() if name != INDEX}
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        index, judged, outputs = self._judge(model, inputs)
        if self.config.looks_while_training and judged.discordance is not None and self._has_rounds():
            self._looked.append((index, _without_graph(judged), self.state.global_step))
        factors = torch.ones_like(judged.losses) if self._factors is None else self._factors[index]
        loss = weighted_mean(judged.losses, factors, num_items_in_batch)
        if num_items_in_batch is not None:  # of all processes, whose gradients are averaged
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Take the batches of one step, and count their samples, so that accumulation is exact for short batches too.

        Args:
            epoch_iterator: Batches.
            num_batches: To be taken.
            device: Of the count.

        Returns:
            The batches, and how many samples, or what weight, they have in all processes.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if any(INDEX not in batch for batch in batches):
            return batches, None  # refused where it is used
        total = torch.zeros((), dtype=torch.float32, device=device)
        for batch in batches:
            total += self._amount(batch[INDEX].to(device))
        if self.accelerator.num_processes > 1:
            total = self.accelerator.gather(total.reshape(1)).sum()
        return batches, total.clamp(min=torch.finfo(total.dtype).tiny)  # a batch may weigh nothing

    def report(self) -> SampleHistory:
        """Return what became of every sample: weights and discordance by round.

        Returns:
            The history; ``hardest``, ``to_csv`` and ``to_pandas`` list the samples with the largest weights; by ``"mean_loss"``
            they are a list of labels to check.

        Raises:
            InputError: Nothing was trained yet.
        """
        if self._weights is None:
            raise InputError("there is nothing to report before train().")
        return sample_history(
            self._weights, self.train_dataset.dataset, self.objective.kind, self._answers, self.model, self.config.to_dict()
        )

    def fisher(self, **options: Any) -> Any:
        """Estimate the Fisher information of the student on its training data.

        Args:
            **options: As for ``spectra.fisher``, such as ``kind``, ``include`` and ``keep``. With ``weighted_fisher`` samples
                count as in the loss, else all alike.

        Returns:
            A ``spectra.Fisher``.

        Raises:
            InputError: As for ``spectra.fisher``.
        """
        import spectra

        if self._weights is None and self.config.weighted_fisher:
            raise InputError("weighted_fisher: there are no weights before train().")
        weights = self._weights.values if self._weights is not None and self.config.weighted_fisher else None
        return spectra.fisher(self.model, _Weighed(self, weights), **options)

    def make_teacher_trainer(self, model: nn.Module, args: Any, config: DCSConfig) -> DCSTrainer:
        """Make the trainer of a teacher that is trained here; for subclasses whose ``__init__`` differs.

        Args:
            model: To be trained.
            args: The student's arguments with another seed and folder.
            config: Options, most often those of plain fine-tuning.

        Returns:
            A trainer with everything else like this one, but for callbacks.
        """
        return type(self)(
            model,
            args,
            config=config,
            sample_loss=self.sample_loss,
            train_dataset=self.train_dataset.dataset,
            eval_dataset=self.eval_dataset,
            data_collator=self.data_collator,
            processing_class=self.processing_class,
            compute_metrics=self.compute_metrics,
            preprocess_logits_for_metrics=self.preprocess_logits_for_metrics,
            optimizer_cls_and_kwargs=self.optimizer_cls_and_kwargs,
        )

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Evaluate a batch, also one of the training data, whose items know their places."""
        plain = {name: value for name, value in inputs.items() if name != INDEX}
        return super().prediction_step(model, plain, *arguments, **options)

    def get_train_dataloader(self) -> Any:
        """Return the training batches, each with the index of its samples."""
        with self._indexed():
            return super().get_train_dataloader()

    def every_sample(self) -> Iterator[tuple[Tensor, dict[str, Any], Tensor]]:
        """Yield index, inputs and labels of all training samples in order, each process its part; with a bar of progress.

        Raises:
            InputError: The data have no labels.
        """
        with self._indexed(), self._nothing_left_out():
            loader = self.get_eval_dataloader(self.train_dataset)
        # The trainer's own bar; other callbacks would take this for a prediction, and report it.
        bars: list[Any] = [callback for callback in self.callback_handler.callbacks if isinstance(callback, ProgressCallback)]
        for batch in loader:
            yield self._taken_apart(self._prepare_inputs(batch))
            for bar in bars:
                bar.on_prediction_step(self.args, self.state, self.control, eval_dataloader=loader)
        for bar in bars:
            bar.on_predict(self.args, self.state, self.control)

    def start_over(self) -> None:
        """Forget what was seen and done, for a run that begins."""
        assert self._weights is not None
        self._weights.restart()
        self._looked.clear()
        self._renew_factors()

    def finished_step(self, step: int, steps_per_epoch: int) -> WeightRound | None:
        """End a round where one ends with this step.

        Args:
            step: Steps done.
            steps_per_epoch: Of the training data.

        Returns:
            What was done, if anything.
        """
        every = self.config.update_every
        is_due = step % (steps_per_epoch if every == "epoch" else every) == 0
        return self.end_round(step) if is_due and self._has_rounds() else None

    def end_round(self, step: int) -> WeightRound:
        """Change the weights by what the student answers now, or by what it answered in training.

        Args:
            step: Steps done.

        Returns:
            What was done.
        """
        assert self._weights is not None
        began = time.perf_counter()
        if not self.config.looks_while_training:
            self._look_at_all(step)
        self._record()
        update = self._weights.update if self.config.update_every == "epoch" else self._weights.update_seen
        done = replace(update(step), seconds=time.perf_counter() - began)
        self._weights.rounds[-1] = done
        check_equal(self._weights.values)
        self._renew_factors()
        return done

    def warn_without_rounds(self) -> None:
        """Say if training has ended before its first round."""
        if self._has_rounds() and self._weights is not None and not self._weights.num_rounds:
            warnings.warn(
                "DCS: training ended before the first round, and all weights are 1. Train for an epoch at least, or set "
                "update_every to fewer steps.",
                SpectraWarning,
                stacklevel=2,
            )

    def saved_history(self) -> None:
        """Write the history of the weights into the output folder, where checkpoints are written too."""
        if self.args.should_save and self.args.save_strategy != "no" and self._weights is not None and self._weights.num_rounds:
            self.report().save(Path(self.args.output_dir) / HISTORY_FILE, force=True)

    def _judge(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Judged, Any]:
        index, inputs, labels = self._taken_apart(batch)
        outputs = model(**inputs)
        teacher = None if self._answers is None else self._answers(index, inputs, labels)
        return index, self.objective.judge(logits_of(outputs), labels, teacher), outputs

    def _taken_apart(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any], Tensor]:
        rest = dict(batch)
        index = take_index(rest)
        name = next((name for name in (*self.label_names, "labels") if name in rest), None)
        if name is None:
            raise InputError("the training data have no labels: each item needs 'labels' (or 'label').")
        labels = rest.pop(name)
        return index, inputs_of(self.model, rest, labels), labels

    def _look_at_all(self, step: int) -> None:
        """Ask the student about all samples, without dropout."""
        model = self.model_wrapped
        training = model.training
        model.eval()
        with torch.no_grad(), kept_randomness(self.args.device), self.compute_loss_context_manager():
            for index, inputs, labels in self.every_sample():
                teacher = None if self._answers is None else self._answers(index, inputs, labels)
                judged = self.objective.judge(logits_of(model(**inputs)), labels, teacher)
                self._looked.append((index, judged, step))
        divide_again(model)
        model.train(training)

    def _record(self) -> None:
        """Hand what was seen since the last time, by all processes, to the weights."""
        assert self._weights is not None
        index, apart, step, loss, predicted = gather_records(*_columns(self._looked), self.args.device)
        self._looked.clear()
        if len(index):
            self._weights.record(index, apart, step, loss=loss, predicted=predicted)

    def _has_rounds(self) -> bool:
        return self.config.changes_weights or (self.config.looks_while_training and self._answers is not None)

    def _amount(self, index: Tensor) -> Tensor | int:
        if self.config.batch_norm_weights and self._factors is not None:
            return self._factors[index].sum()
        return len(index)

    def _renew_factors(self) -> None:
        assert self._weights is not None
        if self.config.changes_weights and self.config.mode == "weight":
            self._factors = torch.tensor(self._weights.values, dtype=torch.float32, device=self.args.device)

    def _new_weights(self) -> SampleWeights:
        regression = self.objective.kind == "r2"
        return SampleWeights(
            len(self.train_dataset),
            self.config.rule(None if self.objective.kind in ("r2", "token") else self._num_classes()),
            warmup_rounds=self.config.warmup_rounds,
            error_form=self.config.error_form if regression else None,
            error_quantile=self.config.error_quantile if regression else None,
        )

    def _fingerprint_of_data(self) -> str:
        with kept_randomness(self.args.device):
            first, second = dataset_fingerprint(self.train_dataset), dataset_fingerprint(self.train_dataset)
        if first == second:
            return first
        if self.config.needs_teacher and self.config.cache != "off":
            raise InputError(
                "train_dataset: its items differ from look to look, as images do that are augmented, and the teacher's answers "
                "would be about others. Use cache='off', which asks it about each batch."
            )
        return f"{len(self.train_dataset)} samples, drawn anew at each look"

    def _num_classes(self) -> int:
        number = self._known_classes() or getattr(getattr(self._answers, "table", None), "num_outputs", None)
        if number is None:
            if self.config.changes_weights:
                raise InputError("the model does not say how many classes it knows. Set model.config.num_labels.")
            number = 2
        return int(number)

    def _known_classes(self) -> int | None:
        return getattr(getattr(without_peft(self.model), "config", None), "num_labels", None)

    def _checkpoint(self, resume: str | bool | None) -> Path | None:
        if not resume:
            return None
        if resume is not True:
            if not Path(resume).is_dir():
                raise ResultsError(f"'{resume}': there is no such checkpoint. Give its folder, or True for the last one.")
            return Path(resume)
        folder = Path(self.args.output_dir)
        found = last_checkpoint(folder)
        has_begun = self.config.needs_teacher and any((folder / name).exists() for name in (FOLDER, CACHE_FILE))
        if found is None and not has_begun:
            raise ResultsError(f"'{folder}': there is no checkpoint to go on from. Start without resume_from_checkpoint.")
        return None if found is None else Path(found)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._record()
        assert self._weights is not None
        if self.args.should_save:  # before the rest, so that a checkpoint that looks whole is
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            save_state(folder, SavedState(self._weights.state_dict(), self._fingerprint, self._cached, self.config.to_dict()))
        super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        # peft saves all adapters; the teacher has a folder of its own.
        shutil.rmtree(Path(output_dir or self.args.output_dir) / ADAPTER, ignore_errors=True)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        if INDEX not in columns:
            columns.append(INDEX)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.config.mode == "sample" and self._weights is not None:
            return WeightedSampler(self._weights, self.args.data_seed if self.args.data_seed is not None else self.args.seed)
        return super()._get_train_sampler(train_dataset)

    @contextmanager
    def _indexed(self) -> Iterator[None]:
        plain = self.data_collator
        self.data_collator = IndexCollator(plain)
        try:
            yield
        finally:
            self.data_collator = plain

    @contextmanager
    def _nothing_left_out(self) -> Iterator[None]:
        """Load all samples, by as many batches in each process, as all work in step; keep no workers: others are kept."""
        args, loading = self.args, self.accelerator
        before = args.dataloader_drop_last, args.dataloader_persistent_workers, loading.even_batches
        args.dataloader_drop_last, args.dataloader_persistent_workers, loading.even_batches = False, False, True
        try:
            yield
        finally:
            args.dataloader_drop_last, args.dataloader_persistent_workers, loading.even_batches = before

    def _attach_diagnostics(self) -> None:
        if self.config.tempbalance is not None:
            from spectra.training.tempbalance_callback import TempBalanceCallback

            options = self.config.tempbalance
            TempBalanceCallback({"policy": options} if isinstance(options, str) else options).attach(self)
        if self.config.guided_dropout is not None:
            from spectra.training.guided_dropout import GuidedDropoutCallback

            self.add_callback(GuidedDropoutCallback(self.config.guided_dropout))


class _Rounds(TrainerCallback):
    """Tells the trainer that a step is done: before checkpoints, and before diagnostics, which come when the step has ended."""

    def __init__(self, trainer: DCSTrainer) -> None:
        self.trainer = trainer
        self.done: WeightRound | None = None

    def on_optimizer_step(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        steps_per_epoch = max(1, -(-len(train_dataloader) // args.gradient_accumulation_steps))
        self.done = self.trainer.finished_step(state.global_step + 1, steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.done is not None:
            should_log = control.should_log
            self.trainer.log(_logged(self.done))
            control.should_log = should_log  # the loss of this step, which that log was not
            self.done = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:  # again, perhaps, with smaller batches
            self.trainer.start_over()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.saved_history()
        self.trainer.warn_without_rounds()


class _Weighed:
    """Training batches in order, each sample with its weight, as ``spectra.fisher`` takes them."""

    def __init__(self, trainer: DCSTrainer, weights: NDArray[np.float64] | None) -> None:
        self.trainer = trainer
        self.weights = weights

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index, inputs, labels in self.trainer.every_sample():
            batch = {**inputs, "labels": labels}
            if self.weights is not None:
                batch["sample_weight"] = torch.from_numpy(self.weights[index.cpu().numpy()])
            yield batch


def refuse_arguments(args: Any, options: Mapping[str, Any]) -> None:
    """Refuse what a ``Trainer`` takes and DCS cannot, and DCS's own options beside it.

    Args:
        args: Of the trainer.
        options: By name.

    Raises:
        InputError: As above.
    """
    if options.get("compute_loss_func") is not None:
        raise InputError("compute_loss_func: it is for whole batches. Pass sample_loss=, one loss for each sample.")
    own = next((name for name in options if name in {f.name for f in fields(DCSConfig)}), None)
    if own is not None:
        raise InputError(f"{own}: it is an option of DCS. Pass config={{{own!r}: {options[own]!r}}}.")
    packed = next((name for name in ("packing", "padding_free") if getattr(args, name, False)), None)
    if packed is not None:
        raise InputError(f"{packed}: a row would hold several samples, and each needs a loss of its own. Turn it off.")


def _without_graph(judged: Judged) -> Judged:
    return replace(judged, losses=judged.task_losses)


def _columns(looked: list[tuple[Tensor, Judged, int]]) -> Records:
    """Bring what was seen together: index, discordance, step, loss, predicted class."""
    if not looked:
        whole, number = np.zeros(0, dtype=np.int64), np.zeros(0)
        return whole, number, whole, number, whole
    index = torch.cat([index for index, _, _ in looked]).cpu().numpy()
    apart = torch.cat([judged.discordance for _, judged, _ in looked if judged.discordance is not None])
    loss = torch.cat([judged.task_losses for _, judged, _ in looked])
    predicted = torch.cat([judged.predicted for _, judged, _ in looked])
    step = np.repeat([step for _, _, step in looked], [len(index) for index, _, _ in looked])
    return index, apart.double().cpu().numpy(), step, loss.double().cpu().numpy(), predicted.cpu().numpy()


def _logged(done: WeightRound) -> dict[str, float]:
    numbers = {"eps": done.eps, "step_size": done.step_size, "ess": done.ess, "v_max": done.v_max, "top_share": done.top_share}
    numbers |= {"round": done.number, "seconds": done.seconds, "skipped": float(done.skipped is not None)}
    return {f"dcs/{name}": value for name, value in numbers.items()}
