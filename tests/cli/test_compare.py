"""``spectra compare``, as a user types it."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from spectra.results.comparison import CHANGE_METRICS
from tests.models import small_weights

LAYERS = ["embed", "layers.0.fc", "layers.1.fc", "layers.2.fc", "layers.3.fc", "head"]
PLANTED = "layers.2.fc"


def planted_weights():
    """The small model with a change of rank 2 in one layer."""
    rng = np.random.default_rng(1)
    left, right = (rng.standard_normal((side, 2)).astype(np.float32) for side in (60, 40))
    weights = small_weights()
    weights[f"{PLANTED}.weight"] += 3.0 * left @ right.T
    return weights


def moved_weights(share, seed=2):
    rng = np.random.default_rng(seed)
    return {
        name: w + np.float32(share) * rng.standard_normal(w.shape).astype(np.float32) for name, w in small_weights().items()
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base, the base with a planted change, one that moved everywhere, and a run with three checkpoints."""
    folder = tmp_path_factory.mktemp("models")
    save_file(small_weights(), folder / "base.safetensors")
    save_file(planted_weights(), folder / "planted.safetensors")
    save_file(moved_weights(0.1), folder / "moved.safetensors")
    for step in (5, 10, 100):
        (folder / "run" / f"checkpoint-{step}").mkdir(parents=True)
        save_file(moved_weights(step / 1000), folder / "run" / f"checkpoint-{step}" / "model.safetensors")
    return folder


@pytest.fixture
def base(models):
    return models / "base.safetensors"


@pytest.fixture
def planted(models):
    return models / "planted.safetensors"


# Answers


def test_one_planted_change_is_the_answer(run, base, planted):
    code, out, err = run(base, planted)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("'planted' against 'base': 1 of 6 matrices changed by ")
    assert lines[2].split() == ["matrix", "change", "rank", "overlap", "alpha", "finding"]
    assert lines[3].split()[0] == PLANTED
    assert "rank 2, 2 intruders" in lines[3]
    assert lines[4].strip() == "… 5 unchanged"
    assert lines[-1].startswith("All of the change is in layers.2.fc; alpha: mean ")
    assert err == "All columns: --csv or --json. Keep the result and make figures of it: --output DIR\n"


def test_equal_models_are_said_to_be_identical(run, base):
    code, out, _ = run(base, base)
    assert code == 0
    assert out.splitlines() == [
        f"'{base}' against 'base': identical, all 6 matrices are equal",
        "",
        "No weight matrix differs. Biases, gains and other vectors are not compared.",
    ]


def test_three_models_have_a_table_and_each_its_matrices(run, models, base, planted):
    code, out, _ = run(base, planted, models / "moved.safetensors", "--rows", "2")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "2 models against 'base', 6 matrices"
    assert [line.split()[0] for line in lines[2:6]] == ["model", "base", "planted", "moved"]
    assert [line.split()[1] for line in lines[4:6]] == ["1/6", "6/6"]
    assert sum(line.startswith("'planted' against 'base'") for line in lines) == 1
    assert "… 4 more" in [line.strip() for line in lines]
    assert lines[-1].startswith("Changed most: 'planted', by ")


def test_json_is_the_whole_comparison_and_nothing_else(run, base, planted):
    code, out, err = run(base, planted, "--json")
    content = json.loads(out)
    expected = spectra.compare(base, planted).to_dict()
    assert (code, err) == (0, "")
    assert list(content) == list(expected)
    assert content["schema_version"] == 1
    assert content["rows"] == expected["rows"]
    row = next(row for row in content["rows"] if row["matrix_name"] == PLANTED)
    assert set(row) >= {*CHANGE_METRICS, "before", "after", "change", "findings", "verdict"}
    assert row["change"]["alpha"] == row["after"]["alpha"] - row["before"]["alpha"]


def test_csv_has_a_row_for_each_matrix_and_model_and_nothing_else(run, models, base, planted):
    code, out, err = run(base, planted, models / "moved.safetensors", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "")
    assert [(row["model"], row["matrix_name"]) for row in rows] == [(m, n) for m in ("planted", "moved") for n in LAYERS]
    assert {"alpha_before", "alpha_after", "alpha_change", "relative_change"} <= set(rows[0])


def test_options_reach_the_comparison(run, base, planted):
    options = [
        "--directions",
        "3",
        "--intruder-threshold",
        "0.9",
        "--include",
        "layers.*",
        "--xmin",
        "median",
        "--workers",
        "2",
    ]
    content = json.loads(run(base, planted, "--json", *options)[1])
    expected = spectra.compare(base, planted, directions=3, intruder_threshold=0.9, include="layers.*", xmin="median")
    assert content["rows"] == expected.to_dict()["rows"]
    assert (content["num_directions"], content["intruder_threshold"]) == (3, 0.9)
    assert {row["matrix_name"] for row in content["rows"]} == set(LAYERS[1:-1])


def test_another_base_can_be_named(run, base, planted):
    assert run(planted, "--base", base, "--csv") == run(base, planted, "--csv")


def test_reports_are_compared_by_their_metrics(run, base, planted, tmp_path):
    for name, model in (("a", base), ("b", planted)):
        spectra.analyze(model, output=tmp_path / name)
    code, out, _ = run(tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "metrics of 6 matrices, no weights to compare" in out
    assert out.splitlines()[-1].startswith("Alpha: mean ")


def test_quiet_leaves_stderr_empty(run, base, planted):
    assert run(base, planted, "-q")[::2] == (0, "")


def test_a_matrix_with_nan_is_a_row_and_the_exit_code_says_so(run, base, tmp_path):
    weights = small_weights()
    weights["head.weight"][0, 0] = np.nan
    save_file(weights, tmp_path / "broken.safetensors")
    code, out, _ = run(base, tmp_path / "broken.safetensors")
    assert code == 1
    assert "nonfinite" in out
    assert json.loads(run(base, tmp_path / "broken.safetensors", "--json")[1])["rows"][-1]["status"] == "nonfinite"


def test_a_process_answers_as_the_function_does_without_colors(run, base, planted):
    command = [sys.executable, "-m", "spectra", "compare", str(base), str(planted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == run(base, planted)
    assert "\x1b" not in done.stdout


# Over time


@pytest.mark.parametrize("how", ["the run", "its checkpoints"])
def test_a_run_is_followed_by_its_checkpoints_in_order(run, models, how):
    checkpoints = [models / "run" / f"checkpoint-{step}" for step in (100, 5, 10)]
    code, out, _ = run("--over-time", *([models / "run"] if how == "the run" else checkpoints))
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "2 checkpoints against 'checkpoint-5', 6 matrices"
    assert [line.split()[0] for line in lines[2:6]] == ["checkpoint", "checkpoint-5", "checkpoint-10", "checkpoint-100"]
    assert lines[7].startswith("'checkpoint-100' against 'checkpoint-5': 6 of 6 matrices changed by ")
    assert lines[-1].startswith("At the last checkpoint, 'checkpoint-100', the change is ")
    assert lines[-1].endswith("half of that was reached by 'checkpoint-100'.")


def test_the_model_before_training_can_be_the_base_of_a_run(run, models, base):
    content = json.loads(run("--over-time", models / "run", "--base", base, "--json")[1])
    assert [model["step"] for model in content["models"]] == [5, 10, 100]
    assert (content["over_time"], content["base"]["name"], content["base_step"]) == (True, "base", None)


# Results on disk


def test_output_holds_the_comparison_and_figures_can_be_made_of_it(run, base, planted, tmp_path):
    from spectra.cli.main import main

    folder = tmp_path / "out"
    code, out, err = run(base, planted, "--output", folder)
    assert (code, err) == (0, f"Results in '{folder}'. Next: spectra plot {folder} compare; spectra report {folder} --open\n")
    assert {path.name for path in folder.iterdir()} == {"comparison.json", "comparison.csv", "changes.safetensors"}
    assert (folder / "comparison.csv").read_text() == run(base, planted, "--csv")[1]
    assert run(base, planted, "-o", folder)[1] == out
    assert main(["plot", str(folder), "compare", "--format", "svg"]) == 0
    assert main(["plot", str(folder), "compare", "--format", "svg", "--model", "planted", "-o", str(tmp_path)]) == 0
    assert {path.name for path in (folder / "figures").iterdir()} == {"compare.svg"}
    assert (tmp_path / "compare-planted.svg").is_file()


def test_a_run_is_drawn_as_trajectories(run, models, tmp_path, capsys):
    from spectra.cli.main import main

    folder = tmp_path / "out"
    err = run("--over-time", models / "run", "-o", folder)[2]
    assert err.endswith(f"spectra plot {folder} trajectory --metric relative_change; spectra report {folder} --open\n")
    for options in ([], ["--metric", "relative_change", "--wide"]):
        assert main(["plot", str(folder), "trajectory", "--format", "png", *options]) == 0
    assert {path.name for path in (folder / "figures").iterdir()} == {"trajectory-alpha.png", "trajectory-relative_change.png"}
    capsys.readouterr()
    for options, message in (
        (["trajectory", "--metric", "relativ_change"], "unknown metric 'relativ_change'. Did you mean 'relative_change'?"),
        (["compare", "--metric", "alpha"], "'compare' has no --metric"),
        (["compare", "--model", "checkpoint-11"], "no model 'checkpoint-11' in the comparison. Did you mean 'checkpoint-1"),
        (["esd"], "report.json"),
    ):
        assert main(["plot", str(folder), *options]) == 2
        shown = capsys.readouterr().err
        assert (message in shown, shown.count("\n")) == (True, 1), shown


def test_identical_models_have_no_figure_to_go_on_with(run, base, tmp_path):
    assert run(base, base, "-o", tmp_path / "out")[2] == f"Results in '{tmp_path / 'out'}'.\n"


def test_an_interrupted_comparison_says_how_it_goes_on(base, planted, tmp_path):
    code = (
        "import sys; from spectra.cli.main import main; from tests.cli.interrupts import ctrl_c_in\n"
        "with ctrl_c_in('finish'): sys.exit(main(['compare', *sys.argv[1:]]))"
    )
    arguments = [base, planted, "-o", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    kept = f"Finished matrices are kept in '{tmp_path / 'out'}'; the same command continues there."
    assert done.stderr == f"spectra: interrupted. {kept}\n"
    assert (tmp_path / "out" / "progress.jsonl").is_file()


# Looking before working


def test_a_dry_run_lists_matrices_and_what_they_are_compared_with(run, models, base, planted, tmp_path):
    weights = planted_weights()
    del weights["head.weight"]
    save_file(weights, tmp_path / "headless.safetensors")
    code, out, err = run(base, planted, tmp_path / "headless.safetensors", "--dry-run")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "Would compare 6 matrices of 'base' with 2 models"
    assert lines[3].split() == ["embed", "embedding", "150×40", "2/2"]
    assert lines[8].split() == ["head", "linear", "50×40", "1/2"]
    assert lines[-1].startswith("At most 28 decompositions")  # 6 of the base, two for each of 11 pairs
    assert any(line.startswith("headless: ") and "head" in line for line in lines)


def test_a_dry_run_as_json_has_names(run, base, planted):
    content = json.loads(run(base, planted, "--dry-run", "--json", "--exclude", "embed")[1])
    assert [row["matrix_name"] for row in content["layers"]] == LAYERS[1:]
    assert all(row["models"] == ["planted"] for row in content["layers"])
    assert (content["num_decompositions"], [tensor["name"] for tensor in content["skipped"]]) == (15, ["embed.weight"])


def test_a_dry_run_says_what_would_not_fit_into_the_memory(run, base, planted):
    code, out, _ = run(base, planted, "--dry-run", "--max-memory", "1MB")
    words = " ".join(out.split())
    assert code == 0
    assert "The comparison would be refused: 6 layers may need more memory than the 1.0 MB there are: " in words
    content = json.loads(run(base, planted, "--dry-run", "--json", "--max-memory", "1MB")[1])
    assert (content["max_memory"], content["too_large"]) == (10**6, LAYERS)
    content = json.loads(run(base, planted, "--dry-run", "--json", "--max-memory", "2G")[1])
    assert (content["max_memory"], content["too_large"]) == (2 * 2**30, [])


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{base}"], "a comparison needs two models, and there is one: '{base}'. Give another, or the base with --base MODEL."),
        (["{base}", "{base}.missing"], "base.safetensors.missing"),
        (["--over-time", "{run}/checkpoint-5"], "--over-time needs two checkpoints, and there is one: '{run}/checkpoint-5'."),
        (["--over-time", "{empty}"], "folder '{empty}' holds no checkpoints of a training run: looked for checkpoint-NUMBER"),
        (["{base}", "{empty}"], "folder '{empty}' holds no weights"),
        (["{base}", "{other}"], "have no weight in common"),
        (["{base}", "{base}", "--json", "--csv"], "--json and --csv exclude each other"),
        (["{base}", "{base}", "--dry-run", "--csv"], "--dry-run has no --csv"),
        (["{base}", "{base}", "--max-memory", "1MB"], "6 layers may need more memory than the 1.0 MB there are: "),
        (["{base}", "{base}", "--max-memory", "much"], "--max-memory: expected a size such as '8G'"),
        (["{base}", "{base}", "--workers", "x"], "--workers: expected 'auto' or a number of at least 1, got 'x'."),
        (["{base}", "{base}", "--workers", "0"], "--workers: expected 'auto' or a number of at least 1, got 0."),
        (["{base}", "{base}", "--directions", "0"], "--directions: expected a whole number of at least 1, got 0."),
        (["{base}", "{base}", "--intruder-threshold", "2"], "--intruder-threshold: expected a cosine, above 0 and at most 1"),
        (["{base}", "{base}", "--include", "nothing"], "nothing"),
        (["{report}", "{base}", "--dry-run"], "'{report}' is a saved analysis, whose metrics are compared at once."),
        (["{report}", "{base}", "--xmin", "median"], "a saved analysis keeps its settings: leave out xmin, or compare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_one_line(refused, models, report, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    save_file({"x.weight": np.ones((30, 30), np.float32)}, tmp_path / "other.safetensors")
    places = {
        "base": models / "base.safetensors", "run": models / "run", "empty": tmp_path / "empty", "report": report,
        "other": tmp_path / "other.safetensors",
    }  # fmt: skip
    assert message.format(**places) in refused(*(argument.format(**places) for argument in arguments))


@pytest.fixture(scope="module")
def report(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "a"
    spectra.analyze(models / "base.safetensors", output=folder)
    return folder


def test_no_model_at_all_is_refused(refused):
    assert "BASE MODEL" in refused()


def test_a_folder_that_holds_something_else_is_left_alone(refused, base, planted, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt" in refused(base, planted, "-o", tmp_path) or "not empty" in refused(base, planted, "-o", tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.slow
def test_checkpoints_of_a_real_run_are_followed_from_before_training(run, tmp_path):
    import torch

    from tests.models import VOCABULARY, llama

    model = llama()
    model.save_pretrained(tmp_path / "before")
    frozen = model.model.layers[0].self_attn.q_proj.weight.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    tokens = torch.randint(VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(0))
    for step in range(1, 7):
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 2 == 0:
            model.save_pretrained(tmp_path / "run" / "checkpoints" / f"checkpoint-{step}")
    arguments = ["--over-time", tmp_path / "run", "--base", tmp_path / "before"]
    content = json.loads(run(*arguments, "--json")[1])
    rows = {(row["model"], row["matrix_name"]): row for row in content["rows"]}
    changes = [rows[f"checkpoint-{step}", "model.layers.1.mlp.up_proj"]["relative_change"] for step in (2, 4, 6)]
    assert 0.0 < changes[0] < changes[1] < changes[2]
    assert {row["status"] for (_, name), row in rows.items() if name == "model.layers.0.self_attn.q_proj"} == {"unchanged"}
    assert rows["checkpoint-2", "model.layers.0.self_attn.q_proj"]["norm_before"] == pytest.approx(
        float(frozen.norm()), rel=1e-6
    )
    out = run(*arguments)[1]
    assert out.startswith("3 checkpoints against 'before', ")
    assert out.splitlines()[-1].startswith("At the last checkpoint, 'checkpoint-6', ")
