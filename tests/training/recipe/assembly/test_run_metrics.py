import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spectra.training.recipe.assembly.run_metrics import METRICS, run_metrics
from spectra.training.recipe.parts import TASKS


def measured(task, logits, labels, num_classes=2):
    """As a trainer does it: batches are preprocessed, and what is left is measured."""
    metrics = run_metrics(task, num_classes)
    kept = metrics.preprocess(logits, labels)
    return metrics.compute(SimpleNamespace(predictions=kept.numpy(), label_ids=labels.numpy()))


def one_hot(classes, number):
    return torch.nn.functional.one_hot(torch.tensor(classes), number).float()


def test_every_task_has_metrics_of_the_promised_names():
    logits = {"regression": torch.randn(4, 1), "sequence-classification": torch.randn(4, 2)}
    for task in TASKS:
        labels = torch.tensor([[0, 1, 1, 0]] * 4) if task not in logits else torch.tensor([0, 1, 1, 0])
        assert tuple(measured(task, logits.get(task, torch.randn(4, 4, 2)), labels)) == METRICS[task]


def test_two_classes_are_measured_by_the_counts_of_class_1():
    # Predicted 1 1 1 0 0 of labels 1 1 0 0 1: 2 true positives, 1 false, 1 missed, 1 true negative.
    found = measured("sequence-classification", one_hot([1, 1, 1, 0, 0], 2), torch.tensor([1, 1, 0, 0, 1]))
    matthews = (2 * 1 - 1 * 1) / math.sqrt((2 + 1) * (2 + 1) * (1 + 1) * (1 + 1))
    assert found == pytest.approx({"accuracy": 3 / 5, "f1": 4 / 6, "matthews": matthews})


def test_f1_of_more_classes_is_the_mean_over_them():
    found = measured("sequence-classification", one_hot([0, 1, 2, 2], 3), torch.tensor([0, 1, 1, 2]), num_classes=3)
    assert found["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_a_class_that_is_never_predicted_is_no_warning():
    assert measured("sequence-classification", one_hot([0, 0], 2), torch.tensor([1, 1]))["f1"] == 0.0


def test_words_without_a_label_do_not_count():
    labels = torch.tensor([[-100, 1, 0], [1, -100, -100]])
    found = measured("token-classification", one_hot([[0, 1, 1], [1, 0, 0]], 2), labels)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_correlations_of_a_straight_line_and_of_a_curve():
    labels = torch.arange(1.0, 6.0)
    assert measured("regression", 3 * labels[:, None] - 1, labels) == pytest.approx({"pearson": 1.0, "spearman": 1.0})
    curved = measured("regression", labels[:, None] ** 3, labels)
    assert curved["spearman"] == pytest.approx(1.0)
    assert curved["pearson"] == pytest.approx(np.corrcoef(labels, labels**3)[0, 1])


def test_the_correlation_with_one_number_is_not_a_number():
    found = measured("regression", torch.ones(3, 1), torch.tensor([1.0, 2.0, 3.0]))
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize(("task", "shift"), [("causal-lm", 1), ("masked-lm", 0), ("seq2seq", 0)])
def test_perplexity_is_of_the_mean_over_all_predicted_tokens(task, shift):
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 7), torch.randint(7, (3, 5))
    labels[0, 2:], labels[1, 0] = -100, -100
    losses = [
        -torch.log_softmax(logits[row, place - shift], -1)[labels[row, place]].item()
        for row in range(3)
        for place in range(shift, 5)
        if labels[row, place] >= 0
    ]
    expected = math.exp(sum(losses) / len(losses))
    assert measured(task, logits, labels)["perplexity"] == pytest.approx(expected, rel=1e-5)  # float32


def test_perplexity_without_a_predicted_token_is_not_a_number():
    assert math.isnan(measured("masked-lm", torch.randn(1, 3, 4), torch.full((1, 3), -100))["perplexity"])


def test_models_that_return_more_than_logits_are_measured_by_these():
    metrics = run_metrics("sequence-classification", 2)
    assert metrics.preprocess((one_hot([1, 0], 2), torch.randn(2, 3)), torch.tensor([1, 0])).tolist() == [1, 0]
