"""The bound on the memory of an analysis: what it counts, and that real processes keep it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

from spectra import InputError, analyze, analyze_fleet
from spectra.diagnose.memory_need import bytes_of
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.sources import open_source
from tests.diagnose.peaks import needs_peak, peak_of, planned

SETTINGS = resolve_settings("default")


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
@needs_peak
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
    found = peak_of("analyze", tmp_path / "a.safetensors", json.dumps(settings))
    assert found["found"] == [method]
    assert found["peak"] <= found["bound"]


@needs_peak
@pytest.mark.slow
def test_of_a_wide_difference_the_rows_of_both_models_count(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        save_numpy({"a.weight": rng.standard_normal((400, 16384))}, tmp_path / f"{name}.safetensors")
    settings = {"method": "gram", "base": str(tmp_path / "b.safetensors")}
    found = peak_of("analyze", tmp_path / "a.safetensors", json.dumps(settings))
    assert 2.5 * 8 * 400 * 16384 < found["peak"] <= found["bound"]


def test_merged_weights_and_differences_count_in_float64():
    (job,) = planned({"a": (300, 100_000)}).jobs
    stored, merged, changed = (
        bytes_of([dataclasses.replace(job, tensor=dataclasses.replace(job.tensor, **kind))], SETTINGS)
        for kind in ({}, {"is_merged": True}, {"is_difference": True})
    )
    assert merged - stored >= 4 * job.num_params
    assert changed - stored >= 4 * job.num_params


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
