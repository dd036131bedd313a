"""What ``spectra analyze`` refuses: one line for a model, an argument or a place that cannot be used, and exit code 2."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.cli.processes import in_process
from tests.models import small_weights, write_small

COMMAND = "analyze"


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


@pytest.mark.parametrize(
    "arguments", [["--xmin", "medain"], ["--workers", "0"], ["--exclude", "nothing"], ["--device", "nowhere"]]
)
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


def test_a_cache_that_is_something_else(refused, model, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    line = refused(model, "--cache", tmp_path / "thesis")
    assert (
        line == f"'{tmp_path / 'thesis'}' is no cache: it holds other files ('chapter.tex'). Choose a new or an empty folder."
    )


def test_a_cache_for_nodes_of_a_cluster(refused, model, tmp_path):
    line = refused(model, "--cache", tmp_path / "rows", "--engine", "ray")
    assert line == "cache: the nodes of engine 'ray' do not use one. Leave it out, or use engine='local'."
