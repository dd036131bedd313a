"""Where an option belongs that stands elsewhere in a recipe, or has its name from another tool."""

from __future__ import annotations

from collections.abc import Mapping

from spectra.training.recipe.options import Key, options_of
from spectra.training.recipe.parts import PARTS

# Words of transformers' scripts, axolotl, LLaMA-Factory, torchtune and peft.
_OTHERS: Mapping[str, str] = {
    **dict.fromkeys(("base_model", "model_name_or_path", "pretrained_model_name_or_path", "checkpoint"), "model.name"),
    **dict.fromkeys(("torch_dtype", "precision"), "model.dtype"),
    **dict.fromkeys(("train_file", "train_data", "dataset", "datasets", "dataset_name"), "data.train"),
    **dict.fromkeys(("validation", "validation_file", "eval_dataset", "dev", "valid"), "data.eval"),
    **dict.fromkeys(("sequence_len", "cutoff_len", "max_seq_length", "max_seq_len"), "data.max_length"),
    **dict.fromkeys(("max_samples", "max_train_samples"), "data.train_size"),
    **dict.fromkeys(("label", "labels"), "data.label_column"),
    **dict.fromkeys(("text", "sentence"), "data.text_column"),
    "max_eval_samples": "data.eval_size",
    **dict.fromkeys(("lora_r", "lora_rank", "r"), "adapter.rank"),
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    **dict.fromkeys(("lora_target_modules", "lora_target", "target_modules"), "adapter.targets"),
    **dict.fromkeys(("lr", "learning_rates"), "training.learning_rate"),
    **dict.fromkeys(("epochs", "num_epochs"), "training.num_train_epochs"),
    **dict.fromkeys(("batch_size", "micro_batch_size", "train_batch_size"), "training.per_device_train_batch_size"),
    "eval_batch_size": "training.per_device_eval_batch_size",
    "gradient_clipping": "training.max_grad_norm",
    **dict.fromkeys(("optimizer", "optimizer_name"), "training.optim"),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "training.lr_scheduler_type"),
    **dict.fromkeys(("warmup", "warmup_ratio", "num_warmup_steps"), "training.warmup_steps"),
    **dict.fromkeys(("evaluation_strategy", "eval_every"), "training.eval_strategy"),
    **dict.fromkeys(("load_best_model_at_end", "metric"), "training.metric_for_best_model"),
    **dict.fromkeys(("output_dir", "out_dir"), "output"),
    "run_name": "name",
    "random_seed": "seed",
}


def belongs(key: Key) -> str | None:
    """Return where an unknown option belongs.

    Args:
        key: Where it stands.

    Returns:
        Its place and name in a recipe, or ``None``.
    """
    name = key[-1]
    homes = [f"{part}.{f.name}" for part, kind in PARTS.items() for f in options_of(kind) if f.name == name]
    return homes[0] if len(homes) == 1 else _OTHERS.get(name)
