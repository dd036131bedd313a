"""``summary.md`` of a run: what was trained on what, what came out, and what diagnostics found, did and cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectra.report.markdown import bullets, code, table
from spectra.report.run_content import RECIPE, RunContent
from spectra.report.run_diagnostics import diagnostics_section, policies_section
from spectra.results.run_metrics import EVAL, TEST, metric_names
from spectra.results.run_record import RunRecord
from spectra.results.scores import Proportion
from spectra.results.words import counted

SUMMARY = "summary.md"

# In this order a metric is the first that a reader wants, unless the recipe names another.
_FIRST = ("accuracy", "matthews", "pearson", "f1", "perplexity", "loss")
_METHODS = {
    "plain": "",
    "dcs": " with DCS, dynamic corrective self-distillation (arXiv 2312.07028)",
    "sdft": " with SDFT, on responses in its own words (arXiv 2402.13669)",
    "meta_peft": " with meta-PEFT, retraining a base over tasks (arXiv 2410.22264)",
}
_SETTINGS = {
    "learning_rate": "learning rate",
    "lr_scheduler_type": "its schedule",
    "warmup_steps": "warm-up",
    "per_device_train_batch_size": "examples at a time",
    "gradient_accumulation_steps": "batches of a step",
    "weight_decay": "weight decay",
    "optim": "optimizer",
    "metric_for_best_model": "best state by",
}
_FIGURES = {
    "losses": "Losses of training and evaluation.",
    "metrics": "Metrics of evaluation; stars are of the test data.",
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
_PHASES = ("training", "spectra", "multipliers")


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
        _what_ran(content),
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


def _what_ran(content: RunContent) -> str:
    record = content.record
    source = record.data.get("train") or record.data.get("tasks", "")
    place = f" of {code(source)}" if source else ""
    share = record.num_trainable / max(record.num_parameters, 1)
    trained = f"all {_millions(record.num_parameters)} parameters"
    if record.num_trainable < record.num_parameters:
        trained = f"{_millions(record.num_trainable)} of {_millions(record.num_parameters)} parameters ({share:.2%})"
    adapter = "" if record.adapter == "none" else f" through an adapter ({record.adapter})"
    return (
        f"{code(record.model)} ({record.task}) was fine-tuned{_METHODS.get(record.method, f' by {record.method}')} on "
        f"{counted(record.num_train, 'example')}{place}: {counted(record.num_steps, 'step')}, {record.num_epochs:.3g} epochs, "
        f"{trained}{adapter}, seed {record.seed}."
    )


def _what_came_out(content: RunContent) -> str:
    sentences = [
        _headline(content, TEST, content.record.test_metrics, content.record.num_test),
        _headline(content, EVAL, content.record.eval_metrics, content.record.num_eval),
    ]
    if not any(sentences):
        return "**It was not evaluated**: the recipe has neither data.eval nor data.test."
    first, *rest = [sentence for sentence in sentences if sentence]
    best = content.record.best_step
    kept = "" if best is None else f" The weights are those of step {best}, the best on the evaluation data."
    return " ".join([f"**{first}**", *rest]) + kept


def _headline(content: RunContent, prefix: str, metrics: Mapping[str, float], number: int | None) -> str:
    names = metric_names(metrics, prefix)
    asked = str(_part(content.recipe, "training").get("metric_for_best_model") or "").removeprefix(EVAL)
    name = next((name for name in (asked, *_FIRST, *names) if name in names), None)
    if name is None:
        return ""
    value, data = metrics[prefix + name], "test" if prefix == TEST else "evaluation"
    return f"{name[:1].upper()}{name[1:]} on the {data} data: {value:.4g} (n = {number}{_interval(name, value, number)})."


def _interval(name: str, value: float, number: int | None) -> str:
    """Say how far chance may have moved a share of examples."""
    if name != "accuracy" or not number or not 0.0 <= value <= 1.0 or abs(round(value * number) - value * number) > 1e-3:
        return ""  # an accuracy over tokens is no share of examples
    low, high = Proportion(round(value * number), number).interval
    return f", 95 % interval {low:.3f} to {high:.3f}"


def _results(record: RunRecord) -> str:
    of_eval, of_test = metric_names(record.eval_metrics, EVAL), metric_names(record.test_metrics, TEST)
    names = list(dict.fromkeys([*of_eval, *of_test]))
    if not names:
        return ""
    columns = [(f"evaluation (n = {record.num_eval})", EVAL, record.eval_metrics)] if of_eval else []
    columns += [(f"test (n = {record.num_test})", TEST, record.test_metrics)] if of_test else []
    rows = [(name, *(_shown(metrics.get(prefix + name)) for _, prefix, metrics in columns)) for name in names]
    return f"## Results\n\n{table(['metric', *(heading for heading, _, _ in columns)], rows)}"


def _settings(content: RunContent) -> str:
    training, method = _part(content.recipe, "training"), _part(content.recipe, "method")
    adapter, data = _part(content.recipe, "adapter"), _part(content.recipe, "data")
    rows = [(words, str(training[name])) for name, words in _SETTINGS.items() if training.get(name) is not None]
    rows += [("tokens a text is cut to", str(data["max_length"]))] if "max_length" in data else []
    rows += [(f"adapter: {name}", _plain(value)) for name, value in adapter.items() if name != "name" and value is not None]
    rows += [(f"{content.record.method}: {name}", _plain(value)) for name, value in method.items() if name != "name"]
    if not rows:
        return ""
    return f"## Settings\n\nThose that differ most between runs; all are in {code(RECIPE)}.\n\n{table(['', 'value'], rows)}"


def _pictures(paths: Sequence[str]) -> str:
    shown = [f"![{_FIGURES.get(Path(path).stem, Path(path).stem)}]({path})" for path in paths]
    return "\n\n".join(["## Figures", *shown]) if shown else ""


def _cost(content: RunContent) -> str:
    record = content.record
    training = record.seconds.get("training", 0.0)
    others = [name for name in record.seconds if name not in _PHASES]
    rows = [(name, f"{record.seconds[name]:.1f}", _share(record, name, training)) for name in _PHASES if name in record.seconds]
    rows += [(name, f"{record.seconds[name]:.1f}", "") for name in others]
    words = [table(["", "seconds", "of training"], rows)] if rows else []
    return "\n\n".join(["## Time, and what diagnostics cost", *words, *_verdict(content, training)])


def _share(record: RunRecord, name: str, training: float) -> str:
    return f"{record.seconds[name] / training:.1%}" if training and name != "training" else ""


def _verdict(content: RunContent, training: float) -> Iterator[str]:
    """Say whether diagnostics kept to their budget, and what was left out for it."""
    record = content.record
    budget = _part(content.recipe, "diagnostics").get("budget")
    cost = f"Diagnostics took {record.diagnostics_share:.1%} of the {training:.0f} s of training"
    if not isinstance(budget, float):
        yield f"{cost}."
    elif record.diagnostics_share <= budget:
        yield f"{cost}, within their budget of {budget:.1%}."
    else:
        spectra, multipliers = (record.seconds.get(name, 0.0) for name in ("spectra", "multipliers"))
        cause = (
            "The run was too short for what is always done, the spectra before and after; 'diagnostics.spectra: none' leaves "
            "them out."
            if spectra >= multipliers
            else "Updates of multipliers took the most; a longer interval of them makes it less."
        )
        taken = f"spectra {spectra:.1f} s, multipliers {multipliers:.1f} s"
        yield f"{cost}, **more than their budget of {budget:.1%}** ({taken}). {cause}"
    if record.spectra_skipped:
        yield f"Spectra that were not recorded:\n\n{bullets(record.spectra_skipped)}"


def _how_to_go_on(record: RunRecord) -> str:
    model = str(Path(record.output) / "model")
    recipe = shlex.quote(str(Path(record.output) / RECIPE))
    folder, other = shlex.quote(record.output), shlex.quote(f"{record.output}-again")
    return (
        f"## Use it, and run it again\n\n```python\n{_loading(record, model)}\n```\n\n```console\n"
        f"$ spectra finetune {recipe} --output {other}\n$ spectra plot {folder} losses -o losses.pdf\n```\n\n"
        f"Made with Spectra {record.spectra_version}; versions, machine and command are in `environment.json`."
    )


def _loading(record: RunRecord, model: str) -> str:
    if record.method == "meta_peft":
        return (
            f"from spectra.training import RetrainedBase\n\nbase = RetrainedBase.load({model!r})  # base.adapt(...) adapts it"
        )
    kind = _CLASSES.get(record.task, "")
    if record.adapter != "none" and kind in _PEFT_CLASSES:
        name = f"AutoPeftModelFor{kind}"
        imports = f"from peft import {name}\nfrom transformers import AutoTokenizer"
    else:
        name = f"AutoModelFor{kind}" if kind else "AutoModel"
        imports = f"from transformers import {name}, AutoTokenizer"
    return f"{imports}\n\nmodel = {name}.from_pretrained({model!r})\ntokenizer = AutoTokenizer.from_pretrained({model!r})"


def _part(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = recipe.get(name)
    return part if isinstance(part, Mapping) else {}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f}M" if number >= 1e6 else f"{number:,}"
