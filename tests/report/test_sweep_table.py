"""Tables of a sweep, in the terminal and in its summary."""

import io

import pytest
from rich.console import Console

from spectra.report.sweep_summary import conclusions, headline, sweep_text
from spectra.report.sweep_table import (
    choices_table,
    comparisons_table,
    mean_words,
    rich_table,
    settings_table,
    states_table,
)
from spectra.results.sweep_record import SweepRecord
from spectra.results.sweep_statistics import summarize
from spectra.results.sweep_summary import Mean
from tests.sweeps import PLAIN, run_of, sweep_of, three_methods

BASELINE = {"method": "plain"}


def shown(table, width=120):
    out = Console(file=io.StringIO(), width=width)
    out.print(rich_table(table, width=width))
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.fixture
def summary():
    return summarize(three_methods(), baseline=BASELINE)


def test_settings_have_their_means_and_the_best_a_star(summary):
    assert shown(settings_table(summary)) == [
        "method  seeds      eval_accuracy    test_accuracy",
        "plain       4    0.8000 ± 0.0108  0.7000 ± 0.0108",
        "dcs         4  0.8375 ± 0.0131 *  0.7375 ± 0.0131",
        "sdft        4    0.7000 ± 0.0041  0.6000 ± 0.0041",
    ]


def test_failed_runs_show_in_the_number_of_seeds():
    table = settings_table(summarize(sweep_of({"plain": {"eval_loss": [1.0, None]}, "dcs": {"eval_loss": [None, None]}})))
    assert table.rows == (("plain", "1 of 2", "1.0000"), ("dcs", "0 of 2", "–"))


def test_a_sweep_of_seeds_has_one_row():
    runs = tuple(run_of({}, seed, eval_perplexity=value) for seed, value in enumerate((12.0, 14.0)))
    table = settings_table(summarize(SweepRecord(recipe="a", runs=runs)))
    assert (table.headings, table.rows) == (("setting", "seeds", "eval_perplexity"), (("recipe", "2", "13.00 ± 1.0000"),))


def test_differences_have_interval_and_both_p_values(summary):
    lines = shown(comparisons_table(summary.comparisons))
    assert lines[0].split() == ["setting", "seeds", "difference", "95", "%", "interval", "p", "p", "(Holm)"]
    assert lines[1] == "method=dcs       4     +0.0375  +0.0103 to +0.0647    0.022     0.022"  # by hand, with Student's 3.1824
    assert "< 0.001" in lines[2]


def test_ranks_have_a_column_where_they_say_something():
    values = {"plain": {"eval_loss": [1.0, 1.1, 1.2, 1.0, 0.9, 1.3]}, "dcs": {"eval_loss": [0.9, 1.0, 1.0, 0.95, 0.8, 1.2]}}
    table = comparisons_table(summarize(sweep_of(values), baseline=BASELINE).comparisons)
    assert table.headings[-1] == "p (Wilcoxon)"
    assert table.rows[0][-1] == "0.031"


def test_one_seed_has_a_difference_and_no_more():
    record = sweep_of({"plain": {"eval_loss": [1.0]}, "dcs": {"eval_loss": [0.5]}})
    assert comparisons_table(summarize(record, baseline=BASELINE).comparisons).rows == (
        ("method=dcs", "1", "-0.5000", "–", "–", "–"),
    )


def test_choices_have_both_results(summary):
    single = summarize(three_methods())
    assert choices_table(single).rows == (("all", "3", "method=dcs", "0.8375 ± 0.0131", "0.7375 ± 0.0131"),)


def test_states_have_their_seeds():
    table = states_table(sweep_of({"plain": {"eval_loss": [1.0, None]}, "dcs": {"eval_loss": [None, None]}}))
    assert table.headings == ("method", "finished: seeds", "failed: seeds")
    assert table.rows == (("plain", "0", "1"), ("dcs", "–", "0, 1"))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal(summary, width):
    for table in (settings_table(summary), comparisons_table(summary.comparisons), choices_table(summary)):
        assert all(len(line) <= width and "…" not in line for line in shown(table, width))
        assert shown(table, width)[0].split()[0] == table.headings[0]


def test_brackets_in_values_are_no_markup():
    table = settings_table(summarize(sweep_of({"[bold]": {"eval_loss": [1.0]}})))
    assert shown(table)[1].startswith("[bold]")


def test_means_are_told_with_four_places():
    assert mean_words(Mean(num=1, mean=0.91234, std_error=None)) == "0.9123"
    assert mean_words(Mean(num=2, mean=123.456, std_error=0.00321)) == "123.46 ± 0.0032"


def test_the_summary_says_what_ran_and_what_came_out(summary):
    text = sweep_text(summary, figures=["figures/sweep.png"])
    first, line, told, *_ = text.split("\n\n")
    assert first == "# Sweep of `recipe.yaml`"
    assert line == "12 runs of 'recipe.yaml' (12 finished): 3 settings, 4 seeds. Seeds: 0 to 3."
    assert told == (
        "Best eval_accuracy: method=dcs. In eval_accuracy 2 of 2 differences to method=plain are beyond chance at 5 %, "
        "Holm-corrected: method=dcs; method=sdft."
    )
    assert "| dcs | 4 | **0.8375 ± 0.0131** | 0.7375 ± 0.0131 |" in text
    assert "## Differences to method=plain" in text
    assert "Holm's correction is over the 2 comparisons of this table." in text
    assert "## Chosen on eval, reported on test" in text
    assert "![figures/sweep.png](figures/sweep.png)" in text
    assert "## Failed runs" not in text


def test_failures_and_doubts_are_in_the_summary():
    record = sweep_of({"plain": {"eval_accuracy": PLAIN}, "a|b": {"eval_accuracy": [0.9, None, 0.9, 0.95]}})
    text = sweep_text(summarize(record, baseline=BASELINE))
    assert "- `runs/method=a|b-seed-1`: no luck today. (`logs/method=a|b-seed-1.log`)" in text
    assert "## Notes\n\n- Fewer seeds than others" in text
    assert "| a\\|b | 3 of 4 |" in text
    assert "Seeds: 0 to 3." in text


def test_a_sweep_without_results_says_so():
    summary = summarize(sweep_of({"plain": {"eval_accuracy": [None, None]}}))
    assert list(conclusions(summary)) == ["No run is finished, so that there is nothing to compare."]
    assert headline(summary) == "2 runs of 'recipe.yaml' (2 failed): 1 setting, 2 seeds"
    assert "Seeds: 0, 1." in sweep_text(summary)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.81, 0.77, 0.84, 0.78], "the difference of method=dcs to method=plain is not beyond chance at 5 %."),
        (PLAIN[::-1], "the difference of method=dcs to method=plain is not beyond chance at 5 %."),
        ([0.90, 0.88, 0.93, 0.89], "nothing can be said of 1 difference to method=plain: too few seeds, or no spread."),
        ([0.90, 0.89, 0.92, 0.88], "the difference of method=dcs to method=plain is beyond chance at 5 %."),
    ],
)
def test_a_single_difference_is_told_in_words(values, words):
    record = sweep_of({"plain": {"eval_accuracy": PLAIN}, "dcs": {"eval_accuracy": values}})
    assert list(conclusions(summarize(record, baseline=BASELINE)))[-1] == f"In eval_accuracy {words}"
