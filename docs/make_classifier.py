"""Make the small classifier that the pages measure: ``python docs/make_classifier.py``.

The demo model, all-MiniLM-L6-v2, has no head for a task. It gets one here: a logistic regression on the 30 sentences of
``docs/reviews.tsv``, which were written for these pages; the body stays as it is. Thirty sentences show how to call things, and
say nothing about film reviews. The figures of the pages are drawn by the commands they show, with ``--wide --format png``.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

REVIEWS = Path(__file__).with_name("reviews.tsv")
FOLDER = Path("demo-report") / "classifier"

_PENALTY = 0.01  # on the head's squared weights: keeps its probabilities away from 0 and 1


def save_classifier(folder: Path) -> None:
    """Give the demo model a head and write it with its tokenizer.

    Args:
        folder: Made if it is missing.
    """
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    from spectra.sources.demo import verified_folder
    from spectra.training.libraries import quiet

    with REVIEWS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = sorted({row["label"] for row in rows})
    classes: dict[str, Any] = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    with quiet(), torch.no_grad():
        tokenizer = AutoTokenizer.from_pretrained(verified_folder())
        model = BertForSequenceClassification.from_pretrained(verified_folder(), **classes).eval()
        tokens = tokenizer([row["sentence"] for row in rows], padding=True, return_tensors="pt")
        labels = torch.tensor([names.index(row["label"]) for row in rows])
        model.classifier.weight.copy_(_head(model.bert(**tokens).pooler_output, labels))
        model.classifier.bias.zero_()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _head(features: Tensor, labels: Tensor) -> Tensor:
    """Fit a logistic regression; in float64, so that the same weights come out everywhere."""
    import torch

    features = features.double()
    weight = torch.zeros(int(labels.max()) + 1, features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=1000, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    @torch.enable_grad()
    def loss() -> Tensor:
        optimizer.zero_grad()
        total: Tensor = torch.nn.functional.cross_entropy(features @ weight.T, labels) + _PENALTY * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach()


if __name__ == "__main__":
    save_classifier(FOLDER)
