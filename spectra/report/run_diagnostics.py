"""What a run's summary says of diagnostics: the spectra before and after, and what multipliers, rates and ranks were."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan import NOUNS, Plan
from spectra.report.markdown import bullets, code, table
from spectra.report.run_content import RunContent
from spectra.results.records import LayerDiagnostics
from spectra.results.report import Report
from spectra.results.run_spectra import AFTER, BEFORE, RunSpectra
from spectra.results.scale_log import ScaleLogContent
from spectra.results.words import counted

NAMES = {"tempbalance": "TempBalance", "alphadecay": "AlphaDecay"}
_WELL_TRAINED = (2.0, 6.0)  # the thresholds of the labels over-trained and under-trained
_MOST_CHANGED = 5


def diagnostics_section(content: RunContent) -> str:
    """Say what the spectra were before and after, and which layers have changed most.

    Args:
        content: Of a run.

    Returns:
        Markdown; nothing where there are no two analyses.
    """
    by_name = {one.name: one for one in content.spectra}
    if BEFORE not in by_name or AFTER not in by_name:
        return ""
    before, after = by_name[BEFORE], by_name[AFTER]
    parts = [
        "## Spectra before and after",
        table(["", "before", "after"], compared(before.report, after.report)),
        _changes(before.report, after.report),
        _where(content.spectra, after),
    ]
    return "\n\n".join(part for part in parts if part)


def policies_section(content: RunContent) -> str:
    """Say what diagnostics did in training.

    Args:
        content: Of a run.

    Returns:
        Markdown; nothing where none was at work.
    """
    items = [scales_words(NAMES[name], log, code) for name, log in content.scales.items()]
    items += [] if content.drop_rates is None else [_drop_rates(content.drop_rates)]
    items += [] if content.ranks is None else [_ranks(content.ranks)]
    return f"## Diagnostics at work\n\n{bullets(items)}" if items else ""


def compared(before: Report, after: Report) -> Iterator[tuple[str, str, str]]:
    """Compare two analyses of a model.

    Args:
        before: The first.
        after: The last.

    Yields:
        What it is, before, and after.
    """

    def row(name: str, of_report: Mapping[str, str]) -> tuple[str, str, str]:
        return name, of_report["before"], of_report["after"]

    pair = {"before": before, "after": after}
    fits = {when: [layer for layer in one.layers if math.isfinite(layer.alpha)] for when, one in pair.items()}
    reliable = {when: [layer for layer in layers if layer.fit_quality == "good"] for when, layers in fits.items()}
    yield row("layers with a fit", {when: f"{len(fits[when])} of {len(one.layers)}" for when, one in pair.items()})
    yield row("reliable fits", {when: str(len(layers)) for when, layers in reliable.items()})
    yield row("mean alpha of all fits", {when: _mean_alpha(layers) for when, layers in fits.items()})
    yield row("mean alpha of reliable fits", {when: _mean_alpha(layers) for when, layers in reliable.items()})
    yield row("of these, alpha from 2 to 6 (heavy-tailed)", {when: _heavy(layers) for when, layers in reliable.items()})
    ranks = {when: one.summary.metrics.get("stable_rank") for when, one in pair.items()}
    yield row("mean stable rank", {when: "–" if rank is None else f"{rank.mean:.2f}" for when, rank in ranks.items()})


def _mean_alpha(layers: Sequence[LayerDiagnostics]) -> str:
    return f"{statistics.fmean(layer.alpha for layer in layers):.3f}" if layers else "–"


def _heavy(layers: Sequence[LayerDiagnostics]) -> str:
    low, high = _WELL_TRAINED
    inside = sum(low <= layer.alpha <= high for layer in layers)
    return f"{inside} of {len(layers)} ({inside / len(layers):.0%})" if layers else "–"


def _changes(before: Report, after: Report) -> str:
    """Show the layers whose alpha has changed most, of those that are reliable before and after."""
    first = {layer.matrix_name: layer for layer in before.layers if layer.fit_quality == "good"}
    last = {layer.matrix_name: layer for layer in after.layers if layer.fit_quality == "good"}
    moved = {name: last[name].alpha - first[name].alpha for name in first if name in last}
    chosen = sorted((name for name in moved if moved[name]), key=lambda name: -abs(moved[name]))[:_MOST_CHANGED]
    if not chosen:
        return "No layer with a reliable fit before and after has changed its alpha." if moved else ""
    rows = [
        (code(name), f"{first[name].alpha:.3f}", f"{last[name].alpha:.3f}", f"{moved[name]:+.3f}", f"{last[name].num_tail}")
        for name in chosen
    ]
    heading = f"Largest changes of alpha, of {counted(len(moved), 'layer')} with a reliable fit before and after:"
    return f"{heading}\n\n{table(['layer', 'before', 'after', 'change', 'eigenvalues in the tail'], rows)}"


def _where(spectra: Sequence[RunSpectra], after: RunSpectra) -> str:
    folders = ", ".join(code(f"diagnostics/{one.name}") for one in spectra)
    steps = f"; the last is of step {after.step}" if after.step else ""
    return f"Result folders of `spectra analyze`: {folders}{steps}."


def scales_words(name: str, log: ScaleLogContent, code: Callable[[str], str] = str) -> str:
    """Say between what multipliers were.

    Args:
        name: Of what made them.
        log: With an update.
        code: How names of units are written.

    Returns:
        A sentence.
    """
    last = log.records[-1]
    values = [value for record in log.records for value in record.scales.values()]
    low, high = (pick(last.scales, key=last.scales.__getitem__) for pick in (min, max))
    ends = f"at the end {last.scales[low]:.3g} ({code(low)}) to {last.scales[high]:.3g} ({code(high)})"
    return (
        f"{name}: {NOUNS[last.target]}s of {counted(len(last.scales), 'unit')} between {min(values):.3g} and {max(values):.3g} "
        f"over {counted(len(log.records), 'update')}; {ends}."
    )


def _drop_rates(plan: DropoutPlan) -> str:
    rates = plan.rates.values()
    made = "" if plan.control == "guided" else f" (the control '{plan.control}')"
    return (
        f"Guided dropout{made}: probabilities of {counted(len(plan.rates), 'site')} between {min(rates):.3g} and "
        f"{max(rates):.3g}, mean {plan.mean:.3g}."
    )


def _ranks(plan: Plan) -> str:
    ranks = plan.values.values()
    return (
        f"Adapter ranks by {code(str(plan.settings.get('metric', 'score')))}: {counted(len(plan.values), 'unit')} between "
        f"{min(ranks):g} and {max(ranks):g}, mean {plan.mean:.3g}."
    )
