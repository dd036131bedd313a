"""A finished run in words and rows: what ran, what came out, its settings, and what diagnostics cost; for summary and page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spectra.report.run_content import RunContent
from spectra.results.run_metrics import EVAL, TEST, metric_names
from spectra.results.run_record import RunRecord
from spectra.results.scores import Proportion
from spectra.results.words import counted

# In this order a metric is the first that a reader wants, unless the recipe names another.
_FIRST = ("accuracy", "matthews", "pearson", "f1", "perplexity", "loss")
METHODS = {
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
_PHASES = ("training", "spectra", "multipliers")


def what_ran(record: RunRecord, code: Callable[[str], str] = str) -> str:
    """Say what was trained on what.

    Args:
        record: Of the run.
        code: How names are written.

    Returns:
        A sentence.
    """
    source = record.data.get("train") or record.data.get("tasks", "")
    place = f" of {code(source)}" if source else ""
    share = record.num_trainable / max(record.num_parameters, 1)
    trained = f"all {_millions(record.num_parameters)} parameters"
    if record.num_trainable < record.num_parameters:
        trained = f"{_millions(record.num_trainable)} of {_millions(record.num_parameters)} parameters ({share:.2%})"
    adapter = "" if record.adapter == "none" else f" through an adapter ({record.adapter})"
    if record.method == "meta_peft" and adapter:
        adapter = f", with an adapter ({record.adapter}) for each task, which is not kept"
    return (
        f"{code(record.model)} ({record.task}) was fine-tuned{METHODS.get(record.method, f' by {record.method}')} on "
        f"{counted(record.num_train, 'example')}{place}: {counted(record.num_steps, 'step')}, {record.num_epochs:.3g} epochs, "
        f"{trained}{adapter}, seed {record.seed}."
    )


def what_came_out(content: RunContent) -> list[str]:
    """Say how good the model is.

    Args:
        content: Of the run.

    Returns:
        Sentences, the most important one first; none where nothing was evaluated.
    """
    record = content.record
    of_test = _headline(content, TEST, record.test_metrics, record.num_test)
    of_eval = _headline(content, EVAL, record.eval_metrics, record.num_eval)
    found = [sentence for sentence in (of_test, of_eval) if sentence]
    if found and record.best_step is not None:
        found.append(f"The weights are those of step {record.best_step}, the best on the evaluation data.")
    return found


def first_metric(content: RunContent, prefix: str) -> str | None:
    """Choose the metric that says most.

    Args:
        content: Of the run.
        prefix: Of the data set's numbers: ``"eval_"`` or ``"test_"``.

    Returns:
        Its name without the prefix; ``None`` where there is none.
    """
    names = metric_names(content.record.test_metrics if prefix == TEST else content.record.eval_metrics, prefix)
    asked = str(recipe_part(content.recipe, "training").get("metric_for_best_model") or "").removeprefix(EVAL)
    return next((name for name in (asked, *_FIRST, *names) if name in names), None)


def interval(name: str, value: float, number: int | None) -> tuple[float, float] | None:
    """Compute how far chance may have moved a share of examples.

    Args:
        name: Of the metric.
        value: Of it.
        number: Of examples.

    Returns:
        Ends of the 95 % interval; ``None`` where it is no share of examples, as an accuracy over tokens is none.
    """
    if name != "accuracy" or not number or not 0.0 <= value <= 1.0 or abs(round(value * number) - value * number) > 1e-3:
        return None
    return Proportion(round(value * number), number).interval


def results_table(record: RunRecord) -> tuple[list[str], list[tuple[str, ...]]]:
    """Lay out the metrics at the end.

    Args:
        record: Of the run.

    Returns:
        Headings and rows; no rows where nothing was evaluated.
    """
    of_eval, of_test = metric_names(record.eval_metrics, EVAL), metric_names(record.test_metrics, TEST)
    names = list(dict.fromkeys([*of_eval, *of_test]))
    columns = [(f"evaluation (n = {record.num_eval})", EVAL, record.eval_metrics)] if of_eval else []
    columns += [(f"test (n = {record.num_test})", TEST, record.test_metrics)] if of_test else []
    rows = [(name, *(_shown(metrics.get(prefix + name)) for _, prefix, metrics in columns)) for name in names]
    return ["metric", *(heading for heading, _, _ in columns)], rows


def settings_rows(recipe: Mapping[str, Any], method_name: str) -> list[tuple[str, str]]:
    """Return the settings that differ most between runs.

    Args:
        recipe: As plain values.
        method_name: Of the run.

    Returns:
        Words and values.
    """
    training, method = recipe_part(recipe, "training"), recipe_part(recipe, "method")
    adapter, data = recipe_part(recipe, "adapter"), recipe_part(recipe, "data")
    rows = [(words, str(training[name])) for name, words in _SETTINGS.items() if training.get(name) is not None]
    rows += [("tokens a text is cut to", str(data["max_length"]))] if "max_length" in data else []
    rows += [(f"adapter: {name}", _plain(value)) for name, value in adapter.items() if name != "name" and value is not None]
    rows += [(f"{method_name}: {name}", _plain(value)) for name, value in method.items() if name != "name"]
    return rows


def cost_rows(record: RunRecord) -> list[tuple[str, str, str]]:
    """Return where the time went: phase, seconds, and share of the training."""
    training = record.seconds.get("training", 0.0)
    others = [name for name in record.seconds if name not in _PHASES]
    rows = [(name, f"{record.seconds[name]:.1f}", _share(record, name, training)) for name in _PHASES if name in record.seconds]
    return rows + [(name, f"{record.seconds[name]:.1f}", "") for name in others]


def cost_verdict(content: RunContent, strong: Callable[[str], str] = str) -> str:
    """Say whether diagnostics kept to their budget.

    Args:
        content: Of the run.
        strong: How what asks for a look is written.

    Returns:
        A sentence or two.
    """
    record = content.record
    budget = recipe_part(content.recipe, "diagnostics").get("budget")
    cost = f"Diagnostics took {record.diagnostics_share:.1%} of the {record.seconds.get('training', 0.0):.0f} s of training"
    if not isinstance(budget, float):
        return f"{cost}."
    if record.diagnostics_share <= budget:
        return f"{cost}, within their budget of {budget:.1%}."
    spectra, multipliers = (record.seconds.get(name, 0.0) for name in ("spectra", "multipliers"))
    cause = (
        "The run was too short for what is always done, the spectra before and after; 'diagnostics.spectra: none' leaves them "
        "out."
        if spectra >= multipliers
        else "Updates of multipliers took the most; a longer interval of them makes it less."
    )
    taken = f"spectra {spectra:.1f} s, multipliers {multipliers:.1f} s"
    return f"{cost}, {strong(f'more than their budget of {budget:.1%}')} ({taken}). {cause}"


def recipe_part(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of a recipe; nothing where it has none, or a single word."""
    part = recipe.get(name)
    return part if isinstance(part, Mapping) else {}


def _headline(content: RunContent, prefix: str, metrics: Mapping[str, float], number: int | None) -> str:
    name = first_metric(content, prefix)
    if name is None:
        return ""
    value, data = metrics[prefix + name], "test" if prefix == TEST else "evaluation"
    ends = interval(name, value, number)
    chance = f", 95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
    return f"{name[:1].upper()}{name[1:]} on the {data} data: {value:.4g} (n = {number}{chance})."


def _share(record: RunRecord, name: str, training: float) -> str:
    return f"{record.seconds[name] / training:.1%}" if training and name != "training" else ""


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f}M" if number >= 1e6 else f"{number:,}"
