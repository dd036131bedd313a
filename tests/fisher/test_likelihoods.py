import math

import pytest
import torch

from spectra.errors import InputError
from spectra.fisher.likelihoods import categorical, custom, gaussian


def test_logits_of_two_dimensions_have_one_position():
    logits = torch.zeros(3, 4)
    for labels in (torch.tensor([0, 3, -100]), torch.tensor([[0], [3], [-100]])):
        found = categorical(logits, labels)
        assert found.logits.shape == (3, 1, 4)
        assert found.labels.tolist() == [[0], [3], [-100]]
        assert found.num_targets.tolist() == [1, 1, 0]


def test_targets_are_counted_by_sample():
    labels = torch.tensor([[1, 0, 1], [-100, 1, -100], [-100, -100, -100]])
    assert categorical(torch.zeros(3, 3, 2), labels).num_targets.tolist() == [3, 1, 0]


def test_logits_are_kept_in_their_dtype():
    logits = torch.zeros(2, 3, 4, dtype=torch.bfloat16)
    assert categorical(logits, torch.zeros(2, 3, dtype=torch.long)).logits.dtype == torch.bfloat16


def test_classes_may_be_ruled_out():
    logits = torch.tensor([[0.0, -math.inf]])
    assert categorical(logits, torch.tensor([0])).logits.isinf().any()


@pytest.mark.parametrize("label", [-1, 4, -99])
def test_a_label_that_is_no_class_is_refused_with_its_place(label):
    labels = torch.tensor([[0, -100], [3, label]])
    with pytest.raises(InputError, match=rf"sample 1 of the batch has the label {label}, .* classes in \[0, 4\)"):
        categorical(torch.zeros(2, 2, 4), labels)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused_with_the_sample(bad):
    logits = torch.zeros(3, 2, 4)
    logits[2, 1, 0] = bad
    with pytest.raises(InputError, match="sample 2 of the batch: its logits are not finite"):
        categorical(logits, torch.zeros(3, 2, dtype=torch.long))


def test_a_sample_all_of_whose_classes_are_ruled_out_is_refused():
    with pytest.raises(InputError, match="sample 0 of the batch: its logits are not finite"):
        categorical(torch.full((1, 3), -math.inf), torch.tensor([0]))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 4)])
def test_other_layouts_of_logits_are_refused(shape):
    with pytest.raises(InputError, match="expected .samples, classes. or .samples, positions, classes."):
        categorical(torch.zeros(shape), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 5, 3)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="do not fit logits of shape"):
        categorical(torch.zeros(2, 5, 3), torch.zeros(shape, dtype=torch.long))


def test_a_single_class_is_refused():
    with pytest.raises(InputError, match="single class, whose probability is always 1"):
        categorical(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))


def test_numbers_are_paired_with_their_targets():
    found = gaussian(torch.zeros(3, dtype=torch.bfloat16), torch.arange(3))
    assert found.mean.shape == found.targets.shape == (3, 1)
    assert found.mean.dtype == found.targets.dtype == torch.float32
    assert found.num_targets.tolist() == [1, 1, 1]
    assert gaussian(torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 2)).targets.dtype == torch.float64


@pytest.mark.parametrize(("mean", "targets"), [((3, 2), (3,)), ((3,), (2,)), ((3, 1, 2), (3, 1, 2))])
def test_numbers_that_do_not_fit_their_targets_are_refused(mean, targets):
    with pytest.raises(InputError, match="a regression needs .samples, numbers. twice"):
        gaussian(torch.zeros(mean), torch.zeros(targets))


@pytest.mark.parametrize(("mean", "targets", "what"), [(math.nan, 0.0, "outputs"), (0.0, math.inf, "targets")])
def test_numbers_that_are_not_finite_are_refused_with_the_sample(mean, targets, what):
    with pytest.raises(InputError, match=f"sample 1 of the batch: its {what} are not finite"):
        gaussian(torch.tensor([0.0, mean]), torch.tensor([0.0, targets]))


def test_losses_are_one_per_sample():
    found = custom(torch.ones(3, dtype=torch.float16), 3)
    assert found.losses.dtype == torch.float32
    assert found.num_targets.tolist() == [1, 1, 1]
    assert custom(torch.ones(3), None).losses.shape == (3,)


@pytest.mark.parametrize(
    ("losses", "got"),
    [
        (torch.tensor(1.0), r"shape \(\) for a batch of 3"),
        (torch.ones(1), r"shape \(1,\)"),
        (torch.ones(6), r"shape \(6,\)"),
        (torch.ones(3, 1), r"shape \(3, 1\)"),
        (1.0, "a float"),
    ],
)
def test_other_losses_are_refused(losses, got):
    with pytest.raises(InputError, match=f"the loss function returned {got}.* return one loss per sample"):
        custom(losses, 3)


def test_a_loss_that_is_not_finite_is_refused_with_the_sample():
    with pytest.raises(InputError, match="sample 1 of the batch: its losses are not finite"):
        custom(torch.tensor([0.0, math.nan]), 2)
