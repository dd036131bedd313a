"""Write docs/fisher-columns.md from the records: ``python docs/make_fisher_columns.py``. A test keeps the two together."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.record_tables import in_markdown, meanings
from spectra.fisher.sites import SiteKind, SiteRole
from spectra.fisher.tasks import TASKS
from spectra.policies.drop_controls import CONTROLS
from spectra.policies.drop_prob import DropRule
from spectra.policies.dropout_plan import PLAN_SCHEMA_VERSION, DropoutPlan
from spectra.results.fisher_records import (
    FISHER_SCHEMA_VERSION,
    Aggregate,
    FisherInfo,
    FisherKind,
    FisherTensor,
    Keep,
    Reduction,
)
from spectra.results.fisher_spectrum import SPECTRUM_SCHEMA_VERSION, FisherSpectrum, SpectrumInfo
from spectra.results.fisher_tables import COLUMNS
from spectra.results.surface import SURFACE_SCHEMA_VERSION, SurfaceInfo, SurfaceRegion

_PAGE = """# Columns of a Fisher, a loss surface and a dropout plan

Fields of the records, columns of the tables and keys of the files are the same words. Missing numbers are NaN in memory,
`null` in JSON, empty in CSV. F is the diagonal Fisher information ([which one](fisher.md#which-fisher)). Written by
`docs/make_fisher_columns.py`.

## Parameters

`fisher.tensors`, `fisher.table("tensor")`; `spectra fisher --level tensor --csv`.

{tensor}

## Layers and dropout sites

`fisher.table("layer")` and `fisher.table("site")`. There are no standard errors: those of sums over several parameters
would need their covariances.

{group}

## Neurons

`fisher.table("neuron")`, where `keep` is `values` or `neurons`.

{neuron}

## Which Fisher: `fisher.info`

{info}

## Files of a Fisher

`fisher.save("NAME.safetensors")` and `spectra fisher -o NAME.safetensors` write two files, which know each other by a hash;
`spectra.load_fisher` takes either. Schema version {fisher_version}.

| file | holds |
|---|---|
| `NAME.json` | `schema_version`, `info`, `tensors`, `layers` and `sites`, with their scores under `info.aggregate` |
| `NAME.safetensors`, `keep="values"` | F, under the name of the parameter |
| `NAME.safetensors`, `keep="neurons"` | sums by output and input neuron, under `rows:` and `cols:` and the name of the weight |
| `NAME.safetensors`, `keep="traces"` | no array |
| `NAME.partial.safetensors` | unfinished work of the command, which removes it at the end |

## Spectrum of a Fisher

One safetensors file, for the command `NAME.spectrum.safetensors`: eigenvalues under `layer:` and the name of the layer, and
under `whole`, float64 and ascending; `info` and `layers` in its header. Schema version {spectrum_version}.
`spectrum.table()`:

{spectrum}

`spectrum.info`:

{spectrum_info}

## Loss surface

`NAME.npz` holds `grid`, `losses:` and the name of the region for each, and `settings`: the content of `NAME.json`, which is
`schema_version`, `info`, `regions` and `center_loss`. Schema version {surface_version}. `surface.info`:

{surface_info}

`surface.regions`:

{surface_region}

## Dropout plan

One JSON file; `guided_dropout.json` beside a checkpoint. Schema version {plan_version}.

{plan}
"""
# What the docstrings of tables say for several columns at once.
_GROUP = {
    "name": "the module, or the dropout site",
    "kind": "of a site: how its rate is set, one of SiteKind",
    "role": "of a site: what it drops, one of SiteRole",
    "drop_prob": "of a site: the rate found in the model",
    "num_tensors": "parameters that were measured",
    "num_params": "entries in them",
    "score": "under the aggregate",
    "trace": "sum of F",
    "rank": "0 for the lowest score; equal scores rank in order",
}
_NEURON = {
    "name": "the weight, of two dimensions and of a linear layer",
    "layer_name": "the module that holds it",
    "side": "`output`: sums over inputs; or `input`: sums over outputs",
    "index": "the neuron on that side, from 0",
    "score": "sum of F over the weights at it",
}
_SPECTRUM = {
    "layer_name": "as in `named_modules()`",
    "num_params": "entries of the layer's parameters",
    "trace": "sum of the eigenvalues, and of the layer's diagonal Fisher",
    "lambda_max": "the largest",
    "stable_rank": "trace / lambda_max: how many directions the sensitivity spreads over",
    "eigenvalue_1": "the largest, and as many more in descending order as are asked for",
}
_WORDS: dict[str, Iterable[str]] = {
    choice.__name__: list(choice) for choice in (FisherKind, Reduction, Keep, Aggregate, SiteKind, SiteRole, DropRule)
}
_WORDS |= {"TASKS": TASKS, "CONTROLS": CONTROLS}


def text() -> str:
    """Return the page."""
    tensor = {**meanings(FisherTensor), "mean": inspect.getdoc(FisherTensor.mean) or ""}
    return _PAGE.format(
        tensor=_table(tensor, COLUMNS["tensor"]),
        group=_table(_GROUP, dict.fromkeys((*COLUMNS["site"], *COLUMNS["layer"]))),
        neuron=_table(_NEURON, COLUMNS["neuron"]),
        info=_record(FisherInfo),
        spectrum=_table(_SPECTRUM, _spectrum_columns()),
        spectrum_info=_record(SpectrumInfo),
        surface_info=_record(SurfaceInfo),
        surface_region=_record(SurfaceRegion),
        plan=_record(DropoutPlan),
        fisher_version=FISHER_SCHEMA_VERSION,
        spectrum_version=SPECTRUM_SCHEMA_VERSION,
        surface_version=SURFACE_SCHEMA_VERSION,
        plan_version=PLAN_SCHEMA_VERSION,
    )


def _spectrum_columns() -> list[str]:
    no_info: Any = None
    return FisherSpectrum(no_info, (), no_info).to_csv(top=1).strip().split(",")


def _record(record: type[Any]) -> str:
    return _table(meanings(record), [field.name for field in dataclasses.fields(record)])


def _table(meanings: Mapping[str, str], names: Iterable[str]) -> str:
    rows = [f"| `{name}` | {_plain(meanings[name])} |" for name in names]
    return "\n".join(["| column | meaning |", "|---|---|", *rows])


def _plain(meaning: str) -> str:
    """Write what is meant for Sphinx as Markdown, with the words of a choice in place of its name."""
    line = re.sub(r":\w+:`([^`]+)`", r"``\1``", " ".join(meaning.split())).rstrip(".")
    for name, words in _WORDS.items():
        choices = ", ".join(f"`{word}`" for word in words)
        line = re.sub(
            rf"(?:a word of|words of|one of) (?:``[~\w.]*{name}``|{name}\b)", f"one of {choices}", line, flags=re.IGNORECASE
        )
    return in_markdown(line)


if __name__ == "__main__":
    Path(__file__).with_name("fisher-columns.md").write_text(text(), encoding="utf-8")
