"""The first thing that is read: how much was analysed, what alpha is, and which layers ask for a look."""

from __future__ import annotations

from collections import Counter

from spectra.report.html.content import PageContent
from spectra.report.html.section import Figure, Section
from spectra.report.html.verdicts import Verdict, verdict
from spectra.report.table import worst_first
from spectra.results.records import FAILURES, ExpertSummary, LayerDiagnostics
from spectra.results.report import Report
from spectra.results.words import conclusion, headline

_MOST_WORTH_A_LOOK = 6
_TONES = {
    "good": "good fit",
    "low": "over-trained",
    "high": "under-trained",
    "doubtful": "doubtful fit",
    "plain": "fitted",
    "none": "no fit",
    "failed": "not analysed",
}


def section(content: PageContent) -> Section:
    """Make the section.

    Args:
        content: Of the page.

    Returns:
        It is never missing.
    """
    report = content.report
    verdicts = [verdict(layer, report.settings) for layer in report.layers]
    counts = Counter(found.tone for found in verdicts)
    values = {
        "headline": headline(report.model, report.summary),
        "conclusion": _capitalized(conclusion(report.summary)),
        "figures": _figures(report),
        "shares": [(tone, word, counts[tone]) for tone, word in _TONES.items() if counts[tone]],
        "worth_a_look": _worth_a_look(report, dict(zip(map(id, report.layers), verdicts, strict=True))),
        "experts": [_expert_row(summary) for summary in report.experts],
        "notes": [*report.model.notes, *content.notes],
    }
    return Section(name="summary", title="Summary", values=values)


def _figures(report: Report) -> list[Figure]:
    metrics, summary = report.summary.metrics, report.summary
    figures = []
    if alpha := metrics.get("alpha"):
        figures.append(Figure("Median alpha", f"{alpha.median:.2f}", f"middle half {alpha.q25:.2f}–{alpha.q75:.2f}"))
        figures.append(Figure("Range of alpha", f"{alpha.min:.2f}–{alpha.max:.2f}", "all fits, doubtful ones too"))
    num_fits = summary.num_layers - summary.num_without_fit
    if summary.num_reliable or summary.num_doubtful:
        figures.append(Figure("Reliable fits", f"{summary.num_reliable} of {num_fits}", f"{summary.num_doubtful} doubtful"))
    if rank := metrics.get("stable_rank"):
        figures.append(Figure("Median stable rank", f"{rank.median:.1f}", f"range {rank.min:.1f}–{rank.max:.1f}"))
    return figures


def _worth_a_look(report: Report, verdicts: dict[int, Verdict]) -> list[tuple[LayerDiagnostics, Verdict]]:
    asking = [layer for layer in worst_first(report.layers) if layer.status in FAILURES or layer.label]
    return [(layer, verdicts[id(layer)]) for layer in asking[:_MOST_WORTH_A_LOOK]]


def _expert_row(summary: ExpertSummary) -> tuple[str, ...]:
    alpha = summary.metrics.get("alpha")
    numbers = [f"{value:.2f}" for value in (alpha.median, alpha.min, alpha.max)] if alpha else ["–"] * 3
    return summary.stack, str(summary.num_experts), str(summary.num_reliable), *numbers


def _capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
