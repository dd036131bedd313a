"""Weights of samples: sums of weighted squares in every kind, reduction and route, and never an input of the model."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spectra.fisher.estimate import fisher
from spectra.fisher.spectrum import fisher_spectrum
from tests.fisher.literal import error, exact_fisher, gradients, token_fisher
from tests.fisher.models import CASES
from tests.fisher.uses import Custom
from tests.fisher.weighted import NUM_SAMPLES, WEIGHTS, Named, assert_same_numbers, classifier, cut, data, own_loss, weighted

BAR = 1e-6  # float32 rounding; the bar of the specification
EXACT = 1e-12  # float64: the same sums in another order


def numbers():
    """A regression."""
    return {**data(), "labels": torch.randn(NUM_SAMPLES, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)}


def of_rows(batch, rows):
    return {name: tensor[rows] for name, tensor in batch.items()}


def assert_scaled(found, expected, factor):
    """Values are those of another Fisher times a number, in float64."""
    for name in expected.values:
        np.testing.assert_allclose(found.values[name], factor * expected.values[name], rtol=EXACT, atol=1e-15)


# Every branch of the objectives: task, batch and settings.
WAYS = {
    "classes": (data, {}),
    "classes, sampled": (data, {"kind": "sampled", "num_draws": 2}),
    "classes, exact": (data, {"kind": "exact"}),
    "numbers": (numbers, {"task": "regression"}),
    "numbers, sampled": (numbers, {"task": "regression", "kind": "sampled", "num_draws": 2}),
    "numbers, exact": (numbers, {"task": "regression", "kind": "exact"}),
    "own loss": (data, {"loss": own_loss}),
}
way = pytest.mark.parametrize(
    ("batch", "settings"), [pytest.param(made(), given, id=name) for name, (made, given) in WAYS.items()]
)
route = pytest.mark.parametrize("route", ["auto", "loop"])


@way
@route
@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
def test_weights_of_one_are_no_weights_to_the_bit(batch, settings, route, keep):
    plain = fisher(classifier(), cut(batch, 2), route=route, keep=keep, **settings)
    ones = torch.ones(NUM_SAMPLES)
    assert_same_numbers(fisher(classifier(), cut(weighted(batch, ones), 2), route=route, keep=keep, **settings), plain)


@way
@route
def test_a_weighted_fisher_is_the_sum_of_those_of_its_samples(batch, settings, route):
    model = classifier()
    whole = fisher(model, cut(weighted(batch), 2), route=route, **settings)
    one_hot = [fisher(model, [weighted(batch, row)], **settings) for row in torch.eye(NUM_SAMPLES)]  # of the same draws
    for name, values in whole.values.items():
        expected = sum(weight * one.values[name] for weight, one in zip(WEIGHTS.tolist(), one_hot, strict=True))
        np.testing.assert_allclose(values, expected, rtol=EXACT, atol=1e-15)
    assert whole.info.num_samples == NUM_SAMPLES
    assert all(one.trace > 0.0 for one in one_hot[2].tensors)


@pytest.mark.parametrize("settings", [{}, {"kind": "exact"}, {"loss": own_loss}], ids=["empirical", "exact", "own loss"])
def test_whole_weights_are_repeated_samples_but_for_the_divisor(settings):
    repeats = torch.tensor([2, 0, 1, 3, 1])
    model, batch = classifier(), data()
    repeated = of_rows(batch, torch.arange(NUM_SAMPLES).repeat_interleave(repeats))
    found = fisher(model, [weighted(batch, repeats)], **settings)
    assert_scaled(found, fisher(model, [repeated], **settings), int(repeats.sum()) / NUM_SAMPLES)


@route
def test_a_sample_of_weight_zero_adds_nothing_but_counts(route):
    model, batch = classifier(), data()
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    found = fisher(model, cut(weighted(batch, weights), 3), route=route)
    assert_scaled(found, fisher(model, [of_rows(batch, weights > 0)]), 3 / NUM_SAMPLES)
    assert (found.info.num_samples, found.info.num_skipped) == (NUM_SAMPLES, 0)


@pytest.mark.parametrize("size", [2, NUM_SAMPLES])
@pytest.mark.parametrize("name", ["bert, sdpa", "gpt2, sdpa", "bert, classes", "t5, tied", "resnet"])
def test_weights_of_transformers_are_those_of_a_plain_loop(name, size):
    case = CASES[name]()
    rows = gradients(case.model, case.samples)
    expected = {name: (row.square() * WEIGHTS.view(-1, *[1] * (row.dim() - 1))).mean(0) for name, row in rows.items()}
    found = fisher(case.model, cut(weighted(case.batch), size))
    assert {tensor.route for tensor in found.tensors} == {"batched"}
    assert error(found.values, expected) < BAR


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        pytest.param({"reduction": "token"}, token_fisher, id="token"),
        pytest.param({"kind": "exact"}, lambda *given: exact_fisher(*given, token_mean=True), id="exact, token_mean"),
    ],
)
def test_weights_belong_to_samples_not_to_tokens(given, reference):
    case = CASES["bert, sdpa"]()
    model = case.model.double()
    found = fisher(model, [weighted(case.batch)], include=["*.weight"], **given)
    ones = [reference(model, [sample]) for sample in case.samples]
    expected = {
        name: sum(weight * one[name] for weight, one in zip(WEIGHTS, ones, strict=True)) / NUM_SAMPLES for name in found.values
    }
    assert error(found.values, expected) < EXACT


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum"])
def test_the_draws_of_a_language_model_are_those_of_one_without_weights(reduction):
    case = CASES["gpt2, sdpa"]()
    given = {"kind": "sampled", "reduction": reduction, "num_draws": 2, "keep": "traces"}
    plain = fisher(case.model, case.batches(2), **given)
    threefold = fisher(case.model, cut(weighted(case.batch, torch.full((NUM_SAMPLES,), 3.0)), 2), **given)
    for mine, other in zip(threefold.tensors, plain.tensors, strict=True):
        assert mine.trace == pytest.approx(3.0 * other.trace, rel=1e-5, abs=1e-12)  # float32; key biases have none


def test_parameters_that_are_looped_are_weighted_like_those_that_are_not():
    torch.manual_seed(0)
    cell = nn.RNN(4, 4, batch_first=True)
    model = Custom(lambda m, x: m.head(m.cell(x[:, None])[0].mean(1)), cell=cell, head=nn.Linear(4, 3)).double()
    found = fisher(model, cut(weighted(data()), 3))
    assert {tensor.route for tensor in found.tensors} == {"batched", "loop"}
    alone = fisher(model, [weighted(data())], route="loop")
    assert error(found.values, alone.values) < EXACT


def test_standard_errors_are_those_of_the_weighted_traces():
    model, batch = classifier(), data()
    found = fisher(model, cut(weighted(batch), 2))
    traces = WEIGHTS.numpy() * [fisher(model, [one]).tensors[0].trace for one in cut(batch, 1)]
    assert found.tensors[0].trace == pytest.approx(traces.mean(), rel=EXACT)
    assert found.tensors[0].trace_std_error == pytest.approx(traces.std(ddof=1) / np.sqrt(NUM_SAMPLES), rel=1e-9)


weight_lists = st.lists(st.floats(0.0, 8.0, width=32), min_size=NUM_SAMPLES, max_size=NUM_SAMPLES).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.float64)
)


@settings(deadline=None, max_examples=15)
@given(weight_lists, weight_lists)
def test_fishers_add_up_as_their_weights_do(first, second):
    model, batch = classifier(), data()
    one, other, both = (fisher(model, [weighted(batch, weights)]).values for weights in (first, second, first + second))
    for name in both:
        np.testing.assert_allclose(both[name], one[name] + other[name], rtol=1e-11, atol=1e-18)  # float64, some of it cancels


class Curious(Named):
    """Takes whatever it is given, and remembers the names."""

    def forward(self, x, **others):
        self.seen = getattr(self, "seen", set()) | set(others)
        return super().forward(x)


@route
def test_the_model_never_sees_the_weights(route):
    model = Curious(4, 3, 3)
    fisher(model, cut(weighted(data()), 2), route=route)
    fisher_spectrum(model, cut(weighted(data()), 2), route=route)
    assert model.seen == set()


def test_a_loss_of_the_users_never_sees_the_weights():
    seen = []

    def loss(model, batch):
        seen.append(set(batch))
        return own_loss(model, batch)

    fisher(classifier(), [weighted(data())], loss=loss)
    assert set().union(*seen) == {"x", "labels"}


def test_weights_of_zero_do_not_stand_in_for_a_proof():
    # The output is centered over the batch, which shows in no input of a parameter: only the proof finds it.
    model = Custom(lambda m, x: m.head(x) - m.head(x).mean(0), head=nn.Linear(4, 3)).double()
    batches = [weighted(data(), torch.zeros(NUM_SAMPLES)), weighted(data(), torch.ones(NUM_SAMPLES))]
    found = fisher(model, batches)
    assert {tensor.route for tensor in found.tensors} == {"loop"}
    assert "a batch did not give the gradients of its samples" in " ".join(found.info.notes)


def test_the_spectrum_is_that_of_the_weighted_fisher():
    model, batch = classifier(), data()
    rows = gradients(model, cut(batch, 1), lambda model, one: own_loss(model, one).sum())
    jacobian = torch.cat([rows[f"first.{name}"].flatten(1) for name in ("weight", "bias")], 1) * WEIGHTS.sqrt()[:, None]
    expected = torch.linalg.eigvalsh(jacobian @ jacobian.T / NUM_SAMPLES).numpy()
    for size in (2, NUM_SAMPLES):
        found = fisher_spectrum(model, cut(weighted(batch), size))
        np.testing.assert_allclose(found.eigenvalues("first"), expected, rtol=1e-9, atol=1e-12 * expected[-1])
    diagonal = fisher(model, [weighted(batch)]).scores("layer", "trace")["first"]
    assert float(expected.sum()) == pytest.approx(diagonal, rel=EXACT)
