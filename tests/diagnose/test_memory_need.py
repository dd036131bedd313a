"""The bound on memory: what it counts, that real processes keep it, and what is said of layers that do not fit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from spectra import InputError, analyze, analyze_fleet
from spectra.diagnose.layer import batches
from spectra.diagnose.memory_need import bytes_of, check_that_all_fit, split_to_fit, too_large
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.sources import open_source

MEASURE = Path(__file__).with_name("peak_memory.py")
SETTINGS = resolve_settings("default")


def planned(shapes, **settings):
    tensors = {f"{name}.weight": np.broadcast_to(np.float32(1.0), shape) for name, shape in shapes.items()}
    return plan_analysis(open_source(tensors), resolve_settings("default", **settings))


def need(shape, **settings):
    plan = planned({"a": shape}, **settings)
    return bytes_of(plan.jobs, plan.settings)


def held_as(dtype, shape, folder):
    save_file({"a.weight": torch.zeros(shape, dtype=dtype)}, folder / "a.safetensors")
    plan = plan_analysis(open_source(folder / "a.safetensors"), SETTINGS)
    return bytes_of(plan.jobs, plan.settings)


def test_of_a_wide_matrix_in_a_file_the_stored_bytes_are_held(tmp_path):
    shape = (50, 100_000)
    sizes = {torch.bfloat16: 2, torch.float16: 2, torch.float32: 4}
    needs = {dtype: held_as(dtype, shape, tmp_path) for dtype in sizes}
    for dtype, size in sizes.items():
        assert needs[torch.float32] - needs[dtype] == (4 - size) * 5_000_000


def test_a_tall_matrix_takes_no_more_however_tall_it_is():
    assert need((100_000, 300)) == need((10_000_000, 300)) < need((300, 100_000))


def test_blocks_gram_matrix_and_solver_are_counted_by_hand():
    # 3000 columns: blocks of 1500 rows; the product has two Gram matrices beside a block as read and in float64.
    assert need((4500, 3000), method="gram") == 12 * 1500 * 3000 + 2 * 8 * 3000**2 + 12_000_000
    # The fallback: four arrays of a block on top of a triangle.
    assert need((4500, 3000)) == 4 * 8 * 4500 * 3000 + 12_000_000
    # float32: the Gram matrix in it, in float64, and the solver's copy.
    assert need((4500, 3000), precision="float32") == 20 * 3000**2 + 12_000_000


@pytest.mark.parametrize("changes", [{"randomize": True}, {"vectors": True}], ids=str)
def test_what_needs_more_counts_for_more(changes):
    assert need((2000, 2000), **changes) > need((2000, 2000))


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=12), st.integers(0, 10**9))
def test_batches_are_taken_apart_only_where_they_do_not_fit(shapes, spare):
    plan = planned({f"l{number}": shape for number, shape in enumerate(shapes)})
    budget = max(bytes_of([job], SETTINGS) for job in plan.jobs) + spare
    whole = batches(plan.jobs)
    fitting = split_to_fit(whole, SETTINGS, budget)
    assert all(bytes_of(batch, SETTINGS) <= budget for batch in fitting)
    assert [job.matrix_name for batch in fitting for job in batch] == [job.matrix_name for batch in whole for job in batch]
    assert split_to_fit(whole, SETTINGS, None) == whole
    assert too_large(plan.jobs, SETTINGS, budget) == []


def test_a_batch_that_does_not_fit_becomes_single_layers():
    plan = planned({f"l{number}": (100, 400_000) for number in range(3)})
    (batch,) = batches(plan.jobs)
    assert bytes_of(batch, SETTINGS) > bytes_of(batch[:1], SETTINGS)
    assert split_to_fit([batch], SETTINGS, bytes_of(batch[:1], SETTINGS)) == [[job] for job in batch]


def test_layers_that_never_fit_are_named_with_what_they_need_and_what_helps():
    plan = planned({"small": (50, 40), "large": (3000, 4000), "larger": (4000, 5000)})
    with pytest.raises(InputError) as caught:
        check_that_all_fit(plan.jobs, plan.settings, 10**8)
    assert str(caught.value) == (
        "2 layers may need more memory than the 100.0 MB there are: 'larger' (732.0 MB), 'large' (444.0 MB). Allow more with "
        "--max-memory, leave them out with --exclude or --max-evals 2999, or choose --precision float32, which needs less."
    )


def test_of_many_layers_that_never_fit_the_largest_are_named():
    plan = planned({f"l{number}": (2000, 2000) for number in range(7)})
    with pytest.raises(InputError, match=r"^7 layers .* and 2 more\. Allow"):
        check_that_all_fit(plan.jobs, plan.settings, 10**7)


def test_an_analysis_that_cannot_fit_leaves_the_folder_alone(tmp_path):
    weights = {"a.weight": np.ones((400, 500))}
    with pytest.raises(InputError, match=r"1 layer may need more memory than the 1\.0 MB there are: 'a'"):
        analyze(weights, max_memory="1MB", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_do_not_depend_on_the_memory():
    rng = np.random.default_rng(0)
    weights = {f"l{n}.weight": rng.standard_normal((60 + n, 90)) for n in range(6)}
    largest = max(bytes_of([job], SETTINGS) for job in plan_analysis(open_source(weights), SETTINGS).jobs)
    free, tight = analyze(weights, workers=3), analyze(weights, workers=3, max_memory=largest)
    assert [layer.to_dict() for layer in free.layers] == [layer.to_dict() for layer in tight.layers]
    for layer in free.layers:
        np.testing.assert_array_equal(free.eigenvalues(layer.matrix_name), tight.eigenvalues(layer.matrix_name))


@pytest.mark.parametrize("shard", [None, "0/1"])
def test_a_finished_result_comes_back_in_any_memory(tmp_path, shard):
    weights = {"a.weight": np.random.default_rng(0).standard_normal((60, 50))}
    first = analyze(weights, max_memory="1GB", output=tmp_path / "out", shard=shard)
    for max_memory in ("1GB", 1):
        assert analyze(weights, max_memory=max_memory, output=tmp_path / "out", shard=shard).layers == first.layers
    with pytest.raises(InputError, match="1 layer may need more memory"):
        analyze(weights, max_memory=1, output=tmp_path / "out", shard=shard, force=True)
    assert analyze(weights, max_memory=1, output=tmp_path / "out", shard=shard).layers == first.layers


# 12.6 million numbers: 25 MB as they are stored, 50 MB as float32, 100 MB as float64. With the matrix read whole as float32,
# and each block of it beside the one before, the first case took 125 MB, by 50 % more than its bound.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "settings", "method"),
    [
        ((768, 16384), {"method": "gram"}, "gram"),
        ((16384, 768), {"method": "gram"}, "gram"),
        ((600, 8000), {}, "svd"),
        ((1200, 1200), {"vectors": True}, "gram"),
    ],
    ids=["wide", "tall", "of low rank", "with vectors"],
)
def test_the_peak_of_a_process_stays_under_the_bound(shape, settings, method, tmp_path):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if method == "svd":
        weight[:20] = 0.0  # singular values that only the fallback tells from round-off
    save_file({"a.weight": weight.bfloat16()}, tmp_path / "a.safetensors")
    done = subprocess.run(
        [sys.executable, MEASURE, tmp_path / "a.safetensors", json.dumps(settings)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["methods"] == [method]
    assert found["peak"] <= found["bound"]


@pytest.mark.parametrize(
    ("elsewhere", "message"),
    [
        ({"device": "cpu:0"}, "other devices than the CPU go by their own memory. Leave it out, or use device 'cpu'."),
        ({"engine": "ray"}, "engine 'ray' goes by the memory of each node. Leave it out, or use engine 'local'."),
    ],
    ids=["device", "cluster"],
)
def test_memory_that_is_counted_elsewhere_is_refused_here(elsewhere, message):
    with pytest.raises(InputError) as caught:
        analyze({"a.weight": np.ones((20, 10))}, max_memory="1G", **elsewhere)
    assert str(caught.value) == f"max_memory: {message}"


def test_of_a_fleet_the_models_that_fit_are_analysed(tmp_path):
    for name, rows in (("small", 60), ("large", 2000)):
        (tmp_path / name).mkdir()
        save_file({"a.weight": torch.randn(rows, 50 if rows < 100 else rows)}, tmp_path / name / "model.safetensors")
    fleet = analyze_fleet([tmp_path / "small", tmp_path / "large"], output=tmp_path / "out", max_memory="50MB")
    assert [model.summary is not None for model in fleet.models] == [True, False]
    assert fleet.models[1].error.startswith("1 layer may need more memory than the 50.0 MB there are: 'a' (")
