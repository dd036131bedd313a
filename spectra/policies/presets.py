"""Published settings of TempBalance, AlphaDecay, FARMS and AlphaPruning, and the ones we recommend. They differ only in values.

Where only the released code of a paper shows a value, the comment says "code". Tables and equations are those of the arXiv
versions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from spectra.errors import InputError, did_you_mean
from spectra.policies.learning_rate import ScaleMap, ScalePolicy, ScaleTarget
from spectra.policies.sparsity import SparsityPolicy
from spectra.policies.units import HEADS, ROUTERS, WEIGHT_KINDS, UnitKind, UnitPolicy

# The profile "tempbalance" has the fit of all published runs: float32, the upper half of each spectrum, weights as stored.
_PUBLISHED_KINDS = ("linear", "conv2d")
_MIN_EVALS = 50  # eigenvalues under which a layer is not fitted: code of 2312.00359, 2410.12178 and 2506.14562

# TempBalance, arXiv 2312.00359: convolutional networks trained from scratch.
_NEURIPS2023 = ScalePolicy(
    name="neurips2023",
    unit=UnitKind.LAYER,
    kinds=_PUBLISHED_KINDS,
    remove_first=True,  # code: the first convolution and the output layer keep the base rate
    remove_last=True,
    map=ScaleMap.LINEAR,
    r_min=0.5,  # CIFAR and SVHN; TinyImageNet: 0.6 and 1.4
    r_max=1.5,
    analysis={"profile": "tempbalance", "min_evals": _MIN_EVALS},
)

# Model Balancing, arXiv 2410.12178: RoBERTa-base, full fine-tuning on GLUE. The best strengths s by task and share of the data
# (Table 10); (2, 1) is a pair of strengths, "higher or lower than the mean", of which the released 5 % QNLI run has 2 below:
#
#            SST-2    MNLI     QNLI     QQP                 CoLA     MRPC     STS-B    RTE
#   5 %      (2, 1)   1.25     (2, 1)   1.25        50 %    1.25     1.25     0.75     1.25
#   1 %      1.25     1.25     1        1           20 %    1        1.25     0.5      0.5
#   0.5 %    1        1.25     1        1.25        10 %    1        1        1        1.25
#   0.1 %    (2, 1)   1        1.25     1.25
#   0.05 %   1.25     0.5      1.25     1
#   0.02 %   1.25     1.25     0.25     1.25
_GLUE = ScalePolicy(
    name="emnlp2024-glue",
    unit=UnitKind.BLOCK,
    kinds=_PUBLISHED_KINDS,
    remove_last=True,  # code: scripts of GLUE
    map=ScaleMap.SIGMOID,
    s_below=1.25,  # the most frequent one in Table 10
    s_above=1.25,
    tau=10.0,
    analysis={"profile": "tempbalance", "xmin_pos": 1.5, "min_evals": _MIN_EVALS},  # the upper third: code, scripts of GLUE
)

# The same paper's neural operators (FNO, UNet) on PDEBench: s from {0.125, 0.25, 0.5, 0.75, 1, 1.25, 1.5}. Released runs of FNO
# on 2-D CFD have 0.125, 0.5, 1, 0.25, 0.5, 1 for 100, 50, 25, 10, 2.5, 0.6 % of the data. Their code leaves out eigenvalues up
# to 1e-5.
_SCIML = ScalePolicy(
    name="emnlp2024-sciml",
    unit=UnitKind.LAYER,
    kinds=("linear", "conv1d", "conv2d"),  # code; the complex weights of FNO keep the base rate
    map=ScaleMap.SIGMOID,
    s_below=1.0,
    s_above=1.0,
    tau=10.0,
    # Code: layers of 20 channels need 12 eigenvalues at least.
    analysis={"profile": "tempbalance", "kinds": ("linear", "conv1d", "conv2d"), "min_evals": 12, "evals_threshold": 1e-5},
)

# AlphaDecay, arXiv 2506.14562: language models of 60M to 1B parameters trained from scratch with Adam.
_ALPHADECAY = ScalePolicy(
    name="alphadecay",
    target=ScaleTarget.WEIGHT_DECAY,
    unit=UnitKind.LAYER,  # eq. 3: over all modules
    kinds=_PUBLISHED_KINDS,
    remove_first=True,  # code
    remove_last=True,
    map=ScaleMap.LINEAR,
    r_min=0.67,  # Table 1: (0.67, 3) for a base decay of 1e-5; (0.67, 5) for 5e-6 and 1e-6
    r_max=3.0,
    analysis={"profile": "tempbalance", "min_evals": _MIN_EVALS},
)

# FARMS, arXiv 2506.06280, with TempBalance on CIFAR-100: square windows, 9 along each side. Their rows are those of the model's
# smallest side of 50 or more, at most 2048, since the released 100 do not fit into small layers. Depthwise
# kernels do not count; where no side has 50, the smallest of all does.
_FARMS = ScalePolicy(
    name="farms",
    unit=UnitKind.LAYER,
    kinds=_PUBLISHED_KINDS,
    map=ScaleMap.LINEAR,
    r_min=0.2,  # code: ResNet-34, VGG-16 and VGG-19 with all layers; ResNet-18: 0.1 and 1.9
    r_max=1.8,
    analysis={
        "profile": "tempbalance",
        "subsample": "farms",
        "window_aspect": 1.0,
        "windows_per_side": 9,
        "min_evals": 5,  # code
    },
)

# emnlp2024-glue with what we hold to be repairs:
# * fused projections are taken apart, all dense weights and kernels count, experts too: profile "default";
# * output layers, and the routers of experts, are excluded by name, not by being the last in the table (in a model without an
#   output layer that is a layer of a block);
# * one layer that cannot be fitted well (an orthogonal weight has an alpha of a million) cannot push all others to the lowest
#   multiplier: winsorize. It pushes them down still: clipped to 10, it is far from the rest.
# Not normalized: the bounds 10^(+-s/2) would go. With 1 of 12 blocks over the mean, the geometric mean would raise that block
# to 14 times the scheduler's rate in place of 4.2. Between float32 and float64 the median fit differs by 1e-6: float32 will do.
_RECOMMENDED = dataclasses.replace(
    _GLUE,
    name="recommended",
    kinds=WEIGHT_KINDS,
    exclude=(*HEADS, *ROUTERS),
    remove_last=False,
    winsorize=(1.0, 10.0),
    analysis={
        "profile": "default",
        "kinds": WEIGHT_KINDS,
        "precision": "float32",
        "evals_threshold": 0.0,  # in float32 the smallest of a square weight may look null, and move the median
        "xmin": "median",
        "xmin_pos": 1.5,
        "min_evals": _MIN_EVALS,
    },
)

#: Policies of learning rates and weight decays, by name.
SCALE_PRESETS: Mapping[str, ScalePolicy] = {
    policy.name: policy for policy in (_NEURIPS2023, _GLUE, _SCIML, _ALPHADECAY, _FARMS, _RECOMMENDED)
}

# AlphaPruning, arXiv 2410.10912: LLaMA. Its epsilon at 70 % sparsity (magnitude, Wanda, SparseGPT): LLaMA-7B 0.3, 0.2, 0.2;
# LLaMA-13B 0.5, 0.3, 0.3; LLaMA-2-7B 0.5, 0.3, 0.2.
_ALPHAPRUNING = SparsityPolicy(
    name="alphapruning",
    unit=UnitKind.BLOCK,
    kinds=("linear",),
    epsilon=0.3,  # code: the default
    # Code: the window around the peak begins at a logarithm that is taken for an eigenvalue. Published alphas are from there.
    analysis={"profile": "tempbalance", "xmin": "peak_compat"},
)

# FARMS, arXiv 2506.06280, with AlphaPruning on LLaMA: square windows of 2000 rows, or of the smaller side of a smaller weight.
# Its code has them begin at the top left with a rounded stride, here they reach the far edge; and it clips sparsities without
# making up for it. No source at hand names its epsilon: that of AlphaPruning.
_FARMS_SPARSITY = dataclasses.replace(
    _ALPHAPRUNING,
    name="farms",
    max_sparsity=0.998,  # code; 0.99999 at 70 % sparsity
    analysis={
        "profile": "tempbalance",
        "xmin": "peak_compat",
        "subsample": "farms",
        "window_rows": 2000,
        "window_aspect": 1.0,
        "windows_per_side": 15,  # 10 for LLaMA-7B with SparseGPT
        "min_evals": 5,  # code
    },
)

# With the repairs of the other "recommended", and the window around the peak as it is meant: from 0.95 of the peak on. A
# searched fit needs float64, the default profile's.
_RECOMMENDED_SPARSITY = dataclasses.replace(
    _ALPHAPRUNING,
    name="recommended",
    kinds=("linear", "expert"),
    exclude=(*HEADS, *ROUTERS),
    winsorize=(1.0, 10.0),
    analysis={"profile": "default", "kinds": ("linear", "expert"), "xmin": "peak", "min_evals": _MIN_EVALS, "min_tail": 10},
)

#: Policies of sparsity, by name.
SPARSITY_PRESETS: Mapping[str, SparsityPolicy] = {
    policy.name: policy for policy in (_ALPHAPRUNING, _FARMS_SPARSITY, _RECOMMENDED_SPARSITY)
}

_Policy = TypeVar("_Policy", bound=UnitPolicy)


def scale_policy(preset: str | ScalePolicy, **changes: Any) -> ScalePolicy:
    """Take a policy of learning rates or weight decays, and changes to it.

    Args:
        preset: Name of one of ``SCALE_PRESETS``, or a policy.
        **changes: Options of :class:`~spectra.policies.learning_rate.ScalePolicy`; ``analysis`` is replaced as a whole.

    Returns:
        The policy.
    """
    return _changed(SCALE_PRESETS, preset, changes)


def sparsity_policy(preset: str | SparsityPolicy, **changes: Any) -> SparsityPolicy:
    """Take a policy of sparsity, and changes to it.

    Args:
        preset: Name of one of ``SPARSITY_PRESETS``, or a policy.
        **changes: Options of :class:`~spectra.policies.sparsity.SparsityPolicy`; ``analysis`` is replaced as a whole.

    Returns:
        The policy.
    """
    return _changed(SPARSITY_PRESETS, preset, changes)


def _changed(presets: Mapping[str, _Policy], preset: str | _Policy, changes: dict[str, Any]) -> _Policy:
    if isinstance(preset, str):
        if preset not in presets:
            raise InputError(f"unknown preset {preset!r}.{did_you_mean(preset, presets)} Known: {', '.join(presets)}.")
        preset = presets[preset]
    options = {f.name: getattr(preset, f.name) for f in dataclasses.fields(preset)}
    return type(preset).from_dict(options | changes)
