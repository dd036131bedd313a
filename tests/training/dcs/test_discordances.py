"""How answers are compared: each kind against a plain loop, ties, and logits that are not finite."""

import math

import pytest
import torch

from spectra.errors import InputError
from spectra.training.dcs.discordances import KINDS, discordance, token_discordance

CLASSIFIERS = ("argmax", "tv", "teacher_correct", "label")


def answers(seed=0, num=40, classes=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, num, classes, generator=generator).to(dtype)
    return student, teacher, torch.randint(classes, (num,), generator=generator)


def first_largest(row):
    return max(range(len(row)), key=lambda place: (row[place], -place))


def in_a_loop(student, teacher, label, kind):
    s, t = student.tolist(), teacher.tolist()
    if kind == "tv":
        p, q = ([math.exp(x) / sum(map(math.exp, row)) for x in row] for row in (s, t))
        return 0.5 * sum(abs(a - b) for a, b in zip(p, q, strict=True))
    if kind == "label":
        return float(first_largest(s) != label)
    is_apart = first_largest(s) != first_largest(t)
    return float(is_apart and (kind == "argmax" or first_largest(t) == label))


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_it_is_what_a_loop_finds(kind, dtype):
    student, teacher, labels = answers(dtype=dtype)
    found = discordance(student, teacher, labels, kind)
    expected = [in_a_loop(*each, kind) for each in zip(student, teacher, labels.tolist(), strict=True)]
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(expected, abs=1e-6)  # a few roundings of float32
    assert 0.0 < found.mean() < 1.0


@pytest.mark.parametrize("kind", [kind for kind in CLASSIFIERS if kind != "label"])
def test_equal_logits_are_never_discordant(kind):
    logits, _, labels = answers()
    assert not discordance(logits, logits.clone(), labels, kind).any()
    ties = torch.zeros(8, 5)
    assert not discordance(ties, ties.clone(), labels[:8], kind).any()


@pytest.mark.parametrize("classes", [2, 7, 50_000])
def test_of_equal_logits_the_lowest_class_counts_on_both_sides(classes):
    tied = torch.zeros(3, classes)
    tied[:, 1:] = 1.0
    single = torch.zeros(3, classes)
    single[:, 1] = 1.0
    label = torch.ones(3, dtype=torch.long)
    assert not discordance(tied, single, label, "argmax").any()
    assert not discordance(single, tied, label, "argmax").any()
    assert not discordance(tied, None, label, "label").any()
    assert not token_discordance(tied, label, torch.tensor([0, 1, 2]), 3).any()


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 4)], ids=str)
def test_for_regressions_it_is_the_absolute_difference(shape):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, *shape, generator=generator)
    found = discordance(student, teacher, torch.zeros(6), "r2")
    rows = zip(student.reshape(6, -1).tolist(), teacher.reshape(6, -1).tolist(), strict=True)
    expected = [sum(abs(a - b) for a, b in zip(s, t, strict=True)) / len(s) for s, t in rows]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_outputs_of_a_regression_may_have_a_dimension_more_on_one_side():
    found = discordance(torch.tensor([1.0, 2.0]), torch.tensor([[1.5], [0.0]]), torch.zeros(2), "r2")
    assert found.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [*CLASSIFIERS, "r2"])
def test_logits_that_are_not_finite_give_nan_whatever_the_kind(kind, value):
    student, teacher, labels = answers(num=4)
    student[1, 0] = teacher[3, 2] = value
    found = discordance(student, teacher, labels, kind)
    # No teacher is asked for labels.
    assert found.isnan().tolist() == [False, True, False, kind != "label"]
    tokens = token_discordance(student, labels, torch.tensor([0, 0, 1, 1]), 2)
    assert tokens.isnan().tolist() == [True, False]


def test_tokens_are_averaged_by_sample_and_none_is_0():
    logits = torch.eye(5)  # the most likely word of token i is i
    found = token_discordance(logits, torch.tensor([0, 9, 2, 9, 9]), torch.tensor([0, 0, 0, 3, 3]), 5)
    assert found.tolist() == [pytest.approx(1 / 3), 0.0, 0.0, 1.0, 0.0]
    assert token_discordance(logits[:0], torch.tensor([]).long(), torch.tensor([]).long(), 2).tolist() == [0.0, 0.0]


def test_no_gradient_is_kept():
    student, teacher, labels = answers()
    assert not discordance(student.requires_grad_(), teacher, labels, "tv").requires_grad


def test_what_cannot_be_is_refused():
    student, teacher, labels = answers(num=4)
    assert set(CLASSIFIERS) | {"r2", "token"} == set(KINDS)
    with pytest.raises(InputError, match="discordance.*'argmin'"):
        discordance(student, teacher, labels, "argmin")
    with pytest.raises(InputError, match="'token' is computed by token_discordance"):
        discordance(student, teacher, labels, "token")
    with pytest.raises(InputError, match="'argmax' needs a teacher's logits. Pass them, or take 'label'"):
        discordance(student, None, labels, "argmax")
    with pytest.raises(InputError, match=r"student's logits have shape \(4, 3\), the teacher's \(4, 2\). Both must answer"):
        discordance(student, teacher[:, :2], labels, "argmax")
    with pytest.raises(InputError, match=r"student's logits have shape \(4, 3\), the teacher's \(3, 3\)"):
        discordance(student, teacher[:3], labels, "tv")
    with pytest.raises(InputError, match=r"labels: expected a class for each of 4 answers, got shape \(4, 1\)"):
        discordance(student, teacher, labels[:, None], "label")
