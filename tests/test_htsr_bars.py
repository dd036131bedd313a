"""The correctness bars of htsr.md section 15: which test holds each of them, and those that need a whole analysis.

The bars of single functions are tested beside them; `BARS` says where, and a test keeps the list true.
"""

import json

import numpy as np
import pytest
import torch

import spectra
from tests.bars import missing
from tests.forked import asked_of_weightwatcher
from tests.models import MODELS, heavy_tailed, small_weights

BARS = {
    "H1": ["esd/test_power_law.py::test_fit_equals_powerlaw_1_5"],
    "H2": ["esd/test_power_law.py::test_fit_equals_powerlaw_1_5"],
    "H3": ["esd/test_power_law.py::test_fit_equals_powerlaw_2_with_its_range_opened"],
    "H4": ["diagnose/test_weightwatcher_parity.py::test_demo_model_gives_weightwatchers_table"],
    "H5": ["esd/test_xmin_strategies.py::test_clip_equals_weightwatcher", "test_htsr_bars.py::test_h5_"],
    "H6": ["diagnose/test_weightwatcher_parity.py::test_resnet20_gives_weightwatchers_table"],
    "H7": ["diagnose/test_analyze.py::test_float32_keeps_alpha_and_xmin_of_the_demo_model"],
    "H8": ["esd/test_accelerator.py::test_h8_cpu_and_gpu_agree"],
    "H9": ["diagnose/test_profiles.py::test_h9_"],
    "H10": [
        "diagnose/test_layer.py::test_scaling_changes_neither_alpha_nor_distance_nor_stable_rank",
        "diagnose/test_layer.py::test_transposing_and_permuting_changes_nothing",
        "diagnose/test_layer.py::test_rotating_changes_nothing",
        "test_htsr_bars.py::test_h10_",
    ],
    "H11": ["esd/test_power_law.py::test_exponent_of_pareto_samples_is_recovered"],
    "H12": [
        "esd/test_marchenko_pastur.py::test_noise_gives_its_own_variance_and_edges",
        "esd/test_marchenko_pastur.py::test_noise_has_no_spikes",
        "esd/test_marchenko_pastur.py::test_planted_spikes_are_found_and_hardly_move_sigma",
    ],
    "H13": ["esd/test_trace_log.py::test_number_is_the_one_of_rational_arithmetic"],
    "H14": [
        "diagnose/test_layer.py::test_hard_cases_have_a_status_and_no_invented_numbers",
        "diagnose/test_layer.py::test_hard_cases_enter_no_mean",
    ],
    "H15": [
        "sources/test_difference.py::test_a_planted_low_rank_part_is_recovered",
        "sources/test_difference.py::test_the_order_of_tensors_changes_nothing",
        "sources/test_difference.py::test_missing_renamed_and_extra_layers_never_yield_raw_weights",
        "test_htsr_bars.py::test_h15_",
    ],
    "H16": ["esd/test_randomized.py::test_same_seed_and_name_give_the_same_bits", "test_htsr_bars.py::test_h16_"],
    "H17": [
        "esd/test_low_rank.py::test_eigenvalues_equal_those_of_the_product",
        "sources/test_adapter.py::test_the_spectrum_of_the_factors_is_that_of_the_dense_delta",
        "test_adapters_whole.py::test_an_adapter_is_reported_as_its_dense_delta",
    ],
    "H18": [
        "matrices/test_coverage.py::test_every_parameter_of_a_live_model_is_a_row_or_skipped_with_a_reason",
        "matrices/test_coverage.py::test_every_tensor_of_a_saved_model_is_a_row_or_skipped_with_a_reason",
        "test_htsr_bars.py::test_h18_",
    ],
}


@pytest.mark.parametrize("bar", BARS)
def test_every_bar_is_held_by_tests_that_exist(bar):
    assert missing(BARS[bar]) == []


WATCH_CLIP = """
import json, sys, warnings
warnings.simplefilter("ignore")
import weightwatcher
from transformers import AutoModel
table = weightwatcher.WeightWatcher(model=AutoModel.from_pretrained(sys.argv[1])).analyze(fix_fingers="clip_xmax")
print("TABLE " + json.dumps(table.to_dict(orient="records")))
"""


@pytest.mark.slow
def test_h5_clipped_alphas_of_the_demo_model_are_weightwatchers(demo_folder):
    report = spectra.analyze(demo_folder, profile="weightwatcher", xmin="clip_compat")
    line = next(line for line in asked_of_weightwatcher(WATCH_CLIP, demo_folder) if line.startswith("TABLE "))
    theirs = {row["longname"]: row for row in json.loads(line.removeprefix("TABLE "))}
    assert {row.layer_name for row in report.layers} == set(theirs)
    assert len(theirs) == 39
    for ours in report.layers:
        row = theirs[ours.layer_name]
        # The bar is 1e-8; both sides work in float64 by different decompositions.
        assert ours.alpha == pytest.approx(row["alpha"], rel=1e-12), ours.layer_name
        assert ours.raw_alpha == pytest.approx(row["raw_alpha"], rel=1e-12), ours.layer_name
        assert (ours.num_fingers, ours.num_tail) == (row["num_fingers"], row["num_pl_spikes"]), ours.layer_name
    assert sum(row.num_fingers > 0 for row in report.layers) == 11  # htsr.md section 5
    # htsr.md section 5: the mean falls from 4.117.
    assert np.mean([row.alpha for row in report.layers]) == pytest.approx(3.319, abs=5e-4)


# Both ends of the bar's range, and what a float64 still holds: the hypothesis test stays within the range.
@pytest.mark.parametrize("scale", [1e-140, 1e-6, 1e6, 1e140])
@pytest.mark.parametrize("layout", ["C", "Fortran", "reversed", "read-only"])
def test_h10_neither_scale_nor_memory_layout_changes_a_row(scale, layout):
    matrix = heavy_tailed(120, 60).astype(np.float64)
    given = {
        "C": matrix * scale,
        "Fortran": np.asfortranarray(matrix * scale),
        "reversed": (matrix * scale)[::-1, ::-1],
        "read-only": matrix * scale,
    }[layout]
    given.flags.writeable = layout != "read-only"
    base, found = (spectra.analyze({"fc.weight": w}, workers=1).layers[0] for w in (matrix, given))
    for column in ("alpha", "ks_distance", "stable_rank"):
        assert getattr(found, column) == pytest.approx(getattr(base, column), rel=1e-8)
    assert found.num_tail == base.num_tail


def without_renamed(model, numbers):
    return {(f"renamed{i}.weight" if i in numbers else name): weight for i, (name, weight) in enumerate(model.items())}


CHANGED_BASES = {
    "shuffled": lambda base: {name: base[name] for name in np.random.default_rng(0).permutation(list(base))},
    "renamed": lambda base: without_renamed(base, {1, 3}),
    "missing": lambda base: dict(list(base.items())[1:-1]),
    "extra first layer": lambda base: {"stem.weight": heavy_tailed(60, 40, seed=7), **base},
    "other shape": lambda base: {**base, "layers.1.fc.weight": heavy_tailed(61, 40)},
}


@pytest.mark.parametrize("change", CHANGED_BASES)
def test_h15_no_row_of_a_difference_is_that_of_the_raw_weight(change):
    base = small_weights()
    delta = {name: 1e-2 * heavy_tailed(*weight.shape, seed=40 + i) for i, (name, weight) in enumerate(base.items())}
    model = {name: base[name] + delta[name] for name in base}
    theirs = CHANGED_BASES[change](base)
    report = spectra.analyze(model, base=theirs)
    assert len(report.layers) == len(model)
    for row in report.layers:
        name = f"{row.layer_name}.weight"
        if name in theirs and theirs[name].shape == model[name].shape:
            difference = model[name].astype(np.float64) - base[name]
            expected = np.linalg.svd(difference, compute_uv=False) ** 2
            assert row.lambda_max == pytest.approx(expected[0], rel=1e-10)
            assert row.status == "ok"
        else:
            assert row.status == "no_base"
            assert np.isnan([row.alpha, row.lambda_max, row.sum_eigenvalues]).all()


def random_columns(report):
    columns = ("rand_", "num_traps", "alpha_low", "alpha_high", "xmin_low", "xmin_high", "ks_pvalue")
    return {row.matrix_name: {k: v for k, v in row.to_dict().items() if k.startswith(columns)} for row in report.layers}


RANDOM = {"randomize": True, "bootstrap_samples": 20, "pvalue_samples": 20}


def test_h16_random_numbers_depend_neither_on_filters_nor_on_order_or_workers():
    weights = {**small_weights(), "conv.weight": heavy_tailed(24, 16 * 9).reshape(24, 16, 3, 3)}
    whole = random_columns(spectra.analyze(weights, workers=1, **RANDOM))
    assert all(np.isfinite([columns["rand_distance"], columns["alpha_low"]]).all() for columns in whole.values())
    again = random_columns(spectra.analyze(weights, workers=4, **RANDOM))
    backwards = random_columns(spectra.analyze(dict(reversed(weights.items())), workers=2, **RANDOM))
    few = random_columns(spectra.analyze(weights, include=["layers.2.fc", "conv"], **RANDOM))
    without = random_columns(spectra.analyze(weights, exclude="layers.0*", **RANDOM))
    assert len(few) == 2
    for other in (again, backwards, few, without):
        for name, columns in other.items():
            np.testing.assert_equal(columns, whole[name])  # to the last bit, NaN where NaN
    other_seed = random_columns(spectra.analyze(weights, seed=1, **RANDOM))
    assert all(other_seed[name]["rand_distance"] != whole[name]["rand_distance"] for name in whole)


def test_h16_random_numbers_are_those_of_the_saved_model(tmp_path):
    from safetensors.numpy import save_file

    save_file(small_weights(), tmp_path / "model.safetensors")
    stored = random_columns(spectra.analyze(tmp_path / "model.safetensors", **RANDOM))
    np.testing.assert_equal(stored, random_columns(spectra.analyze(small_weights(), **RANDOM)))


@pytest.mark.parametrize("architecture", MODELS)
def test_h18_every_parameter_of_the_usual_models_is_in_the_report(architecture):
    model = MODELS[architecture]()
    owners = {id(p): name for name, p in model.named_parameters()}
    report = spectra.analyze(model)
    shown = {row.layer_name for row in report.layers}
    skipped = {tensor.name: tensor.reason for tensor in report.skipped}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.dim() < 2:
            continue
        owner = owners[id(parameter)]
        is_row = owner.removesuffix(".weight") in shown
        assert is_row or skipped.get(owner), name
        if owner != name:  # the same storage under a second name
            assert any(name in row.tied_to for row in report.layers), name
    covered = sum(row.num_params for row in report.layers)
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.dim() >= 2}
    assert covered == sum(sizes.values()) - sum(sizes[name] for name in skipped if name in sizes)


def test_h18_a_module_with_every_kind_of_layer_loses_nothing():
    torch.manual_seed(0)
    layers = {
        "linear": torch.nn.Linear(24, 40),
        "embedding": torch.nn.Embedding(50, 24),
        "conv1": torch.nn.Conv1d(16, 24, 3),
        "conv3": torch.nn.Conv3d(16, 24, 2),
        "transposed": torch.nn.ConvTranspose2d(16, 24, 3),
        "grouped": torch.nn.Conv2d(32, 48, 3, groups=2),
        "depthwise": torch.nn.Conv2d(32, 32, 3, groups=32),
        "attention": torch.nn.MultiheadAttention(32, 4),
        "lstm": torch.nn.LSTM(24, 32, num_layers=2, bidirectional=True, proj_size=16),
        "gru": torch.nn.GRU(24, 32),
        "bilinear": torch.nn.Bilinear(16, 20, 12),
        "normed": torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(24, 40)),
    }
    model = torch.nn.ModuleDict(layers)
    report = spectra.analyze(model)
    assert report.skipped == () or all(tensor.reason for tensor in report.skipped)
    rows = {row.layer_name for row in report.layers}
    for name in layers:
        assert any(row == name or row.startswith(f"{name}.") for row in rows), name
    sizes = sum(p.numel() for name, p in model.named_parameters() if p.dim() >= 2 and "parametrizations" not in name)
    assert sum(row.num_params for row in report.layers) == sizes + 24 * 40
