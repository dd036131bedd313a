"""A report in two sentences; used by the command line and by ``print(report)``."""

from __future__ import annotations

from collections.abc import Mapping

from spectra.results.records import LayerStatus, ModelInfo, Summary

_WORDS: Mapping[str, str] = {
    LayerStatus.TOO_FEW_EVALS: "with too few eigenvalues",
    LayerStatus.NO_TAIL: "without a tail",
    LayerStatus.META: "on the meta device",
    LayerStatus.NO_BASE: "without a base",
}


def headline(model: ModelInfo, summary: Summary) -> str:
    """Say how much was analysed and how far the fits can be trusted.

    Args:
        model: Of the report.
        summary: Of the report.

    Returns:
        One line.
    """
    s = summary
    num_fits = s.num_layers - s.num_without_fit
    is_judged = not num_fits or s.num_reliable or s.num_doubtful  # fits of inverse eigenvalues are not
    parts = [counted(s.num_reliable, "reliable fit"), f"{s.num_doubtful} doubtful"] if is_judged else [counted(num_fits, "fit")]
    parts += [f"{count} {_WORDS.get(status, status)}" for status, count in s.statuses.items() if status != LayerStatus.OK]
    if s.num_skipped:
        parts.append(f"{counted(s.num_skipped, 'tensor')} skipped")
    base = f" with base '{model.base}'" if model.base else ""
    return f"Analysed {counted(s.num_layers, 'layer')} of '{model.name}'{base} ({', '.join(parts)})"


def conclusion(summary: Summary) -> str:
    """Say what alpha is over the model.

    Args:
        summary: Of the report.

    Returns:
        One line.
    """
    alpha = summary.metrics.get("alpha")
    if alpha is None:
        return "alpha: no layer could be fitted; 'status' says why, layer by layer"
    labels = [f"{count} {label}" for label, count in summary.labels.items() if label]
    verdict = f"; {', '.join(labels)}" if labels else ""
    return f"alpha: mean {alpha.mean:.3f}, median {alpha.median:.3f}, range {alpha.min:.2f}–{alpha.max:.2f}{verdict}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, such as ``"1 layer"`` or ``"2 layers"``.

    Args:
        number: How many.
        noun: In the singular.
        plural: Of the noun, where it takes more than an s.

    Returns:
        The words.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def elided(text: str, width: int) -> str:
    """Return a text that may be too long for its place.

    Args:
        text: Such as the name of a model.
        width: Most characters.

    Returns:
        The text, or its beginning and end with ``…`` between them.
    """
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"
