"""What is wrong with a recipe, as far as it can be known before anything is downloaded or trained: all of it at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spectra.training.recipe.checking.check_adapter import check_adapter
from spectra.training.recipe.checking.check_data import check_data
from spectra.training.recipe.checking.check_diagnostics import check_diagnostics
from spectra.training.recipe.checking.check_machine import check_machine
from spectra.training.recipe.checking.check_method import check_method
from spectra.training.recipe.checking.check_model import check_model
from spectra.training.recipe.checking.check_output import check_output
from spectra.training.recipe.checking.check_training import check_training
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.checking.stored_model import stored_model
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.reading import Draft


def faults(draft: Draft | Recipe) -> list[str]:
    """Find what is wrong with a recipe.

    Files of data are read (large ones without labels by their first line), and of a model its configuration and the headers of
    its weights. Of a hub id nothing is known before it is downloaded: what depends on it is not checked. Nor is what takes the
    model itself: whether it has dropout, and which modules peft adapts by itself. What is only unusual is no fault: a
    ``train_size`` above the number of rows, ``bf16`` on a CPU, a model whose matrices are too small to be balanced.

    Nothing is imported that takes long, but for ``training.arguments`` and rare optimizers (transformers), and where a GPU
    counts: ``model.device: cuda``, or ``bf16`` on whatever device there is (torch).

    Args:
        draft: A recipe, or one that was read and may have faults; those come first.

    Returns:
        A sentence for each: where, what, and what to do. None for a recipe that can run.
    """
    recipe, known = (draft, []) if isinstance(draft, Recipe) else (draft.recipe, list(draft.faults))
    if recipe is None:
        return known
    found = Findings(recipe)
    model = stored_model(recipe, found)
    task = check_model(recipe, model, found)
    sizes = check_data(recipe, model, task, found)
    check_method(recipe, task, found)
    check_adapter(recipe, model, found)
    check_diagnostics(recipe, model, found)
    check_training(recipe, task, sizes.get("train"), found)
    check_output(recipe, model, found)
    check_machine(recipe, found)
    told = [place.partition(" (")[0] for place, colon, _ in (fault.partition(": ") for fault in known) if colon]
    return known + [fault for fault in dict.fromkeys(found.sentences) if not _is_about(fault, told)]


def _is_about(fault: str, options: Sequence[str]) -> bool:
    """Say whether a fault is about an option that could not be read, or names it: only the defaults of these are known."""
    dotted = [re.escape(option) for option in options if "." in option]
    is_named = bool(dotted) and re.search(rf"\b({'|'.join(dotted)})\b(?!\.\w)", fault) is not None
    return is_named or fault.partition(": ")[0].partition(" (")[0] in options
