r"""Smoothing and sharpening of weights: truncated singular value decompositions, matrix by matrix.

===========  ============================================================  ==========================================
transform    what becomes of the singular triplets of a matrix             how many
===========  ============================================================  ==========================================
``smooth``   the largest ones are kept                                     trace-log condition, power-law tail, spikes
                                                                           of the Marchenko-Pastur bulk, or a fraction
``sharpen``  the largest ones are removed                                  spikes of the weights in random order
===========  ============================================================  ==========================================

The decompositions are exact (LAPACK, float64); WeightWatcher's ``SVDSmoothing`` is randomised. A tensor is one matrix, a
stack of experts one per expert. A convolution has one per kernel position and group, whose eigenvalues are pooled to find
the number ``k`` for all of them; each keeps or loses ``ceil(k / number of matrices)``. Biases, norms, depthwise
convolutions, quantized weights and whatever else :func:`spectra.analyze` skips pass through as they are.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from spectra.diagnose.distances import chosen_layers, layer_name
from spectra.errors import InputError, TooFewEigenvaluesError, did_you_mean
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray
from spectra.esd.gram import AnyArray
from spectra.esd.spectrum import unit_scale
from spectra.esd.truncation import decompose, project
from spectra.results.records import SkippedTensor
from spectra.sources import Source, StoredTensor, open_source
from spectra.sources.state import stored_state, write_state

if TYPE_CHECKING:
    from spectra.matrices import WeightMatrices
    from spectra.sources.open import Model

# WeightWatcher's 'detX', 'alpha_min' and 'rmt'.
KEEP_RULES = ("trace_log", "power_law", "mp")
"""Rules that say how many singular triplets are kept, beside a fraction."""


@dataclass(frozen=True)
class TransformedLayer:
    """What was done to one matrix, or to the pooled matrices of a convolution.

    Attributes:
        matrix_name: Path of the module; with the number of the expert, where there are several.
        num_matrices: Kernel positions times groups; 1 for a dense weight.
        num_singular_values: Of each matrix.
        num_kept: Of each matrix; all of them where it is unchanged.
        share_kept: Of the squared Frobenius norm, in [0, 1].
        note: Why nothing was changed, or why the fit that gave the number is doubtful; else empty.
    """

    matrix_name: str
    num_matrices: int
    num_singular_values: int
    num_kept: int
    share_kept: float
    note: str = ""


class TransformedState(dict[str, Any]):
    """A state dict, name → torch tensor or NumPy array as in the input, that knows how it came about.

    Args:
        state: Every tensor of the input under its own name. Those that were not transformed are the input's own.
        layers: What was transformed, in model order.
        skipped: Every other tensor of two or more dimensions, with its reason.
    """

    def __init__(
        self, state: Mapping[str, Any], layers: Sequence[TransformedLayer] = (), skipped: Sequence[SkippedTensor] = ()
    ) -> None:
        super().__init__(state)
        self.layers = tuple(layers)
        self.skipped = tuple(skipped)


def smooth(
    model: Model,
    keep: str | float = "trace_log",
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    inplace: bool = False,
) -> TransformedState:
    r"""Replace each weight matrix by its best approximation of low rank.

    Args:
        model: Whatever :func:`spectra.analyze` takes: a path, a hub id, a live module or a mapping of tensors.
        keep: Which singular triplets are kept. ``"trace_log"``: the fewest largest eigenvalues whose product is below 1, on
            the scale where the mean of all is 1 (default, as WeightWatcher's ``detX``); ``"power_law"``: the fitted tail;
            ``"mp"``: those above the Marchenko-Pastur bulk. A number in (0, 1) keeps that fraction, rounded down before it
            is divided among the matrices of a convolution; one in (-1, 0) removes that fraction of the largest.
        include: Globs on layer names; only these are transformed. Default: all.
        exclude: Globs on layer names that are left as they are.
        inplace: Write into the tensors of a module or a mapping; else they are left as they are.

    Returns:
        The whole state dict. Stored dtypes are kept: rounding to them adds small singular values to those that were kept.
        A rule that finds nothing to keep leaves a matrix as it is and says so in ``layers``; so do NaN weights.

    Raises:
        InputError: An unknown rule, a fraction out of range, a pattern that matches nothing, or weights that cannot be
            written to.

    Example:
        >>> import numpy as np
        >>> smoothed = smooth({"fc.weight": np.diag([4.0, 3.0, 2.0, 1.0])}, keep=0.5)
        >>> smoothed["fc.weight"].diagonal().round(12), smoothed.layers[0].num_kept
        (array([4., 3., 0., 0.]), 2)
    """
    rule = _checked_rule(keep)
    return _transformed(model, lambda group: _num_to_keep(rule, group), include, exclude, inplace)


def sharpen(
    model: Model,
    *,
    seed: int = 0,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    inplace: bool = False,
) -> TransformedState:
    """Remove as many of the largest singular triplets as the same weights in random order have spikes.

    Such spikes come from a few huge entries, not from correlations ("traps"): WeightWatcher's ``SVDSharpness``.

    Args:
        model: Whatever :func:`spectra.analyze` takes.
        seed: Of the random orders; each layer has its own, derived from its name.
        include: Globs on layer names; only these are transformed. Default: all.
        exclude: Globs on layer names that are left as they are.
        inplace: Write into the tensors of a module or a mapping; else they are left as they are.

    Returns:
        The whole state dict. Where several random orders are looked at, the (lower) median of the counts is removed.

    Raises:
        InputError: A pattern that matches nothing, or weights that cannot be written to.
    """
    return _transformed(model, lambda group: _num_traps(group, seed), include, exclude, inplace)


def save(state: Mapping[str, Any], path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a state dict as a safetensors file that appears whole or not at all.

    Tensors that share their memory are written once, under the first name; the file's metadata gives the name that stands
    for each other one, as ``safetensors.torch.save_model`` does.

    Args:
        state: Names to torch tensors or NumPy arrays.
        path: A ``.safetensors`` file.
        overwrite: Replace an existing file.

    Raises:
        InputError: Another suffix, an existing file, or a value that is no tensor with numbers.
    """
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise InputError(f"path: expected a '.safetensors' file, got '{file}'. Only this format is written.")
    if file.exists() and not overwrite:
        raise InputError(f"'{file}' exists. Pass overwrite=True to replace it, or choose another name.")
    write_state(state, file)


@dataclass(frozen=True)
class _Group:
    """Matrices whose eigenvalues are pooled: views of one array that is ours to write to."""

    name: str
    matrices: list[AnyArray]

    @property
    def shape(self) -> tuple[int, int]:
        return cast(tuple[int, int], self.matrices[0].shape)

    @cached_property
    def decomposed(self) -> list[tuple[FloatArray, FloatArray]]:
        """Singular values, descending, and right singular vectors as rows (left ones, for a wide matrix)."""
        return [decompose(matrix) for matrix in self.matrices]

    @cached_property
    def eigenvalues(self) -> FloatArray:
        """Squares of all singular values, ascending, on a scale where the largest singular value is about 1."""
        values = np.sort(np.concatenate([values for values, _ in self.decomposed]))
        return (values * unit_scale(float(values[-1]))) ** 2

    @property
    def null_threshold(self) -> float:
        return float((max(self.shape) * np.finfo(np.float64).eps) ** 2 * self.eigenvalues[-1])


# How many of a group's pooled eigenvalues to keep, or, if negative, to remove; and why that is doubtful.
Decide = Callable[[_Group], tuple[int, str]]


def _checked_rule(keep: str | float) -> str | float:
    if isinstance(keep, str):
        if keep in KEEP_RULES:
            return keep
        raise InputError(
            f"unknown rule {keep!r}.{did_you_mean(keep, KEEP_RULES)} Known: {', '.join(KEEP_RULES)}, or a fraction."
        )
    if not (isinstance(keep, int | float) and 0.0 < abs(keep) < 1.0):
        raise InputError(f"keep: expected a fraction in (0, 1), or in (-1, 0) to remove the largest, got {keep}.")
    return float(keep)


def _num_to_keep(rule: str | float, group: _Group) -> tuple[int, str]:
    """Return how many of the pooled eigenvalues to keep (to remove, if negative), and why that number is doubtful."""
    values = group.eigenvalues
    if isinstance(rule, float):
        number = int(abs(rule) * len(values) * (1.0 + 1e-12))  # 0.29 * 100 is 28.999999999999996
        return (number if rule > 0.0 else -number), ""
    if rule == "trace_log":
        from spectra.esd.trace_log import trace_log_condition

        return trace_log_condition(values).num_erg, ""
    if rule == "power_law":
        from spectra.esd.power_law import fit_power_law

        fit = fit_power_law(values, null_threshold=group.null_threshold)
        return fit.num_tail, "; ".join(fit.notes)
    return _num_spikes(values, group)


def _num_spikes(values: FloatArray, group: _Group) -> tuple[int, str]:
    from spectra.esd.marchenko_pastur import fit_marchenko_pastur

    fit = fit_marchenko_pastur(values, group.shape, num_matrices=len(group.matrices))
    if fit.num_spikes is None:
        raise TooFewEigenvaluesError(f"no Marchenko-Pastur bulk: {'; '.join(fit.notes)}")
    return fit.num_spikes, "; ".join(fit.notes)


def _num_traps(group: _Group, seed: int) -> tuple[int, str]:
    """Return minus the median number of spikes of the weights in random order, and why it is doubtful."""
    from spectra.esd.randomized import randomized_spectra

    number = min(group.shape) * len(group.matrices)
    replicas = randomized_spectra(lambda: group.matrices, seed=seed, name=group.name, num_eigenvalues=number)
    counted = [_num_spikes(values, group) for values in replicas]
    doubts = [doubt for _, doubt in counted if doubt]
    return -statistics.median_low([count for count, _ in counted]), doubts[0] if doubts else ""


def _transformed(
    model: Model, decide: Decide, include: Sequence[str], exclude: Sequence[str], inplace: bool
) -> TransformedState:
    if inplace and isinstance(model, str | os.PathLike):
        raise InputError("inplace: a model on disk is not changed. Give its loaded module, or save what is returned.")
    source = open_source(model)
    state, keys = stored_state(model, source)
    jobs, skipped = _plan(source, keys)
    chosen = chosen_layers([layer_name(tensor.name) for tensor, _ in jobs], include, exclude)
    jobs = [(tensor, first) for tensor, first in jobs if layer_name(tensor.name) in chosen]
    if inplace:
        _require_writable({tensor.name: state[keys[tensor.name]] for tensor, _ in jobs})

    layers: list[TransformedLayer] = []
    for tensor, first in jobs:
        # Our own copy, since readers may give the model's memory, and in C order, so that its matrices are views of it.
        result = np.array(tensor.read(0, tensor.shape[0]), order="C")
        done = [_apply(decide, group) for group in _groups(result, layer_name(tensor.name), first)]
        if tensor.dtype == "float16" and np.abs(result).max() > np.finfo(np.float16).max:
            done = [_unchanged(layer, "the result leaves the range of float16: left as it is") for layer in done]
        layers += done
        if any(layer.num_kept < layer.num_singular_values for layer in done):
            _put(state, keys[tensor.name], result, inplace)
    for tensor in source.tensors if not inplace else ():  # in place, shared memory has changed for all its names
        if tensor.tied_to in keys and tensor.name in keys:
            state[keys[tensor.name]] = state[keys[tensor.tied_to]]
    return TransformedState(state, layers, skipped)


def _plan(source: Source, keys: Mapping[str, str]) -> tuple[list[tuple[StoredTensor, WeightMatrices]], list[SkippedTensor]]:
    """Choose the tensors to transform, each with the first row that an analysis would make of it."""
    from spectra.matrices import ModelContext, matrices_of
    from spectra.results.settings import AnalysisSettings

    context, settings = ModelContext.of(source), AnalysisSettings(split_fused="none")
    jobs: list[tuple[StoredTensor, WeightMatrices]] = []
    skipped: list[SkippedTensor] = []
    for tensor in source.tensors:
        found = None if tensor.tied_to else matrices_of(tensor, context, settings)
        if isinstance(found, SkippedTensor):
            skipped.append(found)
        elif found and (reason := _reason_to_skip(tensor, tensor.name in keys, found[0])):
            skipped.append(SkippedTensor(tensor.name, tensor.shape, tensor.dtype, reason))
        elif found:
            jobs.append((tensor, found[0]))
    return jobs, skipped


def _reason_to_skip(tensor: StoredTensor, is_stored: bool, first: WeightMatrices) -> str:
    if tensor.unreadable:
        return f"not readable: {tensor.unreadable}"
    if not is_stored or tensor.quantized or tensor.part_of or tensor.factors is not None:
        return "computed from what is stored, and cannot be written back"
    if tensor.size == 0:
        return "a side of length zero"
    if first.is_depthwise:
        return "one channel per group: vectors, not matrices"
    if len(tensor.shape) > 3 and not first.kind.startswith("conv"):
        return f"{len(tensor.shape)}-dimensional, and no convolution"
    return ""


def _groups(array: AnyArray, name: str, first: WeightMatrices) -> Iterator[_Group]:
    """View a tensor as matrices; those of a convolution are pooled, those of a stack stand for themselves."""
    if array.ndim == 2:
        yield _Group(name, [array])
    elif first.kind.startswith("conv"):
        # (first, second, *kernel) → (groups, first / groups, second, positions)
        kernel = array.reshape(first.groups, -1, array.shape[1], math.prod(array.shape[2:]))
        yield _Group(name, [matrices[:, :, position] for matrices in kernel for position in range(kernel.shape[3])])
    else:
        for number, matrix in enumerate(array):
            yield _Group(f"{name}[{number}]", [matrix])


def _apply(decide: Decide, group: _Group) -> TransformedLayer:
    """Transform the matrices of a group where they are."""
    number, small = len(group.matrices), min(group.shape)
    unchanged = TransformedLayer(group.name, number, small, small, 1.0)
    if not any(matrix.any() for matrix in group.matrices):
        return _unchanged(unchanged, "all weights are zero: left as it is")
    try:
        count, doubt = decide(group)
        each = math.ceil(abs(count) / number)
        if count == 0:
            return _unchanged(unchanged, "nothing to keep or to remove by this rule: left as it is")
        if count > 0 and each >= small:
            return dataclasses.replace(unchanged, note=doubt)
        decomposed = group.decomposed
    except MATRIX_ERRORS as error:
        return _unchanged(unchanged, f"left as it is: {error}")
    kept = slice(each) if count > 0 else slice(each, None)
    for matrix, (_, vectors) in zip(group.matrices, decomposed, strict=True):
        project(matrix, vectors, kept)
    largest = max(float(values[0]) for values, _ in decomposed)
    squares = np.stack([(values / largest) ** 2 for values, _ in decomposed])
    stays, goes = float(squares[:, kept].sum()), float(np.delete(squares, kept, axis=1).sum())
    return dataclasses.replace(unchanged, num_kept=len(range(small)[kept]), share_kept=stays / (stays + goes), note=doubt)


def _unchanged(layer: TransformedLayer, note: str) -> TransformedLayer:
    return dataclasses.replace(layer, num_kept=layer.num_singular_values, share_kept=1.0, note=note)


def _require_writable(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, np.ndarray) and not value.flags.writeable:
            raise InputError(f"inplace: the array '{name}' is read-only. Pass a copy, or leave inplace out.")


def _put(state: dict[str, Any], key: str, result: AnyArray, inplace: bool) -> None:
    value = state[key]
    if hasattr(value, "detach"):
        import torch

        new = torch.from_numpy(result)
        with torch.no_grad():
            if inplace:
                value.copy_(new)
            else:
                state[key] = new.to(device=value.device, dtype=value.dtype)
    elif inplace:
        value[...] = result
    else:
        state[key] = result.astype(np.asarray(value).dtype, copy=False)
