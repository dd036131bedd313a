"""Checks of a recipe's model: that it has a head for the task, and weights that can be trained."""

from __future__ import annotations

from spectra.sources.quantized import quantization_settings
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.checking.stored_model import StoredModel
from spectra.training.recipe.parts import TASKS, Recipe

_CLASSIFICATION = "sequence-classification"
_OF_TEXTS = (_CLASSIFICATION, "regression")
_LABELLED = (*_OF_TEXTS, "token-classification")
_MOST_SPECIAL = 8  # no tokenizer adds more tokens of its own to a text or pair; below, it is asked


def check_model(recipe: Recipe, model: StoredModel | None, found: Findings) -> str | None:
    """Check the model.

    Args:
        recipe: The recipe.
        model: Its model, where it is at hand.
        found: What is wrong is added.

    Returns:
        What the model is trained for: the task that is given, else that of its head; but to classify where there are labels
        and the head is for none. ``None`` where that is not known.
    """
    if model is None:
        return recipe.model.task or ("causal-lm" if recipe.method.name == "sdft" else None)
    if recipe.model.revision is not None:
        found.add(f"it is of a hub id, and '{model.name}' is a folder. Leave it out.", "model", "revision")
    _check_storage(recipe, model, found)
    _check_length(recipe, model, found)
    return _task(recipe, model, found)


def _task(recipe: Recipe, model: StoredModel, found: Findings) -> str | None:
    given, own = recipe.model.task, model.task
    _check_head(model, given, own, found)
    if given is not None:
        return given
    if model.adapter is not None:
        return None
    if own not in _LABELLED and (recipe.data.label_column is not None or recipe.data.tasks is not None):
        return _CLASSIFICATION
    if own is None and recipe.method.name == "sdft":
        return "causal-lm"
    if own is None:
        architecture = model.architecture or "no known architecture"
        found.add(
            f"'{model.name}' is {architecture}, which has no head for a task on text. Give data.label_column to classify, "
            f"or a task: {', '.join(TASKS)}.",
            "model",
            "task",
        )
    return own


def _check_head(model: StoredModel, given: str | None, own: str | None, found: Findings) -> None:
    if own == _CLASSIFICATION and model.config.get("problem_type") == "multi_label_classification":
        found.add(
            "the model gives several labels to a text (multi_label_classification), which is not read from files.",
            "model",
            "name",
        )
    elif given == "causal-lm" and own == "masked-lm" and not model.config.get("is_decoder"):
        found.add(
            f"'{model.name}' is an encoder: it sees the token that task 'causal-lm' has to predict. Choose another (--task).",
            "model",
            "task",
        )
    elif given != own and given in _OF_TEXTS and own in _OF_TEXTS:
        found.add(
            f"'{model.name}' has a head for '{own}', got '{given}'. Choose its own, or a model without a head.", "model", "task"
        )


def _check_storage(recipe: Recipe, model: StoredModel, found: Findings) -> None:
    settings = quantization_settings(model.config)
    if settings and (recipe.adapter.name == "none" or recipe.method.name == "meta_peft"):
        kind = settings.get("quant_method", "another format")
        found.add(
            f"the weights of '{model.name}' are stored as {kind}, and cannot be trained so. Take the model they were made of, "
            "or train an adapter (adapter: lora).",
            "model",
            "name",
        )
    if model.adapter is not None and recipe.adapter.name != "none":
        found.add(
            f"'{model.name}' is an adapter itself. Merge it with peft first, or leave this out to train it on.",
            "adapter",
            "name",
        )


def _check_length(recipe: Recipe, model: StoredModel, found: Findings) -> None:
    length, most = recipe.data.max_length, model.positions
    if most is not None and length > most:
        found.add(f"expected at most {most} tokens, as the model takes, got {length}. Lower it.", "data", "max_length")
    if length <= _MOST_SPECIAL and (model.folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
        num_special = tokenizer.num_special_tokens_to_add(recipe.data.pair_column is not None)
        if length <= num_special:
            found.add(
                f"expected more than the {num_special} tokens of the tokenizer's own, got {length}. Raise it.",
                "data",
                "max_length",
            )
