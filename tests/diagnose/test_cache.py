"""The cache: what is found in it, what is not, and that no report shows whether there was one."""

import dataclasses
import signal
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import spectra
from spectra.diagnose import cache as module
from spectra.diagnose.cache import RowCache
from spectra.diagnose.layer import diagnose_layers, names_of
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.errors import SpectraWarning
from spectra.results.collection import result_folders
from spectra.results.kept_rows import read_row
from spectra.results.settings import AnalysisSettings, settings_of_rows
from spectra.sources import open_source
from tests.diagnose import cache_writer
from tests.diagnose.cached_reports import content, counts
from tests.models import heavy_tailed, small_weights, write_small

KINDS = {
    "linear.weight": heavy_tailed(60, 40, seed=1),
    "wide.weight": heavy_tailed(40, 70, seed=2).astype(np.float64),
    "conv.weight": heavy_tailed(16, 12 * 9, seed=3).reshape(16, 12, 3, 3),
    "depthwise.weight": heavy_tailed(20, 9, seed=4).reshape(20, 1, 3, 3),
    "attention.in_proj_weight": heavy_tailed(3 * 24, 24, seed=5),
    "mlp.experts.down_proj": heavy_tailed(3 * 30, 20, seed=6).reshape(3, 30, 20),
    "half.weight": heavy_tailed(30, 30, seed=7).astype(np.float16),
    "rank_one.weight": np.outer(np.arange(1.0, 25.0), np.arange(1.0, 31.0)),
    "zero.weight": np.zeros((20, 20), np.float32),
    "few.weight": heavy_tailed(5, 4, seed=8),
}
EVERYTHING = {
    "mp_fit": True, "randomize": True, "truncated": True, "alternatives": True, "pvalue_samples": 2, "bootstrap_samples": 2,
    "vectors": True,
}  # fmt: skip


def entries(folder):
    return sorted(folder.rglob("*.safetensors"))


# Equal answers


@pytest.mark.parametrize(
    "asked", [{}, EVERYTHING, {"profile": "weightwatcher"}], ids=["default", "everything", "weightwatcher"]
)
def test_a_report_is_the_same_bit_for_bit_without_with_an_empty_and_with_a_full_cache(tmp_path, asked):
    plain = spectra.analyze(KINDS, **asked)
    first = spectra.analyze(KINDS, cache=tmp_path, **asked)
    second = spectra.analyze(KINDS, cache=tmp_path, **asked)
    assert content(first) == content(second) == content(plain)
    assert counts(first)[0] == 0
    assert counts(second) == (len(plain.layers), 0)
    assert "layers_from_cache" not in plain.environment


# Settings that go together, in alternatives; "operator" of convolutions, a thousand matrices, is tested by itself.
ALTERNATIVES = [
    [{}, {"profile": "weightwatcher"}, {"profile": "tempbalance"}],
    [{}, {"split_fused": "none"}, {"moe": "summary"}, {"moe": "pool"}, {"conv_mode": "slices"}],
    [{}, {"exclude": "conv*"}, {"max_side": 30}],
    [{}, {"precision": "float32"}, {"method": "svd"}],
    [{}, {"conv_norm": 0.25}, {"normalize": "1/N"}],
    [{}, {"subsample": "farms"}, {"subsample": "farms", "window_aspect": 0.5}, {"inverse": True}],
    [{}, {"xmin": "median"}, {"xmin": "peak"}, {"xmin": 0.5}],
    [{}, {"min_evals": 12}, {"min_tail": 5}, {"evals_threshold": 0.1}],
    [{}, {"mp_fit": True}, {"mp_fit": True, "tw_level": 0.9}],
    [{}, {"randomize": True}, {"randomize": True, "num_replicas": 2}, {"randomize": True, "seed": 1}],
    [{}, {"vectors": True}, {"truncated": True}],
]


SMALL = {
    "linear.weight": heavy_tailed(20, 16, seed=1),
    "wide.weight": heavy_tailed(9, 40, seed=2),
    "conv.weight": heavy_tailed(8, 6 * 2, seed=3).reshape(8, 6, 1, 2),
    "attention.in_proj_weight": heavy_tailed(3 * 10, 10, seed=5),
    "mlp.experts.down_proj": heavy_tailed(2 * 12, 9, seed=6).reshape(2, 12, 9),
}


def is_possible(asked):
    try:
        plan_analysis(open_source(SMALL), resolve_settings(**{"profile": "default"} | asked))
    except spectra.InputError:
        return False
    return True


choices = st.tuples(*map(st.sampled_from, ALTERNATIVES))
asked = choices.map(lambda parts: {name: value for part in parts for name, value in part.items()}).filter(is_possible)


@given(asked, asked)
@settings(max_examples=15, deadline=None)
def test_a_cache_filled_under_any_settings_changes_no_answer_under_any_others(tmp_path_factory, before, now):
    folder = tmp_path_factory.mktemp("rows")
    spectra.analyze(SMALL, cache=folder, **before)
    assert content(spectra.analyze(SMALL, cache=folder, **now)) == content(spectra.analyze(SMALL, **now))


def test_numbers_with_a_cache_do_not_depend_on_the_number_of_workers(tmp_path):
    one, three = (spectra.analyze(KINDS, cache=tmp_path / str(n), workers=n) for n in (1, 3))
    assert content(one) == content(three)


# What is found


def test_one_changed_layer_recomputes_one(tmp_path):
    weights = small_weights()
    spectra.analyze(weights, cache=tmp_path)
    weights["layers.2.fc.weight"] = weights["layers.2.fc.weight"].copy()
    weights["layers.2.fc.weight"][59, 39] += 1e-3
    report = spectra.analyze(weights, cache=tmp_path)
    assert counts(report) == (5, 1)
    assert content(report) == content(spectra.analyze(weights))
    assert counts(spectra.analyze(small_weights(), cache=tmp_path)) == (6, 0)  # the old ones are still there


def test_the_same_weights_in_another_container_and_under_other_names_are_found(tmp_path):
    import torch

    weights, folder = small_weights(), tmp_path / "rows"
    spectra.analyze(weights, cache=folder)
    write_small(tmp_path / "model.safetensors")
    torch.save({name: torch.from_numpy(values) for name, values in weights.items()}, tmp_path / "model.pt")
    renamed = {f"teacher.{name}": values for name, values in weights.items()}
    for model in (tmp_path / "model.safetensors", tmp_path / "model.pt", renamed):
        report = spectra.analyze(model, cache=folder)
        assert counts(report) == (6, 0)
        assert content(report) == content(spectra.analyze(model))


def test_a_live_module_finds_what_its_checkpoint_left(tmp_path):
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.Conv2d(8, 9, 3), torch.nn.Embedding(50, 16))
    spectra.analyze({name: value.numpy() for name, value in network.state_dict().items()}, cache=tmp_path)
    report = spectra.analyze(network, cache=tmp_path)
    assert counts(report) == (3, 0)
    assert content(report) == content(spectra.analyze(network))


def test_names_in_a_row_are_those_of_the_weight_at_hand(tmp_path):
    matrix = heavy_tailed(40, 30)
    spectra.analyze({"a.weight": matrix, "b.weight": matrix.copy()}, cache=tmp_path)
    experts = {f"mlp.experts.{number}.up_proj.weight": matrix.copy() for number in range(2)}
    report = spectra.analyze(experts, cache=tmp_path)
    assert [(row.layer_name, row.expert) for row in report.layers] == [(f"mlp.experts.{n}.up_proj", n) for n in range(2)]
    assert counts(report) == (2, 0)
    assert content(report) == content(spectra.analyze(experts))


def test_the_columns_that_name_a_weight_are_those_that_the_cache_leaves_empty():
    (job,) = plan_analysis(open_source({"a.weight": np.eye(30)}), resolve_settings("default")).jobs
    assert set(names_of(job)) == set(module._NAMES)


def test_the_cache_names_no_layer(tmp_path):
    spectra.analyze({"secret.attention.in_proj_weight": heavy_tailed(72, 24)}, cache=tmp_path)
    assert len(entries(tmp_path)) == 3
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]


def test_differences_are_found_by_the_difference(tmp_path):
    base, tuned = small_weights(), small_weights()
    tuned["head.weight"] = tuned["head.weight"] + heavy_tailed(50, 40, seed=5)
    first = spectra.analyze(tuned, base=base, cache=tmp_path)
    assert counts(spectra.analyze(tuned, base=base, cache=tmp_path)) == (6, 0)
    base["head.weight"] = base["head.weight"] + np.float32(1.0)
    other = spectra.analyze(tuned, base=base, cache=tmp_path)
    assert counts(other) == (5, 1)
    assert content(other) == content(spectra.analyze(tuned, base=base))
    assert first.layers[-1].alpha != other.layers[-1].alpha


def test_a_difference_is_not_a_weight_of_the_same_numbers(tmp_path):
    change = heavy_tailed(50, 40).astype(np.float64)
    spectra.analyze({"a.weight": change}, cache=tmp_path)
    report = spectra.analyze({"a.weight": change}, base={"a.weight": np.zeros((50, 40))}, cache=tmp_path)
    assert counts(report) == (0, 1)


# What is not


@pytest.mark.parametrize(
    "other",
    [
        heavy_tailed(40, 30, seed=1),
        heavy_tailed(40, 30).astype(np.float64),
        heavy_tailed(40, 30).astype(np.float16),
        heavy_tailed(40, 30).reshape(30, 40),
        heavy_tailed(40, 30).reshape(20, 60),
        heavy_tailed(40, 30)[:, ::-1],
        -heavy_tailed(40, 30),
        heavy_tailed(40, 30).reshape(40, 30, 1, 1),
    ],
    ids=["numbers", "float64", "float16", "as many rows as columns", "shape", "order", "sign", "kernel"],
)
def test_another_weight_is_another_entry(tmp_path, other):
    spectra.analyze({"a.weight": heavy_tailed(40, 30)}, cache=tmp_path)
    report = spectra.analyze({"a.weight": other}, cache=tmp_path)
    assert counts(report) == (0, 1)
    assert content(report) == content(spectra.analyze({"a.weight": other}))


def test_a_kernel_of_another_form_has_another_operator(tmp_path):
    kernel = heavy_tailed(16, 12 * 9)
    square, flat = kernel.reshape(16, 12, 3, 3), kernel.reshape(16, 12, 9, 1)
    spectra.analyze({"conv.weight": square}, conv_mode="operator", cache=tmp_path)
    assert counts(spectra.analyze({"conv.weight": flat}, conv_mode="operator", cache=tmp_path)) == (0, 1)


OTHERWISE = {
    "precision": "float32", "method": "svd", "conv_norm": 0.5, "normalize": "1/N", "subsample": "farms", "window_rows": 7,
    "window_aspect": 0.5, "windows_per_side": 3, "xmin": "median", "xmin_pos": 3.0, "num_tail": 5, "max_fingers": 3,
    "finger_threshold": 2.0, "min_evals": 9, "min_tail": 3, "evals_threshold": 0.1, "inverse": True, "truncated": True,
    "alternatives": True, "pvalue_samples": 3, "bootstrap_samples": 3, "mp_fit": True, "mp_method": "kde", "tw_level": 0.9,
    "randomize": True, "num_replicas": 2, "vectors": True, "small_sample_rule": True, "truncated_search": True,
    "entropy_epsilon": 1e-9, "sv_min_over_matrices": "max", "labels_need_evidence": False,
}  # fmt: skip
CHOICES = {
    "profile", "include", "exclude", "kinds", "max_evals", "max_side", "split_fused", "split_heads", "moe", "conv_mode", "lora",
    "drop_small", "count_ties",
}  # fmt: skip


def test_every_setting_is_in_the_key_but_those_that_choose_weights_and_a_seed_of_nothing():
    assert {f.name for f in dataclasses.fields(AnalysisSettings)} == {*OTHERWISE, *CHOICES, "seed"}
    assert set(settings_of_rows(AnalysisSettings())) == set(OTHERWISE)


@pytest.mark.parametrize("name", OTHERWISE)
def test_another_value_of_a_setting_is_another_entry(tmp_path, name):
    usual = AnalysisSettings()
    other = dataclasses.replace(usual, **{name: OTHERWISE[name]})
    jobs = plan_analysis(open_source({"a.weight": heavy_tailed(30, 20)}), usual).jobs
    for resolved, found in ((usual, 0), (usual, 1), (other, 0), (other, 1)):
        rows = RowCache(tmp_path, resolved, lambda batch, device: diagnose_layers(batch, usual))
        rows(jobs, "cpu")
        assert (rows.num_found, rows.num_computed) == (found, 1 - found)


def test_settings_that_only_choose_weights_share_entries(tmp_path):
    weights = small_weights()
    spectra.analyze(weights, cache=tmp_path, include="layers.*")
    assert counts(spectra.analyze(weights, cache=tmp_path, exclude="head", max_side=1000, seed=3)) == (4, 1)
    assert counts(spectra.analyze(weights, cache=tmp_path, moe="summary", split_fused="none", kinds="linear")) == (4, 1)


@pytest.mark.parametrize("random", [{"randomize": True}, {"pvalue_samples": 3}, {"bootstrap_samples": 3}], ids=str)
def test_where_random_numbers_are_drawn_seed_and_name_count(tmp_path, random):
    matrix = heavy_tailed(40, 30)
    spectra.analyze({"a.weight": matrix}, cache=tmp_path, **random)
    assert counts(spectra.analyze({"a.weight": matrix}, cache=tmp_path, **random)) == (1, 0)
    for model, seed in (({"a.weight": matrix}, 1), ({"b.weight": matrix}, 0)):
        report = spectra.analyze(model, cache=tmp_path, seed=seed, **random)
        assert counts(report) == (0, 1)
        assert content(report) == content(spectra.analyze(model, seed=seed, **random))


def test_what_torch_computed_is_not_what_numpy_computed(tmp_path):
    model = {"a.weight": heavy_tailed(40, 30)}
    assert [counts(spectra.analyze(model, cache=tmp_path, device=d)) for d in ("cpu", "cpu:0", "cpu:0", "cpu")] == [
        (0, 1),
        (0, 1),
        (1, 0),
        (1, 0),
    ]


def test_another_version_of_spectra_computes_anew(tmp_path, monkeypatch):
    spectra.analyze(small_weights(), cache=tmp_path)
    monkeypatch.setattr("spectra.diagnose.cache.__version__", "0.0.0")
    assert counts(spectra.analyze(small_weights(), cache=tmp_path)) == (0, 6)


def test_layers_without_a_spectrum_are_not_kept(tmp_path):
    broken = {"nan.weight": np.full((20, 20), np.nan), "empty.weight": np.zeros((0, 5)), "good.weight": heavy_tailed(30, 20)}
    for found in (0, 1):
        report = spectra.analyze(broken, cache=tmp_path)
        assert [str(row.status) for row in report.layers] == ["nonfinite", "empty", "ok"]
        assert counts(report) == (found, 3 - found)
    assert len(entries(tmp_path)) == 1


def jobs_of(matrix, read):
    from spectra.sources.tensors import Source, StoredTensor

    tensor = StoredTensor("a.weight", matrix.shape, "float32", read)
    return plan_analysis(Source("m", "m", "mapping", (tensor,)), AnalysisSettings()).jobs


def test_a_weight_that_cannot_be_read_goes_past_the_cache_and_says_so(tmp_path):
    def read(start, stop):
        raise OSError("the network mount is gone")

    rows = RowCache(tmp_path, AnalysisSettings(), lambda batch, device: diagnose_layers(batch, AnalysisSettings()))
    ((row, values),) = rows(jobs_of(heavy_tailed(30, 20), read), "cpu")
    assert (row.status, row.notes, values) == ("unreadable", "OSError: the network mount is gone", None)


def test_a_weight_that_is_written_to_during_its_analysis_is_not_kept(tmp_path):
    matrix = heavy_tailed(30, 20)

    def compute(batch, device):
        found = diagnose_layers(batch, AnalysisSettings())
        matrix[0, 0] += 1.0  # as a training in another thread would
        return found

    rows = RowCache(tmp_path, AnalysisSettings(), compute)
    rows(jobs_of(matrix, lambda start, stop: matrix[start:stop]), "cpu")
    assert not entries(tmp_path)


def test_a_row_that_lacks_a_diagnostic_for_the_moment_is_not_kept(tmp_path):
    matrix, reads = heavy_tailed(30, 20), []

    def read(start, stop):
        reads.append(start)
        if len(reads) == 3:  # after the key's and the spectrum's: the eigenvectors'
            raise MemoryError("no memory left")
        return matrix[start:stop]

    resolved = resolve_settings("default", vectors=True)
    rows = RowCache(tmp_path, resolved, lambda batch, device: diagnose_layers(batch, resolved))
    ((row, _),) = rows(jobs_of(matrix, read), "cpu")
    assert row.status == "ok"
    assert row.notes.endswith("; a diagnostic is missing: MemoryError: no memory left")
    ((row, _),) = rows(jobs_of(matrix, read), "cpu")
    assert "missing" not in row.notes
    assert rows.num_computed == 2
    rows(jobs_of(matrix, read), "cpu")
    assert rows.num_found == 1


# A folder as folders are


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 3000], ids=["empty", "foreign", "zeros"])
def test_damaged_entries_are_computed_again_and_mended(tmp_path, damage):
    spectra.analyze(small_weights(), cache=tmp_path)
    for file in entries(tmp_path)[:3]:
        file.write_bytes(damage)
    mended = spectra.analyze(small_weights(), cache=tmp_path)
    assert counts(mended) == (3, 3)
    assert content(mended) == content(spectra.analyze(small_weights()))
    assert counts(spectra.analyze(small_weights(), cache=tmp_path)) == (6, 0)


def test_an_entry_in_the_place_of_another_is_no_wrong_row(tmp_path):
    spectra.analyze(small_weights(), cache=tmp_path)
    files = entries(tmp_path)
    texts = [file.read_bytes() for file in files]
    for file, text in zip(files, texts[1:] + texts[:1], strict=True):
        file.write_bytes(text)
    report = spectra.analyze(small_weights(), cache=tmp_path)
    assert counts(report) == (0, 6)
    assert content(report) == content(spectra.analyze(small_weights()))


def test_a_cache_that_cannot_be_written_is_said_once_and_the_report_is_whole(tmp_path):
    spectra.analyze({"other.weight": heavy_tailed(30, 20)}, cache=tmp_path)
    for digits in range(256):  # files where folders would be, as on a disk that takes nothing
        if not (tmp_path / f"{digits:02x}").exists():
            (tmp_path / f"{digits:02x}").write_bytes(b"")
    with pytest.warns(SpectraWarning, match="no more rows are kept in the cache: cannot write to") as said:
        report = spectra.analyze(small_weights(), cache=tmp_path)
    assert len(said) == 1
    assert report.environment["cache_trouble"].startswith("cannot write to")
    assert content(report) == content(spectra.analyze(small_weights()))


def test_a_folder_of_something_else_is_refused_before_any_work(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(spectra.ResultsError, match="is no cache: it holds other files"):
        spectra.analyze(small_weights(), cache=tmp_path)


def test_a_result_folder_and_a_cache_work_together(tmp_path):
    rows, weights = tmp_path / "rows", small_weights()
    spectra.analyze(weights, cache=rows)
    report = spectra.analyze(weights, cache=rows, output=tmp_path / "report")
    assert counts(spectra.load(tmp_path / "report")) == (6, 0)
    again = spectra.analyze(weights, cache=rows, output=tmp_path / "report")
    assert content(again) == content(report) == content(spectra.analyze(weights, output=tmp_path / "plain"))


# Several processes


def test_a_cache_may_lie_in_the_result_folder(tmp_path):
    model, out = write_small(tmp_path / "a.safetensors"), tmp_path / "out"
    for _ in range(2):
        report = spectra.analyze(model, output=out, cache=out / "rows")
    assert counts(report) == (0, 6)
    fleet = spectra.analyze_fleet([model], output=tmp_path / "fleet", cache=tmp_path / "fleet" / "rows")
    assert counts(fleet.report("a")) == (0, 6)
    assert [run.name for run in result_folders([tmp_path / "fleet"])] == ["a"]


def test_eight_processes_fill_one_folder_at_once_and_agree(tmp_path):
    command = [sys.executable, cache_writer.__file__, str(tmp_path / "rows"), "4"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    answers = [writer.communicate()[0].splitlines() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8
    assert answers == [[cache_writer.line(spectra.analyze(cache_writer.model(number))) for number in range(4)]] * 8
    assert len(entries(tmp_path)) == 4 * 6
    assert all(read_row(tmp_path / "rows", file.stem) for file in entries(tmp_path))
    assert not list(tmp_path.rglob("*.tmp"))


def test_processes_killed_while_they_write_leave_whole_entries_and_no_wrong_ones(tmp_path):
    rows = tmp_path / "rows"
    command = [sys.executable, cache_writer.__file__, str(rows), "0"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(10)]
    for number, writer in enumerate(writers):
        with writer:
            for _ in range(1 + number):  # each in the middle of another model
                writer.stdout.readline()
            writer.kill()
        assert writer.returncode == -signal.SIGKILL
    assert all(read_row(rows, file.stem) for file in entries(rows))
    for number in range(10):
        model = cache_writer.model(number)
        assert content(spectra.analyze(model, cache=rows)) == content(spectra.analyze(model))
    assert counts(spectra.analyze(cache_writer.model(9), cache=rows)) == (6, 0)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB; making one takes root's rights."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_keeping_and_not_the_analysis(small_disk):
    rng = np.random.default_rng(0)
    weights = {f"layers.{layer}.fc.weight": rng.standard_normal((30, 20)) for layer in range(40)}
    with pytest.warns(SpectraWarning, match="No space left on device. Free space or choose another folder") as said:
        first = spectra.analyze(weights, cache=small_disk / "rows")
    assert len(said) == 1
    assert content(first) == content(spectra.analyze(weights))
    kept = len(entries(small_disk))
    assert 0 < kept < 40
    with pytest.warns(SpectraWarning, match="No space left"):
        second = spectra.analyze(weights, cache=small_disk / "rows")
    assert counts(second) == (kept, 40 - kept)
    assert content(second) == content(first)
