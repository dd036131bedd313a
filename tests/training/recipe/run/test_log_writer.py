import itertools
from contextlib import ExitStack, closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spectra.errors import ResultsError
from spectra.results.run_metrics import load_run_metrics
from spectra.training.recipe.run.log_writer import LogWriter
from tests.training.dcs.full_disk import full_disk


def log(writer, step, **numbers):
    writer.on_log(None, SimpleNamespace(global_step=step, epoch=step / 4), None, logs={**numbers, "epoch": step / 4})


@pytest.fixture
def made(tmp_path):
    """Makes writers, and closes them."""
    with ExitStack() as opened:

        def make(*arguments, **options):
            return opened.enter_context(closing(LogWriter(tmp_path / "metrics.jsonl", *arguments, **options)))

        yield make


def seconds():
    return itertools.count().__next__


def test_a_line_has_its_place_and_its_numbers(tmp_path, made):
    writer = made(clock=seconds())
    log(writer, 3, loss=0.5, accuracy=np.float32(0.25), norm=torch.tensor(2.0), words="for the eye", is_good=True)
    writer.on_log(None, SimpleNamespace(global_step=4, epoch=None), None)
    (line,) = load_run_metrics(tmp_path)
    assert (line.step, line.epoch, line.seconds) == (3, 0.75, 1.0)
    assert line.numbers == {"loss": 0.5, "accuracy": 0.25, "norm": 2.0}
    assert writer.num_lines == 1


def test_numbers_that_are_not_finite_are_kept(tmp_path, made):
    writer = made()
    log(writer, 1, loss=float("nan"), norm=float("inf"))
    (line,) = load_run_metrics(tmp_path)
    assert np.isnan(line.numbers["loss"])
    assert line.numbers["norm"] == np.inf


def test_a_line_is_there_as_soon_as_it_is_logged(tmp_path, made):
    writer = made()
    for step in (1, 2, 3):
        log(writer, step, loss=1.0)
        assert len(load_run_metrics(tmp_path)) == step


def test_a_run_that_goes_on_drops_lines_of_work_that_was_lost_and_counts_its_time_on(tmp_path, made):
    with closing(LogWriter(tmp_path / "metrics.jsonl")) as writer:
        for step in (1, 2, 3):
            log(writer, step, loss=1.0)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "epo')
    writer = made(2, 100.0, clock=seconds())
    log(writer, 3, loss=2.0)
    assert [(line.step, line.numbers["loss"]) for line in load_run_metrics(tmp_path)] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert load_run_metrics(tmp_path)[-1].seconds == 101.0
    assert writer.num_lines == 3


def test_the_summary_is_of_all_sessions(tmp_path, made):
    writer = made(0, 30.0)
    # The trainer counts all 400 samples, and the 10 seconds since it went on.
    log(writer, 8, train_runtime=10.0, train_samples_per_second=40.0, train_steps_per_second=0.8, train_loss=0.5)
    (line,) = load_run_metrics(tmp_path)
    assert line.numbers == {
        "train_runtime": 40.0,
        "train_samples_per_second": 10.0,
        "train_steps_per_second": 0.2,
        "train_loss": 0.5,
    }


def test_a_full_disk_stops_with_whole_lines(tmp_path, made):
    writer = made()
    log(writer, 1, loss=1.0)
    with full_disk(100), pytest.raises(ResultsError, match=r"cannot write to '.*metrics.jsonl'"):
        log(writer, 2, loss=1.0, more=2.0, still_more=3.0)
    assert len(load_run_metrics(tmp_path)) == 1
