"""``spectra analyze``, as a user types it: good paths, and one line for whatever can be wrong."""

import csv
import fcntl
import io
import json
import os
import pickle
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
from tests.models import small_weights, write_small

LAYERS = ["embed", "layers.0.fc", "layers.1.fc", "layers.2.fc", "layers.3.fc", "head"]


@pytest.fixture
def model(tmp_path):
    return str(write_small(tmp_path / "tiny.safetensors"))


def in_process(*arguments, **options):
    env = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", "spectra", "analyze", *map(str, arguments)]
    return subprocess.run(command, env=env, check=False, **{"capture_output": True, "text": True, **options})


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
    assert err == f"Results in '{tmp_path / 'out'}'. Next: spectra plot {tmp_path / 'out'} alpha-by-depth\n"
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
    assert lines[-1].startswith("4 decompositions, ")


def test_a_dry_run_as_json_has_numbers_and_reasons(run, model):
    content = json.loads(run(model, "--dry-run", "--json", "--workers", "3")[1])
    assert [layer["layer_name"] for layer in content["layers"]] == LAYERS
    assert content["layers"][0]["flops"] == pytest.approx(150 * 40**2 + 4 / 3 * 40**3)
    assert (content["num_decompositions"], content["workers"], content["skipped"]) == (6, 3, [])
    assert content["flops"] == pytest.approx(sum(layer["flops"] for layer in content["layers"]))
    assert content["peak_bytes"] > 0


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


# What is wrong with the model


class Malicious:
    """What a pickle can carry: a call that is made while it is loaded. Here it would make a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def bytes_of_the_small_model(folder):
    return write_small(folder / "whole").read_bytes()


def missing(folder):
    return folder / "missing.safetensors"


def empty_folder(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def written(name, content):
    def write(folder):
        (folder / name).write_bytes(content(folder) if callable(content) else content)
        return folder / name

    return write


def truncated(folder):
    return bytes_of_the_small_model(folder)[:-100]


def header_beyond_the_file(folder):
    return (10**9).to_bytes(8, "little") + bytes_of_the_small_model(folder)[8:]


def header_of_garbage(folder):
    return (40).to_bytes(8, "little") + b"\xff{{{not json" * 20


def shards(folder):
    """A folder of two shards and their index."""
    (folder / "sharded").mkdir()
    weights = small_weights()
    weight_map = {name: f"model-{1 + i % 2}-of-2.safetensors" for i, name in enumerate(weights)}
    for file in set(weight_map.values()):
        save_file({n: w for n, w in weights.items() if weight_map[n] == file}, folder / "sharded" / file)
    (folder / "sharded" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder / "sharded"


def missing_shard(folder):
    (shards(folder) / "model-2-of-2.safetensors").unlink()
    return folder / "sharded"


def tensor_in_no_shard(folder):
    index = shards(folder) / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lost.weight"] = "model-1-of-2.safetensors"
    index.write_text(json.dumps(content))
    return folder / "sharded"


def index_of_garbage(folder):
    (shards(folder) / "model.safetensors.index.json").write_text("{")
    return folder / "sharded"


def malicious_zip(folder):
    torch.save({"a": Malicious(folder / "marker")}, folder / "a.pth")
    return folder / "a.pth"


def malicious_pickle(protocol):
    return written("a.bin", lambda folder: pickle.dumps({"a": Malicious(folder / "marker")}, protocol=protocol))


def no_floats(folder):
    save_file({"a": np.arange(400).reshape(20, 20), "b": np.ones((20, 20), bool)}, folder / "codes.safetensors")
    return folder / "codes.safetensors"


def truncated_zip(folder):
    torch.save({"a": torch.zeros(20, 20)}, folder / "whole.pt")
    return (folder / "whole.pt").read_bytes()[:-100]


# Each with what the one line says is wrong, and what to do about it.
UNREADABLE = {
    "a missing path": (missing, "no file or folder", "Check the path"),
    "an empty folder": (empty_folder, "holds no weights", "Give the checkpoint's folder"),
    "text as safetensors": (
        written("a.safetensors", b"a text, no weights\n" * 9),
        "no safetensors file",
        "Check what the file is",
    ),
    "truncated safetensors": (written("a.safetensors", truncated), "is truncated", "Download or copy it again"),
    "a header longer than the file": (
        written("a.safetensors", header_beyond_the_file),
        "1000000000 bytes",
        "download it again",
    ),
    "no bytes at all": (written("a.safetensors", b""), "the file has 0", "download it again"),
    "a header of garbage": (written("a.safetensors", header_of_garbage), "not a JSON object", "Download or copy it again"),
    "a missing shard": (missing_shard, "model-2-of-2.safetensors", "Download the missing files"),
    "a tensor in no shard": (tensor_in_no_shard, "'lost.weight'", "Download them again"),
    "an index of garbage": (index_of_garbage, "not readable JSON", "Download or copy it again"),
    "code in a zip": (malicious_zip, "without running code", "Save the state dict alone"),
    "code in a pickle": (malicious_pickle(2), "without running code", "Save the state dict alone"),
    "code in a newer pickle": (malicious_pickle(4), "without running code", "Save the state dict alone"),
    "integers and booleans": (no_floats, "dtypes: bool, int64", "Give a checkpoint with floating-point matrices"),
    "text as pth": (written("a.pth", b"a text, no weights\n" * 9), "is damaged or not", "Check what the file is"),
    "no bytes as pth": (written("a.pth", b""), "is damaged or not", "Check what the file is"),
    "a truncated zip": (written("a.pt", truncated_zip), "is damaged or not", "Check what the file is"),
    "another kind of file": (written("a.gguf", b"GGUF"), "not a kind of file that is read", "Known: .safetensors"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_model_that_cannot_be_read_is_one_line_and_leaves_no_result(refused, tmp_path, case):
    make, wrong, remedy = UNREADABLE[case]
    path = make(tmp_path)
    line = refused(path, "--output", tmp_path / "out")
    assert str(path) in line
    assert wrong in line
    assert remedy in line
    assert not (tmp_path / "out" / "report.json").exists()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("case", ["truncated safetensors", "code in a newer pickle", "text as pth"])
def test_a_process_says_no_more_than_the_line(tmp_path, case):
    path = UNREADABLE[case][0](tmp_path)
    done = in_process(path, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"spectra: '{path}' ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["no-such-org/no-such-model", "no-such-model", "two--dashes", "größe"])
def test_a_name_that_is_no_path_and_no_model_is_one_line(refused, name):
    assert f"'{name}' is no local path" in refused(name)


# What is wrong with the arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--xmin", "medain"],
            "unknown xmin strategy 'medain'. Did you mean 'median'? Known: ks, median, hill, fixed, peak,",
        ),
        (["--xmin", "-1"], "xmin: expected a positive number, got -1."),
        (["--xmin", "nan"], "xmin: expected a positive number, got nan."),
        (["--xmin", "fixed"], "xmin 'fixed' needs num_tail"),
        (["--xmin-pos", "0"], "xmin_pos: expected a positive number, got 0.0."),
        (["--num-tail", "-3"], "num_tail: expected a positive number, got -3.0."),
        (["--precision", "float16"], "unknown precision 'float16'. Did you mean 'float64'? Known: float64, float32."),
        (["--method", "qr"], "unknown method 'qr'. Known: auto, gram, svd."),
        (
            ["--profile", "weightwatch"],
            "unknown profile 'weightwatch'. Did you mean 'weightwatcher'? Known: default, weightwatcher, tempbalance.",
        ),
        (["--conv-norm", "-1"], "conv_norm: expected a positive number, got -1.0."),
        (["--min-evals", "0"], "min_evals: expected a whole number of at least 1, got 0."),
        (["--min-evals", "many"], "Invalid value for '--min-evals'"),
        (["--rows", "-2"], "Invalid value for '--rows'"),
        (["--workers", "0"], "workers: expected 'auto' or a number of at least 1, got 0."),
        (["--workers", "-2"], "--workers: expected 'auto' or a number of at least 1, got '-2'."),
        (["--workers", "two"], "--workers: expected 'auto' or a number of at least 1, got 'two'."),
        (["--workers", "²"], "--workers: expected 'auto' or a number of at least 1, got '²'."),
        (["--json", "--csv"], "--json and --csv exclude each other. Choose one, or use --output DIR, which writes both."),
        (["--include", "layer.*"], "include pattern 'layer.*' matches none of the 6 layers."),
        (["--exclude", "layer.*"], "exclude pattern 'layer.*' matches none of the 6 layers."),
        (["--exclude", "*"], "include and exclude leave no layer to analyse. Loosen one of them"),
        (["--outptu", "x"], "No such option '--outptu'. Did you mean '--output'? See"),
        (["--output"], "Option '--output' requires an argument."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_argument_that_cannot_be_used_is_one_line(refused, model, arguments, message):
    assert refused(model, *arguments).startswith(message)


@pytest.mark.parametrize("arguments", [["--xmin", "medain"], ["--workers", "0"], ["--exclude", "nothing"]])
def test_a_dry_run_checks_the_arguments_too(refused, model, arguments):
    assert refused(model, "--dry-run", *arguments)


def test_an_infinite_factor_is_refused(refused, model):
    assert refused(model, "--conv-norm", "inf")


@pytest.mark.parametrize("options", [["--json"], ["--dry-run"], ["--output", "out"]])
def test_json_stays_empty_when_the_command_is_refused(run, options):
    code, out, _ = run("./nowhere", *options)
    assert (code, out) == (2, "")


# What is wrong with the place for results


def test_a_folder_with_other_files_is_left_alone(refused, model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    line = refused(model, "--output", tmp_path / "out")
    assert line == (
        f"'{tmp_path / 'out'}' exists and holds other files ('thesis.tex'). Choose another folder, or write among them "
        "with --force."
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
def test_a_file_in_the_place_of_the_folder_is_left_alone(refused, model, tmp_path, force):
    (tmp_path / "out").write_text("mine")
    line = refused(model, "--output", tmp_path / "out", *force)
    assert str(tmp_path / "out") in line
    assert "hoose a" in line
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_under_a_file_cannot_be_made(refused, model, tmp_path):
    (tmp_path / "file").write_text("mine")
    line = refused(model, "--output", tmp_path / "file" / "out")
    assert line.startswith(f"cannot write to '{tmp_path / 'file' / 'out'}': Not a directory.")


@pytest.mark.parametrize(
    ("option", "difference"),
    [
        (["--xmin", "median"], "xmin 'ks' there, 'median' now"),
        (["--precision", "float32"], "precision 'float64' there, 'float32' now"),
        (["--include", "layers.*"], "include [] there, ['layers.*'] now"),
    ],
    ids=["xmin", "precision", "include"],
)
def test_a_result_of_other_settings_is_not_replaced(refused, run, model, tmp_path, option, difference):
    run(model, "--output", tmp_path / "out")
    before = (tmp_path / "out" / "report.json").read_bytes()
    line = refused(model, "--output", tmp_path / "out", *option)
    assert line == (
        f"'{tmp_path / 'out'}' holds the result of another analysis ({difference}). Choose another folder, or replace "
        "it with --force."
    )
    assert (tmp_path / "out" / "report.json").read_bytes() == before


def test_a_result_of_other_weights_is_not_replaced(refused, run, model, tmp_path):
    run(model, "--output", tmp_path / "out")
    other = write_small(tmp_path / "other.safetensors", head__weight=small_weights()["head.weight"] * 2.0)
    assert "of other weights" in refused(other, "--output", tmp_path / "out")


def test_a_result_is_not_returned_for_weights_that_broke_in_the_middle(run, model, tmp_path):
    assert run(model, "--output", tmp_path / "out")[0] == 0
    head = small_weights()["head.weight"]
    head[20, 3] = np.nan
    write_small(tmp_path / "tiny.safetensors", head__weight=head)
    assert run(model, "--output", tmp_path / "out")[0] in (1, 2)
