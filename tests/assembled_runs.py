"""Tiny models, data and recipes for the tests of what a recipe becomes."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.pretrained import VOCABULARY, decoder_tokenizer, encoder_tokenizer

WORDS = ("the film was very good", "it was bad and not good", "a good film", "the film was not very bad")
CLASSES = ("bad", "good")
STEPS = {
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_steps": 1,
    "learning_rate": 5e-3,
    "per_device_train_batch_size": 4,
}


def texts(folder: Path, name: str, number: int = 16, *, seed: int = 0, label=lambda text: CLASSES["bad" not in text]) -> str:
    """Write a file of texts with labels."""
    drawn = random.Random(f"{seed}{name}")
    lines = [f"{text}\t{label(text)}\n" for text in drawn.choices(WORDS, k=number)]
    file = folder / f"{name}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(["text\tlabel\n", *lines]))
    return str(file)


def labelled(folder: Path, **changes) -> dict:
    """The part ``data`` for classes."""
    files = {use: texts(folder, use) for use in ("train", "eval", "test")}
    return files | {"text_column": "text", "label_column": "label", "max_length": 16} | changes


def recipe(folder: Path, model: Path, data: dict, **changes):
    """A recipe of a few steps, with a checkpoint in the middle."""
    from spectra.training.recipe import recipe_of

    training = STEPS | changes.pop("training", {})
    return recipe_of(
        {
            "model": model if isinstance(model, dict) else str(model),
            "data": data,
            "training": training,
            "output": str(folder / "run"),
            "seed": 3,
        }
        | changes
    )


def classifier(folder: Path, *, head: str = "BertModel", **changes):
    """A recipe for a bare encoder and two classes."""
    model = folder / "bert"
    if not model.exists():
        save_encoder(model, head)
    return recipe(folder, model, labelled(folder, **changes.pop("data", {})), **changes)


def save_encoder(folder: Path, head: str = "BertModel") -> Path:
    """A BERT of three small layers, of different sizes of weights, with its tokenizer."""
    import torch
    import transformers

    from spectra.training.libraries import quiet

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96}
    config = transformers.BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=32, **sizes)
    model = getattr(transformers, head)(config)
    for place, parameter in enumerate(model.parameters()):  # spectra that differ
        parameter.data *= 1 + place / 50
        if parameter.ndim == 2:
            parameter.data[: 1 + place % 5] *= 3
    with quiet():
        model.save_pretrained(folder)
        encoder_tokenizer().save_pretrained(folder)
    return folder


def prompts(folder: Path, name: str, number: int = 8) -> str:
    """Write a file of prompts and responses."""
    drawn = random.Random(name)
    rows = [{"prompt": drawn.choice(WORDS), "response": f"it was {drawn.choice(CLASSES)}"} for _ in range(number)]
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps({**row, "prompt": f"{row['prompt']} {place}"}) + "\n" for place, row in enumerate(rows)))
    return str(file)


def domains(folder: Path) -> str:
    """Write a folder of three tasks."""
    for seed, task in enumerate(("books", "dvds", "music")):
        for use in ("train", "eval", "test"):
            texts(folder / "domains" / task, use, 8, seed=seed)
    return str(folder / "domains")


def save_llama(folder: Path) -> Path:
    """A Llama of one layer with a tokenizer, which continues texts."""
    from spectra.training.libraries import quiet
    from tests.tuned_responses import llama

    with quiet():
        llama(max_position_embeddings=128).save_pretrained(folder)
        decoder_tokenizer().save_pretrained(folder)
    return folder


def weights(model) -> list:
    return [tensor.detach().clone() for tensor in model.state_dict().values()]
