"""What the table in docs/weightwatcher.md is made of: a row per option and method of WeightWatcher 0.7.7.

A row holds the options that WeightWatcher is run with and the settings that Spectra is run with, and names the proof (a
function in a ``proofs_of_`` module beside this file) that compares the two. The page shows what the proof ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        names: Options of ``analyze``, or methods, that the row accounts for.
        proof: What checks it; empty where there is nothing to run.
        result: What is compared, or how the two differ and why.
        tolerance: Relative, of the numbers that are the same; ``None`` for a difference.
        options: ``analyze`` of WeightWatcher is called with these.
        settings: ``spectra.analyze`` is called with these and ``profile="weightwatcher"``; ``None``: there is no such call.
        theirs: Text of the call, where it is not ``analyze`` with the options.
        ours: Text of ours, where it is not ``spectra.analyze`` with the settings.
        flag: Text of the command line, where it is not the settings' flags.
        model: Of ``models.MODELS``.
    """

    names: tuple[str, ...]
    proof: str
    result: str
    tolerance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] | None = None
    theirs: str = ""
    ours: str = ""
    flag: str = ""
    model: str = "net"

    @property
    def key(self) -> str:
        """Name of the answer of WeightWatcher."""
        return f"{self.model}: {self.theirs or keywords(self.options)}"

    @property
    def their_text(self) -> str:
        """The call of WeightWatcher."""
        return self.theirs or keywords(self.options) or "analyze()"

    @property
    def our_text(self) -> str:
        """The Python call of Spectra."""
        return self.ours or keywords(self.settings or {})

    @property
    def flag_text(self) -> str:
        """The flags of ``spectra analyze``."""
        return self.flag or " ".join(_flag(name, value) for name, value in (self.settings or {}).items())

    @property
    def verdict(self) -> str:
        """The last cell: the tolerance comes from what the proof used."""
        if self.tolerance is None:
            return self.result
        tolerance = f"{self.tolerance:.0e}".replace("e-0", "e-") if self.tolerance else "exactly"
        return f"**same**, {tolerance}: {self.result}"


def keywords(values: Mapping[str, Any]) -> str:
    """Write keyword arguments as in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items()).replace("'", '"')


def _flag(name: str, value: Any) -> str:
    flag = f"--{'kind' if name == 'kinds' else name.replace('_', '-')}"
    return flag if value is True else f"{flag} {value}"


EVERY_COLUMN = "every column"
NO_EFFECT = "no effect in WeightWatcher: the table stays the same, bit for bit"
POWERLAW_2 = "`alpha` is -1 in every row: the call fails with powerlaw 2, and the failure is swallowed"

OPTIONS = (
    Row(
        ("model",),
        "same_table",
        EVERY_COLUMN,
        1e-12,
        settings={},
        theirs="model",
        ours="`model`: also a path, a hub id or a state dict",
        flag="MODEL",
    ),
    Row(("layers",), "same_table", EVERY_COLUMN, 1e-12, {"layers": ["conv2d"]}, {"kinds": "conv2d"}),
    Row(("layers",), "same_table", EVERY_COLUMN, 1e-12, {"layers": ["wide"]}, {"include": "wide"}),
    Row(("layers",), "same_table", EVERY_COLUMN, 1e-12, {"layers": ["-wide"]}, {"exclude": "wide"}),
    Row(
        ("layers",),
        "same_table",
        "layers have names here, not numbers",
        1e-12,
        {"layers": [3]},
        {"include": "wide"},
    ),
    Row(
        ("layers",),
        "hyphen_is_taken_as_minus",
        "a name with a hyphen counts as one to leave out: WeightWatcher returns both "
        "layers of the model, Spectra the one asked for",
        options={"layers": ["to-q"]},
        settings={"include": "to-q"},
        model="hyphens",
    ),
    Row(
        ("min_evals",),
        "same_table",
        "what is left out is listed in `report.skipped`",
        1e-12,
        {"min_evals": 40},
        {"min_evals": 40},
    ),
    Row(("max_evals",), "same_table", "in the default profile there is no limit", 1e-12, {"max_evals": 70}, {"max_evals": 70}),
    Row(
        ("min_size", "max_size"),
        "no_effect",
        NO_EFFECT,
        options={"min_size": 40, "max_size": 70},
        ours="`min_evals`, `max_evals`",
    ),
    Row(
        ("max_N",),
        "same_table",
        EVERY_COLUMN,
        1e-12,
        {"max_N": 100, "max_evals": 100},
        {"max_side": 100, "max_evals": 100},
    ),
    Row(("glorot_fix",), "no_effect", NO_EFFECT + " (it is stored under a misspelt key)", options={"glorot_fix": True}),
    Row(
        ("plot", "savefig"),
        "figures",
        "WeightWatcher shows and saves figures while it analyses; Spectra draws them from the saved report (W14)",
        theirs='plot=True, savefig="DIR"',
        ours='analyze(model, output="report")',
        flag="--output report, then spectra plot report esd",
    ),
    Row(
        ("randomize",),
        "same_for_the_same_order",
        "for the same random order. Orders are seeded here and do not depend on filters; two runs of WeightWatcher differ (W9)",
        1e-9,
        {"randomize": True, "layers": ["wide"]},
        {"randomize": True},
    ),
    Row(
        ("mp_fit",),
        "same_table",
        "every column; the default profile estimates the bulk otherwise (W8)",
        1e-9,
        {"mp_fit": True},
        {"mp_fit": True},
    ),
    Row(
        ("conv2d_norm",),
        "same_table",
        "1.0 is the default of the default profile (W1)",
        1e-12,
        {"conv2d_norm": False},
        {"conv_norm": 1.0},
    ),
    Row(
        ("pool",),
        "same_slices",
        "every column but `rf`, which is 1 here. Slices are multiplied by half the number of kernel "
        "positions there (3 × 3: 4.5), pooled layers by ½ (W1)",
        1e-12,
        {"pool": False},
        {"conv_mode": "slices", "conv_norm": 4.5},
    ),
    Row(
        ("ww2x",),
        "same_slices",
        "an old name of `pool=False`",
        1e-12,
        {"ww2x": True},
        {"conv_mode": "slices", "conv_norm": 4.5},
    ),
    Row(
        ("conv2d_fft",),
        "operator_norm",
        "WeightWatcher drops the imaginary parts and decomposes over the frequency axes; "
        "Spectra gives the spectrum of the convolution as a linear map (arXiv 1805.10408): its `spectral_norm` is that of the "
        "dense matrix",
        options={"conv2d_fft": True},
        settings={"conv_mode": "operator"},
    ),
    Row(("fft",), "raises", "raises AttributeError", options={"fft": True}),
    Row(
        ("deltas",),
        "no_effect",
        "no column; with `plot=True` a figure",
        options={"deltas": True},
        ours="numpy.diff(report.eigenvalues(layer))",
    ),
    Row(
        ("intra", "sparsify"),
        "differs_from_run_to_run",
        "not here: experimental, by an unseeded random matrix unless "
        "`sparsify=False`, and of the singular values, not the eigenvalues",
        options={"intra": True},
    ),
    Row(
        ("vectors",),
        "same_vectors",
        "means and variances of bulk and tail. The eigenvector of `xmin` belongs to the tail here; "
        "there the last digit decides",
        1e-9,
        {"vectors": True},
        {"vectors": True},
    ),
    Row(("channels",), "raises", "raises TypeError", options={"channels": "first"}),
    Row(
        ("stacked",),
        "stacked_drops_eigenvalues",
        "not here: experimental; all layers in one padded matrix, of whose 120 "
        "eigenvalues the 108 are kept that its first layer has",
        options={"stacked": True},
    ),
    Row(
        ("fix_fingers", "finger_thresh"),
        "same_table",
        '`alpha`, `num_fingers`, `raw_alpha` and every other column. `xmin="clip"` counts the values removed: one more',
        1e-12,
        {"fix_fingers": "clip_xmax", "finger_thresh": 0.5},
        {"xmin": "clip_compat", "finger_threshold": 0.5},
        model="fingers",
    ),
    Row(
        ("max_fingers",),
        "max_fingers_is_reset",
        "WeightWatcher goes back to 10 where it is less than half the number of eigenvalues",
        options={"fix_fingers": "clip_xmax", "max_fingers": 3, "finger_thresh": 0.5},
        settings={"xmin": "clip_compat", "max_fingers": 3, "finger_threshold": 0.5},
        model="fingers",
    ),
    Row(
        ("fix_fingers",),
        "peak_frozen",
        POWERLAW_2 + ". With powerlaw 1.5 the last candidate of the window is left out; at the "
        "same `xmin` `alpha` and `D` are the same, 1e-10 (frozen reference)",
        options={"fix_fingers": "xmin_peak", "pl_package": "powerlaw"},
        settings={"xmin": "peak_compat"},
    ),
    Row(
        ("xmin_max",),
        "no_effect",
        NO_EFFECT + '; with `fix_fingers="xmin_peak"` the end of its window',
        options={"xmin_max": 2.0},
        ours="xmin=2.0",
        flag="--xmin 2.0",
    ),
    Row(("fit",), "same_table", EVERY_COLUMN, 1e-12, {"fit": "PL"}, {}, ours="the default"),
    Row(("fit",), "raises", "raises Exception: the built-in package has the power law only", options={"fit": "TPL"}),
    Row(
        ("fit",),
        "truncated_frozen",
        POWERLAW_2 + ". With powerlaw 1.5 the start is searched for the truncated law: the same "
        "`xmin`, `alpha` 1e-4, `Lambda` 2e-3 (frozen reference). "
        "Outside the compat profile it keeps the start of the power law",
        options={"fit": "TPL", "pl_package": "powerlaw"},
        settings={"truncated": True},
    ),
    Row(
        ("fit",),
        "truncated_frozen",
        'likewise, with the window of `fix_fingers="xmin_peak"`: `alpha` 1e-4, `Lambda` 2e-3 at the '
        "same `xmin` (frozen reference)",
        options={"fit": "E_TPL", "pl_package": "powerlaw"},
        ours="fit_truncated_power_law(values, xmin)",
    ),
    Row(("detX",), "same_table", "always computed", 1e-12, {"detX": True}, {}, ours="always", flag="always"),
    Row(("ERG",), "same_table", "the same as `detX`", 1e-12, {"ERG": True}, {}, ours="always", flag="always"),
    Row(("svd_method",), "same_table", 'also with `method="gram"`', 1e-12, {"svd_method": "accurate"}, {"method": "svd"}),
    Row(
        ("tolerance",),
        "counts_below",
        "`weak_rank_loss`",
        0.0,
        {"tolerance": 0.01},
        {},
        ours="(report.eigenvalues(layer) < 0.01).sum()",
        flag="–",
    ),
    Row(("start_ids",), "start_ids", "`layer_id` starts at 1; layers have names here", options={"start_ids": 1}, ours="–"),
    Row(
        ("pl_package",),
        "powerlaw_frozen",
        POWERLAW_2 + ". With powerlaw 1.5 the numbers are those of the default profile's "
        "fit, which has one rule for all sizes, 1e-10 (frozen reference; W3)",
        options={"pl_package": "powerlaw"},
        settings={},
        ours='profile="default"',
        flag="--profile default",
    ),
    Row(
        ("xmax",),
        "without_the_largest",
        "`alpha`, `D`, `xmin`",
        1e-12,
        {"xmax": -2},
        {},
        ours="fit_power_law(values[:-2])",
        flag="–",
    ),
    Row(
        ("xmax",),
        "force_frozen",
        "not here: " + POWERLAW_2 + ". With powerlaw 1.5 the law ends at the largest eigenvalue, "
        "by which `alpha` of the layer with 16 eigenvalues is 5.59 in place of 2.14 (frozen reference)",
        options={"xmax": "force", "pl_package": "powerlaw"},
    ),
    Row(
        ("base_model",),
        "same_differences",
        "every column of the layers that changed (WeightWatcher subtracts in float32). The others are "
        "`unchanged` here, -1 there",
        1e-6,
        model="tuned",
        settings={"base": "net"},
        theirs="WeightWatcher().analyze(model=tuned, base_model=model)",
        ours="analyze(tuned, base=model)",
        flag="--base MODEL",
    ),
    Row(
        ("base_model",),
        "base_is_ignored",
        "ignored without a word when the model was given to the constructor: the table is that of the tuned weights (W11)",
        model="tuned",
        settings={"base": "net"},
        theirs="WeightWatcher(tuned).analyze(base_model=model)",
        ours="analyze(tuned, base=model)",
        flag="--base MODEL",
    ),
    Row(
        ("peft",),
        "adapter_without_scale",
        "WeightWatcher leaves the adapter's scale out: its eigenvalues times "
        "(lora_alpha / r)² are ours, 1e-6; `alpha` is the same, 1e-6 (W11)",
        options={"peft": True},
        settings={"lora": "delta"},
        model="lora",
        ours='analyze("adapter folder")',
        flag="ADAPTER",
    ),
    Row(
        ("inverse",),
        "inverse",
        "`alpha`, `xmin`, `D` of dense layers; a Gram matrix knows the smallest eigenvalues less well. Of a "
        "convolution WeightWatcher inverts again what it inverted before; norms stay those of the eigenvalues here",
        1e-10,
        {"inverse": True},
        {"inverse": True, "method": "svd"},
    ),
)
