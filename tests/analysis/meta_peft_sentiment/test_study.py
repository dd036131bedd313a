"""Draws of rows, the choice of rates, and the way from runs to results, tables and figures."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from analysis.meta_peft_sentiment import study
from analysis.meta_peft_sentiment.data import balanced
from analysis.meta_peft_sentiment.figure import draw
from analysis.meta_peft_sentiment.protocol import (
    DOMAINS,
    LORA_ML,
    METHODS,
    PRETRAINED,
    QUICK,
    SIZES,
    STANDARD,
    chosen,
    final_cells,
    tuning_cells,
)
from analysis.meta_peft_sentiment.shifts import draw_spectra, kept, shift_of, summary
from analysis.meta_peft_sentiment.summary import ALL, BETWEEN, results_of
from analysis.meta_peft_sentiment.tables import update

PROTOCOL = replace(QUICK, retraining_rates=(1e-4, 4e-4), adapting_rates=(1e-3, 2e-3))
RECORDS = [{"sentence": str(place), "label": "01"[place % 3 == 0]} for place in range(60)]


def shift(seed):
    generator = np.random.default_rng(seed)
    names = [*(f"layer.{block}.dense.weight" for block in range(3)), "classifier.weight"]
    before = {name: generator.standard_normal((24, 24)) for name in names}
    after = {name: weight + 0.1 * generator.standard_normal((24, 24)) for name, weight in before.items()}
    return shift_of(before, after)


def line(cell, accuracy):
    """A cell's line, as if it had been run: accuracies by a function of a model's words."""
    models = [
        {"method": method, "rate": rate, "size": size, "adapting rate": at, "loss": 0.5, "seconds": 1.0}
        | {"accuracy": accuracy(cell, method, rate, size, at)}
        for method, rate, size, at in cell.adaptings
    ]
    bases = [{"method": method, "rate": rate, "loss": 0.4, "steps": 4, "seconds": 2.0} for method, rate in cell.bases]
    shifts = {name: summary(shift(place)) for place, name in enumerate((*METHODS[1:], BETWEEN))}
    spectra = {name: kept(shift(place)) for place, name in enumerate(METHODS[1:])}
    return (
        asdict(cell)
        | {"bases": bases, "models": models, "shifts": shifts}
        | ({"spectra": spectra} if cell.keeps_shifts else {})
    )


def all_found(accuracy):
    found = {cell: line(cell, accuracy) for cell in tuning_cells(PROTOCOL)}
    return found | {cell: line(cell, accuracy) for cell in final_cells(PROTOCOL, found)}


def by_rate(cell, method, rate, size, at):
    """Best: retraining at 4e-4; adapting at 1e-3 from few samples and at 2e-3 from many."""
    better = at == (2e-3 if size == max(SIZES) else 1e-3)
    return 0.5 + 0.1 * (rate == 4e-4) + 0.05 * better + 0.02 * (method == LORA_ML) + 0.01 * DOMAINS.index(cell.held_out)


def test_draws_are_balanced_and_nested():
    drawn = balanced(RECORDS, 20, seed=0)
    for size in (2, 10, 20):
        assert balanced(RECORDS, size, seed=0) == drawn[:size]
        assert sum(record["label"] == "1" for record in drawn[:size]) == size / 2
    assert len({record["sentence"] for record in drawn}) == 20
    assert balanced(RECORDS, 20, seed=1) != drawn


def test_the_head_is_no_part_of_what_retraining_moved():
    assert [matrix.layer_name for matrix in shift(0).matrices] == ["layer.0.dense", "layer.1.dense", "layer.2.dense"]
    assert summary(shift(0))["top 20"] == pytest.approx(shift(0).energy(20), abs=1e-5)


def test_no_more_rows_are_drawn_than_the_rarer_class_allows():
    assert len(balanced(RECORDS, 100, seed=0)) == 40


@pytest.mark.parametrize("place", [0, -1])
def test_a_line_that_is_read_again_is_of_its_cell(place):
    cell = tuning_cells(PROTOCOL)[place]
    assert study.cell_of(json.loads(json.dumps(line(cell, by_rate)))) == cell


def test_every_method_has_as_many_tries():
    full = study.FULL
    tries = {method: sum(len(rates) for _, rates in full.tried(method)) for method in METHODS}
    assert set(tries.values()) == {6}


def test_rates_are_chosen_for_each_method_and_number_of_samples():
    found = all_found(by_rate)
    few, many = SIZES[:-1], SIZES[-1]
    for method in METHODS[1:]:
        assert chosen(PROTOCOL, method, found) == (4e-4, {**dict.fromkeys(few, 1e-3), many: 2e-3})
    assert chosen(PROTOCOL, PRETRAINED, found)[0] == 0.0


def test_differences_over_domains_are_those_of_their_means():
    noise = np.random.default_rng(0)
    gains = dict(zip(DOMAINS, (0.01, 0.02, 0.03, 0.04, 0.05), strict=True))

    def accuracy(cell, method, rate, size, at):
        return gains[cell.held_out] if method == LORA_ML else noise.normal() * (method != STANDARD)

    found = all_found(accuracy)
    of = results_of(PROTOCOL, found)["sizes"]["64"]["difference"]
    # The standard error of 0.01 ... 0.05 is their deviation 0.0158 over the root of 5; Student's 97.5 % quantile is 2.776.
    assert of[ALL][f"{LORA_ML} - {STANDARD}"]["mean"] == pytest.approx(0.03)
    assert of[ALL][f"{LORA_ML} - {STANDARD}"]["std_error"] == pytest.approx(0.00707, abs=1e-5)
    assert of[ALL][f"{LORA_ML} - {STANDARD}"]["interval"] == pytest.approx([0.01037, 0.04963], abs=2e-5)
    assert of["dvd"][f"{LORA_ML} - {STANDARD}"]["mean"] == pytest.approx(0.03)


def test_the_page_and_the_figures_are_made_from_the_results(tmp_path):
    found = all_found(by_rate)
    results = results_of(PROTOCOL, {cell: json.loads(json.dumps(row)) for cell, row in found.items()})
    draw_spectra(results.pop("spectra"), tmp_path / "spectra.png")
    draw(results, tmp_path / "figure.png")
    page = tmp_path / "README.md"
    page.write_text((Path(study.__file__).parent / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    update(page, results)  # every table has its place
    json.dumps(results, allow_nan=False)
    for name in ("spectra.png", "figure.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
