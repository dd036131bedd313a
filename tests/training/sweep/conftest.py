"""A recipe that passes its checks, and a worker that does not train."""

from pathlib import Path

import pytest

from spectra.training.sweep.runs import plan_sweep, run_sweep

WORKER = "tests.training.sweep.quick_worker"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def recipe(tmp_path):
    """A recipe for texts, of a model that nobody looks for: a hub id."""
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(f"text {n}\t{n % 2}\n" for n in range(8)))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model: {name: org/tiny, task: sequence-classification}\n"
        "data: {train: '${RECIPE_DIR}/train.tsv', text_column: text, label_column: label}\n"
        "output: elsewhere\n"
    )
    return path


@pytest.fixture
def orders(tmp_path, monkeypatch):
    """The folder of what runs are to do instead of training."""
    folder = tmp_path / "orders"
    folder.mkdir()
    monkeypatch.setenv("QUICK", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return folder


@pytest.fixture
def swept(recipe, tmp_path, orders):
    """Run a sweep in the folder 'sweep'; return its record."""

    def swept(grid=None, seeds=(0,), jobs=1, progress=None, path=recipe, **options):
        plan = plan_sweep(path, output=tmp_path / "sweep", grid=grid, seeds=seeds, **options)
        return run_sweep(plan, jobs=jobs, progress=progress, worker=WORKER)

    return swept
