"""``spectra analyze``, as a user types it: what it answers. What it refuses is in ``test_refusals.py``."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import spectra
from spectra.results.records import columns
from tests.cli.processes import in_process
from tests.models import small_weights, write_small

LAYERS = ["embed", "layers.0.fc", "layers.1.fc", "layers.2.fc", "layers.3.fc", "head"]


# Answers


def test_the_table_begins_with_a_headline_and_ends_with_a_conclusion(run, model):
    code, out, err = run(model)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("Analysed 6 layers of 'tiny' (")
    assert lines[2].split() == ["layer", "shape", "alpha", "±", "se", "ks", "tail", "stable", "rank", "note"]
    assert {line.split()[0] for line in lines[3:9]} == set(LAYERS)
    assert lines[-1].startswith("alpha: mean ")
    assert err == "All columns: --csv or --json. Keep the result and make figures of it: --output DIR\n"


def test_numbers_in_the_table_are_those_of_the_report(run, model):
    _, out, _ = run(model)
    shown = {line.split()[0]: float(line.split()[2]) for line in out.splitlines()[3:9]}
    assert shown == {row.layer_name: pytest.approx(row.alpha, abs=0.005) for row in spectra.analyze(model).layers}
    assert f"mean {spectra.analyze(model).summary.metrics['alpha'].mean:.3f}" in out


def test_json_is_the_whole_report_and_nothing_else(run, model):
    code, out, err = run(model, "--json")
    content = json.loads(out)
    assert (code, err) == (0, "")
    assert list(content) == ["schema_version", "model", "settings", "environment", "summary", "layers", "experts", "skipped"]
    assert [row["layer_name"] for row in content["layers"]] == LAYERS
    assert list(content["layers"][0]) == columns(())


def test_csv_has_the_documented_columns_and_nothing_else(run, model):
    code, out, err = run(model, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "")
    assert list(rows[0]) == columns(())
    assert [row["layer_name"] for row in rows] == LAYERS
    assert [float(row["alpha"]) for row in rows] == [row.alpha for row in spectra.analyze(model).layers]


def test_a_folder_and_an_option_give_the_numbers_of_the_python_call(run, tmp_path):
    write_small(tmp_path / "model.safetensors")
    _, out, _ = run(tmp_path, "--json", "--xmin", "median", "--xmin-pos", "4", "--precision", "float32", "--method", "svd")
    expected = spectra.analyze(tmp_path, xmin="median", xmin_pos=4.0, precision="float32", method="svd")
    content = json.loads(out)
    assert content["settings"] == expected.settings.to_dict()
    assert [row["alpha"] for row in content["layers"]] == [row.alpha for row in expected.layers]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--xmin", "0.5"], {"xmin": 0.5}),
        (["--xmin", "hill"], {"xmin": "hill", "num_tail": None}),
        (["--xmin", "fixed", "--num-tail", "10"], {"xmin": "fixed", "num_tail": 10}),
        (["--xmin", "fixed", "--num-tail", "0.25"], {"xmin": "fixed", "num_tail": 0.25}),
        (["--min-evals", "12", "--conv-norm", "0.5"], {"min_evals": 12, "conv_norm": 0.5}),
        (
            ["--profile", "weightwatcher"],
            {"profile": "weightwatcher", "conv_norm": 0.5, "max_evals": 15_000, "count_ties": True},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_reach_the_settings(run, model, options, settings):
    code, out, _ = run(model, "--json", *options)
    found = json.loads(out)["settings"]
    assert code == 0
    assert {key: found[key] for key in settings} == settings


def test_include_and_exclude_choose_layers_and_may_be_repeated(run, model):
    _, out, _ = run(model, "--json", "--include", "layers.*", "--include", "head", "--exclude", "*.1.*", "--exclude", "*.2.fc")
    content = json.loads(out)
    assert [row["layer_name"] for row in content["layers"]] == ["layers.0.fc", "layers.3.fc", "head"]
    assert {tensor["name"] for tensor in content["skipped"]} == {"embed.weight", "layers.1.fc.weight", "layers.2.fc.weight"}


def test_the_weightwatcher_profile_counts_tied_weights_twice(run, tmp_path):
    shared = torch.from_numpy(small_weights()["embed.weight"])
    torch.save({"embed.weight": shared, "head.weight": shared}, tmp_path / "tied.pt")
    names = {
        p: [row["layer_name"] for row in json.loads(run(tmp_path / "tied.pt", "--json", "--profile", p)[1])["layers"]]
        for p in ("default", "weightwatcher")
    }
    assert names == {"default": ["embed"], "weightwatcher": ["embed", "head"]}


def test_the_kinds_of_a_profile_stay_where_no_kind_is_asked_for(run, model):
    _, out, _ = run(model, "--json", "--profile", "tempbalance")
    assert {row["kind"] for row in json.loads(out)["layers"]} == {"linear"}
    _, out, _ = run(model, "--json", "--profile", "tempbalance", "--kind", "embedding")
    assert {row["kind"] for row in json.loads(out)["layers"]} == {"embedding"}


def test_what_is_skipped_is_said_once_for_each_reason(run, tmp_path):
    codes = {f"blocks.{i}.mask": np.ones((4, 4), dtype=np.int64) for i in range(9)}
    path = write_small(tmp_path / "a.safetensors", **codes)
    lines = run(path)[1].splitlines()
    reason = "int64 numbers, not floating point: codes, positions or masks are not weights"
    assert lines[lines.index("Skipped:") + 1] == f"  blocks.0.mask (4×4) and 8 more: {reason}"
    assert "Skipped:" not in run(write_small(tmp_path / "b.safetensors"))[1]


def test_fits_that_are_not_judged_are_not_called_unreliable(run, model):
    assert run(model, "--inverse")[1].startswith("Analysed 6 layers of 'tiny' (6 fits)\n")


def test_quiet_leaves_stderr_empty(run, model):
    code, out, err = run(model, "--quiet")
    assert (code, err) == (0, "")
    assert run(model, "-q")[1] == out


def test_the_table_is_cut_where_asked_and_says_so(run, model):
    out = run(model, "--rows", "2")[1].splitlines()
    assert out[5].strip() == "… 4 more layers"


@pytest.mark.parametrize("workers", ["1", "3", "auto"])
def test_workers_change_no_digit(run, model, workers):
    assert run(model, "--csv", "--workers", workers)[1] == run(model, "--csv")[1]


def test_output_holds_the_report_and_the_next_command_is_told(run, model, tmp_path):
    code, out, err = run(model, "--output", tmp_path / "out")
    assert code == 0
    assert err == f"Results in '{tmp_path / 'out'}'. Next: spectra report {tmp_path / 'out'} --open\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "layers.csv", "spectra.safetensors"}
    assert (tmp_path / "out" / "layers.csv").read_text() == run(model, "--csv")[1]
    assert set(load_file(tmp_path / "out" / "spectra.safetensors")) == set(LAYERS)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["model"]["location"] == model
    assert out.startswith("Analysed 6 layers")


def test_the_same_command_returns_the_finished_result(run, model, tmp_path):
    first = run(model, "--json", "--output", tmp_path / "out")
    assert run(model, "--json", "--output", tmp_path / "out") == first  # with the times of the first run


def test_force_replaces_a_result_and_leaves_other_files_alone(run, model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    run(model, "--output", tmp_path / "out", "--force")
    code, out, _ = run(model, "--output", tmp_path / "out", "--force", "--xmin", "median", "--json")
    assert code == 0
    assert json.loads(out)["settings"]["xmin"] == "median"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_tilde_in_output_is_home(run, model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(model, "--output", "~/out", "-q")[0] == 0
    assert (tmp_path / "out" / "report.json").exists()


# Weights that cannot be analysed


def broken():
    """The small model with a NaN in one layer and an infinity in another."""
    weights = small_weights()
    weights["layers.1.fc.weight"][3, 4] = np.nan
    weights["head.weight"][0, 0] = np.inf
    return weights


def test_a_layer_with_nan_is_a_row_and_the_exit_code_says_so(run, tmp_path):
    save_file(broken(), tmp_path / "broken.safetensors")
    code, out, err = run(tmp_path / "broken.safetensors", "--json")
    content = json.loads(out)
    rows = {row["layer_name"]: row for row in content["layers"]}
    assert (code, err) == (1, "")
    assert {name: row["status"] for name, row in rows.items()} == {
        **dict.fromkeys(LAYERS, "ok"),
        "layers.1.fc": "nonfinite",
        "head": "nonfinite",
    }
    assert "1 NaN and 0 infinite values" in rows["layers.1.fc"]["notes"]
    assert "0 NaN and 1 infinite values" in rows["head"]["notes"]
    assert rows["head"]["alpha"] is rows["head"]["lambda_max"] is None
    assert content["summary"]["num_failed"] == 2


def test_other_layers_and_the_means_do_not_feel_a_broken_one(run, tmp_path):
    weights = broken()
    save_file(weights, tmp_path / "broken.safetensors")
    save_file({n: w for n, w in weights.items() if np.isfinite(w).all()}, tmp_path / "whole.safetensors")
    content = json.loads(run(tmp_path / "broken.safetensors", "--json")[1])
    expected = json.loads(run(tmp_path / "whole.safetensors", "--json")[1])
    assert [row for row in content["layers"] if row["status"] == "ok"] == expected["layers"]
    assert content["summary"]["metrics"] == expected["summary"]["metrics"]


def test_broken_layers_stand_first_in_the_table_with_the_remedy(run, tmp_path):
    save_file(broken(), tmp_path / "broken.safetensors")
    code, out, _ = run(tmp_path / "broken.safetensors")
    assert code == 1
    assert "2 nonfinite" in out.splitlines()[0]
    words = " ".join(out.split())  # notes go over several lines
    assert words.index("nonfinite: the weights hold") < words.index("embed")
    assert words.count("repair or exclude the layer.") == 2


def test_a_broken_result_is_kept_and_comes_back_with_its_exit_code(run, tmp_path):
    save_file(broken(), tmp_path / "broken.safetensors")
    first = run(tmp_path / "broken.safetensors", "--csv", "--output", tmp_path / "out")
    assert first[0] == 1
    assert run(tmp_path / "broken.safetensors", "--csv", "--output", tmp_path / "out") == first


def test_nothing_that_can_be_fitted_is_an_answer_too(run, tmp_path):
    save_file({"a.weight": np.zeros((20, 20), np.float32)}, tmp_path / "zero.safetensors")
    code, out, _ = run(tmp_path / "zero.safetensors")
    assert code == 0
    assert "alpha: no layer could be fitted; 'status' says why, layer by layer" in out


# Looking before working


def test_a_dry_run_lists_layers_shapes_and_cost(run, model):
    code, out, err = run(model, "--dry-run", "--include", "layers.*")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "Would analyse 4 layers of 'tiny'"
    assert lines[3].split()[:5] == ["layers.0.fc", "linear", "float32", "60×40", "40"]
    assert "Would skip 2 tensors:" in lines
    assert "  embed.weight (150×40): not included: layers.*" in lines
    assert lines[-2].startswith("4 decompositions, ")
    assert lines[-1].startswith("About ")


def test_a_dry_run_as_json_has_numbers_and_reasons(run, model):
    content = json.loads(run(model, "--dry-run", "--json", "--workers", "3")[1])
    assert [layer["layer_name"] for layer in content["layers"]] == LAYERS
    assert content["layers"][0]["flops"] == pytest.approx(150 * 40**2 + 4 / 3 * 40**3)
    assert (content["num_decompositions"], content["workers"], content["skipped"]) == (6, 3, [])
    assert content["flops"] == pytest.approx(sum(layer["flops"] for layer in content["layers"]))
    assert 0 < content["peak_bytes"] <= content["max_memory"]
    assert 0 < content["seconds"] <= content["seconds_now"]
    assert content["too_large"] == []


def test_a_dry_run_says_of_layers_that_never_fit_what_the_analysis_would(run, refused, model):
    code, out, err = run(model, "--dry-run", "--max-memory", "12.1MB")
    assert (code, err) == (0, "")
    refusal = refused(model, "--max-memory", "12.1MB")
    assert refusal.startswith("1 layer may need more memory than the 12.1 MB there are: 'embed' (")
    assert " ".join(out.split()).endswith(f"The analysis would be refused: {refusal}")  # over several lines
    content = json.loads(run(model, "--dry-run", "--json", "--max-memory", "12.1MB")[1])
    assert (content["too_large"], content["seconds"]) == (["embed"], None)


@pytest.mark.parametrize("words", ["much", "8X", "0"])
def test_a_memory_that_is_no_size_is_refused(refused, model, words):
    for flags in ([], ["--dry-run"]):
        assert f"expected a size such as '8G', '512MiB' or '16GB', got '{words}'" in refused(
            model, "--max-memory", words, *flags
        )


def test_a_dry_run_says_how_many_layers_fit_at_once(run, tmp_path):
    weights = {f"l{number}.weight": np.zeros((900, 800), np.float32) for number in range(4)}
    save_file(weights, tmp_path / "four.safetensors")
    out = " ".join(run(tmp_path / "four.safetensors", "--dry-run", "--workers", "3", "--max-memory", "100MB")[1].split())
    assert "up to 70.1 MB in flight with 3 workers, 2 at once: more would not fit into 100.0 MB" in out


def test_a_dry_run_of_70_billion_weights_counts_them_all(run, tmp_path):
    from benchmarks.sparse_checkpoints import SHAPES, write_sparse

    write_sparse(tmp_path / "llama", SHAPES["70b"])
    assert len(list((tmp_path / "llama").glob("*.safetensors"))) == 28
    content = json.loads(run(tmp_path / "llama", "--dry-run", "--json", "--workers", "2", "--max-memory", "6GB")[1])
    assert len(content["layers"]) == content["num_decompositions"] == 80 * 7 + 2
    assert content["flops"] == pytest.approx(
        80 * sum(count * (m * n**2 + 4 / 3 * n**3) for count, m, n in [(2, 8192, 8192), (2, 8192, 1024), (3, 28672, 8192)])
        + 2 * (32000 * 8192**2 + 4 / 3 * 8192**3)
    )
    # Two of the largest do not fit, a large and a small one do.
    assert 3.7e9 < content["peak_bytes"] <= 6e9
    assert content["seconds"] > 3600


def test_a_dry_run_writes_nothing(run, model, tmp_path):
    assert run(model, "--dry-run", "--output", tmp_path / "out")[0] == 0
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_csv_or_refuses_it(run, model):
    code, out, _ = run(model, "--dry-run", "--csv")
    assert code == 2 or "layer_name" in out.splitlines()[0].split(",")


def test_a_dry_run_reads_headers_alone_and_no_torch(tmp_path):
    # A sparse file that says it holds 50 GB: reading its weights would end in no memory.
    header = json.dumps({"huge.weight": {"dtype": "F32", "shape": [100_000, 125_000], "data_offsets": [0, 50_000_000_000]}})
    path = tmp_path / "huge.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    os.truncate(path, path.stat().st_size + 50_000_000_000)
    code = (
        "import sys; from spectra.cli.main import main\n"
        f"code = main(['analyze', {str(path)!r}, '--dry-run'])\n"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'safetensors.torch', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Would analyse 1 layer of 'huge'" in done.stdout
    assert "100000×125000" in done.stdout


# Terminals, pipes and alphabets


def on_a_terminal(*arguments, columns, **env):
    """Run the command on a pseudo-terminal of a width; return exit code and what was shown."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "spectra", "analyze", *arguments]
    with subprocess.Popen(command, stdout=secondary, stderr=secondary, env={**plain, "TERM": "xterm", **env}) as process:
        os.close(secondary)
        shown = b""
        while True:
            try:
                part = os.read(primary, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(primary)
    return process.returncode, shown.decode()


@pytest.mark.parametrize("columns", [60, 30, 200])
def test_a_terminal_of_any_width_shows_the_answer(model, columns):
    code, shown = on_a_terminal(model, columns=columns)
    assert code == 0
    assert "Analysed 6 layers" in shown
    assert "mean" in shown
    assert "Traceback" not in shown


def test_a_narrow_terminal_gets_lines_that_fit(model):
    code, shown = on_a_terminal(model, "--quiet", columns=60)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 60
    assert {line.split()[0] for line in lines if line} >= set(LAYERS)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=["dumb terminal", "NO_COLOR"])
def test_colour_is_left_out_where_it_is_not_wanted(tmp_path, env):
    save_file(broken(), tmp_path / "broken.safetensors")
    path = str(tmp_path / "broken.safetensors")
    red = "\x1b[31m"
    assert red in on_a_terminal(path, "--quiet", columns=100)[1]
    assert red not in on_a_terminal(path, "--quiet", columns=100, **env)[1]
    assert red not in on_a_terminal(path, "--quiet", "--no-color", columns=100)[1]


def test_a_file_gets_no_escapes(model):
    done = in_process(model)
    assert (done.returncode, "\x1b" in done.stdout + done.stderr) == (0, False)


@pytest.fixture
def closed_pipe():
    """The end of a pipe to write to, whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--dry-run"]], ids=["table", "json", "csv", "dry run"])
def test_a_reader_that_leaves_early_sees_no_traceback(model, closed_pipe, form):
    done = in_process(model, "--quiet", *form, capture_output=False, stdout=closed_pipe, stderr=subprocess.PIPE)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--dry-run"]], ids=["table", "json", "csv", "dry run"])
def test_a_reader_that_leaves_early_is_no_failure(model, closed_pipe, form):
    done = in_process(model, "--quiet", *form, capture_output=False, stdout=closed_pipe, stderr=subprocess.PIPE)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "name", ["größe.weight", "层.weight", "a[0].weight", "a[/b].weight", "[bold]a.weight", "a:smile:b.weight"]
)
def test_any_layer_name_is_printed_as_it_is(run, tmp_path, name):
    save_file({name: small_weights()["embed.weight"]}, tmp_path / "a.safetensors")
    layer = name.removesuffix(".weight")
    code, out, _ = run(tmp_path / "a.safetensors", "--quiet")
    assert (code, out.splitlines()[3].split()[0]) == (0, layer)
    save_file({name: small_weights()["embed.weight"], "b.weight": small_weights()["head.weight"]}, tmp_path / "b.safetensors")
    code, out, _ = run(tmp_path / "b.safetensors", "--dry-run", "--exclude", "b")
    assert (code, out.splitlines()[3].split()[0]) == (0, layer)
    assert f"  {name} (" in run(tmp_path / "b.safetensors", "--dry-run", "--include", "b")[1]
    assert json.loads(run(tmp_path / "a.safetensors", "--json")[1])["layers"][0]["layer_name"] == layer


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]], ids=["table", "json", "csv"])
def test_a_stdout_of_few_letters_gets_the_answer_all_the_same(tmp_path, form):
    path = write_small(tmp_path / "a.safetensors", größe__weight=small_weights()["embed.weight"])
    done = in_process(path, "--quiet", *form, env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    if form == ["--json"]:
        assert "größe" in {row["layer_name"] for row in json.loads(done.stdout)["layers"]}


def test_a_process_answers_as_the_function_does(run, model):
    done = in_process(model, "--csv")
    assert (done.returncode, done.stdout, done.stderr) == run(model, "--csv")


# The cache


def test_a_second_analysis_says_how_much_it_found(run, model, tmp_path):
    rows = tmp_path / "rows"
    first, second = (run(model, "--cache", rows) for _ in range(2))
    assert first[2].startswith(f"0 of 6 layers from the cache '{rows}'.\n")
    assert second[2].startswith(f"6 of 6 layers from the cache '{rows}'.\n")
    assert first[:2] == second[:2]


def test_a_quiet_analysis_does_not_say_it(run, model, tmp_path):
    assert run(model, "--cache", tmp_path / "rows", "--quiet")[2] == ""


def test_models_of_one_command_share_what_they_have_in_common(run, tmp_path):
    write_small(tmp_path / "one.safetensors")
    write_small(tmp_path / "two.safetensors", head__weight=np.eye(40, dtype=np.float32))
    models = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    code, _, err = run(*models, "--output", tmp_path / "all", "--cache", tmp_path / "rows", "--workers", "1")
    assert code == 0
    assert f"5 of 12 layers from the cache '{tmp_path / 'rows'}'.\n" in err


def test_a_finished_result_made_without_a_cache_says_nothing_of_one(run, model, tmp_path):
    run(model, "--output", tmp_path / "report")
    code, _, err = run(model, "--output", tmp_path / "report", "--cache", tmp_path / "rows")
    assert code == 0
    assert "from the cache" not in err
