"""What is said of a layer in words: one word for the table, and a sentence. The wording is that of docs/interpretation.md."""

from __future__ import annotations

from dataclasses import dataclass

from spectra.results.records import FAILURES, LayerDiagnostics, LayerStatus
from spectra.results.settings import AnalysisSettings

_LABELS = {
    "over-trained": (
        "Alpha is below 2, which is said of over-trained layers; it is also what a fit of the bulk gives. Compare the size of "
        "the tail with the number of eigenvalues before believing it."
    ),
    "under-trained": (
        "Alpha is above 6, which is said of under-trained layers; short tails of any origin have it, too. Its bootstrap "
        "interval tells more."
    ),
}
_STATUSES = {
    LayerStatus.TOO_FEW_EVALS: "Too few eigenvalues for a fit: norms only.",
    LayerStatus.NO_TAIL: "No tail to fit: the positive eigenvalues are equal, too few, or round-off of zero.",
    LayerStatus.ZERO: "All weights are zero.",
    LayerStatus.DEPTHWISE: "One channel per group: vectors, not matrices; norms only.",
    LayerStatus.EMPTY: "A side of length zero.",
    LayerStatus.NONFINITE: "The weights hold NaN or infinite values: nothing was analysed.",
    LayerStatus.META: "A shape without numbers: nothing was analysed.",
    LayerStatus.UNREADABLE: "Reading the weights failed: nothing was analysed.",
    LayerStatus.NO_BASE: "The base has no matching weight: nothing was analysed in its place.",
    LayerStatus.UNCHANGED: "The weight equals its base.",
}


@dataclass(frozen=True)
class Verdict:
    """What is said of a layer.

    Attributes:
        tone: ``good``, ``low``, ``high``, ``doubtful``, ``plain``, ``none`` or ``failed``: marks and the filter go by it.
        word: For the table.
        sentence: For whoever asks.
    """

    tone: str
    word: str
    sentence: str


def verdict(layer: LayerDiagnostics, settings: AnalysisSettings) -> Verdict:
    """Say in words what is known of a layer, and no more.

    Args:
        layer: A row.
        settings: Of the analysis.

    Returns:
        The verdict.
    """
    notes = f" {layer.notes[0].upper()}{layer.notes[1:]}." if layer.notes else ""
    if layer.status != LayerStatus.OK:
        word = str(layer.status).replace("_", " ")
        return Verdict("failed" if layer.status in FAILURES else "none", word, _STATUSES[layer.status] + notes)
    if layer.fit_quality == "poor":
        sentence = "The tail is not shown to be more than the edge of a random spectrum; do not read alpha as a fact."
        return Verdict("doubtful", "doubtful", sentence + notes)
    if layer.label:
        return Verdict("low" if layer.label == "over-trained" else "high", layer.label, _LABELS[layer.label] + notes)
    if not layer.fit_quality:
        subject = "inverse eigenvalues" if settings.inverse else "this kind"
        return Verdict("plain", "fitted", f"Fits of {subject} are not judged." + notes)
    sentence = "The tail is longer than that of a random matrix and close to a power law; that is not proof of training."
    return Verdict("good", "good fit", sentence + notes)
