"""Every small recipe runs to its end, for a few steps of a tiny model, and goes on where it stopped, bit by bit the same."""

import shutil

import pytest

from spectra.recipes import shipped
from tests.recipes.tiny_models import save_decoder, save_encoder
from tests.training.recipe.small_runs import drawn

SMALL = [name for name in shipped() if name.startswith("small-")]
CHANGES = {
    "small-guided-dropout": ["diagnostics.guided_dropout.samples=4"],
    "small-all": ["diagnostics.guided_dropout.samples=4"],
    "small-sdft": ["method.generation.max_new_tokens=4"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"encoder": save_encoder(folder / "encoder"), "decoder": save_decoder(folder / "decoder")}


def run(name, folder, models, draw=None):
    from spectra.report.run_figures import draw_run
    from spectra.training.recipe.running import run_recipe

    changes = [
        f"model.name={models['decoder' if name == 'small-sdft' else 'encoder']}",
        "model.device=cpu",
        f"output={folder}",
        "data.train_size=8",
        "training.max_steps=2",
        "training.per_device_train_batch_size=4",
        "training.save_strategy=steps",
        "training.save_steps=1",
        "training.logging_steps=1",
        *([] if name == "small-meta-peft" else ["data.eval_size=8"]),
        *CHANGES.get(name, []),
    ]
    return run_recipe(shipped()[name], changes, draw=draw or draw_run)


def weights(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted((folder / "model").rglob("*.safetensors"))}


def forget_the_last_step(folder):
    """Leave what a run leaves that was killed after its first checkpoint."""
    for made in ("results.json", "summary.md"):
        (folder / made).unlink()
    for made in ("model", "figures", "diagnostics/after", "checkpoints/checkpoint-2"):
        shutil.rmtree(folder / made, ignore_errors=True)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "small-sdft"])
def test_nothing_is_wrong_with_a_small_recipe(name, monkeypatch, tmp_path):
    from spectra.training.recipe import read_recipe
    from spectra.training.recipe.checking.checks import faults

    monkeypatch.chdir(tmp_path)
    assert faults(read_recipe(shipped()[name])) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_recipe_runs_and_goes_on_bit_by_bit_the_same(name, tmp_path, models):
    folder = tmp_path / "run"
    record = run(name, folder, models)
    assert (record.name, record.num_steps) == ("run", 2)
    before, summary = weights(folder), (folder / "summary.md").read_text(encoding="utf-8")
    assert before
    assert list((folder / "figures").glob("*.png"))
    assert summary.startswith("# ")
    assert len(summary.splitlines()) > 10

    forget_the_last_step(folder)
    again = run(name, folder, models, draw=drawn)  # figures take longer than all else
    assert again.num_steps == 2
    assert again.eval_metrics == record.eval_metrics
    assert weights(folder) == before
