import dataclasses

import pytest

from spectra.policies.dropout_plan import DropoutPlan
from spectra.report.run_content import RunContent, read_run
from spectra.report.run_summary import summary_text
from spectra.results.scores import Proportion
from tests.run_folders import log_lines, run_record, write_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return read_run(write_run(tmp_path_factory.mktemp("run")))


def bare(**changes):
    """A run without spectra, multipliers or recipe."""
    return RunContent(record=run_record(**changes), recipe={}, scales={})


def changed(content, **changes):
    return dataclasses.replace(content, record=dataclasses.replace(content.record, **changes))


def test_the_first_lines_say_what_ran_and_what_came_out(content):
    title, ran, came_out = summary_text(content).split("\n\n")[:3]
    assert title == "# first"
    assert ran == (
        "`demo` (sequence-classification) was fine-tuned on 300 examples of `train.tsv`: 40 steps, 2 epochs, all 22.7M "
        "parameters, seed 3."
    )
    low, high = Proportion(78, 100).interval
    assert came_out.startswith(
        f"**Accuracy on the test data: 0.78 (n = 100, 95 % interval {low:.3f} to {high:.3f}).** Accuracy"
    )
    assert "evaluation data: 0.76 (n = 50" in came_out


def test_metrics_stand_in_a_table_without_speeds(content):
    text = summary_text(content)
    assert "| metric | evaluation (n = 50) | test (n = 100) |" in text
    assert "| accuracy | 0.76 | 0.78 |" in text
    assert "| loss | 0.5 | 0.6 |" in text
    assert "runtime" not in text


def test_the_metric_that_was_asked_for_comes_first(content):
    recipe = {**content.recipe, "training": {"metric_for_best_model": "eval_loss"}}
    text = summary_text(changed(dataclasses.replace(content, recipe=recipe), best_step=20, best_metric=0.5))
    assert "**Loss on the test data: 0.6 (n = 100).**" in text
    assert "The weights are those of step 20, the best on the evaluation data." in text


@pytest.mark.parametrize("value", [0.7849, 1.5, -0.1], ids=["of tokens", "above", "below"])
def test_what_is_no_share_of_examples_has_no_interval(value):
    assert f"{value:.4g} (n = 100).**" in summary_text(bare(test_metrics={"test_accuracy": value}))


def test_spectra_before_and_after_are_compared(content):
    text = summary_text(content)
    first, last = content.spectra[0].report, content.spectra[-1].report
    mean = [one.summary.metrics["alpha"].mean for one in (first, last)]
    assert f"| mean alpha of all fits | {mean[0]:.3f} | {mean[1]:.3f} |" in text
    assert "| of these, alpha from 2 to 6 (heavy-tailed) | 4 of 4 (100%) | 4 of 4 (100%) |" in text
    moved = last.layers[3].alpha - first.layers[3].alpha
    assert f"| `layers.1.dense` | {first.layers[3].alpha:.3f} | {last.layers[3].alpha:.3f} | {moved:+.3f} |" in text
    assert "Largest changes of alpha, of 4 layers" in text
    assert "| `layers.0.query`" not in text  # it has not moved
    assert "`diagnostics/before`, `diagnostics/epoch-001`, `diagnostics/after`; the last is of step 40." in text


def test_a_run_that_moved_nothing_says_so(content):
    before = content.spectra[0]
    same = dataclasses.replace(content, spectra=(before, dataclasses.replace(before, name="after")))
    assert "No layer with a reliable fit before and after has changed its alpha." in summary_text(same)


def test_what_diagnostics_did_is_said_with_its_range(content):
    rates = {"a": 0.0, "b": 0.1}
    words = dict.fromkeys(rates, "")
    plan = DropoutPlan(
        rates=rates, scores={}, roles=words, kinds=words, rule="rank", p_upper=0.1, p_lower=0.0, aggregate="trace", model="x"
    )
    text = summary_text(dataclasses.replace(content, drop_rates=plan))
    said = "- TempBalance: learning-rate multipliers of 2 units between 0.5 and 2 over 2 updates; at the end 0.8 (`layers.0`)"
    assert f"{said} to 2 (`layers.1`)." in text
    assert "- Guided dropout: probabilities of 2 sites between 0 and 0.1, mean 0.05." in text


def test_a_control_of_guided_dropout_is_named(content):
    rates = {"a": 0.1, "b": 0.1}
    words = dict.fromkeys(rates, "")
    numbers = {"p_upper": 0.1, "p_lower": 0.0, "control": "uniform"}
    plan = DropoutPlan(rates=rates, scores={}, roles=words, kinds=words, rule="rank", aggregate="trace", model="x", **numbers)
    assert "Guided dropout (the control 'uniform')" in summary_text(dataclasses.replace(content, drop_rates=plan))


def test_ranks_of_an_adapter_are_said(content):
    from spectra.policies.plan import Plan

    values = {"a": 4.0, "b": 12.0}
    plan = Plan(
        policy="adapter-rank",
        target="adapter_rank",
        values=values,
        scores=values,
        settings={"metric": "alpha"},
        members={name: (name,) for name in values},
        left_out={},
    )
    text = summary_text(dataclasses.replace(content, ranks=plan))
    assert "- Adapter ranks by `alpha`: 2 units between 4 and 12, mean 8." in text


def test_the_cost_is_said_in_numbers_and_kept_to(content):
    text = summary_text(content)
    assert "| spectra | 2.5 | 2.5% |" in text
    assert "| assembling | 2.0 |  |" in text
    assert "Diagnostics took 4.0% of the 100 s of training, within their budget of 5.0%." in text
    assert "Spectra that were not recorded" not in text


@pytest.mark.parametrize(
    ("multipliers", "cause"),
    [(1.5, "The run was too short for what is always done"), (20.0, "Updates of multipliers took the most")],
)
def test_a_budget_that_was_not_kept_is_said_with_what_took_it(content, multipliers, cause):
    seconds = {**content.record.seconds, "multipliers": multipliers}
    text = summary_text(changed(content, diagnostics_share=0.25, seconds=seconds))
    said = "Diagnostics took 25.0% of the 100 s of training, **more than their budget of 5.0%**"
    assert f"{said} (spectra 2.5 s, multipliers {multipliers:.1f} s). {cause}" in text


def test_spectra_that_were_left_out_are_listed(content):
    text = summary_text(changed(content, spectra_skipped=("after epoch 1 (step 20): no time",)))
    assert "Spectra that were not recorded:\n\n- after epoch 1 (step 20): no time" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "from transformers import AutoModelForSequenceClassification, AutoTokenizer"),
        ({"task": "causal-lm"}, "AutoModelForCausalLM.from_pretrained('runs/first/model')"),
        ({"adapter": "lora", "task": "seq2seq"}, "from peft import AutoPeftModelForSeq2SeqLM"),
        ({"adapter": "lora"}, "'runs/first/model', num_labels=config.num_labels, id2label=config.id2label, label2id="),
        ({"adapter": "lora", "method": "meta_peft"}, "base = RetrainedBase.load('runs/first/model')"),
        ({"task": "other"}, "AutoModel.from_pretrained('runs/first/model')"),
    ],
)
def test_it_says_how_to_load_the_model_in_python_that_runs(changes, expected):
    text = summary_text(bare(**changes))
    program = text.split("```python\n")[1].split("```")[0]
    assert expected in program
    compile(program, "summary", "exec")


def test_it_says_how_to_run_it_again():
    assert "$ spectra finetune 'my runs/a/recipe.yaml' --output 'my runs/a-again'" in summary_text(bare(output="my runs/a"))


@pytest.mark.parametrize("method", ["dcs", "sdft", "meta_peft"])
def test_methods_are_named_with_their_paper(method):
    assert " (arXiv 2" in summary_text(bare(method=method)).split("\n")[2]


def test_an_adapter_says_how_much_is_trained():
    text = summary_text(bare(adapter="lora", num_trainable=73_000))
    assert "73,000 of 22.7M parameters (0.32%) through an adapter (lora)" in text


def test_a_run_without_an_evaluation_says_so():
    text = summary_text(bare(eval_metrics={}, test_metrics={}, num_eval=None, num_test=None))
    assert "**It was not evaluated**: the recipe has neither data.eval nor data.test." in text
    assert "## Results" not in text


def test_what_a_run_has_not_is_not_in_its_summary():
    text = summary_text(bare(seconds={}, diagnostics_share=0.0))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# first", "## Results", "## Time, and what diagnostics cost", "## Use it, and run it again"]


def test_options_of_method_and_adapter_are_listed(content):
    recipe = {**content.recipe, "method": {"name": "dcs", "eps": [1, 2]}, "adapter": {"name": "lora", "rank": 8, "ranks": None}}
    text = summary_text(changed(dataclasses.replace(content, recipe=recipe), method="dcs"))
    assert "| dcs: eps | 1, 2 |" in text
    assert "| adapter: rank | 8 |" in text
    assert "ranks" not in text
    assert "| learning rate | 5e-05 |" in text


def test_figures_and_notes_are_shown(content):
    text = summary_text(changed(content, notes=("The head is new.",)), ["figures/losses.png"])
    assert "![Losses of training and evaluation.](figures/losses.png)" in text
    assert "## Notes\n\n- The head is new." in text


def test_the_log_is_read_with_the_rest(content):
    assert list(content.lines) == log_lines()
