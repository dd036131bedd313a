"""Which cells are run, what recipes they are, and the way from finished cells to results, tables and the figure."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from analysis.low_data_finetuning import study
from analysis.low_data_finetuning.checking import drawn, report
from analysis.low_data_finetuning.figure import draw
from analysis.low_data_finetuning.methods import (
    ADAPTERS,
    AGAINST_PLAIN,
    CONTROLS,
    DCS,
    FULL,
    GUIDED,
    LORA,
    METHODS,
    PLAIN,
    SHUFFLED_DROPOUT,
    TEMPBALANCE,
    TUNED,
    TWICE,
    UNIFORM,
)
from analysis.low_data_finetuning.protocol import (
    DEV,
    QUICK,
    STUDY,
    TEST,
    chosen,
    final_cells,
    longer_cells,
    tuning_cells,
)
from analysis.low_data_finetuning.summary import ALL, results_of
from analysis.low_data_finetuning.tables import update, verdict
from analysis.low_data_finetuning.training import recipe

PROTOCOL = replace(
    QUICK, tasks=("SST-2", "RTE"), learning_rates={FULL: (1e-4, 2e-4), LORA: (1e-3, 2e-3)}, final_seeds=(0, 1, 2)
)


def line(cell, accuracy):
    """A cell's line, as if it had been run."""
    measured = {"accuracy": accuracy(cell), "loss": 0.5, "num_train": cell.size, "num_steps": 4, "num_trainable": 10}
    return asdict(cell) | measured | {"mean_multipliers": {}, "seconds": 3.0, "wall": {}, "device": "cpu", "torch": "2"}


def all_found(accuracy, protocol=PROTOCOL):
    found = {cell: line(cell, accuracy) for cell in tuning_cells(protocol)}
    for cells in (final_cells, longer_cells):
        found |= {cell: line(cell, accuracy) for cell in cells(protocol, found)}
    return found


def of_methods(cell):
    """TempBalance gains 4, 5 and 6 points with seeds 0, 1 and 2, on every task; the larger rates are better on dev."""
    gain = {TEMPBALANCE: 0.05 + 0.01 * (cell.seed - 1)}.get(cell.method, 0.0)
    return 0.5 + gain + (cell.learning_rate if cell.split == DEV else 0.0)


def test_no_final_cell_is_known_before_its_learning_rate_is_chosen():
    assert final_cells(PROTOCOL, {}) == []


def test_tuned_methods_have_as_many_tries_and_controls_the_rate_of_their_method():
    tuning = tuning_cells(STUDY)
    tries = {method: sum(cell.method == method for cell in tuning) for method in METHODS}
    assert {tries[method] for method in TUNED} == {2 * 2 * 2 * 3}  # tasks, sizes, adapters, rates
    assert sum(tries.values()) == len(TUNED) * 24
    found = all_found(lambda cell: 0.6 if (cell.method, cell.learning_rate) == (GUIDED, 1e-4) else of_methods(cell))
    rates = {(cell.method, cell.adapter): cell.learning_rate for cell in found if cell.split == TEST}
    assert rates[GUIDED, FULL] == rates[SHUFFLED_DROPOUT, FULL] == 1e-4
    assert rates[PLAIN, FULL] == rates[TWICE, FULL] == rates[DCS, FULL] == rates[UNIFORM, FULL] == 2e-4


def test_of_equally_accurate_rates_the_one_with_the_lower_loss_is_chosen():
    found = {cell: line(cell, lambda cell: 0.5) | {"loss": 1.0 - cell.learning_rate} for cell in tuning_cells(PROTOCOL)}
    assert chosen(PROTOCOL, (PLAIN, 16, FULL), found) == 2e-4


def test_each_seed_is_finished_before_the_next_one_and_small_sizes_before_large_ones():
    protocol = replace(STUDY, final_seeds=(0, 1))
    cells = final_cells(protocol, {cell: line(cell, of_methods) for cell in tuning_cells(protocol)})
    assert len(cells) == 2 * 2 * 2 * 4 * (len(METHODS) - 1)
    assert [(cell.seed, cell.size) for cell in cells] == sorted((cell.seed, cell.size) for cell in cells)


def test_seeds_of_tuning_and_test_are_apart_and_there_are_five_at_least():
    assert STUDY.tuning_seed not in STUDY.final_seeds
    assert len(STUDY.final_seeds) >= 5
    assert all(epochs >= 4 for epochs in STUDY.epochs.values())


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_recipe(method, adapter):
    cell = next(cell for cell in all_found(of_methods) if (cell.method, cell.adapter, cell.split) == (method, adapter, TEST))
    made = recipe(cell, Path("work"), Path("run"), "cpu")
    assert (made.data.train_size, made.data.data_seed, made.seed) == (cell.size, cell.seed, cell.seed)
    assert made.data.eval is None
    assert made.adapter.name == {FULL: "none", LORA: "lora"}[adapter]


def test_recipes_of_controls_differ_from_their_method_in_one_option():
    found = all_found(of_methods)
    for control, method in CONTROLS.items():
        cells = [next(c for c in found if (c.method, c.split) == (name, TEST)) for name in (control, method)]
        ours, theirs = (flat(recipe(cell, Path("work"), Path("run"), "cpu").to_dict()) for cell in cells)
        differing = {key for key in ours if ours[key] != theirs[key]}
        assert differing in (
            {"diagnostics.guided_dropout.control"},
            {"method.eta"},
            {"diagnostics.alphadecay.policy.r_min", "diagnostics.alphadecay.policy.r_max"},
        ), control


def flat(options, above=""):
    found = {}
    for name, value in options.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def test_dev_is_looked_at_in_tuning_only():
    cell = tuning_cells(PROTOCOL)[0]
    made = recipe(cell, Path("work"), Path("run"), "cpu")
    assert made.data.eval == str(Path("work") / cell.task / "dev.tsv")
    assert made.data.test is None


def test_differences_are_taken_seed_by_seed_over_the_mean_of_all_tasks():
    rows = results_of(PROTOCOL, all_found(of_methods))["against plain"]
    assert len(rows) == len(AGAINST_PLAIN) * len(ADAPTERS)
    row = next(row for row in rows if (row["one"], row["adapter"]) == (TEMPBALANCE, FULL))
    assert (row["task"], row["num_pairs"], row["mean"]) == (ALL, 3, pytest.approx(0.05))
    # t(0.975, 2) = 4.3027 times 0.01 / sqrt(3)
    assert row["low"] == pytest.approx(0.05 - 0.024841, abs=1e-5)
    others = [row for row in rows if row["one"] != TEMPBALANCE]
    assert all(row["mean"] == 0.0 and row["p_holm"] == 1.0 for row in others)


def test_p_values_are_corrected_for_all_comparisons_of_a_question():
    rows = results_of(PROTOCOL, all_found(of_methods))["against plain"]
    smallest = min(rows, key=lambda row: row["p_value"])
    assert smallest["p_holm"] == pytest.approx(len(rows) * smallest["p_value"])


def test_a_study_that_is_not_finished_has_the_numbers_of_its_seeds():
    found = {
        cell: row for cell, row in all_found(of_methods).items() if cell.seed != 2 and (cell.seed, cell.task) != (1, "RTE")
    }
    results = results_of(PROTOCOL, found)
    pairs = {row["task"]: row["num_pairs"] for row in results["by task"]}
    assert pairs == {"SST-2": 2, "RTE": 1}
    assert all(row["num_pairs"] == 1 and row["low"] is None for row in results["against plain"])
    assert results["state"]["seeds"]["2"]["done"] == 0


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"mean": 0.1, "p_holm": 0.01}, "better"),
        ({"mean": -0.1, "p_holm": 0.01}, "worse"),
        ({"mean": 0.1, "p_holm": 0.2}, "not told apart"),
        ({"mean": 0.1, "p_holm": None}, "nothing to test"),
    ],
)
def test_verdicts_follow_the_corrected_p_value(row, word):
    assert verdict(row) == word


@pytest.mark.parametrize("num_cells", [0, 5, 40, None])
def test_tables_and_figure_are_made_of_whatever_is_there(num_cells, tmp_path):
    found = dict(list(all_found(of_methods).items())[:num_cells])
    results = json.loads(json.dumps(results_of(PROTOCOL, found), allow_nan=False))
    readme = tmp_path / "README.md"
    readme.write_text((study.HERE / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    update(readme, results)
    assert ("**Not finished.**" in readme.read_text(encoding="utf-8")) == (num_cells is not None)
    draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_report_trains_nothing_and_is_the_same_again(tmp_path, capsys):
    lines = [json.dumps(row) + "\n" for row in all_found(of_methods, QUICK).values()]
    (tmp_path / study.RUNS).write_text("".join(lines), encoding="utf-8")
    written = []
    for _ in range(2):
        assert study.main(["--report", "--quick", "--output", str(tmp_path)]) == 0
        written.append([(tmp_path / name).read_bytes() for name in ("results.json", "low-data-finetuning.png")])
    assert written[0] == written[1]


def test_cells_that_are_checked_do_not_depend_on_the_order_of_the_lines():
    found = all_found(of_methods)
    backwards = dict(reversed(found.items()))
    assert drawn(found, 3) == drawn(backwards, 3)
    assert len(set(drawn(found, 3))) == 3


def test_a_check_names_every_number_that_differs():
    cell = tuning_cells(PROTOCOL)[0]
    stored = line(cell, of_methods)
    text, is_equal = report([(cell, stored, stored), (cell, stored, stored | {"loss": 0.5000001, "torch": "3"})])
    assert not is_equal
    assert text.splitlines()[0].endswith(": equal")
    assert "loss: 0.5 before, 0.5000001 now (torch 2, 3)" in text.splitlines()[1]
    assert report([(cell, stored, stored | {"seconds": 9.0})]) == (text.splitlines()[0], True)


def test_without_data_the_study_says_where_they_should_be(monkeypatch, capsys):
    monkeypatch.delenv("SPECTRA_DATA_DIR", raising=False)
    with pytest.raises(SystemExit):
        study.main(["--quick"])
    assert "--data-dir" in capsys.readouterr().err
