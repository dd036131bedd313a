"""The history of the sample weights with what is known of the samples: labels, and the teacher's opinion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectra.fisher.tasks import without_peft
from spectra.results.sample_history import SampleHistory
from spectra.training.dcs.answers import CachedLogits
from spectra.training.dcs.sample_weights import SampleWeights


def sample_history(
    weights: SampleWeights, dataset: Any, kind: str, answers: Any, model: Any, settings: Mapping[str, Any]
) -> SampleHistory:
    """Bring together what is known of the samples.

    Args:
        weights: Of the samples.
        dataset: With a label in each item, where there is one for each sample.
        kind: How answers are compared.
        answers: Of the teacher, if they are kept.
        model: The student.
        settings: Options as plain values.

    Returns:
        The history.
    """
    labels, predictions = None, None
    names: tuple[str, ...] = ()
    if kind != "token":
        labels = _labels(dataset, np.float64 if kind == "r2" else np.int64)
        predictions = _predictions(answers, kind)
        names = _class_names(model) if kind != "r2" else ()
    return replace(
        weights.history(),
        labels=labels,
        teacher_predictions=predictions,
        class_names=names,
        settings={**settings, "discordance": kind},
    )


def _labels(dataset: Any, kind: type) -> NDArray[Any] | None:
    found = []
    for index in range(len(dataset)):
        item = dataset[index]
        label = next((item[name] for name in ("labels", "label", "label_ids") if name in item), None)
        if label is None or np.size(label) != 1:
            return None
        found.append(np.asarray(label).item())
    return np.array(found, dtype=kind)


def _predictions(answers: Any, kind: str) -> NDArray[Any] | None:
    if not isinstance(answers, CachedLogits):
        return None
    logits: NDArray[np.float32] = answers.table.rows(torch.arange(answers.table.num_samples)).cpu().numpy()
    if kind == "r2":
        return logits[:, 0].astype(np.float64) if logits.shape[1] == 1 else None
    predicted: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
    return predicted


def _class_names(model: Any) -> tuple[str, ...]:
    names = getattr(getattr(without_peft(model), "config", None), "id2label", None) or {}
    found = tuple(str(names[index]) for index in sorted(names))
    return () if all(name.startswith("LABEL_") for name in found) else found  # transformers' own say no more than numbers
