"""The way from dialogues to runs, results, tables and figure, with a model of one layer."""

import json
from dataclasses import replace

import pytest

from analysis.meta_peft_convai2 import training
from analysis.meta_peft_convai2.figure import draw
from analysis.meta_peft_convai2.protocol import QUICK, chosen, final_cells, tuning_cells
from analysis.meta_peft_convai2.study import about, cell_of
from analysis.meta_peft_convai2.summary import results_of
from analysis.meta_peft_convai2.tables import update
from tests.persona_text import write_dialogues
from tests.pretrained import save_bert

PROTOCOL = replace(QUICK, adapting_rates=(2e-3, 5e-3), adapting_epochs=2)


pytestmark = pytest.mark.filterwarnings("ignore:reptile")  # a pass over a task, as in the study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Run all cells as the study does, by way of JSON, with a small model in place of the demo model."""
    data = write_dialogues(tmp_path_factory.mktemp("data"))
    model = save_bert(tmp_path_factory.mktemp("model"), "BertForSequenceClassification")
    rows = {}

    def add(cells):
        for cell in cells:
            rows[cell] = json.loads(json.dumps(training.run(cell, data), allow_nan=False))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "demo_folder", lambda: model)
        add(tuning_cells(PROTOCOL))
        add(final_cells(PROTOCOL, rows))
    return rows


def test_a_line_is_of_its_cell(found):
    assert [cell_of(row) for row in found.values()] == list(found)
    assert {cell.arm for cell in found} == {"raw", "SR", "LoRA-ML", "Reptile"}


def test_all_three_retrain_on_the_same_rows(found):
    rows = {cell.arm: row["retraining"] for cell, row in found.items() if cell.seed == 0}
    assert {rows[arm]["rows"] for arm in ("SR", "LoRA-ML", "Reptile")} == {40}
    assert {arm: of["steps"] for arm, of in rows.items()} == {"raw": 0, "SR": 2, "Reptile": 2, "LoRA-ML": 2}


def test_rows_become_results_tables_and_a_figure(found, tmp_path):
    results = results_of(PROTOCOL, found)
    assert results["learning rates"]["adapting"] == chosen(PROTOCOL, found)
    assert {len(arms["SR"]) for arms in results["values"].values()} == {PROTOCOL.num_new}
    readme = tmp_path / "README.md"
    names = ("accuracy", "chance", "differences", "personas", "retraining", "tuning", "cost")
    readme.write_text("\n".join(f"<!-- table: {name} -->\n<!-- end -->" for name in names), encoding="utf-8")
    update(readme, results)
    assert "| chance | 5.0% |  | 50.0% |" in readme.read_text(encoding="utf-8")
    draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert all(about(cell, row).startswith(f"{cell.arm}, seed {cell.seed}") for cell, row in found.items())
