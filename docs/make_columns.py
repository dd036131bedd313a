"""Write docs/columns.md from the schema: ``python docs/make_columns.py``. A test keeps the two together."""

import dataclasses
from pathlib import Path

from spectra.results.records import SCHEMA_VERSION, LayerDiagnostics, LayerStatus

HEAD = f"""# Columns of a result

Schema version {SCHEMA_VERSION}. A field of `LayerDiagnostics`, a column of `layers.csv` and a key of `report.json` are
the same word; "when" names the setting that asks for it. Eigenvalues are λ = σ², not divided by a dimension; `log10_` is
base 10. Missing numbers are NaN in memory, `null` in JSON, empty in CSV, and `status` says why. Written by
`docs/make_columns.py`.

| column | meaning | when | in WeightWatcher |
|---|---|---|---|
"""


WHEN = {
    "clip": "`xmin='clip'`",
    "truncated": "`truncated`",
    "alternatives": "`alternatives`",
    "pvalue": "`pvalue_samples`",
    "bootstrap": "`bootstrap_samples`",
    "mp": "`mp_fit`",
    "randomized": "`randomize`",
    "vectors": "`vectors`",
    "farms": "`subsample='farms'`",
}


def text() -> str:
    """Return the page."""
    rows = []
    for field in dataclasses.fields(LayerDiagnostics):
        about = field.metadata
        when = WHEN.get(about["group"], "always")
        rows.append(f"| `{field.name}` | {about['meaning']} | {when} | {_code(about['weightwatcher'])} |")
    statuses = ", ".join(f"`{status.value}`" for status in LayerStatus)
    return HEAD + "\n".join(rows) + f"\n\n`status` is one of {statuses}.\n"


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""


if __name__ == "__main__":
    Path(__file__).with_name("columns.md").write_text(text(), encoding="utf-8")
