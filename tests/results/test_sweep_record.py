"""Sweeps as they are written down and read."""

import csv

import pytest

from spectra.errors import ResultsError
from spectra.results.sweep_record import (
    BEGUN,
    FAILED,
    WAITING,
    SweepCell,
    load_sweep,
    setting_words,
    short_option,
    value_words,
    write_cells,
    write_table,
)
from tests.sweeps import run_of, sweep_of


def test_a_setting_is_called_by_its_values():
    assert setting_words({"training.learning_rate": 1e-4, "method": "dcs"}) == "learning_rate=0.0001 method=dcs"
    assert setting_words({"setting": "guided", "data.train_size": 64}) == "guided train_size=64"
    assert setting_words({"diagnostics.tempbalance": None}) == "tempbalance=null"
    assert setting_words({}) == "recipe"


def test_values_are_words_or_json():
    assert [value_words(value) for value in ("dcs", 3e-5, True, ["a", 1])] == ["dcs", "3e-05", "true", '["a", 1]']


def test_parts_that_go_without_saying_are_left_out():
    names = ["training.learning_rate", "method.lam", "method", "diagnostics.tempbalance.policy", "model"]
    assert [short_option(name) for name in names] == ["learning_rate", "method.lam", "method", "tempbalance.policy", "model"]


def test_cells_come_back_as_they_were_written(tmp_path):
    cells = [
        SweepCell(name="a", options={"method": "dcs"}, seed=0, parts={"method": {"name": "dcs"}}),
        SweepCell(name="b", options={}, seed=1, error="no luck"),
        SweepCell(name="c", options={}, seed=2),
    ]
    write_cells(tmp_path, "recipe.yaml", cells)
    (tmp_path / "runs" / "c").mkdir(parents=True)
    record = load_sweep(tmp_path)
    assert record.recipe == "recipe.yaml"
    assert [run.cell for run in record.runs] == cells
    assert [run.state for run in record.runs] == [WAITING, FAILED, BEGUN]
    assert record.metrics == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no sweep at .*sweep.json'. 'spectra sweep RECIPE.yaml --grid .* -o DIR' makes it."),
        ("{", "is no sweep, or a damaged one"),
        ('{"schema_version": 7}', "has schema version 7, this Spectra reads 1"),
        ('{"schema_version": 1, "recipe": "a", "cells": [{"seed": 1}]}', "is no sweep, or a damaged one"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ResultsError, match=message):
        load_sweep(tmp_path)


def test_the_table_has_a_row_for_each_run_and_drops_none(tmp_path):
    write_table(tmp_path, sweep_of({"plain": {"eval_accuracy": [0.5, None]}, "a,b": {"eval_loss": [1.5, 2.0]}}))
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["method", "seed", "state", "eval_accuracy", "eval_loss", "steps", "seconds", "folder", "error"]
    assert [(row["method"], row["seed"], row["state"]) for row in rows] == [
        ("plain", "0", "finished"), ("plain", "1", "failed"), ("a,b", "0", "finished"), ("a,b", "1", "finished"),
    ]  # fmt: skip
    assert (rows[0]["eval_accuracy"], rows[0]["eval_loss"], rows[0]["steps"], rows[0]["seconds"]) == ("0.5", "", "3", "2.5")
    assert (rows[1]["error"], rows[1]["eval_accuracy"], rows[1]["seconds"]) == ("no luck today.", "", "")


def test_an_option_that_a_setting_does_not_have_is_empty_in_the_table(tmp_path):
    from spectra.results.sweep_record import SweepRecord

    runs = (run_of({"method": "dcs"}, 0, eval_loss=1.0), run_of({"training.learning_rate": 1e-4}, 0, eval_loss=1.0))
    write_table(tmp_path, SweepRecord(recipe="a", runs=runs))
    assert (tmp_path / "table.csv").read_text().splitlines()[1:] == [
        "dcs,,0,finished,1.0,3,2.5,runs/method=dcs-seed-0,",
        ",0.0001,0,finished,1.0,3,2.5,runs/training.learning_rate=0.0001-seed-0,",
    ]
