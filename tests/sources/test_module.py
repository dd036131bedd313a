import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import spectra
from spectra.sources import Layout, open_source
from tests.models import gpt2


def names(model):
    return [tensor.name for tensor in open_source(model).tensors]


def ties(model):
    return {tensor.name: tensor.tied_to for tensor in open_source(model).tensors if tensor.tied_to}


def two_layers(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12))


def old(normalise):
    """Apply one of the older functions of ``torch.nn.utils``, which warn that newer ones exist."""

    def apply(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return normalise(layer)

    return apply


PARAMETRISED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old weight_norm": old(nn.utils.weight_norm),
    "old spectral_norm": old(nn.utils.spectral_norm),
}


def test_parameters_come_in_the_order_of_the_modules():
    assert names(two_layers()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert names(nn.Linear(3, 2)) == ["weight", "bias"]


def test_matrices_among_the_buffers_are_listed_as_a_checkpoint_would_hold_them():
    layer = nn.Linear(4, 4, bias=False)
    layer.register_buffer("table", torch.ones(4, 4))
    layer.register_buffer("scale", torch.ones(4))
    layer.register_buffer("causal", torch.ones(4, 4), persistent=False)
    assert names(layer) == ["weight", "table"]
    assert set(names(layer)) <= set(layer.state_dict())


def test_a_layer_quantized_by_torch_is_dequantized_and_labelled():
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated in favour of torchao
        model[0] = torch.ao.quantization.quantize_dynamic(nn.Sequential(model[0]), {nn.Linear})[0]
        report = spectra.analyze(model)
        expected = spectra.eigenvalues(model[0].weight().dequantize())
    assert [(row.layer_name, row.quantized) for row in report.layers] == [("0", "torch"), ("1", "")]
    assert report.skipped == ()
    np.testing.assert_allclose(report.eigenvalues("0"), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_rows_are_widened_without_loss_and_the_module_keeps_its_dtype(dtype):
    layer = two_layers()[0].to(dtype)
    stored = open_source(layer).tensors[0]
    np.testing.assert_array_equal(stored.read(3, 9), layer.weight[3:9].detach().double().numpy())
    assert stored.dtype == str(layer.weight.dtype).removeprefix("torch.") == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize(
    ("module", "layout"),
    [
        (nn.Linear(3, 2), Layout("linear", class_name="Linear")),
        (nn.Embedding(3, 2), Layout("embedding", class_name="Embedding")),
        (nn.EmbeddingBag(3, 2), Layout("embedding", class_name="EmbeddingBag")),
        (nn.Conv1d(4, 6, 3, groups=2), Layout("convolution", groups=2, class_name="Conv1d")),
        (nn.Conv2d(4, 6, 3), Layout("convolution", class_name="Conv2d")),
        (nn.Conv3d(4, 6, 3), Layout("convolution", class_name="Conv3d")),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), Layout("transposed_convolution", groups=2, class_name="ConvTranspose2d")),
        (nn.Bilinear(3, 2, 4), Layout("other", class_name="Bilinear")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module_tells_how_its_weight_is_laid_out(module, layout):
    assert open_source(module).tensors[0].layout == layout


def test_gpt2s_dense_layers_are_known_to_be_transposed():
    layouts = {tensor.name: tensor.layout for tensor in open_source(gpt2()).tensors}
    assert layouts["transformer.h.0.attn.c_attn.weight"] == Layout("linear", is_transposed=True, class_name="Conv1D")
    assert layouts["transformer.wte.weight"] == Layout("embedding", class_name="Embedding")


def test_shared_parameters_and_shared_modules_are_tied_to_their_first_name():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    model["b"].weight = model["a"].weight
    model["c"] = model["a"]
    assert ties(model) == {"b.weight": "a.weight", "c.weight": "a.weight", "c.bias": "a.bias"}


def test_a_shared_module_with_a_parametrised_weight_is_tied_too():
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    assert ties(nn.ModuleDict({"a": layer, "b": nn.Linear(4, 4), "c": layer})) == {"c.weight": "a.weight", "c.bias": "a.bias"}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("kind", PARAMETRISED)
def test_a_parametrised_weight_is_the_one_the_layer_computes_with(kind, training):
    model = two_layers()
    PARAMETRISED[kind](model[0])
    model.train(training)
    assert sorted(names(model)) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    stored = {tensor.name: tensor for tensor in open_source(model).tensors}["0.weight"]
    found = np.concatenate([stored.read(0, 5), stored.read(5, 16)])
    layer = model[0].eval()
    effective = (layer(torch.eye(20)) - layer.bias).T.detach()  # the images of the unit vectors
    np.testing.assert_allclose(found, effective, rtol=0, atol=1e-6)  # float32 sums of 20 terms under 1


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("kind", PARAMETRISED)
def test_analysing_a_parametrised_model_changes_nothing_in_it(kind, training):
    model = two_layers()
    PARAMETRISED[kind](model[0])
    model.train(training)
    model[0].training = not training  # a mode that train() would not restore
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    assert {row.layer_name for row in spectra.analyze(model).layers} == {"0", "2"}
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


class SlowlyScaled(nn.Module):
    """A parametrisation that notes in which mode it computes, and takes so long that two threads meet in it."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def forward(self, weight):
        self.modes.append(self.training)
        for _ in range(20):
            weight @ weight.T
        self.modes.append(self.training)
        return 2.0 * weight


def test_threads_that_read_one_parametrised_weight_leave_its_mode_alone():
    layer = nn.Linear(64, 64).train()
    slow = SlowlyScaled()
    nn.utils.parametrize.register_parametrization(layer, "weight", slow)
    (stored,) = (tensor for tensor in open_source(layer).tensors if tensor.name == "weight")
    slow.modes.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: stored.read(start, start + 1), list(range(64)) * 4))
    assert set(slow.modes) == {False}
    assert slow.training


# torch's own compiler, when it is first imported, uses a decorator that torch deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_a_compiled_model_has_the_names_of_the_plain_one():
    model = two_layers()
    compiled = torch.compile(model)
    assert names(compiled) == names(model)
    assert names(compiled.state_dict()) == names(model)
    assert open_source(compiled).name == "Sequential"
    partly = nn.ModuleDict({"inner": compiled, "head": nn.Linear(4, 4)})
    assert names(partly)[:2] == ["inner.0.weight", "inner.0.bias"]


def test_a_model_wrapped_for_parallel_training_has_the_names_of_the_plain_one():
    model = two_layers()
    assert names(nn.DataParallel(model)) == names(model)
    assert names(nn.DataParallel(model).state_dict()) == names(model)


def test_the_config_comes_with_the_model_and_through_a_wrapper():
    model = gpt2()
    assert open_source(model).config["model_type"] == "gpt2"
    assert open_source(nn.DataParallel(model)).config["model_type"] == "gpt2"
    assert open_source(nn.Linear(2, 2)).config == {}


def test_a_model_on_the_meta_device_is_rows_without_numbers():
    with torch.device("meta"):
        model = two_layers()
    report = spectra.analyze(model)
    assert [(row.layer_name, row.status, row.num_rows) for row in report.layers] == [("0", "meta", 16), ("2", "meta", 12)]
    assert report.summary.num_failed == 2
    assert report.spectra == {}


@pytest.mark.gpu
def test_a_model_on_the_gpu_gives_the_same_rows_and_stays_there():
    model = two_layers()
    expected = spectra.analyze(model).layers
    model.to("cuda")
    assert repr(spectra.analyze(model).layers) == repr(expected)  # NaN equals NaN here
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}


def test_a_pruned_weight_is_the_one_the_layer_computes_with():
    from torch.nn.utils import prune

    model = two_layers()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    report = spectra.analyze(model)
    expected = np.linalg.svd(model[0].weight.detach().double().numpy(), compute_uv=False)[::-1] ** 2
    np.testing.assert_allclose(report.eigenvalues("0"), expected, rtol=1e-9)


def test_a_lazy_module_that_has_no_shape_yet_is_refused():
    with pytest.raises(spectra.SpectraError):
        spectra.analyze(nn.Sequential(nn.LazyLinear(20), nn.Linear(20, 20)))
