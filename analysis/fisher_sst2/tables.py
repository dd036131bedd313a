"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.fisher_sst2.orderings import AGGREGATES, LEVELS, PUBLISHED_ORDER
from analysis.readme_tables import table, write_tables

Results = Mapping[str, Any]

_TYPES = {
    "attention_probs": "attention probabilities",
    "attention_output": "attention output",
    "mlp_output": "MLP output",
    "embeddings": "embeddings",
}


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _heads(results: Results) -> str:
    rows = (
        (
            seed,
            head["trained on"],
            f"{head['train']['accuracy']:.1%}",
            f"{head['dev']['accuracy']:.1%}",
            f"{head['dev']['loss']:.3f}",
        )
        for seed, head in enumerate(results["heads"])
    )
    return table(("seed", "trained on", "accuracy there", "accuracy on dev", "loss on dev"), rows)


def _halves(results: Results) -> str:
    kinds = results["two halves"]
    head = ["aggregate", *(f"{kind}, {level}s" for kind in kinds for level in LEVELS)]
    return table(
        head, ([f"`{how}`", *(_mean(kinds[kind][how][level]) for kind in kinds for level in LEVELS)] for how in AGGREGATES)
    )


def _kinds(results: Results) -> str:
    pairs = results["two kinds"] | {f"two heads, {kind}": found for kind, found in results["two heads"].items()}
    head = ["aggregate", *(f"{pair}, {level}s" for pair in pairs for level in LEVELS)]
    return table(
        head, ([f"`{how}`", *(_mean(pairs[pair][how][level]) for pair in pairs for level in LEVELS)] for how in AGGREGATES)
    )


def _types(results: Results) -> str:
    found = dict(results["site types"]["empirical"])
    found["mean_of_means` without norms"] = results["site types without norms"]["empirical"]["mean_of_means"]
    head = [
        "aggregate",
        *(_TYPES[role] for role in PUBLISHED_ORDER),
        "lowest to highest",
        "of the lowest 6, attention probabilities",
    ]
    rows = []
    for how, of in found.items():
        lowest = next(value for name, value in of.items() if name.startswith("of the lowest"))
        ranks = (f"{of['mean rank'][role]:.1f}" for role in PUBLISHED_ORDER)
        name = f"`{how}`".replace("norms`", "norms")
        rows.append([name, *ranks, " < ".join(_TYPES[role] for role in of["order"]), ", ".join(map(str, lowest))])
    return table(head, rows)


def _shares(results: Results) -> str:
    found = results["shares of mean_of_means"]["empirical"]
    return table(
        ["part of the `mean_of_means` score", *(_TYPES[role] for role in found)],
        ([f"from {what}", *(f"{of[what]:.0%}" for of in found.values())] for what in ("norms", "vectors")),
    )


def _convergence(results: Results) -> str:
    kinds = results["convergence"]
    head = ["sentences", *(f"{kind}: {what}" for kind in kinds for what in ("layers", "sites", "± of a tensor"))]
    rows = []
    for size in next(iter(kinds.values())):
        cells = []
        for kind in kinds:
            of = kinds[kind][size]
            agreed = of["with the exact of the other half"]["param_mean"]
            cells += [*(f"{agreed[level]:.3f}" for level in LEVELS), f"{of['median relative standard error']:.1%}"]
        rows.append([size, *cells])
    return table(head, rows)


def _alpha(results: Results) -> str:
    kinds = results["alpha"]
    head = ["layers", "number", *(f"`{how}`" for how in AGGREGATES)]
    rows = (
        [f"{kind}, {which}", found["layers"], *(_mean(found[how], digits=2) for how in AGGREGATES)]
        for kind, of_kind in kinds.items()
        for which, found in of_kind.items()
    )
    return table(head, rows)


def _surfaces(results: Results) -> str:
    rows = []
    for setting, found in results["surfaces"].items():
        for region, of in found.items():
            if region != "center":
                rings = of["mean loss by radius"]
                moved = (f"{of['share of parameters']:.1%}", f"{of['relative norm']:.3g}")
                rows.append([f"{setting}, {region}", *moved, *(f"{ring}: {_mean(rings[ring], digits=2)}" for ring in rings)])
    first = next(iter(results["surfaces"].values()))["center"]
    head = [
        "setting, region",
        "parameters",
        "step at radius 1",
        f"center ({_mean(first, digits=2)})",
        *["mean loss by radius"] * 4,
    ]
    return table(head, rows)


def _stories(results: Results) -> str:
    texts = {name: found for name, found in results["stories260K"].items() if isinstance(found, Mapping)}
    head = ["texts", "loss per token", "trace, empirical / sampled", "layers, empirical and sampled", "layers, two halves"]
    rows = [
        [
            name,
            f"{found['loss per token']:.2f}",
            _mean(found["trace, empirical over sampled"]),
            f"{found['layers, empirical and sampled']['param_mean']:.3f}",
            ", ".join(f"{kind} {of['param_mean']:.3f}" for kind, of in found["layers, two halves"].items()),
        ]
        for name, found in texts.items()
    ]
    return table(head, rows)


def _mean(found: Results, digits: int = 3) -> str:
    error = "" if found["std_error"] is None else f" ± {found['std_error']:.{digits}f}"
    return f"{found['mean']:.{digits}f}{error}"


_TABLES = {
    "heads": _heads,
    "halves": _halves,
    "kinds": _kinds,
    "types": _types,
    "shares": _shares,
    "convergence": _convergence,
    "alpha": _alpha,
    "surfaces": _surfaces,
    "stories": _stories,
}
