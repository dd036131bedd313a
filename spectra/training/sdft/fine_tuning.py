"""Fine-tuning on responses, rewritten or not: transformers' ``Trainer``, of which only the response counts in the loss.

Yang et al. (2024), arXiv 2402.13669, section 3: what is trained on is the ordinary prompt and the response that was selected.
The prompt that asked for the rewriting is no part of it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.utils.import_utils import is_torch_bf16_gpu_available

from spectra.errors import InputError
from spectra.fisher.tasks import without_peft
from spectra.training.diagnostic_flags import attach_diagnostics
from spectra.training.sdft.response_examples import padded, response_examples
from spectra.training.sdft.tuned_adapter import has_adapter, with_adapter
from spectra.training.sdft.tuning_config import LoraOptions, ResponseTuningConfig, tuning_config
from spectra.training.text_batches import padding_id

# What a ``TrainingArguments`` has, too, under the same names.
_SHARED = (
    "learning_rate",
    "lr_scheduler_type",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "bf16",
    "seed",
)


def response_trainer(
    model: nn.Module,
    tokenizer: Any,
    data: Any,
    output_dir: str | os.PathLike[str],
    config: ResponseTuningConfig | str | Mapping[str, Any] | None = None,
    *,
    eval_data: Any = None,
    arguments: TrainingArguments | None = None,
    **changes: Any,
) -> Trainer:
    """Make a trainer that fine-tunes a causal language model on responses.

    .. code-block:: python

        trainer = response_trainer(model, tokenizer, "gsm8k-own-words.jsonl", "tuned", "gsm8k", tempbalance="recommended")
        trainer.train()  # resume_from_checkpoint=True goes on with a run that stopped
        trainer.save_model()

    The loss is the mean over the response tokens of an optimizer step, in all its batches and on all devices: prompts count
    nothing, and a long response more than a short one. What the options do not say is transformers' default.

    Args:
        model: Of transformers. An adapter is put into it unless it has one already, which is trained then.
        tokenizer: Of the model.
        data: As :func:`~spectra.training.sdft.response_examples.response_examples` takes it: a file, rows, what a distiller
            returned, or what ``read_training_data`` did.
        output_dir: Where checkpoints go.
        config: Options, or some of them by name; or the name of a data set of the paper, such as ``"gsm8k"``.
        eval_data: Data to evaluate on, after each epoch unless ``arguments`` say otherwise.
        arguments: Take the place of those that the options make, but for the folder; see :func:`tuning_arguments`.
        **changes: Options by name; see :class:`~spectra.training.sdft.tuning_config.ResponseTuningConfig`.

    Returns:
        The trainer. As the model, it is the user's from here on.

    Raises:
        InputError: Options that cannot be or that ``arguments`` contradict, a model that does not continue texts or that has
            nothing to train, or data that cannot be trained on.
    """
    options = tuning_config(config, **changes)
    _check_model(model, options)
    if arguments is None:
        arguments = tuning_arguments(output_dir, options, eval_strategy="no" if eval_data is None else "epoch")
    else:
        _check_arguments(arguments, options)
        arguments = copy.copy(arguments)
        arguments.output_dir = os.fspath(output_dir)
    max_length = _length(model, options)
    examples = response_examples(tokenizer, data, max_length=max_length, name="training data")
    others = None if eval_data is None else response_examples(tokenizer, eval_data, max_length=max_length, name="eval data")
    if options.lora is not None and not has_adapter(model):  # last, since it changes the model
        model = with_adapter(model, options.lora, seed=arguments.seed)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=examples,
        eval_dataset=others,
        data_collator=partial(padded, padding=padding_id(tokenizer)),
        processing_class=tokenizer,
    )
    attach_diagnostics(trainer, tempbalance=options.tempbalance, guided_dropout=options.guided_dropout)
    return trainer


def tuning_arguments(
    output_dir: str | os.PathLike[str], config: ResponseTuningConfig | str | Mapping[str, Any] | None = None, **others: Any
) -> TrainingArguments:
    """Make the arguments of the trainer from options, to add others to them.

    Args:
        output_dir: Where checkpoints go.
        config: As for :func:`response_trainer`.
        **others: Of ``TrainingArguments``, by name.

    Returns:
        The arguments. Unless told otherwise, the loss is logged every 10 steps, as in the reference code, and a checkpoint is
        written after each epoch: our choice.
    """
    options = tuning_config(config)
    shared = {name: getattr(options, name) for name in _SHARED}
    if options.bf16 is None:
        shared["bf16"] = is_torch_bf16_gpu_available()
    ours = {"logging_steps": 10, "save_strategy": "epoch", "dataloader_pin_memory": torch.cuda.is_available()}
    return TrainingArguments(output_dir=os.fspath(output_dir), **{**ours, **shared, **others})


def _check_model(model: Any, options: ResponseTuningConfig) -> None:
    base: Any = without_peft(model)
    if not hasattr(base, "generate") or base.config.is_encoder_decoder:
        raise InputError(f"a {type(base).__name__} does not continue texts. Give a causal language model of transformers.")
    if has_adapter(model) and options.lora not in (None, LoraOptions()):
        raise InputError("lora: the model has an adapter already, which is trained. Leave the options out, or give its base.")
    is_trained = any(parameter.requires_grad for parameter in model.parameters())
    if not is_trained and (options.lora is None or has_adapter(model)):
        raise InputError("no parameter of the model has requires_grad. Load its adapter with is_trainable=True.")


def _check_arguments(arguments: TrainingArguments, options: ResponseTuningConfig) -> None:
    """Refuse options that are not the default and not those of the arguments: one of the two would count for nothing."""
    default = ResponseTuningConfig()
    for name in _SHARED:
        asked, given = getattr(options, name), getattr(arguments, name)
        if asked not in (getattr(default, name), given):
            raise InputError(f"{name}: the option is {asked} and that of arguments {given}. Give it in one place.")


def _length(model: Any, options: ResponseTuningConfig) -> int:
    config: Any = without_peft(model).config
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(options.max_length, positions or options.max_length)
