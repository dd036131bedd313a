import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from spectra import ResultsError
from spectra.results.fisher import Fisher, FisherInfo, FisherTensor, SiteBlock
from spectra.results.fisher_store import fisher_fingerprint, load_fisher
from spectra.results.fisher_writing import fisher_files
from tests.fishers import fisher_of, info_of, squared_gradients


def same(a, b):
    """Whether two Fishers agree in everything, bit by bit; NaN equals NaN."""
    if (repr(a.info), repr(a.tensors), repr(a.sites)) != (repr(b.info), repr(b.tensors), repr(b.sites)):
        return False
    for one, other in ((a.values, b.values), (a.row_sums, b.row_sums), (a.col_sums, b.col_sums)):
        if list(one) != list(other):
            return False
        for name in one:
            x, y = one[name], other[name]
            if (x.dtype, x.shape, x.tobytes()) != (y.dtype, y.shape, y.tobytes()):
                return False
    return True


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=12)
COUNTS = st.integers(0, 2**40)
NUMBERS = st.floats(min_value=0.0, allow_infinity=False)
NUMBERS_OR_NAN = st.floats(min_value=0.0, allow_infinity=False) | st.just(float("nan"))
LISTS_OF_WORDS = st.lists(WORDS, max_size=3).map(tuple)


@st.composite
def fishers(draw):
    """Fishers of any parameters and settings, values float32 or float64."""
    info = draw(
        st.builds(
            FisherInfo, kind=WORDS, reduction=WORDS, keep=st.sampled_from(["values", "neurons", "traces"]),
            aggregate=st.sampled_from(["param_mean", "mean_of_means", "trace", "matrices_mean"]), task=WORDS,
            num_samples=COUNTS, num_tokens=COUNTS, num_skipped=COUNTS, num_draws=COUNTS, seed=COUNTS, model=WORDS,
            num_params=COUNTS, dtype=WORDS, data=WORDS, version=WORDS, notes=LISTS_OF_WORDS,
        )
    )  # fmt: skip
    names = draw(st.lists(WORDS, max_size=4, unique=True))
    shapes = [draw(st.lists(st.integers(0, 4), max_size=3).map(tuple)) for _ in names]
    tensors = tuple(
        FisherTensor(
            name, draw(WORDS), draw(st.sampled_from(["linear", "norm"])), shape, int(np.prod(shape)), draw(NUMBERS_OR_NAN),
            draw(NUMBERS_OR_NAN), draw(NUMBERS_OR_NAN), draw(WORDS), draw(LISTS_OF_WORDS), draw(st.booleans()),
        )
        for name, shape in zip(names, shapes, strict=True)
    )  # fmt: skip
    sites = draw(st.lists(st.builds(SiteBlock, WORDS, WORDS, WORDS, NUMBERS, LISTS_OF_WORDS), max_size=3).map(tuple))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    arrays = {name: np.asarray(rng.random(shape), dtype) for name, shape in zip(names, shapes, strict=True)}
    if info.keep == "values":
        return Fisher(info, tensors, sites, values=arrays)
    linear = [t for t in tensors if t.has_neurons and info.keep == "neurons"]
    rows = {t.name: arrays[t.name].sum(axis=1) for t in linear}
    return Fisher(info, tensors, sites, row_sums=rows, col_sums={t.name: arrays[t.name].sum(axis=0) for t in linear})


@given(fisher=fishers())
def test_saving_and_loading_is_the_identity(fisher):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fisher.safetensors")
        fisher.save(path)
        assert same(load_fisher(path), fisher)
        assert same(load_fisher(path.with_suffix(".json")), fisher)


@pytest.mark.parametrize(
    ("keep", "keys"),
    [
        (
            "values",
            {"embed.weight", "block.fc.weight", "block.fc.bias", "block.proj.weight", "block.norm.weight", "scale"},
        ),
        ("neurons", {"rows:block.fc.weight", "cols:block.fc.weight", "rows:block.proj.weight", "cols:block.proj.weight"}),
        ("traces", set()),
    ],
)
def test_the_arrays_are_an_ordinary_safetensors_file_with_keys_by_parameter(tmp_path, keep, keys):
    fisher_of(squared_gradients(), keep).save(tmp_path / "f.safetensors")
    assert set(load_file(tmp_path / "f.safetensors")) == keys


def test_the_header_says_which_fisher_it_is_and_which_parameters_are_tied(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "f.safetensors")
    with safe_open(tmp_path / "f.safetensors", framework="np") as file:
        header = json.loads(file.metadata()["spectra_fisher"])
    assert header["schema_version"] == 1
    assert header["aliases"] == {"embed.weight": ["head.weight"]}
    assert header["info"] == dataclasses.asdict(info_of(6)) | {"notes": []}


def test_the_json_file_has_scores_and_null_for_missing_numbers_and_no_arrays(tmp_path):
    fisher = fisher_of(squared_gradients(1), keep="neurons", aggregate="mean_of_means")
    fisher.save(tmp_path / "f.safetensors")
    content = json.loads((tmp_path / "f.json").read_text())
    assert list(content) == ["schema_version", "info", "tensors", "layers", "sites"]
    assert content["tensors"][0]["trace_std_error"] is None
    assert content["tensors"][0]["shape"] == [7, 4]
    assert {row["name"]: row["score"] for row in content["layers"]} == fisher.scores("layer")
    scores = fisher.scores("site", "mean_of_means")
    assert [row["score"] for row in content["sites"]] == [None if np.isnan(score) else score for score in scores.values()]
    assert content["sites"][0]["parameters"] == ["embed.weight"]


def test_equal_fishers_make_equal_files(tmp_path):
    for name in ("a", "b", "c", "d"):
        fisher_of(squared_gradients()).save(tmp_path / f"{name}.safetensors")
    fisher_of(squared_gradients(seed=1)).save(tmp_path / "other.safetensors")
    assert len({fisher_fingerprint(tmp_path / f"{name}.safetensors") for name in "abcd"}) == 1
    assert fisher_fingerprint(tmp_path / "a.json") != fisher_fingerprint(tmp_path / "other.json")
    content = (tmp_path / "a.safetensors").read_bytes()
    assert fisher_fingerprint(tmp_path / "a.safetensors") == hashlib.sha256(content).hexdigest()


def test_arrays_of_any_memory_layout_are_written_as_they_are(tmp_path):
    fisher = fisher_of(squared_gradients())
    turned = {name: np.asfortranarray(values) for name, values in fisher.values.items()}
    dataclasses.replace(fisher, values=turned).save(tmp_path / "f.safetensors")
    loaded = load_fisher(tmp_path / "f.safetensors")
    for name, values in fisher.values.items():
        np.testing.assert_array_equal(loaded.values[name], values)


def test_values_of_a_loaded_fisher_are_read_when_asked_for(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "f.safetensors")
    loaded = load_fisher(tmp_path / "f.safetensors")
    (tmp_path / "f.safetensors").unlink()
    assert "scale" in loaded.values
    assert "scales" not in loaded.values
    assert len(loaded.values) == 6
    assert loaded.scores("layer")["block.fc"] > 0
    with pytest.raises(ResultsError, match=r"f\.safetensors' cannot be read .*Run 'spectra fisher' again"):
        loaded.values["scale"]


def test_values_are_not_read_from_another_fisher_that_took_the_files_place(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "f.safetensors")
    loaded = load_fisher(tmp_path / "f.safetensors")
    fisher_of(squared_gradients(seed=1)).save(tmp_path / "f.safetensors", force=True)
    with pytest.raises(ResultsError, match=r"does not belong to 'f.json': one of them was replaced or edited. .*load again"):
        loaded.values["scale"]


def test_a_loaded_fisher_can_be_saved_over_its_own_files(tmp_path):
    fisher = fisher_of(squared_gradients())
    fisher.save(tmp_path / "f.safetensors")
    load_fisher(tmp_path / "f.safetensors").save(tmp_path / "f.safetensors", force=True)
    assert same(load_fisher(tmp_path / "f.safetensors"), fisher)


def test_reading_needs_no_torch(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "f.safetensors")
    program = (
        "import sys; from spectra.results.fisher_store import load_fisher\n"
        f"load_fisher({str(tmp_path / 'f.safetensors')!r}).values['scale']\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_files_are_as_readable_as_any_other_and_nothing_is_left_beside_them(tmp_path):
    (tmp_path / "plain").touch()
    fisher_of(squared_gradients()).save(tmp_path / "deep" / "f.safetensors")
    modes = {path.stat().st_mode for path in (tmp_path / "deep").iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["f.json", "f.safetensors"]


@pytest.mark.parametrize("there", ["f.safetensors", "f.json"])
def test_neither_file_is_overwritten_without_force(tmp_path, there):
    (tmp_path / there).write_text("precious")
    fisher = fisher_of(squared_gradients())
    with pytest.raises(ResultsError, match=rf"{there}' exists. Choose another name, or replace it with force=True \(--force\)"):
        fisher.save(tmp_path / "f.safetensors")
    assert (tmp_path / there).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [there]
    fisher.save(tmp_path / "f.safetensors", force=True)
    assert same(load_fisher(tmp_path / "f.safetensors"), fisher)


def test_where_files_would_go_can_be_asked_before(tmp_path):
    assert fisher_files(tmp_path / "f.safetensors") == (tmp_path / "f.safetensors", tmp_path / "f.json")
    (tmp_path / "f.json").touch()
    with pytest.raises(ResultsError, match="exists"):
        fisher_files(tmp_path / "f.safetensors")


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"f.json' must end in .safetensors; the summary goes into a .json file"):
        fisher_of(squared_gradients()).save(tmp_path / "f.json")
    with pytest.raises(ResultsError, match=r"f.csv' is no Fisher: give its .safetensors or its .json file"):
        load_fisher(tmp_path / "f.csv")


@pytest.mark.parametrize("field", ["trace", "trace_std_error", "relative"])
def test_infinite_numbers_are_refused_by_name_and_nothing_is_written(tmp_path, field):
    fisher = fisher_of(squared_gradients())
    tensors = (dataclasses.replace(fisher.tensors[0], **{field: float("inf")}), *fisher.tensors[1:])
    with pytest.raises(
        ResultsError, match=r"'embed.weight' has an infinite Fisher: its gradients overflow. Measure in float32"
    ):
        dataclasses.replace(fisher, tensors=tensors).save(tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", ["values", "traces"])
def test_a_place_that_cannot_be_written_is_one_message_and_leaves_nothing(tmp_path, keep):
    (tmp_path / "file").write_text("")
    (tmp_path / "f.safetensors").mkdir()
    fisher = fisher_of(squared_gradients(), keep)
    with pytest.raises(ResultsError, match=r"cannot write to '.*file': "):
        fisher.save(tmp_path / "file" / "f.safetensors")
    with pytest.raises(ResultsError, match=r"cannot write to '.*f.safetensors': Is a directory. Free space or choose another"):
        fisher.save(tmp_path / "f.safetensors", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.safetensors", "file"]


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    pytest.importorskip("resource")
    program = (
        "import resource, signal, sys; from tests.fishers import *\n"
        "from spectra import ResultsError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "fisher = fisher_of(squared_gradients())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: fisher.save(sys.argv[1])\n"
        "except ResultsError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(tmp_path / "f.safetensors")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "cannot write to" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "f.safetensors")
    return tmp_path / "f.safetensors"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"f.json' is missing. Make it: spectra fisher MODEL --data FILE -o .*f.safetensors"),
        ("{", r"f.json' cannot be read \(.*\). Run 'spectra fisher' again"),
        ("[]", "schema version None, this Spectra reads 1. Run"),
        ('{"schema_version": 99}', "schema version 99, this Spectra reads 1. Run"),
        ('{"schema_version": 1}', r"is damaged: KeyError\('info'\). Run"),
        ('{"schema_version": 1, "info": {}, "tensors": null}', r"is damaged: KeyError\('kind'\). Run"),
    ],
)
def test_a_damaged_summary_is_refused(saved, content, message):
    summary = saved.with_suffix(".json")
    summary.unlink() if content is None else summary.write_text(content)
    with pytest.raises(ResultsError, match=message):
        load_fisher(saved)


def test_a_summary_that_lacks_parameters_is_refused(saved):
    summary = saved.with_suffix(".json")
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"tensors": None}))
    with pytest.raises(ResultsError, match=r"is damaged: TypeError"):
        load_fisher(saved)


def test_missing_and_damaged_arrays_are_refused(saved):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(ResultsError, match=r"f.safetensors' cannot be read \(.*\). Run 'spectra fisher' again"):
        load_fisher(saved)
    saved.unlink()
    with pytest.raises(ResultsError, match=r"f.safetensors' cannot be read \(.*\). Run 'spectra fisher' again"):
        load_fisher(saved)
    with pytest.raises(ResultsError, match=r"f.safetensors' cannot be read \(No such file or directory\). Run"):
        fisher_fingerprint(saved)


def test_files_that_do_not_belong_together_are_refused(saved, tmp_path):
    message = r"f.safetensors' does not belong to 'f.json': one of them was replaced or edited. Copy both from one run"
    fisher_of(squared_gradients(seed=1)).save(tmp_path / "other.safetensors")
    os.replace(tmp_path / "other.json", tmp_path / "f.json")
    with pytest.raises(ResultsError, match=message):
        load_fisher(saved)
    save_file({"scale": np.ones(1)}, saved)  # of somebody else's making
    with pytest.raises(ResultsError, match=message):
        load_fisher(saved)


def test_an_edited_number_is_noticed(saved):
    summary = saved.with_suffix(".json")
    content = json.loads(summary.read_text())
    content["tensors"][0]["trace"] *= 2
    summary.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="replaced or edited"):
        load_fisher(saved)
