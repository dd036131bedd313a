"""Make the tables and the figure of docs/interpretation.md: ``python docs/make_interpretation.py``.

The page holds the tables between markers, ``<!-- table NAME -->`` and ``<!-- end -->``; a test keeps them up to date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import spectra
from analysis.readme_tables import remade
from spectra.esd.low_rank import low_rank_spectrum
from spectra.esd.marchenko_pastur import bulk_density
from spectra.esd.reliability import tail_excess
from spectra.esd.subsample import farms_eigenvalues
from spectra.esd.truncated_power_law import fit_truncated_power_law

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

PAGE = Path(__file__).with_name("interpretation.md")
CALIBRATION = Path(__file__).parents[1] / "analysis" / "fit_quality" / "results.json"
FIGURE = "interpretation-random-and-trained"

# Three layers of the demo model, all 384 x 384: no eigenvalue out of the bulk, a tail of 67 values, a tail of 15.
RANDOM, LONG, SHORT = "pooler.dense", "encoder.layer.0.attention.self.key", "encoder.layer.3.attention.output.dense"
STRATEGIES = ("ks", "median", "hill", "peak", "clip")


def text(page: str) -> str:
    """Return a page with its tables made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    return remade(page, TABLES)


def strategies() -> str:
    """Return the table of one spectrum under several strategies."""
    cases = {
        "A: 200 quantiles of a power law, alpha 2.5": _quantiles(200) ** (-1 / 1.5),
        "B: 150 evenly spaced values, then 50 quantiles, alpha 3": np.append(
            np.linspace(0.01, 0.99, 150), _quantiles(50) ** (-1 / 2)
        ),
        "C: 384 quantiles of the random square law": quarter_circle(384),
    } | {f"`{name}`": _demo().eigenvalues(name) for name in (RANDOM, LONG, SHORT)}
    rows = []
    for name, values in cases.items():
        fits = [spectra.fit_power_law(values, strategy) for strategy in STRATEGIES]
        rows.append([name, *map(_alpha, fits), _alpha(fit_truncated_power_law(values))])
    return _table(["spectrum", *(f"`{name}`" for name in STRATEGIES), "truncated"], rows)


def models() -> str:
    """Return the table of one model under several strategies."""
    reference = _alphas(_demo())
    rows = []
    for name in (*STRATEGIES, "farms"):
        settings: dict[str, Any] = {"xmin": "median", "subsample": "farms"} if name == "farms" else {"xmin": name}
        report = _demo(**settings)
        found = _alphas(report)
        rows.append(
            [
                "`median` of FARMS' windows" if name == "farms" else f"`{name}`",
                f"{np.mean(found):.2f}",
                f"{min(found):.2f} to {max(found):.2f}",
                f"{next(layer.alpha for layer in report.layers if layer.layer_name == RANDOM):.2f}",
                f"{report.summary.num_reliable} of {len(found)}",
                " / ".join(str(report.summary.labels.get(label, 0)) for label in ("over-trained", "under-trained")),
                f"{_rank_correlation(reference, found):.2f}",
            ]
        )
    head = ["strategy", "mean alpha", "range", f"`{RANDOM}`", "good fits", "labelled < 2 / > 6", "rank correlation with `ks`"]
    return _table(head, rows)


def gaussian() -> str:
    """Return the table of alphas of Gaussian matrices, by aspect ratio."""
    rows = []
    for ratio in (1, 2, 4, 8, 16):
        matrices = [np.random.default_rng(seed).standard_normal((256 * ratio, 256)) for seed in range(5)]
        whole = [spectra.eigenvalues(matrix) for matrix in matrices]
        windows = [farms_eigenvalues(matrix, window_rows=256).eigenvalues for matrix in matrices]
        searched = [spectra.fit_power_law(values) for values in whole]
        rows.append(
            [
                f"{256 * ratio} × 256",
                f"{min(fit.alpha for fit in searched):.1f} to {max(fit.alpha for fit in searched):.1f}",
                f"{sum(fit.is_reliable for fit in searched)} of {len(searched)}",
                *(f"{np.mean([spectra.fit_power_law(v, 'median').alpha for v in found]):.2f}" for found in (whole, windows)),
            ]
        )
    return _table(["shape", "alpha, `ks`", "good fits", "alpha, `median`", "`median` of FARMS' windows"], rows)


def layers() -> str:
    """Return the table of all diagnostics of three layers."""
    asked = {"mp_fit": True, "randomize": True, "bootstrap_samples": 1000, "pvalue_samples": 1000}
    report = _demo(include=[RANDOM, LONG, SHORT], **asked)
    by_name = {layer.layer_name: layer for layer in report.layers}
    old = {layer.layer_name: layer.label for layer in _demo(profile="weightwatcher").layers}
    chosen = [by_name[name] for name in (RANDOM, LONG, SHORT)]
    excess = [tail_excess(report.eigenvalues(layer.matrix_name), layer.num_tail or 0) for layer in chosen]
    rows = [
        ["`alpha` ± `alpha_std_error`", *(f"{layer.alpha:.2f} ± {layer.alpha_std_error:.2f}" for layer in chosen)],
        ["`alpha_low` to `alpha_high`", *(f"{layer.alpha_low:.1f} to {layer.alpha_high:.1f}" for layer in chosen)],
        ["`num_tail` of 384", *(str(layer.num_tail) for layer in chosen)],
        ["`ks_distance`", *(f"{layer.ks_distance:.3f}" for layer in chosen)],
        ["`ks_pvalue`", *(f"{layer.ks_pvalue:.2f}" for layer in chosen)],
        ["excess over random, z", *(f"{z:.1f}" for z in excess)],
        ["**`fit_quality`**", *(f"**{layer.fit_quality}**" for layer in chosen)],
        ["`label`, here and in WeightWatcher", *(f"{layer.label or '–'} / {old[layer.layer_name] or '–'}" for layer in chosen)],
        ["`num_spikes`", *(str(layer.num_spikes) for layer in chosen)],
        ["`mp_soft_rank`", *(f"{layer.mp_soft_rank:.2f}" for layer in chosen)],
        ["`mp_ks_distance`, `mp_quality`", *(f"{layer.mp_ks_distance:.3f}, {layer.mp_quality}" for layer in chosen)],
        ["`rand_distance`", *(f"{layer.rand_distance:.3f}" for layer in chosen)],
        ["`stable_rank`", *(f"{layer.stable_rank:.1f}" for layer in chosen)],
        ["`erg_gap`", *(str(layer.erg_gap) for layer in chosen)],
    ]
    return _table(["", *(f"`{name}`" for name in (RANDOM, LONG, SHORT))], rows)


def alternatives() -> str:
    """Return the table of likelihood ratios, counted over the demo model."""
    fitted = [layer for layer in _demo(alternatives=True).layers if layer.status == "ok"]
    rows = []
    for law in ("lognormal", "exponential", "stretched_exponential", "truncated_power_law"):
        better = [
            np.sign(getattr(layer, f"{law}_ratio")) * (getattr(layer, f"{law}_pvalue") < 0.1)  # arXiv 0706.1062, section 5
            for layer in fitted
        ]
        rows.append([law.replace("_", " "), *(str(sum(sign == side for sign in better)) for side in (1, -1, 0))])
    return _table(["against", "power law better", "worse", "undecided"], rows)


def storage() -> str:
    """Return the table of what rounding the weights of the demo model's blocks does to their fits."""
    from safetensors.torch import load_file

    from spectra.sources.demo import verified_folder

    stored = load_file(verified_folder() / "model.safetensors")
    weights = {name: w for name, w in stored.items() if w.ndim == 2 and name.startswith("encoder.")}
    before = spectra.analyze(weights).layers
    roundings: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "float16": lambda w: w.half().float(),
        "bfloat16": lambda w: w.bfloat16().float(),
        "8 bits, one scale per row": lambda w: _rounded(w, 127),
        "4 bits, one scale per 64 weights": lambda w: _rounded(w.reshape(-1, 64), 7).reshape(w.shape),
    }
    rows = []
    for name, rounding in roundings.items():
        rounded = {key: rounding(w) for key, w in weights.items()}
        after = spectra.analyze(rounded).layers
        changes = [abs(new.alpha / old.alpha - 1.0) for old, new in zip(before, after, strict=True)]
        difference = spectra.analyze(rounded, base=weights)
        rows.append(
            [
                name,
                f"{np.median(changes):.1e}",
                f"{max(changes):.1e}",
                str(sum(new.num_tail != old.num_tail for old, new in zip(before, after, strict=True))),
                str(sum(new.fit_quality != old.fit_quality for old, new in zip(before, after, strict=True))),
                f"{difference.summary.num_reliable} of {len(before)}",
            ]
        )
    head = ["stored as", "change of alpha, median", "largest", "other tail", "other verdict", "rounding errors called good"]
    return _table(head, rows)


def adapters() -> str:
    """Return the table of alphas of random adapters, by rank."""
    rows = []
    for rank in (8, 16, 32, 64, 128):
        fits = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            factors = rng.standard_normal((768, rank)), rng.standard_normal((rank, 768))
            fits.append(spectra.fit_power_law(low_rank_spectrum(*factors).eigenvalues))
        low, median, high = np.quantile([fit.alpha for fit in fits], [0.1, 0.5, 0.9])
        short = sum(fit.num_tail < 10 for fit in fits)
        rows.append([str(rank), f"{median:.1f}", f"{low:.1f} to {high:.1f}", f"{short} of 40", _of(fits)])
    return _table(["rank", "alpha, median", "10 to 90 %", "tails under 10 values", "good fits"], rows)


def impostors() -> str:
    """Return the table of random matrices that are called good more often than not, from the calibration's own results."""
    special = json.loads(CALIBRATION.read_text(encoding="utf-8"))["special"]
    sizes = ["(64, 64)", "(256, 256)", "(512, 128)"]
    rows = []
    for kind in dict.fromkeys(case.rsplit(" (", 1)[0] for case in special):
        if max(special[f"{kind} {size}"]["now"] for size in sizes) < 0.5:  # refused, as it should be
            continue
        found = [special[f"{kind} {size}"] for size in sizes]
        rows.append([kind, *(f"{100 * case['now']:.0f} %, {case['median alpha']:.1f}" for case in found)])
    return _table(["random matrices: called good, median alpha", "64 × 64", "256 × 256", "512 × 128"], rows)


def pooled() -> str:
    """Return the table of pooled spectra of random matrices, of equal and of unequal scale."""
    centre = np.ones((3, 3))
    centre[1, 1] = 2.0
    cases = {
        "8 experts of 64 × 64, equal scales": np.ones((8, 1, 1)),
        "the same, scales 1 to 2": np.linspace(1.0, 2.0, 8)[:, None, None],
        "the same, scales 1 to 4": np.geomspace(1.0, 4.0, 8)[:, None, None],
        "kernel of 64 × 64, 3 × 3": np.ones((3, 3)),
        "the same, its centre twice as large": centre,
    }
    rows = []
    for name, scales in cases.items():
        fits = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            if scales.shape == (3, 3):
                weights = {"conv.weight": scales * rng.standard_normal((64, 64, 3, 3))}
            else:
                experts = scales * rng.standard_normal((8, 64, 64))
                weights = {f"mlp.experts.{number}.up_proj.weight": expert for number, expert in enumerate(experts)}
            fits.append(spectra.analyze(weights, moe="pool").layers[0])
        alpha = np.median([fit.alpha for fit in fits])
        rows.append([name, f"{alpha:.1f}", f"{sum(fit.fit_quality == 'good' for fit in fits)} of {len(fits)}"])
    return _table(["random weights, pooled", "median alpha", "good fits"], rows)


TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make for make in (layers, strategies, models, gaussian, impostors, pooled, alternatives, storage, adapters)
}


def figure() -> Figure:
    """Draw a random and a trained layer of one shape, with the law of random matrices and the fitted power law."""
    from matplotlib.figure import Figure

    from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style

    with style():
        drawn = Figure(figsize=(TEXT_WIDTH, 0.8 * COLUMN_WIDTH), layout="constrained")
        for axes, name in zip(drawn.subplots(1, 2, sharex=True, sharey=True), (RANDOM, LONG), strict=True):
            values = _demo().eigenvalues(name)
            values = values / values.mean()
            fit = spectra.fit_power_law(values)
            edges = np.geomspace(0.01, 40.0, 37)
            density = np.histogram(values, edges)[0] / np.diff(edges) / len(values)
            axes.stairs(density, edges, fill=True, color=COLORS[0], alpha=0.35, linewidth=0, label="eigenvalues")
            grid = np.geomspace(0.01, 4.0 - 1e-9, 2000)
            axes.plot(grid, bulk_density(grid, 1.0), color=COLORS[1], label="random square matrix")
            tail = np.geomspace(fit.xmin, fit.xmax, 50)
            law = fit.num_tail / len(values) * (fit.alpha - 1.0) / fit.xmin * (tail / fit.xmin) ** -fit.alpha
            label = rf"$\alpha = {fit.alpha:.2f} \pm {fit.alpha_std_error:.2f}$, {fit.num_tail} eigenvalues"
            axes.plot(tail, law, color="black", linewidth=1.4, label=label)
            axes.set(xscale="log", yscale="log", xlim=(0.01, 40.0), ylim=(3e-4, 10.0))
            verdict = "good" if fit.is_reliable else "poor"
            axes.set_title(f"{name}: {verdict} fit", loc="left", parse_math=False)
            axes.set_xlabel(r"eigenvalue $\lambda$ / mean eigenvalue")
            axes.legend(loc="lower left")
        drawn.axes[0].set_ylabel("density")
    return drawn


def quarter_circle(count: int) -> np.ndarray:
    """Return quantiles of the law of large random square matrices, in units of their mean.

    Args:
        count: How many.

    Returns:
        Shape ``(count,)``, ascending; with 384 of them, fixture C of the specification.
    """
    singular_values = np.linspace(0.0, 2.0, 200_001)
    mass = np.cumsum(np.sqrt(4.0 - singular_values**2))
    return np.interp(1.0 - _quantiles(count), mass / mass[-1], singular_values) ** 2


def _quantiles(count: int) -> np.ndarray:
    """Midpoint levels, descending: 1 - (i + 0.5) / n."""
    return 1.0 - (np.arange(count) + 0.5) / count


@cache
def _analyzed(changes: str) -> spectra.Report:
    return spectra.analyze("demo", **json.loads(changes))


def _demo(**changes: Any) -> spectra.Report:
    """Analyse the demo model once per choice of settings."""
    return _analyzed(json.dumps({} if changes == {"xmin": "ks"} else changes))


def _alphas(report: spectra.Report) -> list[float]:
    return [layer.alpha for layer in report.layers if layer.status == "ok"]


def _rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's; there are no ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def _rounded(weight: torch.Tensor, levels: int) -> torch.Tensor:
    """Round to whole multiples of the largest of a row over the number of levels."""
    step = weight.abs().amax(dim=1, keepdim=True) / levels
    return (weight / step).round() * step


def _alpha(fit: Any) -> str:
    return f"{fit.alpha:.2f}" if fit.is_reliable else f"({fit.alpha:.2f})"


def _of(fits: Iterable[spectra.PowerLawFit]) -> str:
    verdicts = [fit.is_reliable for fit in fits]
    return f"{sum(verdicts)} of {len(verdicts)}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    from spectra.report.figures import write

    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    write(figure(), PAGE.parent / "images", FIGURE, ["png"])
