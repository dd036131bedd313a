import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.meta_peft_linear import study
from analysis.meta_peft_linear.figure import draw
from analysis.meta_peft_linear.measuring import ARMS, LORA, ORACLE, STANDARD, SYMMETRIC, cell_of, run
from analysis.meta_peft_linear.protocol import ALL, BASE, QUICK, Cell, Setting, cells
from analysis.meta_peft_linear.summary import result, results_of, spread
from analysis.meta_peft_linear.tables import update

SMALL = Setting(d=4, T=3, N=200, n=50)


@pytest.fixture(scope="module")
def row():
    return run(Cell((SMALL, replace(SMALL, N=None)), 2, 2000, (10, 2000)))


def of(row, place, arm):
    return row["found"][place]["arms"][arm]


def test_a_line_that_is_read_again_is_of_its_cell(row):
    assert cell_of(json.loads(json.dumps(row))) == Cell((SMALL, replace(SMALL, N=None)), 2, 2000, (10, 2000))


def test_a_setting_in_a_cell_is_what_it_is_alone(row):
    alone = run(Cell((SMALL,), 1, 2000, (10, 2000)))
    for arm in ARMS:
        for name in ("error", "retraining risk", "risk, rank 1"):
            assert of(alone, 0, arm)[name][0] == pytest.approx(of(row, 0, arm)[name][0], rel=1e-2)  # three digits are written


def test_the_oracle_has_no_error_and_one_direction_to_learn(row):
    oracle = of(row, 0, ORACLE)
    assert oracle["error"] == [0.0, 0.0]
    assert np.array(oracle["reachable"])[:, 1] == pytest.approx(0.0, abs=1e-12)


def test_meta_learned_bases_are_nearer_than_the_standard_one(row):
    for arm in (SYMMETRIC, LORA):
        assert max(of(row, 1, arm)["error"]) < min(of(row, 1, STANDARD)["error"])


def test_the_last_point_of_a_curve_is_the_final_risk(row):
    mean, least, most = np.array(of(row, 0, STANDARD)["curve"])
    final = of(row, 0, STANDARD)["risk, rank 1"]
    assert [mean[-1], least[-1], most[-1]] == pytest.approx([np.mean(final), min(final), max(final)], rel=1e-2)


def test_every_setting_is_in_one_cell():
    found = [setting for cell in cells(QUICK) for setting in cell.settings]
    assert sorted(map(repr, found)) == sorted(map(repr, set(ALL)))
    assert all(len({setting.shape for setting in cell.settings}) == 1 for cell in cells(QUICK))


def test_two_tasks_are_given_the_rank_that_the_paper_gives_them():
    assert replace(BASE, T=2, k=2).paper_rank == 6
    assert replace(BASE, T=3, k=2).ranks == [2, 8]


def test_results_count_wrong_directions_and_the_rank_that_is_needed():
    two_tasks = replace(BASE, T=2)
    found = {cell: run(cell) for cell in cells(QUICK, [two_tasks])}
    arms = result(results_of(found, found), two_tasks)
    assert arms[ORACLE]["needed rank"] == [1, 1]
    assert arms[ORACLE]["wrong directions"] == [0, 0]
    assert arms[STANDARD]["wrong directions"] == [2, 2]
    assert arms[STANDARD]["needed rank"] == [3, 3]
    assert arms[STANDARD]["recovered"] == 0


def test_a_spread_is_a_mean_with_its_band():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "std_error": 1.0, "median": 2.0, "min": 1.0, "max": 3.0}


def test_the_page_and_the_figure_are_made_from_the_results(tmp_path):
    protocol = replace(QUICK, adapter_steps=10)
    found = {cell: run(cell) for cell in cells(protocol)}
    results = results_of(found, found)
    page = tmp_path / "README.md"
    page.write_text((Path(study.__file__).parent / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    update(page, results)  # every table has its place
    draw(results, protocol.steps, tmp_path / "figure.png")
    assert "NaN" not in study.compact(results)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
