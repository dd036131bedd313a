"""What a sweep is summed up to, against closed forms and SciPy."""

import json
import math
import statistics

import pytest
from scipy import stats

from spectra.errors import InputError
from spectra.results.sweep_record import SweepRecord
from spectra.results.sweep_statistics import higher_is_better, leading_metric, summarize
from tests.sweeps import DCS, PLAIN, WORSE, run_of, sweep_of, three_methods

PLAIN_IS = {"method": "plain"}


def settings_by_name(summary):
    return {one.setting: one for one in summary.settings}


def test_means_have_their_standard_error():
    mean = settings_by_name(summarize(three_methods()))["method=plain"].means["eval_accuracy"]
    assert mean.num == 4
    assert mean.mean == pytest.approx(0.8)
    assert mean.std_error == pytest.approx(statistics.stdev(PLAIN) / 2.0)


def test_settings_are_compared_with_the_baseline_seed_by_seed():
    summary = summarize(three_methods(), baseline=PLAIN_IS)
    assert [(one.setting, one.baseline, one.metric) for one in summary.comparisons] == [
        ("method=dcs", "method=plain", "eval_accuracy"), ("method=sdft", "method=plain", "eval_accuracy"),
    ]  # fmt: skip
    for one, values in zip(summary.comparisons, (DCS, WORSE), strict=True):
        expected = stats.ttest_rel(values, PLAIN)
        assert one.difference.mean == pytest.approx(statistics.fmean(values) - 0.8)
        assert one.difference.p_value == pytest.approx(expected.pvalue)
        assert (one.difference.low, one.difference.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_p_values_are_corrected_over_all_comparisons():
    small, large = sorted(summarize(three_methods(), baseline=PLAIN_IS).comparisons, key=lambda one: one.difference.p_value)
    assert small.p_holm == pytest.approx(2 * small.difference.p_value)
    assert large.p_holm == pytest.approx(max(large.difference.p_value, small.p_holm))


def test_the_baseline_differs_in_its_own_options_only():
    runs = [
        run_of({"training.learning_rate": rate, "method": method}, seed, eval_accuracy=rate + seed * bonus)
        for seed in (1, 2)
        for rate in (0.1, 0.2)
        for method, bonus in (("plain", 0.1), ("dcs", 0.3))
    ]
    comparisons = summarize(SweepRecord(recipe="a", runs=tuple(runs)), baseline=PLAIN_IS).comparisons
    assert [(one.setting, one.baseline) for one in comparisons] == [
        (f"learning_rate={rate} method=dcs", f"learning_rate={rate} method=plain") for rate in (0.1, 0.2)
    ]
    assert comparisons[0].difference.mean == pytest.approx(0.3)  # of 0.2 and 0.4
    full = {"training.learning_rate": 0.1, "method": "plain"}
    assert len(summarize(SweepRecord(recipe="a", runs=tuple(runs)), baseline=full).comparisons) == 3


def test_failed_runs_are_in_no_mean_and_listed():
    record = sweep_of({"plain": {"eval_accuracy": PLAIN}, "dcs": {"eval_accuracy": [0.9, None, 0.9, 0.95]}})
    summary = summarize(record, baseline=PLAIN_IS)
    dcs = settings_by_name(summary)["method=dcs"]
    assert (dcs.num_runs, dcs.num_finished, dcs.means["eval_accuracy"].num) == (4, 3, 3)
    assert summary.states == {"finished": 7, "failed": 1}
    assert summary.failures == {"method=dcs-seed-1": "no luck today."}
    assert summary.comparisons[0].difference.num_pairs == 3
    assert summary.comparisons[0].difference.mean == pytest.approx(statistics.fmean([0.1, 0.07, 0.16]))
    assert not dcs.is_best
    assert settings_by_name(summary)["method=plain"].is_best
    assert summary.notes == (
        "Fewer seeds than others: 'method=dcs' (3 of 4). Such a mean is over other seeds, and is not taken for the best.",
    )


def test_a_run_that_diverged_is_in_no_mean_and_told():
    record = sweep_of({"plain": {"eval_loss": [1.0, 2.0]}, "dcs": {"eval_loss": [1.0, math.nan]}})
    summary = summarize(record)
    assert settings_by_name(summary)["method=dcs"].means["eval_loss"].num == 1
    assert any(note.startswith("'method=dcs-seed-1' is finished and has no eval_loss") for note in summary.notes)


def test_with_one_seed_nothing_is_said_of_chance():
    summary = summarize(sweep_of({"plain": {"eval_accuracy": [0.8]}, "dcs": {"eval_accuracy": [0.9]}}), baseline=PLAIN_IS)
    difference = summary.comparisons[0].difference
    assert difference.mean == pytest.approx(0.1)
    assert (difference.low, difference.p_value, summary.comparisons[0].p_holm) == (None, None, None)
    assert summary.settings[0].means["eval_accuracy"].std_error is None
    assert "One seed for each setting" in summary.notes[0]


def test_less_is_better_of_losses():
    summary = summarize(sweep_of({"plain": {"eval_loss": [1.0, 1.1]}, "dcs": {"eval_loss": [0.9, 1.0]}}))
    assert not summary.higher_is_better
    assert settings_by_name(summary)["method=dcs"].is_best
    assert [higher_is_better(name) for name in ("eval_accuracy", "test_perplexity", "eval_mse")] == [True, False, False]


def test_equal_settings_are_best_together():
    summary = summarize(sweep_of({"plain": {"eval_accuracy": [0.5, 0.7]}, "dcs": {"eval_accuracy": [0.7, 0.5]}}))
    assert [one.is_best for one in summary.settings] == [True, True]


def test_a_single_setting_is_not_best():
    assert not summarize(sweep_of({"plain": {"eval_accuracy": PLAIN}})).settings[0].is_best


def test_the_setting_is_chosen_on_eval_and_reported_on_test():
    record = sweep_of({
        "slow": {"eval_accuracy": [0.7, 0.7], "test_accuracy": [0.9, 0.9]},
        "fast": {"eval_accuracy": [0.8, 0.8], "test_accuracy": [0.6, 0.7]},
    })  # fmt: skip
    (choice,) = summarize(record, metric="test_accuracy").choices
    assert (choice.among, choice.num_settings, choice.setting) == ("", 2, "method=fast")
    assert (choice.chosen_by, choice.reported_by) == ("eval_accuracy", "test_accuracy")
    assert choice.reported.mean == pytest.approx(0.65)


def tuned():
    """Two rates for each of two methods: the one that is best on eval is worse on test."""
    numbers = {
        ("plain", 0.1): (0.70, 0.75),
        ("plain", 0.2): (0.72, 0.60),
        ("dcs", 0.1): (0.75, 0.66),
        ("dcs", 0.2): (0.74, 0.90),
    }
    runs = [
        run_of({"method": m, "training.learning_rate": r}, seed, eval_accuracy=e + seed / 100, test_accuracy=t + seed * e / 100)
        for (m, r), (e, t) in numbers.items()
        for seed in (0, 1, 2)
    ]
    return SweepRecord(recipe="a", runs=tuple(runs))


def test_each_value_of_the_baseline_s_options_has_its_own_tuning():
    summary = summarize(tuned(), baseline=PLAIN_IS)
    assert [(one.among, one.setting) for one in summary.choices] == [
        ("method=plain", "method=plain learning_rate=0.2"), ("method=dcs", "method=dcs learning_rate=0.1"),
    ]  # fmt: skip
    (comparison,) = summary.choice_comparisons
    assert (comparison.setting, comparison.baseline) == ("method=dcs learning_rate=0.1", "method=plain learning_rate=0.2")
    assert comparison.metric == "test_accuracy"
    assert comparison.difference.mean == pytest.approx(0.06 + (0.75 - 0.72) / 100)
    assert comparison.p_holm == comparison.difference.p_value


def test_without_a_test_nothing_is_chosen():
    assert summarize(sweep_of({"plain": {"eval_accuracy": PLAIN}, "dcs": {"eval_accuracy": DCS}})).choices == ()


def test_a_choice_among_equals_is_told():
    same = {"eval_accuracy": [0.5, 0.5], "test_accuracy": [0.5, 0.6]}
    summary = summarize(sweep_of({"plain": same, "dcs": same}))
    assert summary.choices[0].equals == ("method=dcs",)
    assert "'method=plain' was chosen as the first of equal ones in eval_accuracy: method=dcs." in summary.notes


def test_a_best_by_test_is_told_to_be_no_choice():
    assert any(
        note.startswith("The best by a test metric is best by chance")
        for note in summarize(three_methods(), metric="test_accuracy").notes
    )


def test_what_has_no_baseline_is_told():
    runs = (*three_methods().runs, run_of({"training.learning_rate": 0.1}, 0, eval_accuracy=0.5, test_accuracy=0.5))
    notes = summarize(SweepRecord(recipe="a", runs=runs), baseline=PLAIN_IS).notes
    assert (
        "No setting with 'method=plain' is otherwise as 'learning_rate=0.1', so that nothing is compared with these." in notes
    )


@pytest.mark.parametrize(
    ("known", "leading"),
    [
        (("eval_accuracy", "eval_f1", "eval_loss", "test_accuracy"), "eval_accuracy"),
        (("eval_loss", "eval_mse", "eval_pearson", "eval_spearman"), "eval_pearson"),
        (("eval_loss", "eval_perplexity"), "eval_perplexity"),
        (("test_f1", "test_loss"), "test_loss"),
        (("eval_own",), "eval_own"),
        ((), None),
    ],
)
def test_the_metric_of_the_task_leads(known, leading):
    assert leading_metric(known) == leading


def test_a_metric_that_no_run_has_is_refused():
    message = "metric: no finished run has 'eval_acuracy'. Did you mean 'eval_accuracy'\\? Known: eval_accuracy, test_accuracy."
    with pytest.raises(InputError, match=message):
        summarize(three_methods(), metric="eval_acuracy")


def test_a_baseline_that_no_setting_is_is_refused():
    message = "baseline: no setting has 'method=best'. The settings are 'method=plain', 'method=dcs', 'method=sdft'."
    with pytest.raises(InputError, match=message):
        summarize(three_methods(), baseline={"method": "best"})


def test_a_sweep_without_a_finished_run_has_no_metric():
    summary = summarize(sweep_of({"plain": {"eval_accuracy": [None]}}), metric="eval_accuracy", baseline=PLAIN_IS)
    assert (summary.metric, summary.comparisons, summary.states) == (None, (), {"failed": 1})


def test_a_summary_is_plain_json():
    content = summarize(three_methods(), baseline=PLAIN_IS).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["schema_version"] == 1
    assert content["comparisons"][0]["difference"]["num_pairs"] == 4
