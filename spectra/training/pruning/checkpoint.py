"""Pruning of a checkpoint on disk, one tensor at a time, into a new folder that loads as the old one did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spectra._version import __version__
from spectra.errors import SourceError
from spectra.results.store import is_result_folder
from spectra.results.writing import write_whole
from spectra.sources import demo, hub
from spectra.sources.adapter_folder import adapter_folder
from spectra.sources.open import open_source
from spectra.sources.tensors import Source
from spectra.training.pruning.folder import RECORD, check_room, copy_companions, new_folder
from spectra.training.pruning.origin import plan_notes
from spectra.training.pruning.outcome import PrunedLayer, PruneReport
from spectra.training.pruning.shards import Place, places_of, set_to_zero, to_disk
from spectra.training.pruning.tasks import PruneMethod, PruneTask, checked_method, pruning_tasks

if TYPE_CHECKING:
    from spectra.policies.plan import Plan


def prune_checkpoint(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    sparsities: Plan | Mapping[str, float],
    *,
    method: str = "magnitude",
    input_norms: Mapping[str, Tensor] | None = None,
    notes: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PruneReport:
    """Write a checkpoint with the smallest weights of its layers set to zero.

    Every file is copied, and the weights that go are overwritten with zeros: dtypes, names, shards, metadata and all other
    bytes are those of the model. One layer at a time is in memory, never the model.

    Args:
        model: A folder with safetensors weights, or ``"demo"``; it is not changed.
        output: The new folder, which appears when it is complete. It also gets ``pruning.json``: what was done, and the plan.
        sparsities: A plan, or a sparsity by layer name.
        method: ``"magnitude"`` or ``"wanda"``.
        input_norms: For Wanda, by layer, from :func:`spectra.training.pruning.inputs.input_norms`.
        notes: What to add to the report, such as the data behind the input norms.
        force: Replace a folder that was written by this function.
        progress: Called with how many layers are done, of how many.

    Returns:
        What was done, layer by layer.

    Raises:
        InputError: A layer that is not there or cannot be pruned, an unknown method, or one without what it needs.
        SourceError: No such model, or one whose files cannot be pruned.
        ResultsError: The folder exists or cannot be written.
        NonFiniteWeightsError: A layer holds NaN or infinite weights.
    """
    checked = checked_method(method, input_norms)
    source, folder = _opened(model)
    output = Path(output).expanduser()
    check_room(output, folder, force=force)
    tasks = pruning_tasks(source, sparsities, checked, input_norms)
    with new_folder(output) as temporary:
        left_out = copy_companions(folder, temporary, source.files)
        layers = _write_weights(source, tasks, temporary, progress)
        behind = [f"other weights, not pruned and not copied: {', '.join(left_out)}"] if left_out else []
        report = PruneReport(source.name, checked.value, layers, (*notes, *behind, *plan_notes(source, sparsities)))
        plan = None if isinstance(sparsities, Mapping) else sparsities.to_dict()
        content = {"version": __version__, "source": source.location, **report.to_dict(), "plan": plan}
        write_whole(temporary / RECORD, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return report


def preview_pruning(
    model: str | os.PathLike[str], sparsities: Plan | Mapping[str, float], *, method: str = "magnitude"
) -> PruneReport:
    """Say what pruning would do, from headers alone.

    Args:
        model: As :func:`prune_checkpoint` takes it.
        sparsities: A plan, or a sparsity by layer name.
        method: ``"magnitude"`` or ``"wanda"``.

    Returns:
        The same report, in which every layer has as many zeros as asked for.
    """
    source, _ = _opened(model)
    known = checked_method(method, {} if method == PruneMethod.WANDA else None)
    tasks = pruning_tasks(source, sparsities, known)
    layers = tuple(task.outcome(task.num_asked) for task in tasks)
    return PruneReport(source.name, known.value, layers, plan_notes(source, sparsities))


def _opened(model: str | os.PathLike[str]) -> tuple[Source, Path]:
    """Open a model whose files can be copied, and return its folder."""
    location = os.fspath(model)
    folder = demo.verified_folder() if location == demo.NAME else Path(location).expanduser()
    if not folder.exists() and hub.is_hub_id(location):
        raise SourceError(f"no folder '{location}'. A hub model has to be here whole: hf download {location} --local-dir DIR")
    if is_result_folder(folder):
        raise SourceError(f"'{location}' is a result folder of 'spectra analyze', not a checkpoint. Give the model itself.")
    if folder.is_file():
        raise SourceError(f"'{location}' is a file. Give the folder that holds it with its configuration and tokenizer.")
    if folder.is_dir() and adapter_folder(folder) is not None:
        raise SourceError(f"'{location}' is an adapter. Merge it into its base (peft: merge_and_unload), and save that.")
    source = open_source(model)
    if source.format != "safetensors":
        raise SourceError(
            f"'{location}' is stored in torch's own format, and only safetensors is written. Convert it: load it with "
            "transformers, then save_pretrained."
        )
    return source, folder


def _write_weights(
    source: Source, tasks: list[PruneTask], folder: Path, progress: Callable[[int, int], None] | None
) -> tuple[PrunedLayer, ...]:
    places = places_of(source.files)
    for file in source.files:
        shutil.copyfile(file, folder / file.name)
    layers = []
    for number, task in enumerate(tasks):
        names = (task.layer.tensor.name, *task.layer.copies)
        layers.append(_write_layer(task, [place for name in names for place in places[name]], folder))
        if progress:
            progress(number + 1, len(tasks))
    for file in source.files:
        to_disk(folder / file.name)
    return tuple(layers)


def _write_layer(task: PruneTask, places: list[Place], folder: Path) -> PrunedLayer:
    tensor = task.layer.tensor
    weight = torch.from_numpy(tensor.read(0, tensor.shape[0]))
    is_pruned = ~task.keep_mask(weight)
    for place in places:
        set_to_zero(folder, place, is_pruned.numpy())
    return task.outcome(int((is_pruned | (weight == 0)).sum()))
