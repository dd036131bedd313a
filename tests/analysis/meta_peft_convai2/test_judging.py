"""What is counted of a ranking, beside a plain loop and the accuracy of the package."""

import pytest
import torch

from analysis.meta_peft_convai2.judging import judged
from spectra.training.meta_peft.ranking import ranking_accuracy, ranking_collator
from tests.dcs_runs import bert
from tests.pretrained import encoder_tokenizer

COLLATE = ranking_collator(encoder_tokenizer())


def rows(number, candidates):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 17, (number, candidates, 6), generator=generator).tolist()
    return [{"input_ids": of, "labels": place % candidates} for place, of in enumerate(tokens)]


def test_places_are_those_of_a_plain_loop_and_accuracy_that_of_the_package():
    model, given = bert().train(), rows(20, 4)
    found = judged(model, given, COLLATE)
    assert model.training
    model.eval()
    below = []
    with torch.no_grad():
        for row in given:
            logits = [float(model(input_ids=torch.tensor([tokens])).logits[0, 1]) for tokens in row["input_ids"]]
            true = logits.pop(row["labels"])
            below += [logit < true for logit in logits]
    assert found["below"] == pytest.approx(sum(below) / len(below), abs=1e-4)  # rounded to four digits
    assert found["accuracy"] == pytest.approx(ranking_accuracy(model, given, COLLATE), abs=1e-4)


def test_a_model_that_tells_nothing_apart_is_at_chance():
    model = bert()
    torch.nn.init.zeros_(model.classifier.weight)
    assert judged(model, rows(3, 20), COLLATE) == {"accuracy": 0.0, "below": 0.5}
