"""The loss around the weights of a model: over two random directions, for regions of high and of low Fisher information.

The perturbation study of the guided-dropout paper with what it lacked: a grid that holds the weights themselves, the same
directions in every region, steps of one length in all of them, vectors that move too, and the same batches at every point.

Source: arXiv 2406.14005 and its code; fisher-guided dropout specification, section A.5.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectra._version import __version__
from spectra.errors import InputError
from spectra.fisher.as_found import as_found
from spectra.fisher.batches import chained_fingerprint, mapped
from spectra.fisher.estimate import unwrapped
from spectra.fisher.interrupts import deferred_interrupts
from spectra.fisher.mean_loss import mean_loss
from spectra.fisher.neighborhood import Neighborhood, neighborhood
from spectra.fisher.outputs import TASKS, task_of
from spectra.fisher.parameters import check_model
from spectra.fisher.regions import REGIONS, Region, regions_of
from spectra.results.fisher import Fisher
from spectra.results.fisher_writing import content_fingerprint
from spectra.results.surface import LossSurface, SurfaceInfo, SurfaceRegion, resumed, surface_path
from spectra.whole_numbers import is_whole_number

if TYPE_CHECKING:
    import os

_SECONDS_BETWEEN_SAVES = 30.0  # our choice: what an interruption costs at most


@dataclass(frozen=True)
class SurfaceProgress:
    """How far a surface is.

    Attributes:
        region: The region under way.
        num_done: Points measured, over all regions.
        num_points: All of them.
    """

    region: str
    num_done: int
    num_points: int


def loss_surface(
    model: nn.Module,
    batches: Iterable[Any],
    fisher: Fisher,
    *,
    regions: str | Sequence[str] = REGIONS,
    num_points: int = 17,
    radius: float = 1.5,
    level: str = "tensor",
    norm_matched: bool = True,
    include_vectors: bool = True,
    seed: int = 0,
    task: str | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: Callable[[SurfaceProgress], None] | None = None,
) -> LossSurface:
    r"""Measure the loss at weights :math:`\theta + a\,\delta + b\,\eta` within regions of the model, for a grid of a and b.

    Both directions are Gaussian, each row with the norm of the weight's row (:mod:`spectra.fisher.directions`). The loss is the
    negative log-likelihood of all targets of all batches over their number, in eval mode. The weights are put back bit by bit,
    also after an exception, and so are modes, gradients and random states.

    Memory beside the model: a copy of its weights, two more in float32 for the directions and, by parameters, what
    :func:`spectra.fisher.regions.regions_of` needs. Cost: ``num_points**2 - 1`` passes over the batches for each region.

    Args:
        model: On any device.
        batches: As for :func:`spectra.fisher`, but without ``"sample_weight"``; kept, and the same at every point. Tokens must
            already be masked where that is the task.
        fisher: Of this model. What it knows is the whole; by parameters it needs values.
        regions: Some of ``"whole"``, ``"top"`` and ``"bottom"``.
        num_points: Along one side; odd, so that the weights themselves are a point. Default 17: next to the published 16.
        radius: The grid reaches from ``-radius`` to ``radius``. Default 1.5, as published.
        level: What has halves: ``"tensor"``, as published, or ``"parameter"``.
        norm_matched: Lengthen both directions in every region to their length in the whole, so that equal radii are equal
            steps. The published regions are not matched: there a small region moves less.
        include_vectors: Whether biases and norms move. The published ones stand.
        seed: Of the directions.
        task: As for :func:`spectra.fisher`. Default: that of the Fisher information.
        loss: As for :func:`spectra.fisher`.
        state: A ``.npz`` file in which the surface is kept, unfinished twice a minute and when it is interrupted (Ctrl-C takes
            effect after the point), and finished at the end; as ``save`` writes it. The same call continues it.
        progress: Called after every point.

    Returns:
        The surface. Where the outputs of a moved model are not finite its loss is ``inf``.

    Raises:
        InputError: An unknown region or level, an even grid, a radius that is not positive, no batches or targets, weights of
            samples, a Fisher information of another model, or a region in which nothing can move.
        ResultsError: ``state`` holds something else, or cannot be written.
    """
    model = unwrapped(model)
    check_model(model)
    grid = _grid(num_points, radius)
    if not is_whole_number(seed, least=0):
        raise InputError(f"seed is {seed!r}: pass 0 or a positive whole number.")
    file = None if state is None else surface_path(state)
    wanted = (regions,) if isinstance(regions, str) else tuple(regions)
    masks = regions_of(fisher, level, wanted)
    around = neighborhood(model, fisher, seed=seed, include_vectors=include_vectors)
    moves = _moves(around, {name: masks[name] for name in wanted}, masks["whole"] if norm_matched else None)
    task = "custom" if loss is not None else task_of(model, task or (fisher.info.task if fisher.info.task in TASKS else None))
    device = next(model.parameters()).device
    kept = [mapped(batch, lambda tensor: tensor.to(device)) for batch in batches]
    loss_here = partial(mean_loss, model, kept, task, loss)
    with as_found(model), torch.no_grad():
        center_loss, num_targets = loss_here()
        info = SurfaceInfo(
            level=str(level),
            norm_matched=norm_matched,
            include_vectors=include_vectors,
            num_points=int(num_points),
            radius=float(radius),
            seed=int(seed),
            task=task,
            model=fisher.info.model,
            num_tensors=len(fisher.tensors),
            num_params=sum(tensor.num_params for tensor in fisher.tensors),
            weight_norm=around.weight_norm(),
            num_targets=num_targets,
            data=reduce(chained_fingerprint, kept, ""),
            fisher=content_fingerprint(fisher.to_dict()),
            version=__version__,
        )
        surface = _begun(info, moves, center_loss, grid)
        if file is not None and file.exists():
            surface = resumed(surface, file)
        _complete(surface, moves, around, loss_here, file, progress)
    return surface


@dataclass(frozen=True)
class _Move:
    """What moves in a region, and how much longer its directions are made."""

    facts: SurfaceRegion
    region: Region
    scales: tuple[float, float]


def _grid(num_points: int, radius: float) -> NDArray[np.float64]:
    if not is_whole_number(num_points, least=3) or num_points % 2 == 0:
        raise InputError(
            f"num_points is {num_points!r}: pass an odd number from 3 on, so that the weights themselves are a point."
        )
    if not isinstance(radius, int | float | np.integer | np.floating) or not 0.0 < radius < math.inf:
        raise InputError(f"radius is {radius!r}: pass a positive number, such as 1.5.")
    half = num_points // 2
    return radius * (np.arange(-half, half + 1) / half)  # linspace would miss 0 by a rounding error for some radii


def _moves(around: Neighborhood, regions: dict[str, Region], matched_to: Region | None) -> list[_Move]:
    """Measure how far every region goes; lengthen its directions to what they are in another region, if there is one."""
    weight_norm = around.weight_norm()
    goal = None if matched_to is None else around.extent(matched_to)
    moves = []
    for name, masks in regions.items():
        region = around.placed(masks)
        found = around.extent(region)
        if 0.0 in found:
            raise InputError(
                f"nothing can move in the region '{name}': its tensors are zeros, or vectors that stand. "
                "Pass include_vectors=True, or leave the region out."
            )
        wanted = goal or found
        # Over the circle of radius 1 the squared length of the step averages to the mean of both squared norms.
        delta_norm = math.hypot(*wanted) / math.sqrt(2.0)
        facts = SurfaceRegion(name, *around.num_moving(region), delta_norm, delta_norm / weight_norm)
        moves.append(_Move(facts, region, (wanted[0] / found[0], wanted[1] / found[1])))
    return moves


def _begun(info: SurfaceInfo, moves: Sequence[_Move], center_loss: float, grid: NDArray[np.float64]) -> LossSurface:
    losses = {move.facts.name: np.full((len(grid), len(grid)), np.nan) for move in moves}
    for of_region in losses.values():
        of_region[len(grid) // 2, len(grid) // 2] = center_loss  # measured with the weights as they are, before any moved
    return LossSurface(info, tuple(move.facts for move in moves), center_loss, grid, losses)


def _complete(
    surface: LossSurface,
    moves: Sequence[_Move],
    around: Neighborhood,
    loss_here: Callable[[], tuple[float, int]],
    file: Path | None,
    progress: Callable[[SurfaceProgress], None] | None,
) -> None:
    """Measure what is missing; whatever happens, put the weights back and keep what has been measured."""
    due = time.monotonic() + _SECONDS_BETWEEN_SAVES
    with deferred_interrupts() as interrupts:
        try:
            for reached in _measured(surface, moves, around, loss_here):
                if progress is not None:
                    progress(reached)
                if file is not None and time.monotonic() >= due:
                    surface.save(file, force=True)
                    due = time.monotonic() + _SECONDS_BETWEEN_SAVES
                if interrupts.wanted:
                    raise interrupts.interrupt()
        finally:
            around.restore()
            if file is not None:
                surface.save(file, force=True)


def _measured(
    surface: LossSurface, moves: Sequence[_Move], around: Neighborhood, loss_here: Callable[[], tuple[float, int]]
) -> Iterator[SurfaceProgress]:
    """Fill in the losses that are missing, one after the other."""
    num_points = sum(losses.size for losses in surface.losses.values())
    num_done = num_points - sum(int(np.isnan(losses).sum()) for losses in surface.losses.values())
    for move in moves:
        losses = surface.losses[move.facts.name]
        for i, j in np.argwhere(np.isnan(losses)):
            around.move(move.region, surface.grid[i] * move.scales[0], surface.grid[j] * move.scales[1])
            losses[i, j] = _finite_or_inf(loss_here)
            num_done += 1
            yield SurfaceProgress(move.facts.name, num_done, num_points)
        around.restore()


def _finite_or_inf(loss_here: Callable[[], tuple[float, int]]) -> float:
    """At the center the batches were accepted: what is refused now are outputs that are not finite."""
    try:
        loss, _ = loss_here()
    except InputError:
        return math.inf
    return loss if math.isfinite(loss) else math.inf
