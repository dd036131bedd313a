"""The way from runs to results, tables and figure."""

import json
from dataclasses import replace

import pytest

from analysis.meta_peft_two_layer.figure import draw
from analysis.meta_peft_two_layer.protocol import QUICK, run
from analysis.meta_peft_two_layer.study import setting_of
from analysis.meta_peft_two_layer.summary import results_of
from analysis.meta_peft_two_layer.tables import update


def test_rows_become_results_tables_and_a_figure(tmp_path):
    settings = [replace(setting, epochs=4, fine_tuning_epochs=4) for setting in QUICK]
    lines = [json.loads(json.dumps(run(setting), allow_nan=False)) for setting in settings]
    assert [setting_of(line) for line in lines] == settings
    results = results_of(settings, dict(zip(settings, lines, strict=True)))
    assert list(results) == ["T = 2, d = 5", "T = 3, d = 5"]
    assert list(results["T = 2, d = 5"]["fine-tuning"]) == ["rank 1", "rank 3"]
    readme = tmp_path / "README.md"
    names = ("retraining", "risk", "differences", "oracle", "floor", "lowest", "cost")
    readme.write_text("\n".join(f"<!-- table: {name} -->\n<!-- end -->" for name in names), encoding="utf-8")
    update(readme, results)
    assert readme.read_text(encoding="utf-8").count("| T = 3, d = 5 |") == len(names)
    draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_groups_by_loss_and_factors_are_those_of_hand_made_runs():
    setting = replace(QUICK[1], num_seeds=3)
    traces = {
        "LoRA-ML": [[1.0, 1.0, 1.0], [0.1, 0.2, 0.4]],
        "SR": [[1.0, 1.0, 1.0], [0.4, 0.8, 0.4]],
        "oracle": [[1.0, 1.0, 1.0], [0.1, 0.1, 0.1]],
    }
    risks = {arm: {"epochs": [0, 20], "values": values} for arm, values in traces.items()}
    losses = {"LoRA-ML": [[1.0, 1.0, 1.0], [0.01, 0.0104, 0.02]], "SR": [[1.0, 1.0, 1.0], [0.1, 0.2, 0.1]]}
    row = {
        "tasks": 3,
        "width": 5,
        "retraining seconds": 1.0,
        "fine-tuning seconds": 1.0,
        "losses": {arm: {"epochs": [0, 20], "values": values} for arm, values in losses.items()},
        "risks": {"rank 1": risks},
    }
    of = results_of([setting], {setting: row})["T = 3, d = 5"]
    found = of["fine-tuning"]["rank 1"]
    assert of["ratio of losses"] == {"of means": 9.9, "smallest": 5.0}
    assert found["LoRA-ML by loss"]["at the floor"] == {"seeds": 2, "median": pytest.approx(0.15)}
    assert found["LoRA-ML by loss"]["above"] == {"seeds": 1, "median": 0.4}
    difference = found["difference"]["LoRA-ML - SR"]
    assert (difference["lower in"], difference["of"]) == (2, 3)  # a tie is no gain
    assert difference["factor"] == pytest.approx(16 ** (1 / 3), abs=0.01)  # of 4, 4 and 1; rounded
    assert difference["mean"] == pytest.approx(-0.3)
