"""From sums of squares to the record of a Fisher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spectra._version import __version__
from spectra.fisher.parameters import MeasuredParameter, common_dtype
from spectra.fisher.sample_weights import note_of
from spectra.fisher.state import Counts
from spectra.fisher.sums import Sums
from spectra.results.fisher import Fisher, FisherInfo, FisherTensor, SiteBlock

_PIECE = 2**20  # entries handled at once where a copy of a parameter would only be summed up


def fisher_of(
    model: nn.Module,
    parameters: Sequence[MeasuredParameter],
    sites: tuple[SiteBlock, ...],
    sums: Sums,
    counts: Counts,
    settings: Mapping[str, Any],
    *,
    scale: float,
) -> Fisher:
    """Make the record.

    Args:
        model: What was measured.
        parameters: In the order of the record.
        sites: Of dropout.
        sums: Of squares; divided in place.
        counts: Of samples, and traces.
        settings: Kind, reduction and the rest that says which Fisher it is.
        scale: What the losses were multiplied by.

    Returns:
        Averages over the samples.
    """
    number = counts.num_samples
    divisor = number * scale**2
    for tensor in sums.tensors().values():
        tensor.div_(divisor)
    tensors = []
    for parameter in parameters:
        name = parameter.name
        values = sums.values.get(name)
        trace = counts.traces[name] / divisor  # summed in float64; the values, in float32, drift after a million samples
        relative = math.nan if values is None else _relative(values, parameter.tensor)
        tensors.append(
            FisherTensor(
                name=name,
                layer_name=parameter.layer_name,
                kind=parameter.kind,
                shape=tuple(parameter.tensor.shape),
                num_params=parameter.tensor.numel(),
                trace=trace,
                trace_std_error=_standard_error(counts.traces[name] / scale**2, counts.squared_traces[name] / scale**4, number),
                relative=relative,
                route="loop" if name in counts.unfollowed else "batched",
                aliases=parameter.aliases,
                transposed=parameter.transposed,
            )
        )
    info = FisherInfo(
        kind=settings["kind"],
        reduction=settings["reduction"],
        keep=settings["keep"],
        aggregate=settings["aggregate"],
        task=settings["task"],
        num_samples=number,
        num_tokens=counts.num_tokens,
        num_skipped=counts.num_skipped,
        num_draws=settings["num_draws"],
        seed=settings["seed"],
        model=name_of(model),
        num_params=sum(parameter.numel() for parameter in model.parameters()),
        dtype=common_dtype(parameters),
        data=counts.data,
        version=__version__,
        notes=notes_of(counts, [parameter.name for parameter in parameters], asked=settings["route"] == "loop"),
    )
    as_arrays = [
        {name: tensor.cpu().numpy() for name, tensor in some.items()}
        for some in (sums.values, sums.output_neurons, sums.input_neurons)
    ]
    return Fisher(info, tuple(tensors), sites, *as_arrays)


def _relative(values: Tensor, parameter: Tensor) -> float:
    """Sum up F θ², a piece at a time."""
    pieces = zip(torch.split(values.flatten(), _PIECE), torch.split(parameter.detach().flatten(), _PIECE), strict=True)
    return sum(float((value * weight.to(value.dtype).square()).sum(dtype=torch.float64)) for value, weight in pieces)


def _standard_error(total: float, squared: float, number: int) -> float:
    if number < 2:
        return math.nan
    variance = max(squared - total**2 / number, 0.0) / (number - 1)
    return math.sqrt(variance / number)


def notes_of(counts: Counts, names: Sequence[str], *, asked: bool) -> tuple[str, ...]:
    """Say whether samples have weights, what was measured one sample at a time and why, and what no gradient reaches.

    Args:
        counts: Of a run at its end.
        names: Of all parameters.
        asked: The loop was the user's choice.

    Returns:
        A sentence each.
    """
    notes = [note_of(counts.num_samples, counts.data)] if counts.is_weighted else []
    by_reason: dict[str, list[str]] = {}
    for name, reason in counts.unfollowed.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, several in by_reason.items():
        if not asked:
            notes.append(f"measured one sample at a time, as {reason}: {', '.join(several)}")
    unused = [name for name in names if name not in counts.reached]
    if unused:
        notes.append(f"no gradient reaches: {', '.join(unused)}")
    return tuple(notes)


def name_of(model: nn.Module) -> str:
    """Name a model: the last part of the path or id it was loaded from, or its class.

    Args:
        model: Any module.

    Returns:
        The name.
    """
    path = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(path).rstrip("/").rpartition("/")[2] or type(model).__name__
