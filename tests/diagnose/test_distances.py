import json
import math
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError
from spectra.diagnose.distances import cka_similarity, distances, euclidean_distance
from tests.forked import asked_of_weightwatcher
from tests.models import gpt2, heavy_tailed, small_weights
from tests.strategies import matrices


def reader(matrix):
    return lambda start, stop: matrix[start:stop]


def cka(a, b):
    return cka_similarity(reader(a), reader(b), a.shape)


def cka_by_definition(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return np.linalg.norm(a.T @ b) / math.sqrt(norms)


def partner(matrix, seed=7):
    return matrix + np.abs(matrix).max() * np.random.default_rng(seed).standard_normal(matrix.shape)


def test_distance_and_similarity_by_hand():
    # W1 = diag(3, 4), W2 = diag(0, 4): difference 3; cka = 16 / sqrt(sqrt(81 + 256) * 16).
    a, b = np.diag([3.0, 4.0]), np.diag([0.0, 4.0])
    assert euclidean_distance(reader(a), reader(b), (2, 2)) == 3.0
    assert cka(a, b) == pytest.approx(16.0 / math.sqrt(math.sqrt(337.0) * 16.0), rel=1e-14)


def test_orthogonal_columns_have_no_similarity():
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 20)))[0]
    assert cka(basis[:, :10], basis[:, 10:]) < 1e-14
    # Rows that are orthogonal, in a wide matrix: the columns of [1, 0; 0, 0; ...] against those of [0, 0; 0, 1; ...].
    a, b = np.zeros((2, 9)), np.zeros((2, 9))
    a[0], b[1] = 1.0, 1.0
    assert cka(a, b) == 0.0


# The wide route squares the similarity: a round-off of n * eps in it, so 1e-8 absolute where the similarity is that small.
@given(matrices(), st.integers(0, 2**32 - 1))
def test_similarity_equals_its_definition(matrix, seed):
    other = partner(matrix, seed)
    np.testing.assert_allclose(cka(matrix, other), cka_by_definition(matrix, other), rtol=1e-10, atol=2e-8)


@given(matrices(), st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-6))
def test_similarity_is_one_for_multiples_and_never_more(matrix, factor):
    assert cka(matrix, factor * matrix) == pytest.approx(1.0, abs=1e-12)
    assert 0.0 <= cka(matrix, partner(matrix)) <= 1.0


@given(matrices(), st.integers(0, 2**32 - 1))
def test_both_measures_are_symmetric_and_the_distance_obeys_the_triangle(matrix, seed):
    other, third = partner(matrix, seed), partner(matrix, seed + 1)
    shape = matrix.shape

    def far(a, b):
        return euclidean_distance(reader(a), reader(b), shape)

    assert far(matrix, other) == far(other, matrix)
    assert far(matrix, matrix) == 0.0
    assert far(matrix, third) <= (far(matrix, other) + far(other, third)) * (1.0 + 1e-12)
    assert cka(matrix, other) == pytest.approx(cka(other, matrix), rel=1e-12)


@given(matrices())
def test_similarity_is_unchanged_by_a_common_rotation_of_the_rows(matrix):
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((len(matrix), len(matrix))))[0]
    other = partner(matrix)
    assert cka(rotation @ matrix, rotation @ other) == pytest.approx(cka(matrix, other), rel=1e-9, abs=2e-8)


@pytest.mark.parametrize("factor", [1e-160, 1e-30, 1e150])
@pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
def test_huge_and_tiny_weights_have_the_same_similarity_and_a_scaled_distance(factor, shape):
    a = np.random.default_rng(0).standard_normal(shape)
    b = partner(a)
    assert cka(a * factor, b) == pytest.approx(cka(a, b), rel=1e-11)
    far = euclidean_distance(reader(a * factor), reader(b * factor), shape)
    assert far == pytest.approx(np.linalg.norm(a - b) * factor, rel=1e-13)


@pytest.mark.parametrize("shape", [(120_000, 60), (60, 120_000)])
def test_matrices_of_several_blocks_equal_the_whole(shape):
    a = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    b = a + np.float32(0.5) * np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    far = euclidean_distance(reader(a), reader(b), shape)
    assert far == pytest.approx(np.linalg.norm(a.astype(np.float64) - b), rel=1e-12)
    small = (a @ a.T, a @ b.T, b @ b.T) if shape[0] < shape[1] else None
    if small is None:
        assert cka(a, b) == pytest.approx(cka_by_definition(a, b), rel=1e-12)
    else:  # float32 products of the reference carry 1e-5
        expected = math.sqrt(np.vdot(small[0], small[2])) / math.sqrt(np.linalg.norm(small[0]) * np.linalg.norm(small[2]))
        assert cka(a, b) == pytest.approx(expected, rel=1e-4)


def test_big_sides_are_never_squared():
    import tracemalloc

    a = np.ones((8, 40_000), np.float32)
    a[:, ::2] = 2.0
    tracemalloc.start()
    cka(a, a[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 40_000 * 8 * 4, "a square of 40 000 would take 12.8 GB"


def test_layers_are_matched_by_name_and_the_mean_counts_each_once():
    weights = small_weights(2)
    other = {name: value + np.float32(0.1) for name, value in reversed(weights.items())}
    report = distances(weights, other)
    assert [layer.layer_name for layer in report.layers] == ["embed", "layers.0.fc", "layers.1.fc", "head"]
    for layer, value in zip(report.layers, weights.values(), strict=True):
        assert layer.shape == value.shape
        assert layer.distance == pytest.approx(0.1 * math.sqrt(value.size), rel=1e-5)  # 0.1 rounded to float32
    assert report.mean == pytest.approx(np.mean([layer.distance for layer in report.layers]), rel=1e-15)
    assert report.unmatched == ()
    assert str(report) == f"mean euclidean {report.mean:.4g} over 4 layers"
    assert report.to_dict()["mean"] == report.mean
    assert json.loads(json.dumps(report.to_dict()))["method"] == "euclidean"


def test_wrappers_prefixes_do_not_hinder_matching(tmp_path):
    import torch
    from safetensors.torch import save_file

    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
    wrapped = {f"module._orig_mod.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    for other in (wrapped, model.state_dict(), tmp_path):
        report = distances(model, other)
        assert [layer.layer_name for layer in report.layers] == ["0", "1"]
        assert report.mean == 0.0


def test_what_is_not_compared_is_listed_with_its_reason():
    import torch

    a = {
        "same.weight": np.eye(3),
        "only_a.weight": np.eye(3),
        "shape.weight": np.eye(3),
        "codes.weight": np.eye(3),
        "bias": np.ones(3),
    }
    b = {
        "same.weight": np.eye(3),
        "shape.weight": np.ones((3, 4)),
        "codes.weight": np.ones((3, 3), np.int8),
        "ghost.weight": torch.empty(3, 3, device="meta"),
    }
    report = distances({**a, "ghost.weight": np.eye(3)}, {**b, "only_b.weight": np.eye(2)})
    assert [layer.layer_name for layer in report.layers] == ["same"]
    assert {layer.layer_name: layer.reason for layer in report.unmatched} == {
        "only_a": "not in the second model",
        "shape": "of shape (3, 3) in the first model and (3, 4) in the second model",
        "codes": "of dtype int8 in the second model, not floating point",
        "ghost": "not readable in the second model: meta",
        "only_b": "not in the first model",
    }
    assert str(report).endswith("over 1 layers, 5 weights not compared")


def test_weights_tied_in_both_models_are_compared_once():
    a, b = np.eye(4), 2.0 * np.eye(4)
    tied = distances({"embed.weight": a, "head.weight": a}, {"embed.weight": b, "head.weight": b})
    assert [layer.layer_name for layer in tied.layers] == ["embed"]
    loose = distances({"embed.weight": a, "head.weight": a}, {"embed.weight": b, "head.weight": 3.0 * np.eye(4)})
    assert [layer.distance for layer in loose.layers] == [2.0, 4.0]
    assert loose.unmatched == ()


def test_a_convolution_is_compared_as_filters_by_everything_else():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6, 4, 3, 3))
    assert distances({"c.weight": a}, {"c.weight": b}).mean == pytest.approx(np.linalg.norm(a - b), rel=1e-14)
    expected = cka_by_definition(a.reshape(6, 36), b.reshape(6, 36))
    assert distances({"c.weight": a}, {"c.weight": b}, method="cka").mean == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", ["euclidean", "cka"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(5, 4), (4, 5)])
def test_a_layer_with_nan_or_inf_has_no_distance_and_does_not_spoil_the_mean(method, bad, shape):
    good = np.random.default_rng(0).standard_normal(shape)
    broken = good.copy()
    broken[1, 2] = bad
    report = distances({"a.weight": broken, "b.weight": good}, {"a.weight": good, "b.weight": good}, method=method)
    assert math.isnan(report.layers[0].distance)
    assert report.layers[0].note == "NaN or infinite weights"
    assert report.mean == pytest.approx(0.0 if method == "euclidean" else 1.0, abs=1e-14)


def test_a_zero_weight_has_no_similarity():
    report = distances({"a.weight": np.zeros((3, 2))}, {"a.weight": np.ones((3, 2))}, method="cka")
    assert math.isnan(report.mean)
    assert report.layers[0].note == "a weight is zero"
    assert distances({"a.weight": np.zeros((3, 2))}, {"a.weight": np.ones((3, 2))}).mean == pytest.approx(math.sqrt(6.0))


def test_an_empty_weight_is_at_distance_zero_and_has_no_similarity():
    empty = {"a.weight": np.zeros((0, 3))}
    assert distances(empty, empty).mean == 0.0
    assert math.isnan(distances(empty, empty, method="cka").mean)


def test_globs_choose_layers():
    weights = small_weights(3)
    chosen = distances(weights, weights, include=["layers.*"], exclude=["*.1.*"])
    assert [layer.layer_name for layer in chosen.layers] == ["layers.0.fc", "layers.2.fc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "ckaa"}, "unknown method 'ckaa'. Did you mean 'cka'"),
        ({"include": ["laiers.*"]}, r"include pattern 'laiers.\*' matches none of 6 layers"),
        ({"exclude": ["nothing"]}, "exclude pattern 'nothing' matches none"),
        ({"include": "layers.*"}, "include: expected a sequence of patterns, got the text"),
        ({"exclude": ["*"]}, "no layer to compare among 0 weights"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        distances(small_weights(), small_weights(), **arguments)


def test_models_without_a_common_weight_are_refused():
    with pytest.raises(InputError, match="among 2 weights: 'a' is not in the second model. Give two models"):
        distances({"a.weight": np.eye(2)}, {"b.weight": np.eye(2)})


# WeightWatcher 0.7.7 in a process of its own, because importing it changes warning filters and logging.
SCRIPT = """
    import json, sys, warnings
    warnings.simplefilter("ignore")
    import torch, weightwatcher
    first, second = (torch.load(path, weights_only=True) for path in sys.argv[1:])
    watcher = weightwatcher.WeightWatcher()
    for method in ("raw", "euclidean", "cka"):
        mean, _, table = watcher.distances(first, second, method=method)
        rows = dict(zip(table["longname"], table["delta_W"].astype(float)))
        print("TABLE " + json.dumps([method, float(mean), rows]))
"""


def weightwatchers_distances(tmp_path, first, second):
    import torch

    paths = []
    for number, state in enumerate((first, second)):
        paths.append(str(tmp_path / f"{number}.pt"))
        torch.save(state, paths[-1])
    printed = asked_of_weightwatcher(textwrap.dedent(SCRIPT), *paths)
    lines = [line.removeprefix("TABLE ") for line in printed if line.startswith("TABLE ")]
    return {method: (mean, rows) for method, mean, rows in map(json.loads, lines)}


@pytest.mark.slow
def test_dense_layers_have_weightwatchers_distances(tmp_path):
    import torch

    state = {name: tensor for name, tensor in gpt2().state_dict().items() if tensor.dim() == 2 and "lm_head" not in name}
    state["tall.weight"] = torch.from_numpy(heavy_tailed(300, 50))
    torch.manual_seed(1)
    other = {name: tensor + 0.02 * torch.randn_like(tensor) for name, tensor in state.items()}
    theirs = weightwatchers_distances(tmp_path, state, other)
    for method in ("euclidean", "cka"):
        ours = distances(state, other, method=method)
        mean, rows = theirs[method]
        assert {layer.layer_name for layer in ours.layers} == {name.removesuffix(".weight") for name in rows}
        for layer in ours.layers:
            row = rows.get(layer.layer_name, rows.get(f"{layer.layer_name}.weight"))
            # WeightWatcher computes in the stored float32.
            assert layer.distance == pytest.approx(row, rel=2e-5), (method, layer.layer_name)
        assert ours.mean == pytest.approx(mean, rel=2e-5)


@pytest.mark.slow
def test_convolutions_differ_from_weightwatcher_as_documented(tmp_path):
    import torch

    torch.manual_seed(0)
    a, b = torch.randn(2, 32, 16, 3, 3)
    theirs = weightwatchers_distances(tmp_path, {"c.weight": a}, {"c.weight": b})
    ours = distances({"c.weight": a}, {"c.weight": b})
    assert ours.mean == pytest.approx(theirs["raw"][0], rel=2e-5)
    positions = (a.double() - b.double()).flatten(2).norm(dim=(0, 1))
    assert theirs["euclidean"][0] == pytest.approx(float(positions.mean()), rel=2e-5)
    assert ours.mean == pytest.approx(float(positions.norm()), rel=1e-12)


def test_names_behind_a_prefix_are_matched():
    encoder = small_weights(2)
    with_head = {f"bert.{name}": 2.0 * weight for name, weight in encoder.items()} | {"classifier.weight": np.eye(3)}
    report = distances(encoder, with_head)
    assert [layer.layer_name for layer in report.layers] == [name.removesuffix(".weight") for name in encoder]
    for layer, weight in zip(report.layers, encoder.values(), strict=True):
        assert layer.distance == pytest.approx(np.linalg.norm(weight.astype(np.float64)), rel=1e-13)  # round-off of sums
    assert [one.layer_name for one in report.unmatched] == ["classifier"]
    assert distances(with_head, encoder).layers[0].layer_name.startswith("bert.")
