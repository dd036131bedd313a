"""What tests of the cache ask a report."""

from spectra.results.report import Report


def counts(report: Report) -> tuple[int, int]:
    """Layers that came from the cache, and those that were computed."""
    return report.environment["layers_from_cache"], report.environment["layers_computed"]


def content(report: Report) -> tuple:
    """Everything but how the report was made; spectra by their bytes."""
    spectra_of = {name: values.tobytes() for name, values in report.spectra.items()}
    return {**report.to_dict(), "environment": None}, spectra_of
