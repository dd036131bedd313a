"""The notebooks run from top to bottom, as they stand but for the sizes in their cell of parameters."""

import re
import runpy
import shlex
from pathlib import Path

import jupytext
import pytest

from spectra import load_dropout_plan
from spectra.results.run_record import load_run
from spectra.results.store import load
from tests.forked import run_python

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
make_notebooks = runpy.run_path(str(ROOT / "docs" / "make_notebooks.py"))
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.py"))

PARAMETERS = '# %% tags=["parameters"]\n'
CELL = re.compile(r"^# %%(?: .*)?$", re.MULTILINE)


def text_of(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def with_parameters(text, **values):
    """Change values in the cell of parameters; everything else stays."""
    before, parameters, after = re.split(rf"(?<={re.escape(PARAMETERS)})(.*?)(?=^# %%)", text, maxsplit=1, flags=re.M | re.S)
    for name, value in values.items():
        parameters, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", parameters, flags=re.MULTILINE)
        assert count == 1, name
    return before + parameters + after


def executed(name, folder, **values):
    """Run a notebook in a process of its own, in an empty folder, and return what it prints."""
    script = folder / name
    script.write_text(with_parameters(text_of(name), **values), encoding="utf-8")
    done = run_python(script, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def pictures(folder):
    return {path.name for path in folder.glob("*.png") if path.stat().st_size > 10_000}


@pytest.mark.slow
def test_the_first_analysis_prints_what_it_says_and_keeps_the_report(demo_folder, tmp_path):
    printed = executed("01_first_analysis.py", tmp_path)
    assert "pooler.dense: alpha 12.35, poor fit; random-like tail" in printed
    assert re.search(r"two standard errors: 4\.4 to 11\.3; bootstrap: [\d.]+ to [\d.]+ \(95 %\)", printed)
    assert "rank correlation of the two: 0.21" in printed  # as on the page of interpretation
    assert printed.rstrip().endswith("the table reads back equal: True")
    assert len(load(tmp_path / "runs" / "first-analysis" / "report").layers) == 40
    figures = tmp_path / "runs" / "first-analysis" / "figures"
    assert pictures(figures) == {"alpha-by-depth.png", "steepest.png", "typical.png"}


@pytest.mark.slow
def test_the_comparison_finds_that_a_random_step_has_more_directions(demo_folder, tmp_path):
    printed = executed("02_comparing_with_the_base.py", tmp_path, TRAIN_SIZE=8, MAX_STEPS=2)
    assert "2 steps on 8 reviews" in printed
    ranks = dict(re.findall(r"^(fine-tuning|random step): stable rank ([\d.]+),", printed, re.MULTILINE))
    # Most matrices are 384 × 384: entries drawn independently have 384 / 4 = 96 (the edge of the Marchenko-Pastur law).
    assert float(ranks["random step"]) == pytest.approx(96, rel=0.1)
    assert float(ranks["fine-tuning"]) < 48
    assert len(re.findall(r"^CKA of .*: mean [01]\.\d+$", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^change of alpha by .*: median \d\.\d+, largest", printed, re.MULTILINE)) == 2
    assert pictures(tmp_path / "runs" / "comparing" / "figures") == {"compare.png", "base-shift.png"}


@pytest.mark.slow
def test_low_data_fine_tuning_runs_both_settings_and_shows_what_diagnostics_did(demo_folder, tmp_path):
    printed = executed("03_low_data_fine_tuning.py", tmp_path, SEEDS=(3,), TRAIN_SIZE=8, EPOCHS=2)
    runs = tmp_path / "runs" / "low-data"
    plain, driven = (load_run(runs / f"{name}-3") for name in ("plain", "driven"))
    assert (plain.seed, plain.num_train, plain.num_steps, plain.num_test) == (3, 8, 2, 100)
    assert (driven.num_train, driven.num_steps, driven.num_trainable) == (8, 2, plain.num_trainable)
    difference = driven.test_metrics["test_accuracy"] - plain.test_metrics["test_accuracy"]
    assert f"driven minus plain, by seed: {difference:+.2f}\n" in printed
    assert "from 100 test examples alone: 0.0" in printed
    assert re.findall(r"^bert\.encoder\.layer\.(\d): learning rate times ", printed, re.MULTILINE) == list("012345")
    assert "Drop probabilities at 19 sites of 'all-MiniLM-L6-v2' (guided, rule rank): mean 0.0500" in printed
    assert len(re.findall(r"^(?:before|after): median alpha \d\.\d+ at step \d$", printed, re.MULTILINE)) == 2
    assert "summary.md" in printed.splitlines()[-3].split()
    assert "tempbalance-trajectory.png" in pictures(runs / "driven-3" / "figures")
    assert not (runs / "plain-3" / "tempbalance.jsonl").exists()


@pytest.mark.slow
def test_the_fisher_makes_a_plan_that_training_takes_with_its_control(demo_folder, tmp_path):
    printed = executed("04_fisher_and_guided_dropout.py", tmp_path, TRAIN_SIZE=8, MAX_STEPS=1, SAMPLES=8)
    assert "Empirical Fisher of 'model' (sequence-classification, token_mean): 8 samples" in printed
    runs = tmp_path / "runs" / "fisher"
    plan = load_dropout_plan(runs / "plan.yaml")
    assert len(plan.rates) == 19
    assert plan.mean == pytest.approx(0.05)  # ranks from 0.1 down to 0
    means = dict(re.findall(r"^(\S+) +mean ([\d.]+), at bert", printed, re.MULTILINE))
    half = dict.fromkeys(("guided", "mean-matched", "per-type", "shuffled", "reversed"), "0.0500")
    assert means == half | {"uniform": "0.1000", "none": "0.0000"}
    rates = {name: load_run(runs / name).num_steps for name in ("guided", "mean-matched")}
    assert rates == {"guided": 1, "mean-matched": 1}
    assert len(re.findall(r"^(?:guided|mean-matched): 1 steps, accuracy [01]\.\d+ on 100 test", printed, re.MULTILINE)) == 2
    assert pictures(runs / "figures") == {"fisher-by-layer.png", "fisher-vs-alpha.png", "plan.png"}


@pytest.mark.slow
def test_sdft_keeps_the_originals_where_a_model_that_has_learned_little_disagrees(tmp_path):
    printed = executed("05_sdft_on_a_toy.py", tmp_path, LESSONS=640, ROWS=24)
    accepted, rejected = map(int, re.search(r"24 samples: (\d+) accepted .*, (\d+) rejected", printed).groups())
    assert accepted + rejected == 24
    assert rejected > 12
    assert len(re.findall(r"^(?:original|rewritten): moved by [\d.]+%; other skill: \d+% right", printed, re.MULTILINE)) == 2
    assert pictures(tmp_path / "runs" / "sdft" / "figures") == {"selection.png", "data-shift.png"}


@pytest.mark.slow
def test_meta_peft_comes_nearer_to_the_shared_matrix_than_standard_retraining(tmp_path):
    printed = executed("06_meta_peft.py", tmp_path, RANKS=(1,))
    errors = {name: float(share) for name, share in re.findall(r"^(\w+): error ([\d.]+)% of the shared", printed, re.MULTILINE)}
    assert errors["peft_ml"] < errors["standard"] / 10
    assert "theory, of A - A*: rank 3 after standard retraining, 0 after LoRA-ML" in printed
    losses = dict(re.findall(r"^(\w+): squared error by rank (.*)$", printed, re.MULTILINE))
    ours, theirs = (float(losses[name].split(", ")[0]) for name in ("peft_ml", "standard"))
    assert ours < theirs / 10
    assert pictures(tmp_path / "runs" / "meta-peft" / "figures") == {"meta-peft.png"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_is_that_of_its_script(name):
    script = FOLDER / name
    page = jupytext.read(make_notebooks["page_of"](script))
    of_page, of_script = (
        [cell.source.strip() for cell in cells] for cells in (page.cells, make_notebooks["cells_of"](script).cells)
    )
    again = f"make notebooks ARGS={name[:2]}"
    assert [text for text in of_page if text in of_script] == of_script, again


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_figures_of_a_page_are_there_and_no_others(name):
    page = make_notebooks["page_of"](FOLDER / name)
    shown = re.findall(r"^!\[[^\]]+\]\((.*)\)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert {page.parent / target for target in shown} == set((page.parent / "images" / page.stem).glob("*"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_short_and_begins_with_its_title_and_what_it_needs(name):
    first, *cells = CELL.split(text_of(name))[1:]
    assert re.match(r"\n# # \w", first)
    assert 'Needs `pip install "spectra-nn[' in first
    code = [line for cell in cells for line in cell.splitlines() if line and not line.startswith("#")]
    assert 25 <= len(code) <= 80


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_of_a_notebook_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(name)):
        assert (FOLDER / target).exists(), target


def test_the_commands_of_a_notebook_have_options_that_exist(tmp_path, monkeypatch, capsys):
    from spectra.cli.main import main

    monkeypatch.chdir(tmp_path)
    text = re.sub(r"\s*\\\n# +", " ", text_of("03_low_data_fine_tuning.py"))
    (command,) = re.findall(r"^# \$ spectra (.*)$", text, re.MULTILINE)
    assert main([*shlex.split(command), "--dry-run"]) == 0
    assert "Would run 20 of 20 runs" in capsys.readouterr().out


def test_the_page_beside_the_notebooks_lists_them_all():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+\.py)\]\(\1\)", page, re.MULTILINE) == NOTEBOOKS
