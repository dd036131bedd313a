"""DCS on transformers' ``Trainer``: a student learns from labels and from its teacher, and dwells on samples where they differ.

A reconstruction of DCS (dynamic corrective self-distillation, arXiv 2312.07028) from its abstract and outline.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from spectra.errors import InputError, ResultsError
from spectra.fisher.tasks import without_peft
from spectra.results.sample_history import SampleHistory, WeightRound
from spectra.training.dcs.answers import CACHE_FILE, Answers
from spectra.training.dcs.config import DCSConfig, dcs_config, refuse_arguments
from spectra.training.dcs.data_fingerprint import dataset_fingerprint
from spectra.training.dcs.gathering import divide_again
from spectra.training.dcs.indexed import INDEX, IndexedDataset
from spectra.training.dcs.label_checks import check_labels
from spectra.training.dcs.losses import weighted_mean
from spectra.training.dcs.objective import Judged, Objective, SampleLoss, objective_for
from spectra.training.dcs.preparation import prepare_answers, say
from spectra.training.dcs.randomness import kept_randomness
from spectra.training.dcs.report import sample_history
from spectra.training.dcs.sample_pass import Taken, WeightedBatches, every_sample, indexed, taken_apart
from spectra.training.dcs.sample_weights import SampleWeights
from spectra.training.dcs.sampling import WeightedSampler
from spectra.training.dcs.saved_state import SavedState, load_state, save_state
from spectra.training.dcs.teacher import ADAPTER, FOLDER, last_checkpoint, logits_of
from spectra.training.dcs.weighing import Weighing, logged
from spectra.training.diagnostic_flags import attach_diagnostics

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
        self._weighing: Weighing | None = None
        self._answers: Answers | None = None
        self._cached: Mapping[str, str] = {}
        self._fingerprint = ""  # of the data
        self._answered = ""  # of the data that there are answers about
        self.add_callback(_Rounds(self))
        attach_diagnostics(self, tempbalance=self.config.tempbalance, guided_dropout=self.config.guided_dropout)

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
        weighing = self._weighing = self._new_weighing()
        if saved is not None:
            weighing.load_state_dict(saved.weights)
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
        taken = taken_apart(self, inputs)
        judged, outputs = self._judge(model, taken)
        factors = torch.ones_like(judged.losses, dtype=torch.float32)  # before training, as when its first round begins
        if self._weighing is not None:
            factors = self._weighing.factors(taken[0])
            if self.config.looks_while_training:
                self._weighing.see(taken[0], judged, self.state.global_step)
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
            total += self._at_work().amount(batch[INDEX].to(device))
        if self.accelerator.num_processes > 1:
            total = self.accelerator.gather(total.reshape(1)).sum()
        return batches, total.clamp(min=torch.finfo(total.dtype).tiny)  # a batch may weigh nothing

    def notes(self) -> tuple[str, ...]:
        """Return sentences on a training that has ended, for whoever reads its results."""
        return () if self._weighing is None else self._weighing.notes()

    def report(self) -> SampleHistory:
        """Return what became of every sample: weights and discordance by round.

        Returns:
            The history; ``hardest``, ``to_csv`` and ``to_pandas`` list the samples with the largest weights; by ``"mean_loss"``
            they are a list of labels to check.

        Raises:
            InputError: Nothing was trained yet.
        """
        if self._weighing is None:
            raise InputError("there is nothing to report before train().")
        return sample_history(
            self._weighing.weights,
            self.train_dataset.dataset,
            self.objective.kind,
            self._answers,
            self.model,
            self.config.to_dict(),
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

        if self._weighing is None and self.config.weighted_fisher:
            raise InputError("weighted_fisher: there are no weights before train().")
        weights = self._at_work().weights.values if self.config.weighted_fisher else None
        return spectra.fisher(self.model, WeightedBatches(self, weights), **options)

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
        with indexed(self):
            return super().get_train_dataloader()

    def end_round_if_due(self, step: int, steps_per_epoch: int) -> WeightRound | None:
        """Change the weights by what the student answers now, or by what it answered in training.

        Args:
            step: Steps done.
            steps_per_epoch: Of the training data.

        Returns:
            What was done, if a round ends with this step.
        """
        weighing = self._at_work()
        if not weighing.is_due(step, steps_per_epoch):
            return None
        began = time.perf_counter()
        if not self.config.looks_while_training:
            self._look_at_all(step)
        return weighing.end_round(step, began)

    def saved_history(self) -> None:
        """Write the history of the weights into the output folder, where checkpoints are written too."""
        if self.args.should_save and self.args.save_strategy != "no" and self._at_work().weights.num_rounds:
            self.report().save(Path(self.args.output_dir) / HISTORY_FILE, force=True)

    def _judge(self, model: nn.Module, taken: Taken) -> tuple[Judged, Any]:
        index, inputs, labels = taken
        outputs = model(**inputs)
        teacher = None if self._answers is None else self._answers(index, inputs, labels)
        return self.objective.judge(logits_of(outputs), labels, teacher), outputs

    def _look_at_all(self, step: int) -> None:
        """Ask the student about all samples, without dropout."""
        model = self.model_wrapped
        training = model.training
        model.eval()
        with torch.no_grad(), kept_randomness(self.args.device), self.compute_loss_context_manager():
            for taken in every_sample(self):
                self._at_work().see(taken[0], self._judge(model, taken)[0], step)
        divide_again(model)
        model.train(training)

    def _at_work(self) -> Weighing:
        assert self._weighing is not None, "train() makes it"
        return self._weighing

    def _new_weighing(self) -> Weighing:
        regression = self.objective.kind == "r2"
        weights = SampleWeights(
            len(self.train_dataset),
            self.config.rule(None if self.objective.kind in ("r2", "token") else self._num_classes()),
            warmup_rounds=self.config.warmup_rounds,
            error_form=self.config.error_form if regression else None,
            error_quantile=self.config.error_quantile if regression else None,
        )
        return Weighing(weights, self.config, self.args.device, compares=self._answers is not None)

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
        weighing = self._at_work()
        weighing.gather()
        if self.args.should_save:  # before the rest, so that a checkpoint that looks whole is
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            save_state(
                folder, SavedState(weighing.weights.state_dict(), self._fingerprint, self._cached, self.config.to_dict())
            )
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
        if self.config.mode == "sample" and self._weighing is not None:
            return WeightedSampler(
                self._weighing.weights, self.args.data_seed if self.args.data_seed is not None else self.args.seed
            )
        return super()._get_train_sampler(train_dataset)


class _Rounds(TrainerCallback):
    """Tells the trainer that a step is done: before checkpoints, and before diagnostics, which come when the step has ended."""

    def __init__(self, trainer: DCSTrainer) -> None:
        self.trainer = trainer
        self.done: WeightRound | None = None

    def on_optimizer_step(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        steps_per_epoch = max(1, -(-len(train_dataloader) // args.gradient_accumulation_steps))
        self.done = self.trainer.end_round_if_due(state.global_step + 1, steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.done is not None:
            should_log = control.should_log
            self.trainer.log(logged(self.done))
            control.should_log = should_log  # the loss of this step, which that log was not
            self.done = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:  # again, perhaps, with smaller batches
            self.trainer._at_work().start_over()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.saved_history()
        self.trainer._at_work().warn_without_rounds()
