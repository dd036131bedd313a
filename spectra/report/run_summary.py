"""``summary.md`` of a run: what was trained on what, what came out, and what diagnostics found, did and cost."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from spectra.report.markdown import bullets, code, table
from spectra.report.run_content import RECIPE, RunContent
from spectra.report.run_diagnostics import diagnostics_section, policies_section
from spectra.report.run_words import cost_rows, cost_verdict, results_table, settings_rows, what_came_out, what_ran
from spectra.results.run_record import RunRecord

SUMMARY = "summary.md"

_FIGURES = {
    "losses": "Losses of training and evaluation.",
    "metrics": "Metrics of evaluation, and of the test data where there are stars.",
    "alpha-trajectory": "Alpha of every layer over the epochs, and its change since before training.",
    "tempbalance-trajectory": "TempBalance: scores, and multipliers of learning rates.",
    "alphadecay-trajectory": "AlphaDecay: scores, and multipliers of weight decays.",
}
_CLASSES = {
    "sequence-classification": "SequenceClassification",
    "regression": "SequenceClassification",
    "token-classification": "TokenClassification",
    "causal-lm": "CausalLM",
    "seq2seq": "Seq2SeqLM",
    "masked-lm": "MaskedLM",
}
_PEFT_CLASSES = ("SequenceClassification", "TokenClassification", "CausalLM", "Seq2SeqLM")


def summary_text(content: RunContent, figures: Sequence[str] = ()) -> str:
    """Write the summary of a run, for somebody who did not run it.

    Args:
        content: Of the run.
        figures: Paths of its figures, relative to the summary.

    Returns:
        Markdown.
    """
    record = content.record
    sections = [
        f"# {record.name}",
        what_ran(record, code),
        _what_came_out(content),
        _results(record),
        _settings(content),
        policies_section(content),
        _pictures(figures),
        diagnostics_section(content),
        _cost(content),
        f"## Notes\n\n{bullets(record.notes)}" if record.notes else "",
        _how_to_go_on(record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _what_came_out(content: RunContent) -> str:
    sentences = what_came_out(content)
    if not sentences:
        return "**It was not evaluated**: the recipe has neither data.eval nor data.test."
    return " ".join([f"**{sentences[0]}**", *sentences[1:]])


def _results(record: RunRecord) -> str:
    headings, rows = results_table(record)
    return f"## Results\n\n{table(headings, rows)}" if rows else ""


def _settings(content: RunContent) -> str:
    rows = settings_rows(content.recipe, content.record.method)
    if not rows:
        return ""
    return f"## Settings\n\nThose that differ most between runs; all are in {code(RECIPE)}.\n\n{table(['', 'value'], rows)}"


def _pictures(paths: Sequence[str]) -> str:
    shown = [f"![{_FIGURES.get(Path(path).stem, Path(path).stem)}]({path})" for path in paths]
    return "\n\n".join(["## Figures", *shown]) if shown else ""


def _cost(content: RunContent) -> str:
    rows, skipped = cost_rows(content.record), content.record.spectra_skipped
    words = [table(["", "seconds", "of training"], rows)] if rows else []
    words.append(cost_verdict(content, strong="**{}**".format))
    words += [f"Spectra that were not recorded:\n\n{bullets(skipped)}"] if skipped else []
    return "\n\n".join(["## Time, and what diagnostics cost", *words])


def _how_to_go_on(record: RunRecord) -> str:
    model = str(Path(record.output) / "model")
    recipe = shlex.quote(str(Path(record.output) / RECIPE))
    folder, other = shlex.quote(record.output), shlex.quote(f"{record.output}-again")
    return (
        f"## Use it, and run it again\n\n```python\n{_loading(record, model)}\n```\n\n```console\n"
        f"$ spectra finetune {recipe} --output {other}\n$ spectra report {folder} --open\n"
        f"$ spectra plot {folder} losses -o losses.pdf\n```\n\n"
        f"Made with Spectra {record.spectra_version}; versions, machine and command are in `environment.json`."
    )


def _loading_of_classes(name: str, model: str) -> str:
    """Load an adapter with its head: peft makes that of the base anew, and does not know how many classes it had."""
    return (
        f"from peft import {name}\nfrom transformers import AutoConfig, AutoTokenizer\n\n"
        f"config = AutoConfig.from_pretrained({model!r})\n"
        f"model = {name}.from_pretrained(\n"
        f"    {model!r}, num_labels=config.num_labels, id2label=config.id2label, label2id=config.label2id\n)\n"
        f"tokenizer = AutoTokenizer.from_pretrained({model!r})"
    )


def _loading(record: RunRecord, model: str) -> str:
    if record.method == "meta_peft":
        return (
            f"from spectra.training import RetrainedBase\n\nbase = RetrainedBase.load({model!r})  # base.adapt(...) adapts it"
        )
    kind = _CLASSES.get(record.task, "")
    if record.adapter != "none" and kind in _PEFT_CLASSES:
        name = f"AutoPeftModelFor{kind}"
        if kind.endswith("Classification"):
            return _loading_of_classes(name, model)
        imports = f"from peft import {name}\nfrom transformers import AutoTokenizer"
    else:
        name = f"AutoModelFor{kind}" if kind else "AutoModel"
        imports = f"from transformers import {name}, AutoTokenizer"
    return f"{imports}\n\nmodel = {name}.from_pretrained({model!r})\ntokenizer = AutoTokenizer.from_pretrained({model!r})"
