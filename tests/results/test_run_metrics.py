import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import ResultsError
from spectra.results.run_metrics import METRICS, LogLine, load_run_metrics, metric_names, series
from tests.run_folders import log_lines, write_log


def test_a_log_comes_back_as_it_was_written(tmp_path):
    write_log(tmp_path, log_lines())
    assert list(load_run_metrics(tmp_path)) == log_lines()
    assert load_run_metrics(tmp_path / METRICS) == load_run_metrics(tmp_path)


def test_a_line_is_flat_so_that_a_table_can_be_read_from_the_file(tmp_path):
    write_log(tmp_path, log_lines()[:1])
    assert json.loads((tmp_path / METRICS).read_text()) == {
        "step": 10, "epoch": 0.5, "seconds": 10.0, "loss": 0.7, "learning_rate": 1e-4
    }  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(value=st.floats())
def test_every_number_survives(value, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, [LogLine(step=1, epoch=0.1, seconds=1.0, numbers={"loss": value})])
    (line,) = load_run_metrics(folder)
    assert line.numbers["loss"] == value or (math.isnan(value) and math.isnan(line.numbers["loss"]))


def test_a_torn_last_line_is_left_out(tmp_path):
    write_log(tmp_path, log_lines())
    with (tmp_path / METRICS).open("ab") as file:
        file.write(b'{"step": 50, "ep')
    assert list(load_run_metrics(tmp_path)) == log_lines()


def test_the_last_number_of_a_step_counts_in_the_order_of_steps():
    lines = [
        LogLine(step=step, epoch=0.0, seconds=0.0, numbers={"loss": loss, "other": 1.0})
        for step, loss in ((2, 0.5), (4, 0.4), (2, 0.6))
    ]
    assert list(series(lines, "loss").items()) == [(2, 0.6), (4, 0.4)]
    assert series(lines, "eval_loss") == {}


def test_speeds_are_no_metrics():
    names = ["eval_loss", "eval_runtime", "eval_f1", "eval_samples_per_second", "loss", "test_f1", "eval_f1", "epoch"]
    names += ["eval_steps_per_second", "eval_model_preparation_time"]
    assert metric_names(names, "eval_") == ["loss", "f1"]
    assert metric_names(names, "test_") == ["f1"]


def test_a_folder_without_a_log_is_told_what_makes_one(tmp_path):
    with pytest.raises(ResultsError, match=f"there is no log at '{tmp_path / METRICS}'. 'spectra finetune' writes one"):
        load_run_metrics(tmp_path)


@pytest.mark.parametrize(
    "line", ['{"epoch": 1}', '{"step": "x", "epoch": 1, "seconds": 1}', '{"step": 1, "epoch": 1, "seconds": 1, "loss": []}']
)
def test_what_is_no_line_is_refused_by_its_number(tmp_path, line):
    write_log(tmp_path, log_lines()[:2])
    with (tmp_path / METRICS).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ResultsError, match=r"line 3: this is no line of a training log .* Delete it"):
        load_run_metrics(tmp_path)
