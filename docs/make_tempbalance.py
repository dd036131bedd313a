"""Make the tables and figures of docs/tempbalance.md and docs/plans.md: ``python docs/make_tempbalance.py``, from a checkout.

The tables stand between markers, ``<!-- table NAME -->`` and ``<!-- end -->``; a test keeps them up to date. The figures: the
plan of the demo model, and TempBalance in a small language model that learns the bytes of these pages from scratch, which takes
a minute or two. They are drawn anew with ``--figures``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.readme_tables import remade
from spectra.policies.learning_rate import ScaleMap, ScalePolicy
from spectra.policies.presets import SCALE_PRESETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.scale_log import ScaleLogContent

FOLDER = Path(__file__).parent
PAGE = FOLDER / "tempbalance.md"

# Where the values of a preset come from; what each of them says of it stands beside it in spectra/policies/presets.py.
_SOURCES = {
    "neurips2023": "arXiv 2312.00359: convolutional networks from scratch",
    "emnlp2024-glue": "arXiv 2410.12178: RoBERTa-base on GLUE",
    "emnlp2024-sciml": "arXiv 2410.12178: neural operators",
    "alphadecay": "arXiv 2506.14562: language models from scratch",
    "farms": "arXiv 2506.06280, with TempBalance on CIFAR-100",
    "recommended": "ours: `emnlp2024-glue` with repairs",
}
_STEPS, _BATCH, _LENGTH = 400, 16, 64  # of the run in the figure


def text(page: str) -> str:
    """Return a page with its tables made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    return remade(page, TABLES)


def options() -> str:
    """Return the table of the options of TempBalance."""
    from spectra.training.tempbalance_config import TempBalanceConfig

    rows = [(_code(f.name), _value(f.default), f.metadata["meaning"]) for f in dataclasses.fields(TempBalanceConfig)]
    return _table(("option", "default", "meaning"), rows)


def policy() -> str:
    """Return the table of the options of a policy, with the values of the preset that is the default."""
    recommended = SCALE_PRESETS["recommended"]
    rows = []
    for f in dataclasses.fields(ScalePolicy):
        value = getattr(recommended, f.name)
        # Long lists: kinds of layers, names of output layers, settings of the analysis.
        shown = _value(value) if f.name not in ("kinds", "exclude", "analysis") else "see `presets.py`"
        rows.append((_code(f.name), shown, f.metadata["meaning"], f.metadata["source"]))
    return _table(("option", "`recommended`", "meaning", "source of the option"), rows)


def presets() -> str:
    """Return the table of the presets."""
    rows = []
    for name, preset in SCALE_PRESETS.items():
        ends = " and ".join(end for end in ("first", "last") if getattr(preset, f"remove_{end}")) or "–"
        target = preset.target.replace("_", " ")
        rows.append((_code(name), _SOURCES[name], target, str(preset.unit), _map(preset), ends, _fit(preset)))
    heads = ("preset", "source", "multiplies", "unit", "map", "layers left out at the ends", "fit of alpha")
    return _table(heads, rows)


TABLES: dict[str, Callable[[], str]] = {make.__name__: make for make in (options, policy, presets)}


def trajectory() -> Figure:
    """Train a small language model on the bytes of these pages with TempBalance, and draw what it did."""
    from spectra.report.figures import tempbalance_trajectory

    return tempbalance_trajectory(_training_run(), wide=True)


def plan() -> Figure:
    """Draw the plan of learning rates for the demo model."""
    import spectra
    from spectra.report.figures import plan as draw

    return draw(spectra.plan("demo"), wide=True)


FIGURES: dict[str, Callable[[], Any]] = {"plan": plan, "tempbalance-trajectory": trajectory}


def _training_run() -> ScaleLogContent:
    import tempfile

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from spectra.results.scale_log import load_scale_log
    from spectra.training import TempBalance

    pages = b"".join(page.read_bytes() for page in sorted(FOLDER.glob("*.md")))
    data = torch.frombuffer(bytearray(pages), dtype=torch.uint8).long()
    sizes: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=256, **sizes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "tempbalance.jsonl"
        balance = TempBalance(model, optimizer, interval=5, log=str(log))
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        for _ in range(_STEPS):
            starts = torch.randint(len(data) - _LENGTH, (_BATCH,))
            batch = data[starts[:, None] + torch.arange(_LENGTH)]
            model(input_ids=batch, labels=batch).loss.backward()
            optimizer.step()
            scheduler.step()
            balance.step()
            optimizer.zero_grad()
        return load_scale_log(log)


def _map(preset: ScalePolicy) -> str:
    if preset.map == ScaleMap.SIGMOID:
        return f"sigmoid, s {preset.s_below:g}, tau {preset.tau:g}"
    return f"{preset.map}, {preset.r_min:g} to {preset.r_max:g}"


def _fit(preset: ScalePolicy) -> str:
    analysis = preset.analysis
    upper = {2.0: "half", 1.5: "third"}[float(analysis.get("xmin_pos", 2.0))]
    windows = ", square windows" if analysis.get("subsample") == "farms" else ""
    return f"upper {upper}{windows}, {analysis['min_evals']} eigenvalues at least"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _code(", ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _code(word: str) -> str:
    return f"`{word}`"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(heads), ("---",) * len(tuple(heads)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if "--figures" in sys.argv:
        from spectra.report.figures import write

        for stem, draw in FIGURES.items():
            write(draw(), FOLDER / "images", stem, ["png"])
