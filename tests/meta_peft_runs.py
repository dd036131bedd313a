"""Tiny models, tasks and trainers for the tests of meta-PEFT."""

import torch
from torch import nn

from tests.dcs_runs import arguments, bert, samples

TASKS = {"books": 20, "dvd": 12, "kitchen": 7}


def tasks(sizes=TASKS):
    """Classification tasks that differ in which labels are right."""
    return {name: samples(number, flipped=place, seed=place) for place, (name, number) in enumerate(sizes.items())}


def lora(**changes):
    from peft import LoraConfig

    return LoraConfig(**({"r": 2, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"} | changes))


def ia3(**changes):
    from peft import IA3Config

    options = {"target_modules": ["query", "value"], "feedforward_modules": [], "task_type": "SEQ_CLS"}
    return IA3Config(**(options | changes))


def trainer(folder, config=None, model=None, peft_config=None, data=None, *, meta=None, **changes):
    """A trainer; keyword arguments of its own as ``meta``, all others are training arguments."""
    from spectra.training.meta_peft import MetaPeftTrainer

    return MetaPeftTrainer(
        bert() if model is None else model,
        lora() if peft_config is None else peft_config,
        tasks() if data is None else data,
        arguments(folder, **({"num_train_epochs": 1} | changes)),
        config=config,
        **(meta or {}),
    )


def distilbert():
    """Its head is two modules, and the name of one ends as the other's."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    return DistilBertForSequenceClassification(DistilBertConfig(vocab_size=40, max_position_embeddings=16, **sizes))


class Regression(nn.Module):
    """A matrix, as the theory has it."""

    def __init__(self, size=4):
        super().__init__()
        self.map = nn.Linear(size, size, bias=False)

    def forward(self, x):
        return self.map(x)


def squared(model, batch):
    return ((model(batch["x"]) - batch["y"]) ** 2).sum(dim=1).mean()


def matrices(sizes=(8, 8, 8), size=4):
    """Rows of linear tasks."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for place, number in enumerate(sizes):
        matrix = torch.randn(size, size, generator=generator)
        rows = torch.randn(number, size, generator=generator)
        found[f"task{place}"] = [{"x": row, "y": matrix @ row} for row in rows]
    return found


def state_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
