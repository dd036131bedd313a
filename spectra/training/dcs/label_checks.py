"""Looking at labels before anything is trained on them: what is wrong is said of a sample, not by a kernel in the middle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from spectra.errors import InputError
from spectra.training.dcs.data_fingerprint import LABELS, all_labels, looked_at

IGNORED = -100


def check_labels(dataset: Any, kind: str, num_classes: int | None) -> None:
    """Refuse labels that nothing can be learned from.

    All labels are looked at where they are at hand, else those of up to 64 samples; where a collator makes the labels, none.

    Args:
        dataset: Without index.
        kind: How answers are compared: ``r2`` for regressions, ``token`` for tokens, else classes.
        num_classes: C, for classes; ``None`` if it is not known.

    Raises:
        InputError: Labels that are text, not finite, no class of the model's; or no token with a label in any sample.
    """
    found = list(_labels(dataset))
    if kind == "token":
        _check_tokens(found)
        return
    for place, label in found:
        value = np.asarray(label)
        if value.dtype.kind in "US":
            raise InputError(
                f"sample {place} has the label {label!r}, which is text. Turn labels into numbers, as by model.config.label2id."
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise InputError(f"sample {place} has the label {label}, which is not finite. Leave the sample out, or mend it.")
        if kind != "r2" and value.ndim == 0:
            _check_class(place, value.item(), num_classes)


def _labels(dataset: Any) -> Iterable[tuple[int, Any]]:
    labels = all_labels(dataset)
    if labels is not None:
        yield from enumerate(labels)
        return
    for place in looked_at(len(dataset)):
        item = dataset[place]
        name = next((name for name in LABELS if isinstance(item, Mapping) and name in item), None)
        if name is not None:
            yield place, item[name]


def _check_class(place: int, label: Any, num_classes: int | None) -> None:
    if isinstance(label, float):
        raise InputError(
            f"sample {place} has the label {label}, a fraction, and the model has classes. Pass whole numbers, or a model with "
            "num_labels=1 for a regression."
        )
    if num_classes is not None and not 0 <= label < num_classes:
        raise InputError(
            f"sample {place} has the label {label}, and the model knows the classes 0 to {num_classes - 1}. Mend the label, or "
            "set num_labels when the model is made."
        )


def _check_tokens(found: list[tuple[int, Any]]) -> None:
    rows = [np.asarray(label) for _, label in found if np.ndim(label) > 0]
    if rows and all((row == IGNORED).all() for row in rows):
        raise InputError(
            f"none of {len(rows)} samples that were looked at has a token with a label: all are -100. Look at what masks the "
            "labels, and at what cuts the texts."
        )
