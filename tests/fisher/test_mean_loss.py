import pytest
import torch
import transformers
from torch import nn

from spectra.errors import InputError
from spectra.fisher.mean_loss import mean_loss

WORDS = 15


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=WORDS,
        max_position_embeddings=8,
    )
    return transformers.BertForMaskedLM(config).eval()


def batch(num_samples=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, WORDS, (num_samples, 7), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) > 0.4, -100)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def part(whole, start, stop):
    return {name: tensor[start:stop] for name, tensor in whole.items()}


def test_it_is_the_models_own_loss():
    model, data = bert(), batch()
    with torch.no_grad():
        expected = float(model(**data).loss)
    value, num_targets = mean_loss(model, [data], "masked-lm")
    assert value == pytest.approx(expected, rel=1e-6)  # float32 sums in another order
    assert num_targets == int((data["labels"] != -100).sum())


def test_every_target_weighs_the_same_whatever_its_batch():
    model, data = bert(), batch()
    whole, num_targets = mean_loss(model, [data], "masked-lm")
    parts = [part(data, 0, 1), part(data, 1, 5), part(data, 5, 6)]
    assert len({int((one["labels"] != -100).sum()) for one in parts}) > 1
    assert mean_loss(model, parts, "masked-lm") == (pytest.approx(whole, rel=1e-6), num_targets)


def test_a_batch_without_targets_adds_nothing():
    model, data = bert(), batch()
    empty = data | {"labels": torch.full_like(data["labels"], -100)}
    assert mean_loss(model, [data, empty], "masked-lm") == mean_loss(model, [data], "masked-lm")
    with pytest.raises(InputError, match="there is no target in 1 batches"):
        mean_loss(model, [empty], "masked-lm")


def test_no_batches_are_refused():
    with pytest.raises(
        InputError, match="there is no target in 0 batches, so that there is no loss. Pass batches with targets"
    ):
        mean_loss(bert(), [], "masked-lm")


def test_a_loss_of_the_users_is_averaged_over_samples():
    model = nn.Linear(2, 1)
    inputs = [torch.randn(size, 2, generator=torch.Generator().manual_seed(size)) for size in (3, 5)]
    value, num_targets = mean_loss(model, inputs, "custom", lambda model, x: model(x).squeeze(1) ** 2)
    expected = float((model(torch.cat(inputs)) ** 2).detach().mean())
    assert (value, num_targets) == (pytest.approx(expected, rel=1e-6), 8)


def test_no_graph_is_built():
    model, seen = nn.Linear(2, 3), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    mean_loss(model, [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))], "classification")
    assert seen == [False]
