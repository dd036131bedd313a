"""A loss surface: the loss of a model over two random directions, for regions of its weights; and its file.

One ``.npz`` file holds everything, numbers and settings; the ``.json`` beside it repeats the settings for people and tools
that do not read NumPy's format.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError, ResultsError, did_you_mean
from spectra.results.writing import made, write_whole

if TYPE_CHECKING:
    import os

SURFACE_SCHEMA_VERSION = 1
_SETTINGS, _GRID, _LOSSES = "settings", "grid", "losses:"  # the arrays of the .npz file
_RINGS = (0.0, 0.5, 1.0, 1.5, math.inf)
_AGAIN = "Make it again: spectra surface MODEL --data FILE --fisher FISHER -o FILE.npz"


@dataclass(frozen=True)
class SurfaceInfo:
    """Which surface this is: every setting, and what it was measured on.

    Attributes:
        level: What the regions divide: ``"tensor"`` or ``"parameter"``.
        norm_matched: Whether all regions move equally far.
        include_vectors: Whether tensors of fewer than two dimensions move.
        num_points: Points along one side of the grid.
        radius: The grid reaches from ``-radius`` to ``radius``.
        seed: Of the directions.
        task: How the outputs of the model become a loss.
        model: Class name.
        num_tensors: Tensors that the Fisher information knows: the whole.
        num_params: Their parameters.
        weight_norm: The norm of these parameters, the unit of ``relative_norm``.
        num_targets: Predictions over which each loss is the mean.
        data: Fingerprint of the batches.
        fisher: Fingerprint of the scores that divide the regions.
        version: Of Spectra.
    """

    level: str
    norm_matched: bool
    include_vectors: bool
    num_points: int
    radius: float
    seed: int
    task: str
    model: str
    num_tensors: int
    num_params: int
    weight_norm: float
    num_targets: int
    data: str
    fisher: str
    version: str


@dataclass(frozen=True)
class SurfaceRegion:
    """A region of the weights and how far it moves.

    Attributes:
        name: ``"whole"``, ``"top"`` or ``"bottom"``.
        num_tensors: Tensors of which at least one parameter moves.
        num_params: Parameters that move.
        delta_norm: Length of the step at radius 1: the root of its mean square over the circle.
        relative_norm: ``delta_norm`` over the norm of all weights.
    """

    name: str
    num_tensors: int
    num_params: int
    delta_norm: float
    relative_norm: float


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class LossSurface:
    """The result of :func:`spectra.fisher.surface.loss_surface`.

    Attributes:
        info: Which surface.
        regions: What moves, and how far.
        center_loss: The loss of the weights as they are, in nats for each target.
        grid: Coordinates along both directions, shape ``(num_points,)``, ascending, with 0 in the middle.
        losses: By region, shape ``(num_points, num_points)``, float64: the first axis belongs to the first direction. ``inf``
            where the outputs of the moved model are not finite, NaN where an interrupted run has not been.
    """

    info: SurfaceInfo
    regions: tuple[SurfaceRegion, ...]
    center_loss: float
    grid: NDArray[np.float64]
    losses: Mapping[str, NDArray[np.float64]]

    @property
    def is_complete(self) -> bool:
        """Whether every point has been measured."""
        return not any(np.isnan(losses).any() for losses in self.losses.values())

    def ring_means(self, region: str, edges: Sequence[float]) -> list[float]:
        """Average the loss over the grid points of a region by their distance from the center.

        Args:
            region: Name of one of the regions.
            edges: Ascending radii; each ring takes its inner edge and leaves its outer edge to the next.

        Returns:
            One mean for each ring, one fewer than the edges; NaN for a ring without points or with one not yet measured.

        Raises:
            InputError: No such region.
        """
        if region not in self.losses:
            raise InputError(f"no region '{region}' in this surface.{did_you_mean(region, self.losses)} See surface.regions.")
        radii = np.hypot(*np.meshgrid(self.grid, self.grid))
        rings = [(radii >= inner) & (radii < outer) for inner, outer in itertools.pairwise(edges)]
        return [float(self.losses[region][ring].mean()) if ring.any() else math.nan for ring in rings]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the ``.json`` file: everything but the grid and its losses."""
        return {
            "schema_version": SURFACE_SCHEMA_VERSION,
            "info": dataclasses.asdict(self.info),
            "regions": [dataclasses.asdict(region) for region in self.regions],
            "center_loss": self.center_loss,
        }

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the surface, and its settings as ``.json`` beside it; each file appears whole or not at all.

        Args:
            path: Ends in ``.npz``; its folder is made if missing.
            force: Replace files of these names.

        Raises:
            ResultsError: Another ending, a file that exists, or a folder that cannot be written.
        """
        file = surface_path(path)
        beside = file.with_suffix(".json")
        taken = [] if force else [str(old) for old in (file, beside) if old.exists()]
        if taken:
            raise ResultsError(f"'{taken[0]}' exists. Choose another name, or pass force=True (--force).")
        made(file.parent)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        arrays = {f"{_LOSSES}{name}": losses for name, losses in self.losses.items()}
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{_SETTINGS: np.array(text), _GRID: self.grid, **arrays})
        write_whole(file, content.getvalue())
        write_whole(beside, text.encode())

    def __str__(self) -> str:
        info = self.info
        units = "tensors" if info.level == "tensor" else "parameters"
        lines = [
            f"Loss of {info.model} around its weights, {info.num_points} x {info.num_points} points, regions by {units}: "
            f"{self.center_loss:.4g} at the center"
        ]
        for region in self.regions:
            share = region.num_params / info.num_params
            means = self.ring_means(region.name, _RINGS)
            rings = ", ".join(
                f"{mean:.4g} ({inner:g} to {outer:g})"
                for (inner, outer), mean in zip(itertools.pairwise(_RINGS), means, strict=True)
                if not math.isnan(mean)
            )
            lines.append(
                f"  {region.name}: {share:.1%} of the parameters move by {region.relative_norm:.3g} of all weights' norm; "
                f"mean loss by radius: {rings or 'not measured yet'}"
            )
        return "\n".join(lines)


def surface_path(path: str | os.PathLike[str]) -> Path:
    """Check the name of a surface's file.

    Args:
        path: As given.

    Returns:
        The path, with the home folder filled in.

    Raises:
        ResultsError: It does not end in ``.npz``.
    """
    file = Path(path).expanduser()
    if file.suffix != ".npz":
        raise ResultsError(f"'{file}': a loss surface is written to a file that ends in .npz. Choose such a name.")
    return file


def load_surface(path: str | os.PathLike[str]) -> LossSurface:
    """Read a loss surface, finished or not.

    Args:
        path: The ``.npz`` file that ``save`` or ``spectra surface`` wrote.

    Returns:
        The surface.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    file = surface_path(path)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        settings = json.loads(str(arrays.pop(_SETTINGS)))
        version = settings["schema_version"]
    except FileNotFoundError as error:
        raise ResultsError(f"there is no loss surface at '{file}'. {_AGAIN}") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ResultsError(f"'{file}' is no loss surface, or a damaged one ({_one_line(error)}). {_AGAIN}") from error
    if version != SURFACE_SCHEMA_VERSION:
        raise ResultsError(f"'{file}' has schema version {version}, this Spectra reads {SURFACE_SCHEMA_VERSION}. {_AGAIN}")
    try:
        return _surface(settings, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"'{file}' is damaged ({_one_line(error)}). {_AGAIN}") from error


def resumed(begun: LossSurface, path: str | os.PathLike[str]) -> LossSurface:
    """Read the surface that an interrupted run left, if it is the one that has just begun.

    Args:
        begun: With all settings.
        path: What ``save`` wrote.

    Returns:
        The earlier surface.

    Raises:
        ResultsError: It cannot be read, or is another surface.
    """
    earlier = load_surface(path)
    difference = _difference(earlier, begun)
    if difference:
        raise ResultsError(f"'{path}' holds another loss surface ({difference}). Choose another file, or remove it.")
    return earlier


def _difference(old: LossSurface, new: LossSurface) -> str:
    """Say in words how two surfaces differ in what they measure; empty if they do not."""
    names = [[region.name for region in surface.regions] for surface in (old, new)]
    if names[0] != names[1]:
        return f"regions {', '.join(names[0])} there, {', '.join(names[1])} now"
    before, after = (dataclasses.asdict(s.info) | {"center_loss": s.center_loss} for s in (old, new))
    for name, value in after.items():
        # Another number of threads may change the last digits of a sum.
        same = math.isclose(before[name], value, rel_tol=1e-6) if isinstance(value, float) else before[name] == value
        if not same:
            return f"{name} {before[name]!r} there, {value!r} now"
    return ""


def _surface(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LossSurface:
    """Put a surface together, and refuse parts that do not fit each other."""
    info = SurfaceInfo(**settings["info"])
    regions = tuple(SurfaceRegion(**region) for region in settings["regions"])
    grid = arrays[_GRID]
    losses = {region.name: arrays[f"{_LOSSES}{region.name}"] for region in regions}
    for name, array, shape in [(_GRID, grid, (info.num_points,)), *((n, a, (info.num_points,) * 2) for n, a in losses.items())]:
        if array.shape != shape or array.dtype != np.float64:
            raise ValueError(f"'{name}' is {array.dtype} of shape {array.shape}, expected float64 of shape {shape}")
    return LossSurface(info, regions, float(settings["center_loss"]), grid, losses)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
