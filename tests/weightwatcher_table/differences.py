"""W1 to W14: where the default profile differs from WeightWatcher 0.7.7 on purpose, why, and by how much; each measured."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import spectra
from tests.weightwatcher_table.comparing import Asked
from tests.weightwatcher_table.models import (
    MODELS,
    NOISE,
    Net,
    Pair,
    codes,
    even_kernels,
    pareto,
    quarter_circle,
    scaled,
    tied,
    vocabulary,
    volumes,
)


@dataclass(frozen=True)
class Difference:
    """One row of the second table; the function of this module that is named as the id in small letters proves it."""

    id: str
    weightwatcher: str
    spectra: str
    why: str


DIFFERENCES = (
    Difference(
        "W1",
        "the eigenvalues of a convolution are halved by `analyze`, times 4.5 with `pool=False` (3 × 3), as they "
        "are in `get_ESD`",
        "as they are",
        "a factor ½ has no source; `conv_norm=0.5` brings it back",
    ),
    Difference(
        "W2",
        "eigenvalues up to 1e-5 are dropped: the same weights × 0.005 move an `alpha` from 2.74 to 9.42",
        "2.74, whatever the unit: only what is numerically zero is dropped",
        "`alpha` must not depend on the scale of the weights",
    ),
    Difference(
        "W3",
        "another estimator under 20 eigenvalues: a sample with `alpha` 3.45 gets 3.26",
        "3.45: one rule for all sizes",
        "a number must not jump between 19 and 20 values",
    ),
    Difference(
        "W4",
        "a failed fit is `alpha` -1, labelled over-trained, and enters the means",
        "NaN, with a `status` that says why",
        "-1 is no number of a spectrum",
    ),
    Difference(
        "W5",
        "with CUDA, weights are rounded to float16 and the constant in `entropy` is 6e-05 in place of 1e-10",
        "the same arithmetic on every device",
        "a number must not depend on the machine",
    ),
    Difference(
        "W6",
        "no row for 1-D, 3-D and transposed convolutions, nor for the embedding of 50 001 rows",
        "rows for all of them; what is left out is listed in `report.skipped`",
        "a mean over what is left is another mean",
    ),
    Difference(
        "W7", "tied weights are two rows", "one row, with the other name in `tied_to`", "they would count double in the means"
    ),
    Difference(
        "W8",
        "square noise of sigma 1 with 10 spikes: 1.49",
        "1.00",
        "the fitted curve for square matrices does not scale with sigma; the margin for spikes is five Tracy-Widom widths",
    ),
    Difference(
        "W9",
        "two runs give two `rand_distance`",
        "the same to the last digit, whatever else is analysed",
        "a result must be repeatable",
    ),
    Difference(
        "W10",
        "the product overflows: `detX_num` 2952 of 4096 eigenvalues of square noise",
        "2995, from a sum of logarithms",
        "float64 ends at 1e308",
    ),
    Difference(
        "W11",
        "a layer that the base model lacks is analysed as it is, as if the base were zero; an adapter's scale is left out",
        "`alpha` is NaN with the status `no_base`; the scale is applied",
        "weights and differences must not share a table",
    ),
    Difference(
        "W12",
        "`sv_min` of a convolution is the largest of its slices' smallest, 0.13; with a 2 × 2 kernel and 20 "
        "inputs, 10 outputs `N` is 10 and `Q` 0.5",
        "the smallest, 0.04; `N` 20, `Q` 2",
        "as the names say",
    ),
    Difference(
        "W13",
        "int8 codes of a quantized weight get an `alpha`",
        "skipped with the reason, or dequantized where the format is known",
        "codes are not weights",
    ),
    Difference(
        "W14",
        "importing it adds a handler to the root logger and sets its level, changes warning filters; a run "
        "prints to stdout and sets `longname` on modules",
        "nothing of that",
        "a library leaves its surroundings alone",
    ),
)


def first_alpha(rows: list[dict[str, Any]]) -> float:
    return rows[0]["alpha"]


def w1(asked: Asked) -> None:
    esd, pooled, slices = asked.value("w1")
    ours = spectra.analyze(Net(), include="conv")
    assert ours.eigenvalues("conv")[-1] == pytest.approx(esd[-1], rel=1e-12)
    assert pooled[0]["lambda_max"] == pytest.approx(0.5 * esd[-1], rel=1e-12)
    assert max(row["lambda_max"] for row in slices) == pytest.approx(4.5 * esd[-1], rel=1e-12)


def w2(asked: Asked) -> str:
    before, after = (first_alpha(rows) for rows in asked.value("w2"))
    ours = [spectra.analyze(model, include="conv").layers[0].alpha for model in (Net(), scaled(5e-3))]
    assert ours == pytest.approx([before, before], rel=1e-6)
    return f"from {before:.2f} to {after:.2f}"


def w3(asked: Asked) -> str:
    nineteen, twenty = (fit[0] for fit in asked.value("w3"))
    ours = [spectra.fit_power_law(pareto(size)).alpha for size in (19, 20)]
    assert ours[1] == pytest.approx(twenty, rel=1e-12)
    return f"a sample with `alpha` {ours[0]:.2f} gets {nineteen:.2f}"


def w4(asked: Asked) -> None:
    theirs, means = asked.value("w4")
    assert means["alpha"] == -1.0
    assert {(row["alpha"], row["warning"]) for row in theirs} == {(-1, "over-trained")}
    ours = spectra.analyze(Pair("a"), base=Pair("a")).layers[0]
    assert (math.isnan(ours.alpha), ours.status, ours.label) == (True, "unchanged", "")


def w5(asked: Asked) -> str:
    dtype, epsilon = asked.value("w5")
    return f"rounded to {dtype} and the constant in `entropy` is {epsilon}"


def w6(asked: Asked) -> None:
    others, embedding = asked.value("w6")
    assert [row["name"] for row in others] == ["0"]
    assert [row["name"] for row in embedding] == ["1"]
    assert [layer.kind for layer in spectra.analyze(volumes()).layers] == ["linear", "conv1d", "conv3d", "conv2d"]
    assert [layer.num_rows for layer in spectra.analyze(vocabulary()).layers] == [50_001, 30]


def w7(asked: Asked) -> None:
    assert len(asked.value("w7")) == 2
    (layer,) = spectra.analyze(tied()).layers
    assert layer.tied_to == "head.weight"


def w8(asked: Asked) -> str:
    from spectra.esd.marchenko_pastur import fit_marchenko_pastur

    _, sigma_rescaled, *_, scale = asked.value("w8")
    fit = fit_marchenko_pastur(spectra.eigenvalues(NOISE), NOISE.shape)
    # In the unit of the weights: eigenvalues are N times those of the law.
    theirs = sigma_rescaled / scale / math.sqrt(NOISE.shape[0])
    assert f"{fit.sigma:.2f}" == "1.00"
    return f"10 spikes: {theirs:.2f}"


def w9(asked: Asked) -> None:
    first, second = (rows[0]["rand_distance"] for rows in asked.value("w9"))
    assert first != second
    whole, alone = (spectra.analyze(Net(), randomize=True, include=names) for names in ((), "wide"))
    (of_whole,) = [layer for layer in whole.layers if layer.layer_name == "wide"]
    assert of_whole.rand_distance == alone.layers[0].rand_distance


def w10(asked: Asked) -> str:
    from spectra.esd.trace_log import trace_log_condition

    assert trace_log_condition(quarter_circle(4096)).num_erg == 2995
    return f"`detX_num` {asked.value('w10')} of"


def w11(asked: Asked) -> None:
    theirs = asked.value("w11")
    raw = spectra.analyze(Pair("a"), profile="weightwatcher").layers[0].alpha
    assert first_alpha(theirs) == pytest.approx(raw, rel=1e-12)
    (ours, *_) = spectra.analyze(Pair("a", "b", "c"), base=Pair("b", "c")).layers
    assert (ours.layer_name, ours.status, math.isnan(ours.alpha)) == ("a", "no_base", True)


def w12(asked: Asked) -> str:
    plain, even = asked.value("w12")
    kernel = Net().conv.weight.detach().double().numpy()
    smallest = np.linalg.svd(kernel.reshape(16, 12, 9).transpose(2, 0, 1), compute_uv=False)[:, -1]
    assert plain[0]["sv_min"] * math.sqrt(2.0) == pytest.approx(smallest.max(), rel=1e-6)
    ours = spectra.analyze(Net(), include="conv").layers[0]
    assert ours.sv_min == pytest.approx(smallest.min(), rel=1e-6)
    assert f"{ours.sv_min:.2f}" == "0.04"
    assert (even[0]["N"], even[0]["Q"]) == (10, 0.5)
    layer = spectra.analyze(even_kernels()).layers[0]
    assert (max(layer.num_rows, layer.num_cols), layer.aspect_ratio) == (20, 2.0)
    return f"largest of its slices' smallest, {plain[0]['sv_min']:.2f};"


def w13(asked: Asked) -> None:
    assert first_alpha(asked.value("w13")) > 1.0
    report = spectra.analyze(codes())
    assert [layer.layer_name for layer in report.layers] == ["head"]
    assert report.skipped[0].name == "fc.weight"


def w14(asked: Asked) -> None:
    theirs = asked.value("w14")
    assert theirs["handlers"] == 1
    assert (theirs["level"], theirs["attribute"], theirs["printed"]) == (logging.INFO, "wide", "SMALL N PL FIT")
    assert theirs["filters"] > 0
    before = (list(logging.getLogger().handlers), logging.getLogger().level, list(warnings.filters))
    model = MODELS["net"]()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        spectra.analyze(model)
    assert (list(logging.getLogger().handlers), logging.getLogger().level, list(warnings.filters)) == before
    assert (out.getvalue(), hasattr(model.wide, "longname")) == ("", False)
