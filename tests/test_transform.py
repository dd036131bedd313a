import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spectra
from spectra import InputError
from spectra.esd.truncation import truncated
from spectra.transform import save, sharpen, smooth
from tests.forked import asked_of_weightwatcher
from tests.models import MODELS, as_torch_file, gpt2, heavy_tailed, mixtral, small_weights, untied
from tests.strategies import matrices


def low_rank_plus_noise(rows, cols, rank, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, cols))
    return signal + noise * rng.standard_normal((rows, cols))


def ranks_of(array):
    """Numerical ranks, with room for the rounding to float32."""
    values = np.linalg.svd(np.asarray(array, dtype=np.float64), compute_uv=False)
    return np.count_nonzero(values > 1e-5 * values[..., :1], axis=-1)


# --- which values are kept


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (40, 40)])
@pytest.mark.parametrize(
    ("keep", "kept"), [(0.29, slice(11)), (0.5, slice(20)), (-0.1, slice(4, None)), (-0.5, slice(20, None))]
)
def test_a_fraction_keeps_or_removes_so_many_of_the_largest(shape, keep, kept):
    matrix = heavy_tailed(*shape)
    state = smooth({"fc.weight": matrix}, keep=keep)
    expected = truncated(matrix, kept)
    # One rounding to float32 of entries that are accurate to float64.
    np.testing.assert_allclose(state["fc.weight"], expected, rtol=1e-6, atol=1e-10 * np.abs(expected).max())
    (layer,) = state.layers
    assert (layer.matrix_name, layer.num_matrices, layer.num_singular_values) == ("fc", 1, 40)
    assert layer.num_kept == len(range(40)[kept])
    share = np.linalg.norm(expected) ** 2 / np.linalg.norm(matrix.astype(np.float64)) ** 2
    assert layer.share_kept == pytest.approx(share, rel=1e-10)


def test_the_default_keeps_the_eigenvalues_of_the_trace_log_condition():
    # By hand: with eigenvalues scaled to mean 1, the fewest largest ones whose product is below 1.
    matrix = heavy_tailed(80, 50).astype(np.float64)
    values = np.linalg.svd(matrix, compute_uv=False) ** 2
    below = np.flatnonzero(np.cumsum(np.log(values / values.mean())) < 0.0)
    state = smooth({"fc.weight": matrix})
    assert state.layers[0].num_kept == below[0] + 1
    np.testing.assert_allclose(state["fc.weight"], truncated(matrix, slice(below[0] + 1)), atol=1e-12 * values[0])


def test_power_law_keeps_the_fitted_tail():
    matrix = heavy_tailed(300, 100)
    state = smooth({"fc.weight": matrix}, keep="power_law")
    assert state.layers[0].num_kept == spectra.fit_power_law(spectra.eigenvalues(matrix)).num_tail


def test_mp_keeps_the_planted_spikes():
    state = smooth({"fc.weight": low_rank_plus_noise(300, 200, rank=5)}, keep="mp")
    assert state.layers[0].num_kept == 5


def test_a_rule_without_an_answer_leaves_the_matrix_as_it_is_and_says_so():
    matrix = np.random.default_rng(0).standard_normal((200, 150))
    state = smooth({"fc.weight": matrix}, keep="mp")
    np.testing.assert_array_equal(state["fc.weight"], matrix)
    assert state["fc.weight"] is matrix
    assert state.layers[0].note == "nothing to keep or to remove by this rule: left as it is"
    constant = smooth({"fc.weight": np.eye(9)}, keep="power_law")
    assert constant.layers[0].note.startswith("left as it is: ")
    assert constant.layers[0].num_kept == 9


def test_a_huge_entry_is_a_trap_that_sharpening_removes():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((200, 150))
    trapped = clean.copy()
    trapped[17, 33] = 60.0
    state = sharpen({"clean.weight": clean, "trapped.weight": trapped})
    by_name = {layer.matrix_name: layer for layer in state.layers}
    assert by_name["clean"].num_kept == 150
    np.testing.assert_array_equal(state["clean.weight"], clean)
    assert by_name["trapped"].num_kept == 149
    np.testing.assert_allclose(state["trapped.weight"], truncated(trapped, slice(1, None)), atol=1e-12)
    assert abs(state["trapped.weight"][17, 33]) < 5.0


def test_sharpening_removes_no_correlations():
    # Spikes of the weights themselves vanish with the order: they are no traps.
    matrix = low_rank_plus_noise(300, 200, rank=3, noise=1.0)
    state = sharpen({"fc.weight": matrix})
    assert state.layers[0].num_kept == 200


def test_sharpening_follows_its_seed():
    weights = {"fc.weight": heavy_tailed(120, 100)}
    one, same = sharpen(weights, seed=3), sharpen(weights, seed=3)
    np.testing.assert_array_equal(one["fc.weight"], same["fc.weight"])


@settings(max_examples=25)
@given(matrices(), st.floats(0.05, 0.95))
def test_smoothing_lowers_the_norm_and_keeps_the_largest_singular_values(matrix, fraction):
    state = smooth({"fc.weight": matrix}, keep=fraction)
    (layer,) = state.layers
    before, after = (np.linalg.svd(m, compute_uv=False) for m in (matrix, state["fc.weight"]))
    np.testing.assert_allclose(after[: layer.num_kept], before[: layer.num_kept], rtol=0, atol=1e-12 * before[0])
    assert np.linalg.norm(after) <= np.linalg.norm(before) * (1 + 1e-12)
    assert 0.0 <= layer.share_kept <= 1.0


@pytest.mark.parametrize("factor", [1e-160, 1e-20, 1e140])
@pytest.mark.parametrize("keep", ["trace_log", "power_law", "mp", 0.3])
def test_scale_does_not_change_what_is_kept(factor, keep):
    matrix = heavy_tailed(80, 60).astype(np.float64)
    plain, scaled = (smooth({"fc.weight": matrix * f}, keep=keep) for f in (1.0, factor))
    assert scaled.layers[0].num_kept == plain.layers[0].num_kept
    np.testing.assert_allclose(scaled["fc.weight"] / factor, plain["fc.weight"], rtol=0, atol=1e-12 * np.abs(matrix).max())


# --- which tensors


def test_a_convolution_is_smoothed_position_by_position():
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((12, 8, 3, 3))
    for array in (kernel, np.asfortranarray(kernel)):
        state = smooth({"conv.weight": array}, keep=0.55)
        # int(0.55 * 8 * 9) = 39 of all, ceil(39 / 9) = 5 of each.
        assert (state.layers[0].num_matrices, state.layers[0].num_kept) == (9, 5)
        for i in range(3):
            for j in range(3):
                expected = truncated(kernel[:, :, i, j], slice(5))
                np.testing.assert_allclose(state["conv.weight"][:, :, i, j], expected, atol=1e-12)


def test_a_grouped_convolution_is_smoothed_group_by_group():
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 12, 3, groups=2), torch.nn.Conv2d(6, 6, 3, groups=6))
    weight = model[0].weight.detach().double().numpy()
    state = smooth(model, keep=0.5)
    assert [(layer.matrix_name, layer.num_matrices, layer.num_kept) for layer in state.layers] == [("0", 18, 2)]
    for group in range(2):
        rows = slice(6 * group, 6 * group + 6)
        expected = truncated(weight[rows, :, 2, 1], slice(2))
        np.testing.assert_allclose(state["0.weight"][rows, :, 2, 1], expected, atol=1e-6)
    assert state["1.weight"].data_ptr() == model[1].weight.data_ptr()
    assert [(tensor.name, tensor.reason) for tensor in state.skipped] == [
        ("1.weight", "one channel per group: vectors, not matrices")
    ]


def test_each_expert_of_a_stack_is_a_matrix():
    model = mixtral()
    state = smooth(model, keep=0.25)
    stacked = [name for name, tensor in model.state_dict().items() if tensor.dim() == 3]
    assert stacked, "the model has its experts in one tensor"
    for name in stacked:
        small = min(state[name].shape[1:])
        assert (ranks_of(state[name]) == small // 4).all()
    experts = [layer for layer in state.layers if layer.matrix_name.startswith(stacked[0])]
    assert [layer.matrix_name for layer in experts] == [f"{stacked[0]}[{i}]" for i in range(4)]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_its_names_shapes_and_dtypes_and_still_runs(name):
    import torch

    model = MODELS[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = smooth(model, keep=0.5)
    assert list(state) == list(before)
    changed = 0
    for key, value in before.items():
        assert (state[key].shape, state[key].dtype) == (value.shape, value.dtype)
        assert torch.equal(model.state_dict()[key], value), "the model is left as it was"
        if value.dim() < 2:
            assert torch.equal(state[key], value)
        changed += not torch.equal(state[key], value)
    assert changed >= len({layer.matrix_name.split("[")[0] for layer in state.layers}) > 0
    model.load_state_dict(state)


def test_globs_choose_layers():
    weights = small_weights(3)
    state = smooth(weights, keep=0.5, include=["layers.*"], exclude=["*.1.*"])
    assert [layer.matrix_name for layer in state.layers] == ["layers.0.fc", "layers.2.fc"]
    for name, value in weights.items():
        assert (state[name] is value) == (name not in {"layers.0.fc.weight", "layers.2.fc.weight"})


def test_tied_weights_stay_tied():
    model = gpt2()
    state = smooth(model, keep=0.5)
    assert state["lm_head.weight"] is state["transformer.wte.weight"]
    assert ranks_of(state["lm_head.weight"]) == 32
    array = heavy_tailed(50, 20)
    arrays = smooth({"embed.weight": array, "head.weight": array}, keep=0.5)
    assert arrays["head.weight"] is arrays["embed.weight"]
    assert arrays["head.weight"] is not array


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_stored_dtypes_are_kept_and_rounded_to_once(dtype):
    import torch

    weight = torch.from_numpy(heavy_tailed(30, 20)).to(getattr(torch, dtype))
    state = smooth({"fc.weight": weight}, keep=0.5)
    assert state["fc.weight"].dtype == weight.dtype
    expected = torch.from_numpy(truncated(weight.double().numpy(), slice(10)))
    eps = torch.finfo(weight.dtype).eps
    np.testing.assert_allclose(state["fc.weight"].double(), expected, rtol=eps, atol=1e-6 if dtype != "float64" else 1e-12)


def test_a_result_beyond_float16_leaves_the_weight_as_it_is():
    # Removing the common part of a column of 65000s and one of -65000s doubles an entry.
    matrix = np.full((4, 4), 60000.0, np.float16)
    matrix[0, 0] = -60000.0
    state = smooth({"fc.weight": matrix}, keep=-0.25)
    assert np.isfinite(state["fc.weight"]).all()
    np.testing.assert_array_equal(state["fc.weight"], matrix)
    assert state.layers[0].note == "the result leaves the range of float16: left as it is"


@pytest.mark.parametrize("transform", [smooth, sharpen])
def test_a_layer_that_cannot_be_decomposed_passes_through_and_says_so(transform):
    broken = heavy_tailed(60, 40).copy()
    broken[2, 3] = np.nan
    zeros = np.zeros((60, 40))
    state = transform({"broken.weight": broken, "zeros.weight": zeros, "good.weight": heavy_tailed(60, 40)})
    assert state["broken.weight"] is broken
    assert state["zeros.weight"] is zeros
    notes = {layer.matrix_name: layer.note for layer in state.layers}
    assert notes["broken"].startswith("left as it is: ")
    assert "NaN" in notes["broken"]
    assert notes["zeros"] == "all weights are zero: left as it is"


def test_what_is_no_weight_passes_through_with_its_reason():
    import torch

    codes = torch.arange(12, dtype=torch.int32).reshape(3, 4)
    state = smooth(
        {"fc.weight": torch.eye(6) + 1, "fc.bias": torch.ones(6), "codes": codes, "empty.weight": torch.ones(0, 3)}, keep=0.5
    )
    assert state["codes"] is codes
    assert torch.equal(state["fc.bias"], torch.ones(6))
    reasons = {tensor.name: tensor.reason for tensor in state.skipped}
    assert "int32" in reasons["codes"]
    assert reasons["empty.weight"] == "a side of length zero"


def test_a_parametrised_weight_is_not_written_back():
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    torch.nn.utils.parametrizations.weight_norm(model[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = smooth(model, keep=0.5)
    assert [layer.matrix_name for layer in state.layers] == ["1"]
    assert {name for name in before if not torch.equal(state[name], before[name])} == {"1.weight"}
    assert [tensor.reason for tensor in state.skipped] == ["computed from what is stored, and cannot be written back"]


# --- containers


def test_names_of_wrappers_are_kept():
    import torch

    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in torch.nn.Linear(8, 6).state_dict().items()}
    smoothed = smooth(state, keep=0.5, include=["weight"])
    assert list(smoothed) == ["module.weight", "module.bias"]
    assert ranks_of(smoothed["module.weight"]) == 3


def test_every_container_gives_the_same_state(tmp_path):
    import torch
    from safetensors.torch import save_file

    model = gpt2()
    expected = smooth(model, keep=0.5)
    save_file(untied(model), tmp_path / "model.safetensors")
    model.config.save_pretrained(tmp_path)
    nested = tmp_path / "checkpoint.pt"
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}, "epoch": 3, "optimizer": {"state": {}}}, nested
    )
    for container in (tmp_path, nested, as_torch_file(model, tmp_path), model.state_dict()):
        state = smooth(container, keep=0.5)
        names = {name.removeprefix("model.") if container is nested else name: name for name in state}
        assert set(names) <= set(expected)
        for plain, name in names.items():
            assert torch.equal(state[name], expected[plain]), (container, name)


def test_a_file_gives_back_integers_as_they_are(tmp_path):
    import torch

    codes = torch.tensor([[2**40 + 1, 3], [5, 2**62 + 1]])
    torch.save({"fc.weight": torch.eye(8) + 1, "codes": codes}, tmp_path / "a.pt")
    save({"fc.weight": torch.eye(8) + 1, "codes": codes}, tmp_path / "a.safetensors")
    for file in ("a.pt", "a.safetensors"):
        assert torch.equal(smooth(tmp_path / file, keep=0.5)["codes"], codes)


def test_in_place_changes_the_model_and_nothing_else():
    import torch

    model = gpt2()
    expected = smooth(model, keep=0.5)
    addresses = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    state = smooth(model, keep=0.5, inplace=True)
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == addresses
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name])
        assert torch.equal(state[name], value)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_in_place_writes_into_arrays():
    weights = small_weights(1)
    before = {name: value.copy() for name, value in weights.items()}
    arrays = dict(weights)
    state = smooth(weights, keep=0.5, inplace=True, exclude=["head"])
    for name, array in arrays.items():
        assert weights[name] is array
        assert state[name] is array
        assert np.array_equal(array, before[name]) == (name == "head.weight")


def test_in_place_refuses_what_it_cannot_write_before_it_writes(tmp_path):
    weights = small_weights(2)
    weights["layers.1.fc.weight"].flags.writeable = False
    before = weights["embed.weight"].copy()
    with pytest.raises(InputError, match="'layers.1.fc.weight' is read-only"):
        smooth(weights, keep=0.5, inplace=True)
    np.testing.assert_array_equal(weights["embed.weight"], before)
    with pytest.raises(InputError, match="a model on disk is not changed"):
        smooth(str(tmp_path), inplace=True)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("trace_lok", "unknown rule 'trace_lok'. Did you mean 'trace_log'"),
        ("0.5", "unknown rule '0.5'"),
        (0.0, r"expected a fraction in \(0, 1\)"),
        (1.0, "got 1.0"),
        (-1.5, "got -1.5"),
        (float("nan"), "got nan"),
        (None, "got None"),
    ],
)
def test_an_impossible_rule_is_refused(keep, message):
    with pytest.raises(InputError, match=message):
        smooth(small_weights(), keep=keep)


# --- WeightWatcher 0.7.7, in a process of its own, because importing it changes warning filters and logging

SCRIPT = """
    import sys, warnings
    warnings.simplefilter("ignore")
    import torch, weightwatcher
    for method in sys.argv[2:]:
        file = f"{sys.argv[1]}/{method}.pt"
        state = torch.load(file, weights_only=True)
        channels = state["0.weight"].shape
        model = torch.nn.Sequential(
            torch.nn.Conv2d(channels[1], channels[0], 3, bias=False), torch.nn.Linear(80, 120), torch.nn.Linear(120, 60)
        )
        model.load_state_dict(state)
        watcher = weightwatcher.WeightWatcher(model=model)
        if method == "sharpen":
            watcher.SVDSharpness(model=model)
        else:
            watcher.SVDSmoothing(model=model, method=method, percent=0.25)
        torch.save(model.state_dict(), file)
"""


def small_model():
    import torch

    torch.manual_seed(0)
    return {
        "0.weight": torch.randn(24, 16, 3, 3) * (torch.rand(16) ** -0.4)[:, None, None],
        "1.weight": torch.from_numpy(heavy_tailed(120, 80)),
        "1.bias": torch.randn(120),
        "2.weight": torch.from_numpy(heavy_tailed(60, 120, seed=1)),
        "2.bias": torch.randn(60),
    }


def model_with_a_trap():
    import torch

    state = small_model()
    torch.manual_seed(3)
    state["1.weight"] = torch.randn(120, 80)
    state["1.weight"][7, 11] = 60.0
    state["2.weight"] = torch.randn(60, 120)
    return state


SMOOTHING = [("trace_log", "detX"), ("power_law", "alpha_min"), (0.25, "svd")]


@pytest.fixture(scope="module")
def weightwatchers(tmp_path_factory):
    """What WeightWatcher makes of the models, by method: asked in one process, as it takes seconds to start."""
    import torch

    folder = tmp_path_factory.mktemp("weightwatcher")
    methods = [*(method for _, method in SMOOTHING), "sharpen"]
    for method in methods:
        torch.save(model_with_a_trap() if method == "sharpen" else small_model(), folder / f"{method}.pt")
    asked_of_weightwatcher(textwrap.dedent(SCRIPT), folder, *methods)
    return {method: torch.load(folder / f"{method}.pt", weights_only=True) for method in methods}


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "method"), SMOOTHING)
def test_smoothing_keeps_what_weightwatcher_keeps_and_is_nearer(weightwatchers, keep, method):
    model, theirs = small_model(), weightwatchers[method]
    state = smooth(model, keep=keep)
    for name, weight in model.items():
        if weight.dim() < 2:
            np.testing.assert_array_equal(theirs[name], weight)
            continue
        pairs = [
            (m.double().flatten(2).permute(2, 0, 1) if m.dim() == 4 else m.double()[None])
            for m in (weight, state[name], theirs[name])
        ]
        for exact, ours, others in zip(*(pair.numpy() for pair in pairs), strict=True):
            assert ranks_of(ours) == ranks_of(others), name
            # Theirs is a randomised decomposition: never nearer than ours, and near to it.
            our_error, their_error = np.linalg.norm(ours - exact), np.linalg.norm(others - exact)
            assert our_error <= their_error * (1.0 + 1e-6)
            np.testing.assert_allclose(others, ours, atol=0.02 * np.abs(exact).max())


@pytest.mark.slow
def test_sharpening_removes_the_traps_that_weightwatcher_removes(weightwatchers):
    import torch

    model, theirs = model_with_a_trap(), weightwatchers["sharpen"]
    state = sharpen(model)
    # Both decompositions are exact here; WeightWatcher's is in float32.
    np.testing.assert_allclose(theirs["1.weight"], state["1.weight"], atol=1e-4)
    assert abs(float(state["1.weight"][7, 11])) < 5.0
    assert torch.equal(state["2.weight"], model["2.weight"])
    assert torch.equal(theirs["2.weight"], model["2.weight"])
