"""Which Fisher: closed forms, enumerations and plain loops for each kind and reduction; what is reported beside the values."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from spectra.fisher.estimate import fisher
from tests.fisher.literal import (
    error,
    exact_fisher,
    fisher_of,
    gradients,
    literal_fisher,
    own_loss,
    pair_loss,
    token_fisher,
    token_losses,
)
from tests.fisher.models import CASES, GPT2, NUM_SAMPLES, causal, in_batches, text_classifier

BAR = 1e-6  # float32 rounding; the bar of the specification
EXACT = 1e-12  # float64


def softmax_regression(num_samples=200, inputs=6, classes=4):
    """A model without bias, its data, and its probabilities."""
    torch.manual_seed(0)
    model = nn.Linear(inputs, classes, bias=False).double()
    x, y = torch.randn(num_samples, inputs, dtype=torch.float64), torch.arange(num_samples) % classes
    return model, x, y, model(x).softmax(dim=1).detach()


def test_the_empirical_fisher_of_a_softmax_regression_has_a_closed_form():
    model, x, y, p = softmax_regression()
    expected = (p - nn.functional.one_hot(y, 4)).square().T @ x.square() / len(x)
    np.testing.assert_allclose(fisher(model, [(x, y)]).values["weight"], expected, rtol=EXACT)


def test_the_exact_fisher_of_a_softmax_regression_has_a_closed_form():
    model, x, y, p = softmax_regression()
    expected = (p * (1 - p)).T @ x.square() / len(x)
    np.testing.assert_allclose(fisher(model, [(x, y)], kind="exact").values["weight"], expected, rtol=EXACT)


def test_the_sampled_fisher_converges_to_the_exact_one():
    model, x, y, p = softmax_regression(num_samples=400)
    expected = ((p * (1 - p)).T @ x.square() / len(x)).numpy()

    def relative_errors(num_draws, seed):
        return fisher(model, [(x, y)], kind="sampled", num_draws=num_draws, seed=seed).values["weight"] / expected - 1

    few, many = (np.sqrt(np.mean([relative_errors(draws, seed) ** 2 for seed in range(3)])) for draws in (10, 1000))
    # Bar 2: like the root of the number of draws, here 10. A root mean square of 24 entries and 3 seeds is good to about 20 %.
    assert few / many == pytest.approx(10, rel=0.4)
    assert np.abs(relative_errors(1000, 0)).max() < 0.03


def test_a_sampled_sequence_sum_converges_to_the_exact_sum_over_tokens():
    case = causal("GPT2LMHeadModel", **{**GPT2, "n_layer": 1})
    exact = fisher(case.model, [case.batch], kind="exact", reduction="token", keep="traces")

    def rms(num_draws):
        estimates = (
            fisher(
                case.model, [case.batch], kind="sampled", reduction="sequence_sum", num_draws=num_draws, seed=s, keep="traces"
            )
            for s in range(2)
        )
        pairs = [(one.trace, other.trace) for each in estimates for one, other in zip(each.tensors, exact.tensors, strict=True)]
        return np.sqrt(np.mean([(one / other - 1) ** 2 for one, other in pairs if other > 1e-12]))

    # a fifth of the error from 25 times the draws; the errors of the tensors go together, so that few of them are independent
    assert rms(4) / rms(100) == pytest.approx(5, rel=0.5)


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_the_fisher_of_a_linear_regression_has_a_closed_form(kind):
    torch.manual_seed(0)
    model = nn.Linear(5, 1, bias=False).double()
    x, y = torch.randn(50, 5, dtype=torch.float64), torch.randn(50, 1, dtype=torch.float64)
    residuals = 1.0 if kind == "exact" else (y - model(x)).detach().square()
    expected = (residuals * x.square()).mean(dim=0, keepdim=True)
    estimate = fisher(model, [(x, y)], kind=kind)
    np.testing.assert_allclose(estimate.values["weight"], expected, rtol=EXACT)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
@pytest.mark.parametrize("name", ["bert, sdpa", "gpt2, sdpa", "t5, tied"])
def test_every_reduction_equals_a_plain_loop(name, reduction):
    case = CASES[name]()
    if reduction == "token":
        expected = token_fisher(case.model, case.samples)
    else:
        reduce = torch.mean if reduction == "token_mean" else torch.sum
        expected = fisher_of(gradients(case.model, case.samples, lambda *both: reduce(token_losses(*both))))
    assert error(fisher(case.model, case.batches(3), reduction=reduction).values, expected) < BAR


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
@pytest.mark.parametrize("name", ["classes", "tokens"])
def test_the_exact_fisher_equals_the_enumeration_of_all_classes(name, reduction):
    is_text = name == "classes"
    case = text_classifier("BertForSequenceClassification") if is_text else causal("GPT2LMHeadModel", **{**GPT2, "n_layer": 1})
    expected = exact_fisher(case.model, case.samples[:2], token_mean=reduction == "token_mean")
    estimate = fisher(case.model, case.batches(2)[:1], kind="exact", reduction=reduction)
    assert error(estimate.values, expected) < BAR


@pytest.mark.parametrize("dropped", [None, 2], ids=["all documents", "full hundreds only"])
def test_the_references_loop_is_reproduced(dropped):
    case = CASES["bert, eager"]()
    expected = literal_fisher(case.model, case.samples, own_loss, dropped_remainder_of=dropped)
    used = NUM_SAMPLES if dropped is None else NUM_SAMPLES // dropped * dropped
    (kept,) = in_batches({key: tensor[:used] for key, tensor in case.batch.items()}, used)
    estimate = fisher(case.model, [kept], kind="empirical", reduction="token_mean", aggregate="mean_of_means")
    as_published = {name: values * used / NUM_SAMPLES for name, values in estimate.values.items()}
    assert error(as_published, expected) < BAR
    for block in ("attention.self", "attention.output", "intermediate", "output"):
        members = [name for name in expected if f"layer.1.{block}." in name]
        by_hand = np.mean([expected[name].mean() for name in members])  # unweighted, whatever their sizes
        ours = np.mean([estimate.scores("tensor")[name] for name in members]) * used / NUM_SAMPLES
        assert ours == pytest.approx(by_hand, rel=1e-5)  # means of float32


@pytest.mark.parametrize("sizes", [(1, 4), (3, 7)])
def test_the_draws_do_not_depend_on_the_batch_size(sizes):
    model, x, y, _ = softmax_regression(num_samples=20)

    def estimate(size, seed=0):
        batches = list(zip(x.split(size), y.split(size), strict=True))
        return fisher(model, batches, kind="sampled", num_draws=2, seed=seed)

    one, other = map(estimate, sizes)
    np.testing.assert_allclose(one.values["weight"], other.values["weight"], rtol=EXACT)
    assert not np.allclose(one.values["weight"], estimate(sizes[0], seed=1).values["weight"])


def test_the_loop_draws_what_the_batch_draws():
    model, x, y, _ = softmax_regression(num_samples=20)
    one, other = (fisher(model, [(x, y)], kind="sampled", num_draws=3, route=route) for route in ("auto", "loop"))
    np.testing.assert_allclose(one.values["weight"], other.values["weight"], rtol=EXACT)


def test_what_is_looped_meets_the_same_draws():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.PReLU(5), nn.Linear(5, 4)).double()
    x, y = torch.randn(20, 6, dtype=torch.float64), torch.arange(20) % 4
    batches = list(zip(x.split(7), y.split(7), strict=True))
    one, other = (fisher(model, batches, kind="sampled", num_draws=3, route=route) for route in ("auto", "loop"))
    assert [tensor.route for tensor in one.tensors] == ["batched", "batched", "loop", "batched", "batched"]
    assert error(one.values, other.values) < EXACT


def test_a_loss_of_ones_own_takes_the_place_of_the_task():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3
    expected = fisher(model, [(x, y)])
    estimate = fisher(
        model,
        [{"features": x, "wanted": y}],
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch["features"]), batch["wanted"], reduction="none"),
    )
    assert error(estimate.values, expected.values) < EXACT
    assert estimate.info.task == "custom"


@pytest.mark.parametrize("name", ["bert, sdpa", "gpt2, sdpa"])
def test_standard_errors_are_those_of_the_traces_of_the_samples(name):
    case = CASES[name]()
    rows = gradients(case.model, case.samples)
    estimate = fisher(case.model, case.batches(3))
    top = max(tensor.trace for tensor in estimate.tensors)
    for tensor in estimate.tensors:
        traces = rows[tensor.name].square().flatten(1).sum(dim=1).numpy()
        expected = traces.std(ddof=1) / math.sqrt(len(traces))
        assert tensor.trace_std_error == pytest.approx(expected, rel=1e-4, abs=BAR * top)  # a difference of float32 squares
        assert tensor.trace == pytest.approx(estimate.values[tensor.name].sum(dtype=float), rel=BAR)
        assert tensor.mean == tensor.trace / tensor.num_params


def test_a_single_sample_has_no_standard_error():
    model, x, y, _ = softmax_regression(num_samples=1)
    (tensor,) = fisher(model, [(x, y)]).tensors
    assert math.isnan(tensor.trace_std_error)


def test_the_relative_score_weighs_by_squared_parameters():
    case = CASES["gpt2, sdpa"]()
    estimate = fisher(case.model, case.batches(3))
    parameters = dict(case.model.named_parameters())
    for tensor in estimate.tensors:
        expected = (estimate.values[tensor.name].astype(float) * parameters[tensor.name].detach().double().numpy() ** 2).sum()
        assert tensor.relative == pytest.approx(expected, rel=1e-5, abs=1e-30)  # sums of float32 products
    assert all(math.isnan(tensor.relative) for tensor in fisher(case.model, case.batches(3), keep="traces").tensors)


def test_samples_without_a_target_are_counted_and_enter_nothing():
    case = CASES["bert, sdpa"]()
    blanked = {**case.batch, "labels": case.batch["labels"].clone()}
    blanked["labels"][1] = -100
    others = [sample for n, sample in enumerate(case.samples) if n != 1]
    estimate = fisher(case.model, list(in_batches(blanked, 2)))
    assert error(estimate.values, literal_fisher(case.model, others)) < BAR
    assert (estimate.info.num_samples, estimate.info.num_skipped) == (NUM_SAMPLES - 1, 1)
    assert estimate.info.num_tokens == int((blanked["labels"] != -100).sum())
    traces = gradients(case.model, others)["bert.embeddings.word_embeddings.weight"].square().flatten(1).sum(dim=1).numpy()
    (tensor,) = (one for one in estimate.tensors if one.name == "bert.embeddings.word_embeddings.weight")
    assert tensor.trace_std_error == pytest.approx(traces.std(ddof=1) / math.sqrt(len(traces)), rel=1e-4)


def test_a_batch_whose_samples_are_all_without_a_target_adds_nothing():
    case = CASES["gpt2, sdpa"]()
    nothing = {**case.batch, "labels": torch.full_like(case.batch["labels"], -100)}
    expected, estimate = fisher(case.model, [case.batch]), fisher(case.model, [nothing, case.batch, nothing])
    assert error(estimate.values, expected.values) == 0.0
    assert (estimate.info.num_samples, estimate.info.num_skipped) == (NUM_SAMPLES, 2 * NUM_SAMPLES)


def test_pairs_of_a_plain_module_are_classified():
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    expected = literal_fisher(model, [(x[n : n + 1], y[n : n + 1]) for n in range(6)], pair_loss)
    assert error(fisher(model, [[x, y]]).values, expected) < EXACT
