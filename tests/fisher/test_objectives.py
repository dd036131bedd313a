import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from spectra.errors import InputError
from spectra.fisher import objectives as module
from spectra.fisher.likelihoods import Categorical, Custom, Gaussian
from spectra.fisher.objectives import objectives

KINDS = ("empirical", "sampled", "exact")


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def objectives_of(outputs, kind, reduction="sequence_sum", *, num_draws=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return objectives(outputs, kind=kind, reduction=reduction, num_draws=num_draws, generator=generator)


def fisher_of_weight(weight, samples, kind, reduction="sequence_sum", **settings):
    """The diagonal Fisher by its definition: one sample at a time, squared before anything is added."""
    total = torch.zeros_like(weight)
    for outputs in samples:
        for objective in objectives_of(outputs, kind, reduction, **settings):
            (gradient,) = torch.autograd.grad(objective, weight, retain_graph=True)
            total += gradient**2
    return total / len(samples)


def squares_by_sample(tensor, outputs, kind, reduction="sequence_sum", **settings):
    """Squared gradients of the objectives of a batch by an output of which every sample has its own row."""
    total = torch.zeros_like(tensor)
    for objective in objectives_of(outputs, kind, reduction, **settings):
        total += torch.autograd.grad(objective, tensor, retain_graph=True)[0] ** 2
    return total


def softmax_regression(num_samples=12, num_inputs=3, num_classes=4):
    inputs, weight = normal(num_samples, num_inputs, seed=1), normal(num_classes, num_inputs, seed=2).requires_grad_()
    labels = torch.arange(num_samples) % num_classes
    samples = [Categorical((x @ weight.T)[None, None], label[None, None]) for x, label in zip(inputs, labels, strict=True)]
    return inputs, weight, labels, samples


def largest_error(found, expected):
    """The worst entry, relative to the largest: single entries may be zero."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
def test_empirical_fisher_of_softmax_regression_is_its_closed_form(reduction):
    inputs, weight, labels, samples = softmax_regression()
    probs = (inputs @ weight.detach().T).softmax(1)
    residuals = probs - functional.one_hot(labels, 4)
    expected = (residuals**2).T @ inputs**2 / len(inputs)
    assert largest_error(fisher_of_weight(weight, samples, "empirical", reduction), expected) < 1e-12


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
def test_exact_fisher_of_softmax_regression_is_its_closed_form(reduction):
    inputs, weight, _, samples = softmax_regression()
    probs = (inputs @ weight.detach().T).softmax(1)
    expected = (probs * (1 - probs)).T @ inputs**2 / len(inputs)
    assert largest_error(fisher_of_weight(weight, samples, "exact", reduction), expected) < 1e-12


def test_sampled_fisher_converges_to_the_exact_one():
    inputs, weight = normal(400, 3, seed=1), normal(4, 3, seed=2)
    logits = (inputs @ weight.T).requires_grad_()
    outputs = Categorical(logits[:, None], torch.zeros(400, 1, dtype=torch.long))

    def fisher(kind, **settings):  # of the weight, whose gradient for a sample is (gradient of its logits) x (its input)
        return squares_by_sample(logits, outputs, kind, **settings).T @ inputs**2 / 400

    exact = fisher("exact")

    def error(num_draws, seeds):
        return [largest_error(fisher("sampled", num_draws=num_draws, seed=seed), exact) for seed in range(seeds)]

    few, many = error(10, seeds=10), error(1000, seeds=2)
    assert max(many) < 0.03
    # A hundred times the draws, a tenth of the error. The worst of 12 entries varies by a third from seed to seed; in the
    # mean of ten by 12 %, in the mean of two by 25 %: the quotient lies within a factor of two.
    assert 5 < (sum(few) / 10) / (sum(many) / 2) < 20


def sequences(num_samples=3, num_positions=4, num_classes=3):
    """Logits linear in a weight, at positions of which some have no target."""
    inputs, weight = normal(num_samples, num_positions, 2, seed=3), normal(num_classes, 2, seed=4).requires_grad_()
    labels = torch.tensor([[0, 1, -100, 2], [-100, -100, 1, 1], [-100, -100, -100, -100]])[:num_samples]
    return inputs, weight, labels


def single_samples(inputs, weight, labels):
    return [Categorical(x[None] @ weight.T, y[None]) for x, y in zip(inputs, labels, strict=True)]


def token_gradients(weight, x, y):
    """Gradients of log p at each target of a sample, for its label and for every class: (m, K, D) and (m, K, K, D)."""
    observed, every = [], []
    for features, label in zip(x, y, strict=True):
        if label != -100:
            log_probs = torch.log_softmax(features @ weight.T, 0)
            gradients = [torch.autograd.grad(log_prob, weight, retain_graph=True)[0] for log_prob in log_probs]
            every.append((log_probs.detach().exp(), gradients))
            observed.append(gradients[int(label)])
    return observed, every


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
def test_empirical_reductions_equal_a_plain_loop_over_tokens(reduction):
    inputs, weight, labels = sequences()
    expected = torch.zeros_like(weight)
    for x, y in zip(inputs[:2], labels[:2], strict=True):
        observed, _ = token_gradients(weight, x, y)
        if reduction == "token":
            expected += sum(g**2 for g in observed)
        else:
            expected += sum(observed) ** 2 / (len(observed) ** 2 if reduction == "token_mean" else 1)
    found = fisher_of_weight(weight, single_samples(inputs, weight, labels), "empirical", reduction) * 3
    assert largest_error(found, expected) < 1e-12


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
def test_exact_fisher_equals_the_enumeration_of_all_label_sequences(reduction):
    inputs, weight, labels = sequences()
    expected = torch.zeros_like(weight)
    for x, y in zip(inputs[:2], labels[:2], strict=True):
        _, every = token_gradients(weight, x, y)
        for drawn in itertools.product(range(3), repeat=len(every)):
            prob = math.prod(float(probs[k]) for (probs, _), k in zip(every, drawn, strict=True))
            total = sum(gradients[k] for (_, gradients), k in zip(every, drawn, strict=True))
            expected += prob * total**2 / (len(every) ** 2 if reduction == "token_mean" else 1)
    found = fisher_of_weight(weight, single_samples(inputs, weight, labels), "exact", reduction) * 3
    assert largest_error(found, expected) < 1e-12


def test_sampled_sequence_sums_estimate_the_exact_fisher_by_token():
    inputs, weight, labels = sequences()
    samples = single_samples(inputs, weight, labels)
    exact = fisher_of_weight(weight, samples, "exact", "token")
    sampled = fisher_of_weight(weight, samples, "sampled", "sequence_sum", num_draws=3000)
    # One draw's relative deviation is about 1.5 and two samples count: 1.5 / sqrt(2 * 3000) = 2 %, five of which are allowed.
    assert largest_error(sampled, exact) < 0.1


@pytest.mark.parametrize(
    ("kind", "reduction", "count"),
    [
        ("empirical", "token_mean", 1),
        ("empirical", "token", 3),
        ("sampled", "token_mean", 7),
        ("exact", "token_mean", 9),  # at most three targets in a sample, three classes
        ("exact", "token", 9),
    ],
)
def test_there_are_as_many_objectives_as_the_table_says(kind, reduction, count):
    inputs, weight, labels = sequences()
    outputs = Categorical(inputs @ weight.T, labels)
    assert len(list(objectives_of(outputs, kind, reduction, num_draws=7))) == count


@st.composite
def labelled(draw):
    num_samples, num_positions = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rows = st.lists(st.sampled_from([-100, 0, 1, 2]), min_size=num_positions, max_size=num_positions)
    return torch.tensor(draw(st.lists(rows, min_size=num_samples, max_size=num_samples)))


@given(labels=labelled())
def test_empirical_objectives_add_up_to_the_losses_of_the_samples(labels):
    logits = normal(*labels.shape, 3)
    expected = {"token_mean": 0.0, "sequence_sum": 0.0}
    for sample_logits, sample_labels in zip(logits, labels, strict=True):
        if (sample_labels != -100).any():
            expected["token_mean"] += float(functional.cross_entropy(sample_logits, sample_labels))
            expected["sequence_sum"] += float(functional.cross_entropy(sample_logits, sample_labels, reduction="sum"))
    expected["token"] = expected["sequence_sum"]
    for reduction, total in expected.items():
        found = sum(float(objective) for objective in objectives_of(Categorical(logits, labels), "empirical", reduction))
        assert found == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(labels=labelled())
def test_neither_batch_nor_padding_changes_the_squares_of_a_sample(kind, labels):
    logits = normal(*labels.shape, 3).requires_grad_()
    together = squares_by_sample(logits, Categorical(logits, labels), kind, "token_mean", num_draws=2)
    generator = torch.Generator().manual_seed(0)
    for n in range(len(labels)):
        padded = Categorical(
            functional.pad(logits[n : n + 1], (0, 0, 2, 1)), functional.pad(labels[n : n + 1], (2, 1), value=-100)
        )
        alone = torch.zeros_like(together)
        for objective in objectives(padded, kind=kind, reduction="token_mean", num_draws=2, generator=generator):
            alone += torch.autograd.grad(objective, logits, retain_graph=True)[0] ** 2
        torch.testing.assert_close(alone[n], together[n], rtol=0, atol=1e-12)
        assert not alone[:n].any()
        assert not alone[n + 1 :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_targets_has_no_objectives(kind):
    for labels in (torch.full((2, 3), -100), torch.zeros(0, 3, dtype=torch.long)):
        assert list(objectives_of(Categorical(normal(len(labels), 3, 4), labels), kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_are_ruled_out_add_nothing(kind):
    logits = normal(5, 2, 4)
    with_excluded = functional.pad(logits, (0, 1), value=-math.inf).requires_grad_()
    labels = torch.arange(10).reshape(5, 2) % 4
    found = squares_by_sample(with_excluded, Categorical(with_excluded, labels), kind, num_draws=50)
    assert all(objective.isfinite() for objective in objectives_of(Categorical(with_excluded, labels), kind))
    logits = logits.requires_grad_()
    expected = squares_by_sample(logits, Categorical(logits, labels), kind, num_draws=50)
    torch.testing.assert_close(found, functional.pad(expected, (0, 1)), rtol=0, atol=1e-12)


def drawn_labels(probs, num_draws):
    """The labels behind sampled objectives of one row: the gradient is p minus one at the label."""
    logits = probs.log().expand(num_draws, 1, -1).clone().requires_grad_()
    (objective,) = objectives_of(Categorical(logits, torch.zeros(num_draws, 1, dtype=torch.long)), "sampled")
    return torch.autograd.grad(objective, logits)[0][:, 0].argmin(dim=1)


def test_labels_are_drawn_with_the_models_probabilities():
    probs, num_draws = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05], dtype=torch.float64), 20_000
    found = drawn_labels(probs, num_draws).bincount(minlength=5) / num_draws
    four_standard_errors = 4 * (probs * (1 - probs) / num_draws).sqrt()
    assert ((found - probs).abs() <= four_standard_errors).all()
    assert found[1] == 0.0


def test_rare_words_are_drawn_although_float32_could_not_tell_them_apart():
    # 2^20 words of probability 2^-26 after one of a half: in float32 the sum moves in steps of 2^-24 there, so that of every
    # four words one would be drawn four times too often and the others never.
    num_draws = 2**16
    probs = torch.full((2 + 2**20,), 2.0**-26)
    probs[0], probs[-1] = 0.5, 0.5 - 2**-6
    only = torch.zeros(1, dtype=torch.long)
    targets = module._Targets(probs.log()[None], labels=only, weights=torch.ones(1), samples=only, order=only)
    drawn = module._drawn_labels(targets, num_draws, torch.Generator().manual_seed(0)).squeeze()
    rare = drawn[(drawn > 0) & (drawn <= 2**20)]
    assert abs(len(rare) - num_draws * 2**-6) < 4 * math.sqrt(num_draws * 2**-6)  # Poisson with mean 1024
    assert ((rare % 4).bincount(minlength=4) - 256).abs().max() < 4 * math.sqrt(256)


def test_labels_drawn_in_parts_are_the_same(monkeypatch):
    logits = normal(4, 5, 3).requires_grad_()
    outputs = Categorical(logits, torch.zeros(4, 5, dtype=torch.long))
    whole = [float(objective.detach()) for objective in objectives_of(outputs, "sampled", num_draws=3)]
    monkeypatch.setattr(module, "_DRAW_ENTRIES", 7)
    assert [float(objective.detach()) for objective in objectives_of(outputs, "sampled", num_draws=3)] == whole


def test_half_precision_logits_are_squared_and_summed_in_float32():
    logits = normal(2, 3, 4, dtype=torch.float32).bfloat16().requires_grad_()
    labels = torch.zeros(2, 3, dtype=torch.long)
    (found,) = objectives_of(Categorical(logits, labels), "empirical")
    assert found.dtype == torch.float32
    expected = functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # the same float32 numbers, added in another order


@pytest.mark.parametrize(("num_targets", "num_rows"), [(3, 3 * 4), (15, 20 * 4)], ids=["few", "most"])
def test_nothing_larger_than_the_logits_of_the_targets_is_kept(num_targets, num_rows):
    logits, labels = normal(1, 20, 4).requires_grad_(), torch.full((1, 20), -100)
    labels[0, :num_targets] = 1
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        list(objectives_of(Categorical(logits, labels), "empirical"))
    large = {tensor.data_ptr() for tensor in kept if tensor.is_floating_point() and tensor.numel() >= 4 * num_targets}
    assert len(large) == 1  # the log-probabilities
    assert max(tensor.numel() for tensor in kept) == num_rows


def linear_gaussian(sigma):
    inputs, weight, targets = normal(7, 3, seed=5), normal(2, 3, seed=6).requires_grad_(), normal(7, 2, seed=7)
    return inputs, weight, targets, [Gaussian(x[None] @ weight.T, y[None], sigma) for x, y in zip(inputs, targets, strict=True)]


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum", "token"])
def test_exact_fisher_of_a_linear_gaussian_model_is_the_mean_square_of_its_inputs(reduction):
    inputs, weight, _, samples = linear_gaussian(sigma=2.0)
    expected = ((inputs**2).mean(0) / 2.0**2).expand(2, 3)
    assert largest_error(fisher_of_weight(weight, samples, "exact", reduction), expected) < 1e-12


def test_empirical_fisher_of_a_linear_gaussian_model_has_the_residuals():
    inputs, weight, targets, samples = linear_gaussian(sigma=2.0)
    residuals = (targets - inputs @ weight.detach().T) / 2.0**2
    expected = (residuals**2).T @ inputs**2 / 7
    assert largest_error(fisher_of_weight(weight, samples, "empirical"), expected) < 1e-12


def test_sampled_fisher_of_a_linear_gaussian_model_converges():
    inputs, weight = normal(500, 3, seed=5), normal(2, 3, seed=6)
    mean = (inputs @ weight.T).requires_grad_()
    squares = squares_by_sample(mean, Gaussian(mean, torch.zeros(500, 2, dtype=torch.float64), 2.0), "sampled", num_draws=400)
    # 500 * 2 * 400 squared normal numbers over sigma^2, each with relative deviation sqrt(2): 0.22 %, four are allowed.
    assert float(squares.mean()) * 2.0**2 == pytest.approx(1.0, abs=0.009)


def test_normal_draws_do_not_depend_on_the_batch():
    mean = normal(20, 3).requires_grad_()
    together = squares_by_sample(mean, Gaussian(mean, torch.zeros_like(mean)), "sampled", num_draws=2)
    generator = torch.Generator().manual_seed(0)
    for n in range(20):
        outputs = Gaussian(mean[n : n + 1], torch.zeros(1, 3, dtype=torch.float64))
        drawn = objectives(outputs, kind="sampled", reduction="token_mean", num_draws=2, generator=generator)
        alone = sum(torch.autograd.grad(objective, mean)[0] ** 2 for objective in drawn)
        torch.testing.assert_close(alone[n], together[n], rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_sum"])
def test_losses_of_a_loss_function_are_added(reduction):
    (found,) = objectives_of(Custom(torch.tensor([1.0, 2.5])), "empirical", reduction)
    assert float(found) == 3.5


@pytest.mark.parametrize(("kind", "reduction"), [("sampled", "token_mean"), ("exact", "sequence_sum"), ("empirical", "token")])
def test_a_loss_function_knows_neither_labels_nor_tokens(kind, reduction):
    with pytest.raises(InputError, match=f"too little for kind '{kind}' with reduction '{reduction}'. Use kind='empirical'"):
        objectives_of(Custom(torch.ones(2)), kind, reduction)


ONE = Categorical(torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.long))


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="unknown kind 'emperical'. Did you mean 'empirical'"):
        objectives_of(ONE, "emperical")


def test_an_unknown_reduction_is_refused():
    with pytest.raises(InputError, match="unknown reduction 'tokens'. Did you mean 'token'"):
        objectives_of(ONE, "exact", "tokens")


def test_no_draws_are_refused():
    for number in (0, 1.5, "2", None, True):
        with pytest.raises(InputError, match=f"num_draws is {number!r}: pass a whole number, 1 or more"):
            objectives_of(ONE, "sampled", num_draws=number)


def test_sampling_by_token_is_refused_with_the_better_way():
    with pytest.raises(InputError, match="Use reduction='sequence_sum': an unbiased estimate of the same"):
        objectives_of(ONE, "sampled", "token")


@pytest.mark.parametrize(
    "outputs",
    [
        Categorical(torch.zeros(1, 2, 5001), torch.zeros(1, 2, dtype=torch.long)),
        Gaussian(torch.zeros(1, 10_002), torch.zeros(1, 10_002)),
    ],
    ids=["classes", "numbers"],
)
def test_more_objectives_than_anybody_waits_for_are_refused(outputs):
    with pytest.raises(InputError, match="kind 'exact' needs 10,002 backward passes for this batch, more than 10,000"):
        objectives_of(outputs, "exact")


def test_an_observed_label_that_the_model_rules_out_is_refused_with_its_sample():
    logits = torch.zeros(2, 4, 3)
    logits[1, 2, 0] = -math.inf
    with pytest.raises(InputError, match="sample 1 of the batch: the model excludes the label 0"):
        objectives_of(Categorical(logits, torch.tensor([[0, -100, -100, 1], [-100, -100, 0, -100]])), "empirical")


@pytest.mark.gpu
def test_draws_on_a_gpu_are_those_of_the_cpu():
    logits, labels = normal(3, 40, 50), torch.zeros(3, 40, dtype=torch.long)
    found = []
    for device in ("cpu", "cuda"):
        outputs = Categorical(logits.to(device).requires_grad_(), labels.to(device))
        found.append(squares_by_sample(outputs.logits, outputs, "sampled", num_draws=5).cpu())
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
