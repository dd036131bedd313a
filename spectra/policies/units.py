"""From rows of a report to one score per unit: which layers count, which unit each belongs to, and why some have no score.

=============  ================================================================  ==========================================
unit           what it is                                                        published use
=============  ================================================================  ==========================================
``layer``      a weight by itself                                                arXiv 2312.00359, convolutional networks
``block``      the layers below one entry of a list of modules, see              arXiv 2410.12178, transformers; 2410.10912
               :func:`block_of`; its score is the mean over their matrices
a function     layer name → name of its unit, or ``None``
=============  ================================================================  ==========================================

A layer of another kind, an excluded one, the first or last one if removed, and one in no block belong to no unit: a policy
leaves them as they are. A layer that has no number (too few eigenvalues, no tail) belongs to its unit and enters no score.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from statistics import mean
from typing import Any

from spectra.matrices import KINDS
from spectra.policies.policy_options import LIMITS, OPTIONS, SWITCH, TEXT, WORDS, PolicyOptions, Rule, one_of, option
from spectra.results.records import LayerDiagnostics, LayerStatus

UnitOf = Callable[[str], str | None]

#: Kinds of layers that count: those whose weight is a dense matrix or a kernel. Not embeddings: rows of rare tokens are hardly
#: trained, and their spectrum says more of the vocabulary than of training; nor recurrent and bilinear weights, of which no
#: policy has been published.
WEIGHT_KINDS = ("linear", "conv1d", "conv2d", "conv3d", "expert")

#: Names of output layers, which are new in fine-tuning, or tied to embeddings: of transformers, torchvision and timm.
HEADS = (
    "*classifier*", "score", "qa_outputs", "lm_head", "*.lm_head", "lm_head.*", "cls.*", "predictions.*", "embed_out",
    "vocab_transform", "vocab_projector", "fc", "head", "heads.*",
)  # fmt: skip

#: Names of the routers of mixtures of experts: small classifiers, no weights of the network that is balanced or pruned.
ROUTERS = ("*.gate", "*.router", "*.router.*")

#: Why an end of a model enters no score.
ENDS = FIRST, LAST = "first layer", "last layer"

_METRICS = tuple(f.name for f in dataclasses.fields(LayerDiagnostics) if f.type == "float")


class UnitKind(StrEnum):
    """What gets one number."""

    LAYER = "layer"
    """A layer."""
    BLOCK = "block"
    """An entry of a list of modules, such as ``encoder.layer.0``."""


class HillConvention(StrEnum):
    """How many values a tail has beside its threshold."""

    CODE = "code"
    """The threshold is one of them: ``1 + n / sum``, the maximum likelihood of the released code."""
    PAPER = "paper"
    """It is not: ``1 + (n - 1) / sum``, PL_Alpha_Hill of arXiv 2312.00359 and 2410.12178."""


def block_of(layer_name: str) -> str | None:
    """Find the block of a layer by its name.

    Args:
        layer_name: Path of the module.

    Returns:
        The path up to and with its last number that is neither the layer itself nor the number of an expert; ``None``
        without one. Numbers of a ``Sequential`` cannot be told from those of a list of modules: give a function instead.

    Example:
        >>> block_of("encoder.layer.0.attention.self.query"), block_of("layers.3.mlp.experts.7.up_proj"), block_of("net.0")
        ('encoder.layer.0', 'layers.3', None)
    """
    parts = layer_name.split(".")
    for place in range(len(parts) - 2, -1, -1):
        is_expert = place > 0 and parts[place - 1].endswith("experts")
        is_sublayer = place > 2 and (parts[place - 3], parts[place - 1]) == ("block", "layer")  # T5's block, taken apart
        if parts[place].isdecimal() and not is_expert and not is_sublayer:
            return ".".join(parts[: place + 1])
    return None


@dataclass(frozen=True)
class UnitScores:
    """Scores of units. All mappings are in model order.

    Attributes:
        scores: Score by unit, finite; units in which no layer has a number are missing.
        members: Layers by unit, with or without a score, in the order of the rows: for a live model that of the modules, for a
            file that of its names.
        left_out: Why a layer enters no score: its kind, ``excluded: ...``, ``first layer``, ``last layer``, ``in no block``, a
            :class:`~spectra.results.records.LayerStatus`, or that its metric is missing.
    """

    scores: Mapping[str, float]
    members: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]


def _unit(value: Any) -> UnitKind | UnitOf:
    return value if callable(value) else UnitKind(value)


def _kinds(value: Any) -> tuple[str, ...]:
    words: tuple[str, ...] = WORDS.read(value)
    if set(words) - set(KINDS):
        raise ValueError
    return words


def _metric(value: Any) -> str:
    if value not in _METRICS:
        raise ValueError
    return str(value)


@dataclass(frozen=True, kw_only=True)
class UnitPolicy(PolicyOptions):
    """Which number of which layers is the score of a unit: the options that all policies on spectra share.

    The metadata of each field say what it means and where it comes from.
    """

    name: str = option("custom", "name of the policy, for the record", "our choice", TEXT)
    metric: str = option(
        "alpha", "column of the report whose mean over a unit is its score", "arXiv 2410.12178, Table 3: alpha is best",
        Rule("a column of numbers, such as alpha, stable_rank or lambda_max", _metric, _METRICS),
    )  # fmt: skip
    unit: str | UnitOf = option(  # noqa: RUF009 - dataclasses.field with words
        UnitKind.BLOCK, "what gets one number: layer, block, or a function from layer name to unit",
        "arXiv 2410.12178, Table 5: blocks beat layers in transformers",
        Rule("layer, block or a function", _unit, tuple(UnitKind)),
    )  # fmt: skip
    kinds: tuple[str, ...] = option(
        WEIGHT_KINDS, "kinds of layers that count", "our choice: weights that are matrices or kernels",
        Rule(f"kinds of layers, of {', '.join(KINDS)}", _kinds, KINDS),
    )  # fmt: skip
    exclude: tuple[str, ...] = option((), "globs on layer names that do not count", "our choice", WORDS)
    remove_first: bool = option(False, "leave out the first layer that counts", "code of arXiv 2312.00359", SWITCH)
    remove_last: bool = option(False, "leave out the last layer that counts", "code of arXiv 2312.00359", SWITCH)
    hill_convention: str = option(
        HillConvention.CODE, "whether the threshold is part of the tail: code (it is) or paper",
        "arXiv 2312.00359, formula of PL_Alpha_Hill, and its code", one_of(HillConvention),
    )  # fmt: skip
    winsorize: tuple[float, float] | None = option(
        None, "limits that the metric of a matrix is clipped to before the mean", "our choice; published runs have none", LIMITS
    )
    analysis: Mapping[str, Any] = dataclasses.field(
        default_factory=dict,
        metadata={"meaning": "settings of the analysis, 'profile' among them", "source": "of each preset", "rule": OPTIONS},
    )

    def contradictions(self) -> Iterable[str]:
        """Yield a sentence for each pair of options that exclude each other."""
        if self.hill_convention == HillConvention.PAPER and self.metric != "alpha":
            yield f"hill_convention: 'paper' is of the metric alpha, not of {self.metric!r}. Leave one of them out."


def unit_scores(
    layers: Sequence[LayerDiagnostics],
    *,
    metric: str = "alpha",
    unit: str | UnitOf = UnitKind.BLOCK,
    kinds: str | Sequence[str] = WEIGHT_KINDS,
    exclude: str | Sequence[str] = (),
    remove_first: bool = False,
    remove_last: bool = False,
    hill_convention: str = HillConvention.CODE,
    winsorize: tuple[float, float] | None = None,
) -> UnitScores:
    """Give each unit of a model one score: the mean of a metric over its matrices.

    Every matrix counts as one, whether it is stored by itself or with others: the queries, keys and values of a fused
    projection count three times, and each expert once.

    Args:
        layers: Rows of a report, in model order.
        metric: Name of a column of numbers. Default ``alpha``, the best of those tried in arXiv 2410.12178, Table 3.
        unit: ``layer``, ``block``, or a function from the layer's name to its unit's or ``None``.
        kinds: Kinds of layers that count.
        exclude: Globs on layer names that do not count; one may match nothing.
        remove_first: Leave out the first layer of these kinds, not excluded ones, whatever its status. First in the order of
            the rows, which for a file is that of its names: for the order of the modules analyse the live model.
        remove_last: The last one, likewise.
        hill_convention: ``paper`` takes the threshold out of the tail, for fits whose xmin is one of the eigenvalues (all
            strategies but ``hill``): ``1 + (alpha - 1) (n - 1) / n`` for a tail of n. Default ``code``: as it is.
        winsorize: Limits that the metric of each matrix is clipped to. Default: none.

    Returns:
        The scores.

    Raises:
        InputError: An unknown metric, unit, kind or convention.
    """
    words: dict[str, Any] = {"kinds": kinds, "exclude": exclude}  # one word or several
    policy = UnitPolicy(
        metric=metric,
        unit=unit,
        remove_first=remove_first,
        remove_last=remove_last,
        hill_convention=hill_convention,
        winsorize=winsorize,
        **words,
    )
    return scores_of(layers, policy)


def scores_of(layers: Sequence[LayerDiagnostics], policy: UnitPolicy) -> UnitScores:
    """Give each unit of a model one score, as :func:`unit_scores` does.

    Args:
        layers: Rows of a report, in model order.
        policy: Its options.

    Returns:
        The scores.
    """
    rows: dict[str, list[LayerDiagnostics]] = {}
    for row in layers:
        rows.setdefault(row.layer_name, []).append(row)
    left_out = _not_counted({name: of_layer[0] for name, of_layer in rows.items()}, policy)
    find = policy.unit if callable(policy.unit) else block_of if policy.unit == UnitKind.BLOCK else str
    members: dict[str, list[str]] = {}
    values: dict[str, list[float]] = {}
    for name in [name for name in rows if name not in left_out]:
        unit = find(name)
        if not unit:
            left_out[name] = "in no block"
            continue
        found = [value for row in rows[name] if math.isfinite(value := _value(row, policy))]
        if not found:
            left_out[name] = _reason_without_value(rows[name], policy.metric)
        members.setdefault(unit, []).append(name)
        values.setdefault(unit, []).extend(found)
    return UnitScores(
        scores={unit: float(mean(found)) for unit, found in values.items() if found},
        members={unit: tuple(names) for unit, names in members.items()},
        left_out={name: left_out[name] for name in rows if name in left_out},
    )


def _not_counted(rows: Mapping[str, LayerDiagnostics], policy: UnitPolicy) -> dict[str, str]:
    """Return the layers that belong to no unit, whatever it is, and why."""
    reasons: dict[str, str] = {}
    for name, row in rows.items():
        pattern = next((glob for glob in policy.exclude if name == glob or fnmatchcase(name, glob)), None)
        if row.kind not in policy.kinds:
            reasons[name] = row.kind
        elif pattern is not None:
            reasons[name] = f"excluded: {pattern}"
    counted = [name for name in rows if name not in reasons]
    if policy.remove_last and counted:
        reasons[counted[-1]] = LAST
    if policy.remove_first and counted:
        reasons[counted[0]] = FIRST
    return reasons


def _value(row: LayerDiagnostics, policy: UnitPolicy) -> float:
    value = float(getattr(row, policy.metric))
    if policy.hill_convention == HillConvention.PAPER and row.num_tail:
        value = 1.0 + (value - 1.0) * (row.num_tail - 1) / row.num_tail
    if policy.winsorize and math.isfinite(value):
        low, high = policy.winsorize
        value = min(max(value, low), high)
    return value


def _reason_without_value(rows: Sequence[LayerDiagnostics], metric: str) -> str:
    status = next((row.status for row in rows if row.status != LayerStatus.OK), None)
    return status.value if status else f"no {metric}"
