"""How far fine-tuning moved a model: its weights beside their spectra, and its predictions.

Yang et al. (2024), arXiv 2402.13669, section 4, find that tuning on rewritten responses moves the parameters less. The size of
a change says little by itself: shown beside it are where in the model it is, what it did to the spectra, and what to the
distribution of the next token.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from spectra.diagnose.engines.devices import resolve_device, resolve_workers
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.weight_shift import weight_shift
from spectra.diagnose.work import Progress
from spectra.errors import InputError, SourceError
from spectra.esd.accelerator import CPU
from spectra.results.model_shift import Divergence, ModelShift
from spectra.results.settings import SettingsChanges
from spectra.sources.pairs import pair_models

if TYPE_CHECKING:
    from spectra.sources.open import Model


def model_shift(
    seed: Model | None,
    tuned: Model,
    /,
    *,
    probe: Iterable[Mapping[str, Any]] | None = None,
    spectra: bool = True,
    profile: str = "default",
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[SettingsChanges],
) -> ModelShift:
    """Measure how far a tuned model is from its seed.

    Weights are read by rows, so that two models on disk need not fit into memory. What an adapter adds is measured from its
    factors. A seed that is given together with a live model with adapters is compared with the merged weights, which takes
    longer and includes what rounding to the dtype of either did.

    Args:
        seed: The model before training: a folder, a hub id, a live module or a mapping of tensors. ``None``: the base of the
            adapter that ``tuned`` is.
        tuned: The model after it, of any of these kinds; a folder with a PEFT adapter, or a live model with one.
        probe: Batches of texts on which to compare predictions, too; see :func:`spectra.training.sdft.divergence.divergence`.
            Models on disk are then loaded; a saved adapter with its base is loaded once.
        spectra: Analyse the matrices that changed, before and after.
        profile: As of :func:`spectra.analyze`.
        device: Where spectra are computed, and where models on disk are loaded for the probe; as of :func:`spectra.analyze`.
        workers: As of :func:`spectra.analyze`.
        progress: Called after each matrix analysed.
        **settings: As of :func:`spectra.analyze`, without ``lora``. ``include`` and ``exclude`` choose which matrices get a
            row; the norms of the whole model are of all of it.

    Returns:
        The shift. What could not be compared is in its ``notes``, or in those of the row.

    Raises:
        InputError: An argument that cannot be used, no seed where none is known, or a probe for a mapping of tensors.
        SourceError: A model cannot be read, or the two have no weight in common.
        MissingPackageError: The probe needs transformers, or peft, to load a model.

    Example:
        >>> import numpy as np
        >>> shift = model_shift({"fc.weight": np.eye(9)}, {"fc.weight": 1.25 * np.eye(9)}, spectra=False)
        >>> shift.norm_change, shift.matrices[0].relative_change
        (0.75, 0.25)
    """
    if settings.get("lora") is not None:
        raise InputError("lora: an adapter's change, and the weights without and with it, are all looked at. Leave lora out.")
    resolved = resolve_settings(profile, **settings)
    where = resolve_device(device, tuned)
    num_workers = 1 if where != CPU and workers == "auto" else resolve_workers(workers)
    pair = pair_models(seed, tuned)
    # The probe first: what is wrong with it is found before the long part.
    found = None if probe is None else _divergence(seed, tuned, probe, device)
    shift = weight_shift(pair, resolved, spectra=spectra, device=where, workers=num_workers, progress=progress)
    return dataclasses.replace(shift, divergence=found)


def _divergence(seed: Model | None, tuned: Model, probe: Iterable[Mapping[str, Any]], device: str) -> Divergence:
    from spectra.training.sdft.divergence import divergence

    model, base = _loaded(tuned, device)
    # An adapter over this very seed: switching it off saves a second copy.
    if seed is None or (base is not None and isinstance(seed, str | os.PathLike) and _is_same(seed, base)):
        return divergence(None, model, probe)
    return divergence(_loaded(seed, device)[0], model, probe)


def _loaded(model: Model, device: str) -> tuple[Any, str | None]:
    """Return a live model, and of an adapter on disk where its base is."""
    from spectra.training.pretrained import find_checkpoint, load_model

    if hasattr(model, "named_modules"):
        return model, None
    if not isinstance(model, str | os.PathLike):
        raise InputError("probe: a mapping of tensors predicts nothing. Give a folder, a hub id or a live model.")
    checkpoint = find_checkpoint(os.fspath(model), "causal-lm")
    loaded = load_model(checkpoint, device=device)
    if loaded.notes:
        raise SourceError(
            f"'{checkpoint.name}' lacks weights of a causal language model, so it predicts nothing. Leave probe out."
        )
    return loaded.model, checkpoint.location if checkpoint.adapter else None


def _is_same(seed: str | os.PathLike[str], base: str) -> bool:
    return os.fspath(seed) == base or Path(seed).expanduser().resolve() == Path(base).expanduser().resolve()
