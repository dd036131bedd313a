"""What a model's predictions are measured by, for each task."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from spectra.fisher.outputs import NO_TARGET
from spectra.training.libraries import imported

_LANGUAGE = ("perplexity",)

#: Names of the metrics by task; each task has ``loss``, too.
METRICS: Mapping[str, tuple[str, ...]] = {
    "sequence-classification": ("accuracy", "f1", "matthews"),
    "token-classification": ("accuracy", "f1"),
    "regression": ("pearson", "spearman"),
    "causal-lm": _LANGUAGE,
    "masked-lm": _LANGUAGE,
    "seq2seq": _LANGUAGE,
}

Numbers = dict[str, float]


@dataclass(frozen=True)
class RunMetrics:
    """Metrics as a ``Trainer`` takes them.

    Attributes:
        preprocess: Makes of the logits of a batch what is kept of it.
        compute: Makes metrics of what was kept and the labels.
    """

    preprocess: Callable[[Any, Tensor], Tensor]
    compute: Callable[[Any], Numbers]


def run_metrics(task: str, num_classes: int = 2) -> RunMetrics:
    """Choose the metrics of a task.

    * ``sequence-classification``: accuracy, F1 (of class 1; of more than two classes the mean over those that occur) and
      Matthews' correlation, by scikit-learn;
    * ``token-classification``: accuracy and F1 over words, not over entities;
    * ``regression``: Pearson's and Spearman's correlation, by SciPy; NaN where all predictions are one number;
    * language models: perplexity, of the mean over all tokens that are predicted.

    Args:
        task: One of ``METRICS``.
        num_classes: Of a classifier.

    Returns:
        The metrics; their names are those of ``METRICS``.
    """
    if task == "regression":
        return RunMetrics(lambda logits, labels: _first(logits), _of_regression)
    if task in ("sequence-classification", "token-classification"):
        return RunMetrics(_predicted, partial(_of_classes, num_classes=num_classes, names=METRICS[task]))
    return RunMetrics(partial(_token_losses, shift=int(task == "causal-lm")), _of_language)


def _first(logits: Any) -> Tensor:
    """Take the logits: some models return hidden states beside them."""
    found: Tensor = logits[0] if isinstance(logits, tuple | list) else logits
    return found


def _predicted(logits: Any, labels: Tensor) -> Tensor:
    return _first(logits).argmax(-1)


def _of_classes(found: Any, *, num_classes: int, names: tuple[str, ...]) -> Numbers:
    metrics = imported("sklearn.metrics", what="measuring a classifier")
    is_asked = found.label_ids != NO_TARGET
    labels, predicted = found.label_ids[is_asked], found.predictions[is_asked]
    average = "binary" if num_classes == 2 else "macro"
    functions = {
        "accuracy": metrics.accuracy_score,
        "f1": partial(metrics.f1_score, average=average, zero_division=0.0),
        "matthews": metrics.matthews_corrcoef,
    }
    return {name: float(functions[name](labels, predicted)) for name in names}


def _of_regression(found: Any) -> Numbers:
    labels, predicted = (_flat(one) for one in (found.label_ids, found.predictions))
    return {"pearson": _correlation("pearsonr", labels, predicted), "spearman": _correlation("spearmanr", labels, predicted)}


def _flat(numbers: Any) -> NDArray[np.float64]:
    return np.asarray(numbers, dtype=np.float64).reshape(-1)


def _correlation(name: str, labels: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    if min(len(labels), len(set(labels)), len(set(predicted))) < 2:
        return math.nan
    with warnings.catch_warnings():  # of predictions that are nearly one number
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(getattr(imported("scipy.stats"), name)(labels, predicted).statistic)


def _token_losses(logits: Any, labels: Tensor, *, shift: int) -> Tensor:
    """Return of each text the sum of the losses of its tokens, and their number, (texts, 2): logits would fill the memory."""
    scores, targets = _first(logits).float(), labels
    if shift:  # a token is predicted by what stands before it
        scores, targets = scores[:, :-1], targets[:, 1:]
    losses = cross_entropy(scores.transpose(1, 2), targets, ignore_index=NO_TARGET, reduction="none")
    return torch.stack([losses.sum(-1), (targets != NO_TARGET).sum(-1)], dim=-1)


def _of_language(found: Any) -> Numbers:
    total, number = np.asarray(found.predictions, dtype=np.float64).sum(0)
    return {"perplexity": float(np.exp(total / number)) if number else math.nan}
