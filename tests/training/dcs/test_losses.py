"""Losses of single samples: values and gradients against plain loops, and against the losses of a plain fine-tuning."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers.loss.loss_utils import ForCausalLMLoss

from spectra.errors import InputError
from spectra.training.dcs.losses import (
    classification_losses,
    combine,
    distillation_losses,
    mean_by_sample,
    regression_losses,
    squared_distillation,
    supervised_tokens,
    token_losses,
    top_k_distillation,
    weighted_mean,
)

HALF = [torch.float16, torch.bfloat16]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def classes(num, among, seed=0):
    return torch.randint(among, (num,), generator=torch.Generator().manual_seed(seed))


def softmax(row):
    total = math.fsum(map(math.exp, row))
    return [math.exp(x) / total for x in row]


def divergence(student, teacher, tau):
    """tau^2 KL(teacher || student) of one row, in a loop."""
    p, q = softmax([x / tau for x in teacher]), softmax([x / tau for x in student])
    return tau**2 * math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_cross_entropies_are_those_of_a_loop():
    logits, labels = normal(6, 4), classes(6, 4)
    expected = [-math.log(softmax(row)[label]) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    assert classification_losses(logits, labels).tolist() == pytest.approx(expected, rel=1e-13)


def test_label_smoothing_and_class_weights_are_inside_the_loss():
    logits, labels, weights = normal(6, 4), classes(6, 4), torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    smooth = classification_losses(logits, labels, label_smoothing=0.1)
    log_probs = logits.log_softmax(-1)
    expected = 0.9 * classification_losses(logits, labels) - 0.1 * log_probs.mean(-1)
    assert torch.allclose(smooth, expected, rtol=1e-13)
    weighted = classification_losses(logits, labels, class_weights=weights)
    assert torch.allclose(weighted, weights[labels] * classification_losses(logits, labels), rtol=1e-13)


def test_without_weights_and_teacher_the_gradient_is_that_of_plain_fine_tuning_bit_for_bit():
    for size in (1, 3, 7, 16):
        plain = normal(size, 5, dtype=torch.float32).requires_grad_()
        ours = plain.detach().clone().requires_grad_()
        labels = classes(size, 5)
        F.cross_entropy(plain, labels).backward()  # as transformers' classifiers
        losses = combine(classification_losses(ours, labels), torch.full((size,), math.nan), 0.0)
        weighted_mean(losses, torch.ones(size, dtype=torch.float64)).backward()
        assert torch.equal(ours.grad, plain.grad)


def test_for_regressions_too():
    for size in (1, 3, 7, 16):
        plain = normal(size, 1, dtype=torch.float32).requires_grad_()
        ours = plain.detach().clone().requires_grad_()
        targets = normal(size, seed=1, dtype=torch.float32)
        F.mse_loss(plain.squeeze(), targets.squeeze()).backward()  # as transformers' classifiers with one label
        weighted_mean(regression_losses(ours, targets), torch.ones(size)).backward()
        assert torch.equal(ours.grad, plain.grad)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3)], ids=str)
def test_squared_errors_are_those_of_a_loop(shape):
    outputs, targets = normal(*shape), normal(*shape, seed=1)
    rows = zip(outputs.reshape(5, -1).tolist(), targets.reshape(5, -1).tolist(), strict=True)
    expected = [sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s) for s, t in rows]
    assert regression_losses(outputs, targets).tolist() == pytest.approx(expected, rel=1e-13)
    assert squared_distillation(outputs, targets).tolist() == pytest.approx(expected, rel=1e-13)


def test_the_divergence_is_that_of_a_loop():
    student, teacher = normal(5, 4), normal(5, 4, seed=1)
    for tau in (0.5, 1.0, 4.0):
        expected = [divergence(s, t, tau) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
        assert distillation_losses(student, teacher, tau).tolist() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_tau_times_the_difference_of_probabilities():
    student, teacher = normal(5, 4).requires_grad_(), normal(5, 4, seed=1).requires_grad_()
    distillation_losses(student, teacher, 3.0).sum().backward()
    expected = 3.0 * ((student / 3.0).softmax(-1) - (teacher / 3.0).softmax(-1))
    assert torch.allclose(student.grad, expected, atol=1e-14)
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF], ids=str)
def test_a_student_that_answers_like_its_teacher_has_no_divergence_and_no_gradient(dtype):
    student = (4 * normal(64, 7)).to(dtype).requires_grad_()
    found = distillation_losses(student, student.detach().clone(), 2.0)
    assert not found.any()
    found.sum().backward()
    assert student.grad.abs().max() <= 1e-6  # the sum of probabilities is 1 but for roundings of float32
    outputs = normal(64).to(dtype).requires_grad_()
    squared = squared_distillation(outputs, outputs.detach().clone())
    squared.sum().backward()
    assert not squared.any()
    assert not outputs.grad.any()


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_computed_with_in_float32(dtype):
    student, teacher, labels = normal(8, 50).to(dtype), normal(8, 50, seed=1).to(dtype), classes(8, 50)
    for found, expected in [
        (classification_losses(student, labels), classification_losses(student.double(), labels)),
        (distillation_losses(student, teacher, 2.0), distillation_losses(student.double(), teacher.double(), 2.0)),
        (squared_distillation(student, teacher), squared_distillation(student.double(), teacher.double())),
    ]:
        assert found.dtype == torch.float32
        assert found.double().tolist() == pytest.approx(expected.tolist(), rel=1e-5)  # of float32; half would miss by 1e-3


def test_a_teacher_in_half_precision_does_not_lower_that_of_the_student():
    student, teacher = normal(8, 5, dtype=torch.float32), normal(8, 5, seed=1).to(torch.bfloat16)
    assert torch.equal(distillation_losses(student, teacher, 2.0), distillation_losses(student, teacher.float(), 2.0))
    assert torch.equal(squared_distillation(student, teacher), squared_distillation(student, teacher.float()))


def tokens(shift):
    logits = normal(4, 6, 9)
    labels = classes(24, 9).reshape(4, 6)
    labels[0, :3] = labels[1, 4:] = labels[2] = -100
    return logits, labels, *supervised_tokens(logits, labels, shift=shift)


@pytest.mark.parametrize("shift", [False, True])
def test_supervised_tokens_are_those_with_a_label(shift):
    logits, labels, found, words, samples = tokens(shift)
    expected = [
        (logits[i, j - shift].tolist(), labels[i, j].item(), i)
        for i in range(4)
        for j in range(int(shift), 6)
        if labels[i, j] != -100
    ]
    assert list(zip(found.tolist(), words.tolist(), samples.tolist(), strict=True)) == expected


@pytest.mark.parametrize("shift", [False, True])
def test_losses_of_tokens_are_averaged_by_sample_and_none_is_0(shift):
    logits, labels, found, words, samples = tokens(shift)
    losses = token_losses(found, words, samples, 4)
    for i in range(4):
        each = [
            -math.log(softmax(logits[i, j - shift].tolist())[labels[i, j]])
            for j in range(int(shift), 6)
            if labels[i, j] != -100
        ]
        assert losses[i].item() == pytest.approx(sum(each) / max(len(each), 1), rel=1e-12)
    assert losses[2] == 0.0


def test_for_one_sample_the_loss_is_that_of_causal_language_models():
    logits, labels = normal(1, 6, 9, dtype=torch.float32), classes(6, 9).reshape(1, 6)
    labels[0, 2] = -100
    found, words, samples = supervised_tokens(logits, labels, shift=True)
    expected = ForCausalLMLoss(logits, labels, vocab_size=9)
    assert token_losses(found, words, samples, 1).item() == pytest.approx(expected.item(), rel=1e-6)  # float32
    smooth = token_losses(found, words, samples, 1, label_smoothing=0.2)
    assert smooth.item() == pytest.approx(F.cross_entropy(found, words, label_smoothing=0.2).item(), rel=1e-6)


def test_means_by_sample_carry_gradients():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    found = mean_by_sample(values, torch.tensor([2, 2, 0]), 3)
    assert found.tolist() == [6.0, 0.0, 1.5]
    found.sum().backward()
    assert values.grad.tolist() == [0.5, 0.5, 1.0]


def top_k(teacher, tau, k):
    return (teacher / tau).log_softmax(-1).topk(k)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_with_all_classes_top_k_is_the_whole_divergence(tau):
    student, teacher = normal(5, 8).requires_grad_(), normal(5, 8, seed=1)
    found = top_k_distillation(student, *top_k(teacher, tau, 8), tau)
    expected = distillation_losses(student, teacher, tau)
    assert torch.allclose(found, expected, rtol=1e-12)
    gradients = [torch.autograd.grad(each.sum(), student, retain_graph=True)[0] for each in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-14)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_k_is_the_divergence_with_the_rest_as_one_class(k):
    student, teacher = normal(5, 8), normal(5, 8, seed=1)
    log_probs, ids = top_k(teacher, 2.0, k)
    found = top_k_distillation(student, log_probs, ids, 2.0)
    for row in range(5):
        p, q = (softmax([x / 2.0 for x in each[row].tolist()]) for each in (teacher, student))
        known = ids[row].tolist()
        rest = [math.fsum(each[i] for i in range(8) if i not in known) for each in (p, q)]
        pairs = [(p[i], q[i]) for i in known] + [tuple(rest)]
        expected = 4.0 * math.fsum(a * math.log(a / b) for a, b in pairs)
        assert found[row].item() == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert (found <= distillation_losses(student, teacher, 2.0) + 1e-14).all()


def test_top_k_of_equal_logits_is_0_with_gradient_0():
    logits = (3 * normal(20, 30, dtype=torch.float32)).requires_grad_()
    found = top_k_distillation(logits, *top_k(logits.detach(), 2.0, 5), 2.0)
    found.sum().backward()
    # The teacher's rest is 1 minus a sum of float32: off by a unit of it.
    assert found.abs().max() < 2e-6
    assert logits.grad.abs().max() < 2e-6


@pytest.mark.parametrize("certain", ["teacher", "student", "both", "opposed"])
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_top_k_stays_finite_where_a_rest_has_no_mass(certain, size):
    sharp, flat = torch.zeros(2, 10), normal(2, 10, dtype=torch.float32)
    sharp[:, 0] = size  # from a logarithm of -50 on, the rest is 0 beside 1 in float32
    teacher = flat if certain == "student" else sharp
    student = {"teacher": flat, "opposed": sharp.roll(1, dims=1)}.get(certain, sharp).clone().requires_grad_()
    found = top_k_distillation(student, *top_k(teacher, 1.0, 2), 1.0)
    found.sum().backward()
    assert found.isfinite().all()
    assert student.grad.isfinite().all()
    whole = distillation_losses(student.detach().double(), teacher.double(), 1.0)
    assert (found.double() <= whole * (1 + 1e-5) + 1e-5).all()
    if certain == "both":
        assert found.abs().max() < 1e-6


def test_losses_are_mixed_and_at_the_ends_the_other_has_no_part():
    losses, distilled = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 8.0])
    assert combine(losses, distilled, 0.25).tolist() == [1.5, 3.5]
    assert combine(losses, torch.tensor([math.inf, math.nan]), 0.0) is losses
    assert combine(torch.tensor([math.inf, math.nan]), distilled, 1.0) is distilled


@pytest.mark.parametrize("normalise", [False, True])
def test_the_gradient_of_the_weighted_loss_is_that_of_a_loop(normalise):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)).double()
    inputs, labels, teacher = normal(7, 3), classes(7, 4), normal(7, 4, seed=2)
    weights = normal(7, seed=3).abs()
    losses = combine(classification_losses(net(inputs), labels), distillation_losses(net(inputs), teacher, 2.0), 0.3)
    weighted_mean(losses, weights, normalise=normalise).backward()
    found = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    for i in range(7):
        logits = net(inputs[i])
        task = -logits.log_softmax(-1)[labels[i]]
        p = (teacher[i] / 2.0).softmax(-1)
        kl = (p * (p.log() - (logits / 2.0).log_softmax(-1))).sum()
        total = weights.sum() if normalise else 7
        (weights[i] * (0.7 * task + 0.3 * 4.0 * kl) / total).backward()
    for gradient, parameter in zip(found, net.parameters(), strict=True):
        assert torch.allclose(gradient, parameter.grad, rtol=1e-12, atol=1e-15)


def test_parts_of_a_batch_add_up_to_its_mean():
    losses, weights = normal(10), normal(10, seed=1).abs()
    parts = [weighted_mean(losses[part], weights[part], 10) for part in (slice(0, 4), slice(4, 8), slice(8, 10))]
    assert sum(parts).item() == pytest.approx(weighted_mean(losses, weights).item(), rel=1e-14)
    assert weighted_mean(losses, weights, torch.tensor(10)).item() == weighted_mean(losses, weights).item()


def test_a_batch_without_weight_has_no_loss():
    losses = torch.ones(3, requires_grad=True)
    for normalise in (False, True):
        found = weighted_mean(losses, torch.zeros(3), normalise=normalise)
        found.backward()
        assert found.item() == 0.0
        assert not losses.grad.any()


def test_what_cannot_be_is_refused():
    logits = normal(4, 3)
    for tau in (0.0, math.inf):
        with pytest.raises(InputError, match=f"tau: expected a temperature above 0, got {tau}"):
            distillation_losses(logits, logits, tau)
    with pytest.raises(InputError, match=r"teacher: expected logits of shape \(4, 3\), as the student's, got \(4, 2\)"):
        distillation_losses(logits, logits[:, :2], 1.0)
    with pytest.raises(InputError, match=r"targets: expected as many numbers as the outputs of shape \(4, 3\) hold, .* \(4,\)"):
        regression_losses(logits, logits[:, 0])
    with pytest.raises(InputError, match=r"expected k classes for each .* of shape \(4, 3\) and ids of shape \(4, 2\)"):
        top_k_distillation(logits, logits, torch.zeros(4, 2), 1.0)
    with pytest.raises(InputError, match=r"lam: expected a share in \[0, 1\], got 1.5"):
        combine(logits[:, 0], logits[:, 0], 1.5)
    with pytest.raises(InputError, match=r"weights: expected shape \(4,\), as the losses, got \(4, 1\)"):
        weighted_mean(logits[:, 0], logits[:, :1])
