"""Losses are told apart by what they compute, and recognised in another process."""

import os
import subprocess
import sys
from functools import partial

import torch
from torch import nn

from spectra.fisher.loss_fingerprint import loss_fingerprint

LOSSES = """
def plain(model, batch, scale=1.0):
    return [model(one) * scale for one in batch if one not in {"a", "b", "c"}]
"""


def of_power(power):
    def loss(model, batch):
        return model(batch) ** power

    return loss


def counting_down(model, batch, left=2):
    def again(number):
        return again(number - 1) if number else model(batch)

    again(left)
    return loss_fingerprint(again)


class Called(nn.Module):
    def forward(self, model, batch):
        return model(batch)

    def method(self, model, batch):
        return model(batch) * 2


def squared(model, batch):
    return model(batch) ** 2


def test_no_loss_has_none():
    assert loss_fingerprint(None) is None


def test_losses_that_differ_have_other_words():
    losses = [
        squared,
        lambda model, batch: model(batch) ** 2,
        lambda model, batch: model(batch) ** 3,
        of_power(2),
        of_power(3),
        partial(squared, batch=1),
        partial(squared, batch=2),
        partial(squared, batch=torch.ones(2)),
        partial(squared, batch=torch.zeros(2)),
        partial(squared, batch={"a": [1, (2,)]}),
        partial(squared, batch={"a": [1, (3,)]}),
        partial(squared, batch=of_power(2)),
        partial(squared, batch=of_power(3)),
        partial(partial(squared, batch=1), model=1),
        Called(),
        Called().method,
        torch.nn.functional.mse_loss,
        torch.add,
        len,
    ]
    words = [loss_fingerprint(loss) for loss in losses]
    assert len(set(words)) == len(words)
    assert words[0].startswith("tests.fisher.test_loss_fingerprint.squared:")
    assert words[5].startswith("tests.fisher.test_loss_fingerprint.squared:")


def test_a_loss_made_again_has_the_same_word():
    for make in (lambda: of_power(2), Called, lambda: Called().method, lambda: partial(squared, batch=object())):
        assert loss_fingerprint(make()) == loss_fingerprint(make())


def test_a_function_that_calls_itself_has_an_end():
    assert counting_down(lambda batch: batch, 1) == counting_down(lambda batch: batch, 1)


def test_another_process_finds_the_same_word(tmp_path):
    (tmp_path / "losses.py").write_text(LOSSES)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import losses; from functools import partial\n"
    code += "from spectra.fisher.loss_fingerprint import loss_fingerprint as word\n"
    code += "print(word(losses.plain), word(partial(losses.plain, scale={'x', 'y', 'z'})))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
