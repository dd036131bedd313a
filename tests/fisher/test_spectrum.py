import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from spectra.errors import InputError
from spectra.esd.power_law import fit_power_law
from spectra.fisher.estimate import fisher
from spectra.fisher.spectrum import SpectrumProgress, fisher_spectrum
from tests.fisher.literal import gradient, token_losses
from tests.fisher.looped_uses import LOOPED
from tests.fisher.models import CASES, GPT2, NUM_SAMPLES, RESNET, causal, image_classifier, in_batches, made, masked
from tests.fisher.uses import FOLLOWED, N

# Both sides sum the same numbers in float64 in another order; the bar of the specification is 1e-8.
EXACT = 1e-12

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 12}
SMALL = {
    "bert, tied": lambda: masked("BertForMaskedLM", **TINY),
    "gpt2, tied": lambda: causal("GPT2LMHeadModel", **{**GPT2, "n_embd": 8, "n_layer": 1}),
    "resnet": lambda: image_classifier("ResNetForImageClassification", **{**RESNET, "hidden_sizes": [4, 4]}),
}


def in_double(batch):
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in batch.items()}


def mlp(*sizes, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [module for a, b in itertools.pairwise(sizes) for module in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).to(dtype)


def pairs(num_samples, num_inputs, num_classes, *, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_samples, num_inputs, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(num_classes, (num_samples,), generator=generator)


def cut(pair, size):
    return list(zip(*(tensor.split(size) for tensor in pair), strict=True))


def dense(rows, num_samples, layer_name=None):
    """Eigenvalues of the dense Fisher of a layer, or of the whole model, from one gradient per row."""
    names = [name for name in rows[0] if layer_name in (None, name.rpartition(".")[0])]
    jacobian = np.stack([np.concatenate([row[name].double().flatten() for name in names]) for row in rows])
    return np.linalg.eigvalsh(jacobian.T @ jacobian / num_samples)


def assert_eigenvalues(found, of_matrix, scale):
    """``found`` are the largest eigenvalues of a matrix, and all others are zero."""
    assert (np.diff(found) >= 0).all()
    assert len(found) <= len(of_matrix)
    np.testing.assert_allclose(found, of_matrix[len(of_matrix) - len(found) :], rtol=0, atol=EXACT * scale)
    np.testing.assert_allclose(of_matrix[: len(of_matrix) - len(found)], 0.0, atol=EXACT * scale)


def assert_spectrum(spectrum, rows, num_samples):
    whole = dense(rows, num_samples)
    assert len(whole) < 2000
    assert_eigenvalues(spectrum.whole, whole, whole[-1])
    for layer in spectrum.layers:
        assert_eigenvalues(layer.eigenvalues, dense(rows, num_samples, layer.layer_name), whole[-1])


def assert_same(found, expected):
    assert [layer.layer_name for layer in found.layers] == [layer.layer_name for layer in expected.layers]
    scale = expected.whole[-1]
    np.testing.assert_allclose(found.whole, expected.whole, rtol=0, atol=EXACT * scale)
    for one, other in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=0, atol=EXACT * scale)


# Against the dense matrix


@pytest.mark.parametrize("name", SMALL)
def test_eigenvalues_are_those_of_the_dense_fisher(name):
    case = SMALL[name]()
    model = case.model.double()
    rows = [gradient(model, token_losses(model, in_double(sample)).mean()) for sample in case.samples]
    spectrum = fisher_spectrum(model, [in_double(batch) for batch in case.batches(2)])
    assert_spectrum(spectrum, rows, NUM_SAMPLES)


@settings(deadline=None, max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    num_classes=st.integers(2, 4),
    num_samples=st.integers(1, 12),
    batch_size=st.integers(1, 12),
)
def test_any_small_network_has_the_eigenvalues_of_its_dense_fisher(sizes, num_classes, num_samples, batch_size):
    model, data = mlp(*sizes, num_classes), pairs(num_samples, sizes[0], num_classes)
    rows = [gradient(model, functional.cross_entropy(model(x), y)) for x, y in cut(data, 1)]
    assert_spectrum(fisher_spectrum(model, cut(data, batch_size)), rows, num_samples)


def test_with_more_samples_than_parameters_there_are_as_many_eigenvalues_as_parameters():
    model, data = mlp(2, 3), pairs(40, 2, 3)
    spectrum = fisher_spectrum(model, [data])
    assert [len(layer.eigenvalues) for layer in spectrum.layers] == [9] == [len(spectrum.whole)]
    rows = [gradient(model, functional.cross_entropy(model(x), y)) for x, y in cut(data, 1)]
    assert_spectrum(spectrum, rows, 40)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv1d(4, 6, 3, groups=2, padding=1), (4, 5)),
        (nn.Conv2d(2, 4, 3, stride=2, dilation=2), (2, 9, 9)),
        (nn.Conv3d(1, 3, 2), (1, 3, 3, 3)),
    ],
    ids=["1d, groups", "2d, dilation", "3d"],
)
def test_convolutions_have_the_eigenvalues_of_the_dense_fisher(module, shape):
    torch.manual_seed(0)
    model = nn.Sequential(module, nn.Flatten(), nn.LazyLinear(3)).double()
    inputs, targets = torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 3
    model(inputs)
    rows = [gradient(model, functional.cross_entropy(model(x), y)) for x, y in cut((inputs, targets), 1)]
    assert_spectrum(fisher_spectrum(model, cut((inputs, targets), 4)), rows, 6)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", [*FOLLOWED, *LOOPED])
def test_however_parameters_are_used_the_eigenvalues_are_those_of_the_dense_fisher(name):
    make, inputs = FOLLOWED[name] if name in FOLLOWED else LOOPED[name][0]
    torch.manual_seed(0)
    model, x, targets = make().double().eval(), inputs(), torch.arange(N) % 3
    x = x.double() if x.is_floating_point() else x
    rows = [gradient(model, functional.cross_entropy(model(x[n : n + 1]), targets[n : n + 1])) for n in range(N)]
    assert_spectrum(fisher_spectrum(model, [(x, targets)]), rows, N)


# Which Fisher


def test_each_token_has_a_gradient_of_its_own():
    case = SMALL["gpt2, tied"]()
    model = case.model.double()
    losses = [token_losses(model, sample) for sample in case.samples]
    rows = [gradient(model, loss, retain_graph=True) for of_sample in losses for loss in of_sample]
    spectrum = fisher_spectrum(model, case.batches(2), reduction="token")
    np.testing.assert_allclose(spectrum.whole[-len(rows) :], dense(rows, NUM_SAMPLES)[-len(rows) :], atol=1e-12)
    assert not spectrum.whole[: -len(rows)].any()  # tokens that short texts of a batch do not have


def test_sums_over_a_sequence_are_those_of_its_tokens():
    case = SMALL["bert, tied"]()
    model = case.model.double()
    rows = [gradient(model, token_losses(model, sample).sum()) for sample in case.samples]
    assert_spectrum(fisher_spectrum(model, case.batches(), reduction="sequence_sum"), rows, NUM_SAMPLES)


def test_the_exact_fisher_of_a_softmax_regression_is_known():
    (inputs, targets), model = pairs(15, 3, 4), mlp(3, 4)
    spectrum = fisher_spectrum(model, [(inputs, targets)], kind="exact", include="*weight")
    probs = model(inputs).softmax(1).detach()
    parts = [torch.kron(p.diag() - torch.outer(p, p), torch.outer(x, x)) for p, x in zip(probs, inputs, strict=True)]
    expected = np.linalg.eigvalsh(torch.stack(parts).mean(0).numpy())
    assert_eigenvalues(spectrum.eigenvalues("0"), expected, expected[-1])
    assert spectrum.info.num_rows == 15 * 4


def test_the_exact_fisher_of_a_linear_regression_is_known():
    inputs, targets = torch.randn(15, 3, dtype=torch.float64), torch.randn(15, 2, dtype=torch.float64)
    spectrum = fisher_spectrum(mlp(3, 2), [(inputs, targets)], kind="exact", include="*weight")
    of_inputs = np.linalg.eigvalsh((inputs.t() @ inputs / 15).numpy())
    assert_eigenvalues(spectrum.whole, np.repeat(of_inputs, 2), of_inputs[-1])
    assert spectrum.info.task == "regression"


def test_labels_are_drawn_as_the_seed_says():
    (inputs, targets), model, draws = pairs(6, 3, 4), mlp(3, 5, 4), 3
    uniforms = torch.rand(6, draws, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    labels = torch.searchsorted(model(inputs).softmax(1).detach().cumsum(1), uniforms)
    rows = [
        gradient(model, functional.cross_entropy(model(inputs[n : n + 1]), labels[n, s : s + 1]) / draws**0.5)
        for n in range(6)
        for s in range(draws)
    ]
    spectrum = fisher_spectrum(model, cut((inputs, targets), 4), kind="sampled", num_draws=draws, seed=7)
    assert_spectrum(spectrum, rows, 6)


def test_a_loss_of_ones_own_is_differentiated():
    model, data = mlp(3, 4), pairs(8, 3, 4)
    spectrum = fisher_spectrum(
        model, [data], loss=lambda m, pair: functional.cross_entropy(m(pair[0]), pair[1], reduction="none")
    )
    assert spectrum.info.task == "custom"
    assert_same(spectrum, fisher_spectrum(model, [data]))


@pytest.mark.parametrize("name", CASES)
def test_the_eigenvalues_of_a_layer_add_up_to_the_trace_of_the_diagonal(name):
    case = CASES[name]()
    spectrum, diagonal = (measure(case.model, case.batches(2)) for measure in (fisher_spectrum, fisher))
    traces = diagonal.scores("layer", "trace")
    assert [layer.layer_name for layer in spectrum.layers] == list(traces)
    found = np.array([layer.trace for layer in spectrum.layers])
    # float32 gradients, relative to the largest
    np.testing.assert_allclose(found, list(traces.values()), rtol=0, atol=1e-6 * max(traces.values()))
    assert np.isclose(spectrum.whole.sum(), sum(traces.values()), rtol=1e-6)
    assert spectrum.info.data == diagonal.info.data


@pytest.mark.parametrize(
    "settings", [{"kind": "sampled", "num_draws": 2, "seed": 3}, {"kind": "exact"}, {"reduction": "token"}]
)
def test_traces_agree_for_every_kind(settings):
    case = SMALL["bert, tied"]()
    model = case.model.double()
    traces = fisher(model, case.batches(2), **settings).scores("layer", "trace")
    spectrum = fisher_spectrum(model, case.batches(2), **settings)
    np.testing.assert_allclose([layer.trace for layer in spectrum.layers], list(traces.values()), rtol=1e-10, atol=1e-18)


# Ways to the same numbers


class Mixed(nn.Module):
    """Dense layers around an operation that has no rule: its parameter is looped, theirs are not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 3)
        self.between = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return self.second(torch.einsum("bi,ij->bj", self.first(x).tanh(), self.between))


@pytest.mark.parametrize("kind", ["empirical", "sampled", "exact"])
def test_several_passes_give_the_numbers_of_one(kind):
    model, data = Mixed().double(), pairs(7, 3, 3)
    steps = []
    settings = {"kind": kind, "num_draws": 2}
    one = fisher_spectrum(model, cut(data, 3), **settings)
    several = fisher_spectrum(model, cut(data, 3), **settings, max_memory_gib=1e-9, progress=steps.append)
    assert_same(several, one)
    assert steps[-1] == SpectrumProgress(3 * 3 + 3, 3 * 3 + 3)  # three batches, three times; three layers
    assert_same(fisher_spectrum(model, cut(data, 3), **settings, route="loop"), one)


@pytest.mark.parametrize("settings", [{}, {"reduction": "token"}, {"kind": "sampled", "num_draws": 2}], ids=str)
@pytest.mark.parametrize("name", ["bert, tied", "gpt2, tied"])
def test_batch_sizes_passes_and_the_loop_change_nothing(name, settings):
    case = SMALL[name]()
    model = case.model.double()
    expected = fisher_spectrum(model, case.batches(), **settings)
    for other in ({"max_memory_gib": 1e-9}, {"route": "loop"}):
        assert_same(fisher_spectrum(model, case.batches(), **settings, **other), expected)
    # Batches of one have no rows for tokens that only others have.
    of_single = fisher_spectrum(model, case.batches(1), **settings).whole
    shared = min(len(of_single), len(expected.whole))
    np.testing.assert_allclose(of_single[-shared:], expected.whole[-shared:], rtol=0, atol=EXACT * expected.whole[-1])


def test_memory_for_some_layers_makes_some_passes():
    model, data = mlp(50, 40, 30, 20, 3), pairs(20, 50, 3)
    ticks = []
    # The factors of a sample take 90 + 70 + 50 + 23 numbers, and the biases 93: in 20 samples, 52,160 bytes. Two fit, and two.
    fisher_spectrum(model, cut(data, 5), max_memory_gib=40_000 / 2**30, progress=ticks.append)
    assert ticks[-1].total_steps == 2 * 4 + 4
    assert [tick.num_steps for tick in ticks] == list(range(1, 13))


def test_the_longest_batch_says_what_fits_into_memory():
    case = masked("BertForMaskedLM")
    batches = list(in_batches(case.batch, 1))
    short = {name: tensor[:, :3] for name, tensor in case.samples[3].items()}
    steps = {}
    for name, order in {"ascending": [short, *batches], "descending": [*batches, short]}.items():
        ticks = []
        fisher_spectrum(case.model, order, max_memory_gib=4e-5, progress=ticks.append)
        steps[name] = ticks[-1].total_steps
    assert steps["ascending"] == steps["descending"] > len(batches) + 1 + len(fisher_spectrum(case.model, batches).layers)


# What comes of it


def test_samples_without_a_target_count_as_nothing():
    case = SMALL["bert, tied"]()
    model, batch = case.model.double(), dict(case.batch)
    expected = fisher_spectrum(model, list(in_batches(batch, 5)))
    more = {name: torch.cat([tensor, tensor[:2]]) for name, tensor in batch.items()}
    more["labels"][5:] = -100
    found = fisher_spectrum(model, list(in_batches(more, 4)))
    assert (found.info.num_samples, found.info.num_rows) == (5, 7)
    assert not found.whole[:2].any()
    np.testing.assert_allclose(found.whole[2:], expected.whole, rtol=0, atol=EXACT * expected.whole[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_beyond_the_rank_are_zero_and_left_out_of_a_fit(dtype):
    model, data = mlp(10, 20, 4, dtype=dtype), pairs(60, 10, 4, dtype=dtype)
    again = tuple(torch.cat([tensor, tensor]) for tensor in data)  # as other batches, so that rounding differs
    once, twice = fisher_spectrum(model, [data]), fisher_spectrum(model, cut(again, 40))
    for layer in ("0", "2"):
        values = twice.eigenvalues(layer)
        rank = int(np.count_nonzero(once.eigenvalues(layer)))
        assert np.count_nonzero(values) == rank <= 60 < len(values)
    fit = fit_power_law(twice.eigenvalues("0"))
    assert fit.num_tail <= 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rank_of_an_exact_fisher_is_found(dtype):
    model, data = mlp(30, 40, 5, dtype=dtype), pairs(20, 30, 5, dtype=dtype)
    for layer in fisher_spectrum(model, [data], kind="exact").layers:
        assert len(layer.eigenvalues) == 20 * 5
        assert np.count_nonzero(layer.eigenvalues) == 20 * 4  # the gradients of a sample, times probabilities, add up to 0


def test_low_precision_gradients_are_multiplied_in_float64():
    case = SMALL["bert, tied"]()
    model = case.model.to(torch.bfloat16)
    traces = fisher(model, case.batches()).scores("layer", "trace")
    spectrum = fisher_spectrum(model, case.batches())
    assert spectrum.whole.dtype == np.float64
    # squares added up in float32, and in float64
    np.testing.assert_allclose([layer.trace for layer in spectrum.layers], list(traces.values()), rtol=1e-5, atol=1e-12)


def test_half_precision_gradients_are_scaled_back():
    model, data = mlp(3, 5, 4), pairs(8, 3, 4)
    expected = fisher_spectrum(model, [data])
    half = fisher_spectrum(model.half(), [(data[0].half(), data[1])])
    np.testing.assert_allclose(half.whole[-3:], expected.whole[-3:], rtol=0.02)  # float16 has three digits


def test_the_record_says_which_fisher_it_is():
    case = masked("BertForMaskedLM")
    settings = {"kind": "sampled", "reduction": "sequence_sum", "num_draws": 2, "seed": 5}
    info = fisher_spectrum(case.model, case.batches(2), **settings, include="*layer.0.*").info
    assert (info.kind, info.reduction, info.num_draws, info.seed) == ("sampled", "sequence_sum", 2, 5)
    assert (info.task, info.model, info.num_samples, info.num_rows) == ("masked-lm", "BertForMaskedLM", 5, 10)
    assert len(info.data) == 64
    assert info.notes == ()


def test_only_layers_asked_for_have_spectra():
    spectrum = fisher_spectrum(mlp(3, 4, 2), [pairs(5, 3, 2)], include="2.*", exclude="*.bias")
    assert [(layer.layer_name, layer.num_params) for layer in spectrum.layers] == [("2", 8)]


def test_notes_say_what_was_looped_and_what_no_gradient_reaches():
    model = Mixed()
    model.unused = nn.Linear(2, 2)
    spectrum = fisher_spectrum(model.double(), cut(pairs(6, 3, 3), 3))
    looped, unreached = spectrum.info.notes
    assert looped == "measured one sample at a time, as the operation 'einsum' has no rule: between"
    assert unreached == "no gradient reaches: unused.weight, unused.bias"
    layer = next(layer for layer in spectrum.layers if layer.layer_name == "unused")
    assert not layer.eigenvalues.any()
    assert np.isnan(layer.stable_rank)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_the_gpu_gives_what_the_cpu_gives(name):
    case = SMALL[name]()
    model, batches = case.model.double(), [in_double(batch) for batch in case.batches(2)]
    expected = fisher_spectrum(model, batches)
    assert_same(fisher_spectrum(model.cuda(), batches), expected)


# The model is left as found


def state_of(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [dict(vars(parameter)) for parameter in model.parameters()],
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("stops_after", [None, 1, 3, 4])
def test_the_model_is_left_as_found_also_when_interrupted(stops_after):
    model = made("BertForSequenceClassification", **{**TINY, "num_attention_heads": 2, "vocab_size": 20, "num_labels": 3})
    model.train()
    model.dropout.eval()
    model.classifier.bias.requires_grad_(False)
    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    before = state_of(model)
    batch = {"input_ids": torch.arange(12).view(4, 3), "labels": torch.tensor([0, 1, 2, 0])}

    def stop(progress):
        if progress.num_steps == stops_after:
            raise KeyboardInterrupt

    settings = {"kind": "sampled", "include": ["classifier.weight", "*layer.0.*"], "progress": stop}
    if stops_after is None:
        fisher_spectrum(model, list(in_batches(batch, 2)), **settings)
    else:
        with pytest.raises(KeyboardInterrupt):
            fisher_spectrum(model, list(in_batches(batch, 2)), **settings)
    assert state_of(model) == before
    assert set(vars(batch["input_ids"])) == set()


# What it refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "empirial"}, r"unknown kind 'empirial'\. Did you mean 'empirical'\? Known: empirical, sampled, exact\."),
        ({"reduction": "tokens"}, r"unknown reduction 'tokens'\. Did you mean 'token'\?"),
        ({"route": "slow"}, r"unknown route 'slow'\. Known: auto, loop\."),
        ({"task": "masked"}, r"unknown task 'masked'\. Did you mean 'masked-lm'\?"),
        ({"include": "3.*"}, r"no parameter matches '3\.\*'\."),
        ({"max_memory_gib": 0}, r"max_memory_gib is 0: pass a number above 0\."),
        ({"max_memory_gib": float("nan")}, r"max_memory_gib is nan: pass a number above 0\."),
        ({"kind": "sampled", "num_draws": 0}, r"num_draws is 0: pass a whole number, 1 or more\."),
        ({"kind": "sampled", "seed": 1.5}, r"seed is 1\.5: pass a whole number of at most 64 bits, such as 0\."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        fisher_spectrum(mlp(3, 2), [pairs(4, 3, 2)], **settings)


def test_no_batches_are_refused():
    with pytest.raises(InputError, match=r"there are no batches: pass at least one\."):
        fisher_spectrum(mlp(3, 2), [])


def test_data_without_a_target_are_refused():
    inputs, targets = pairs(4, 3, 2)
    with pytest.raises(InputError, match=r"no sample of 4 has a target: every label is -100"):
        fisher_spectrum(mlp(3, 2), cut((inputs, torch.full_like(targets, -100)), 2), max_memory_gib=1e-9)


def test_a_model_whose_gradients_reach_nothing_is_refused():
    model = mlp(3, 2)
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: model[0](x)
    with pytest.raises(InputError, match=r"no gradient reaches any of the 2 parameters"):
        fisher_spectrum(model, [pairs(4, 3, 2)], include="unused.*")


def test_more_gradients_than_can_be_solved_are_refused():
    with pytest.raises(InputError, match=r"a spectrum of more than 8,192 gradients takes too long: pass fewer samples"):
        fisher_spectrum(mlp(1, 2), [pairs(4097, 1, 2)], kind="exact")


def test_a_gradient_that_is_not_finite_is_refused():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2).double()

        def forward(self, x):
            return (0.0 * self.fc(x)).sqrt()  # 0, with an infinite slope

    with pytest.raises(InputError, match=r"the gradient of 'fc\.weight' is not finite for sample 0 of batch 0"):
        fisher_spectrum(Root(), cut(pairs(4, 3, 2), 2))
