"""The norms of the inputs of layers."""

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.training.libraries import quiet
from spectra.training.pruning import input_norms
from tests.pretrained import save_bert, save_gpt2, save_t5


def batch_of(rows, length=None):
    """Token ids padded on the right with zeros, and their mask."""
    length = length or max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def loaded(kind, folder):
    import transformers

    with quiet():
        return getattr(transformers, kind).from_pretrained(folder)


def test_they_are_the_norms_over_all_tokens_of_all_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    batches = [(torch.randn(5, 6, 3), None), (torch.randn(2, 1, 3), None)]
    norms = input_norms(model, batches, ["0", "2"])
    tokens = torch.cat([inputs.reshape(-1, 3) for inputs, _ in batches])
    torch.testing.assert_close(norms["0"], tokens.double().norm(dim=0), rtol=1e-6, atol=0)  # squares in float32
    hidden = torch.tanh(model[0](tokens)).detach().double()
    torch.testing.assert_close(norms["2"], hidden.norm(dim=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("save", "kind", "layer"),
    [
        (save_bert, "BertForMaskedLM", "bert.encoder.layer.0.output.dense"),
        (save_gpt2, "GPT2LMHeadModel", "transformer.h.0.mlp.c_proj"),
    ],
    ids=["bert", "gpt2"],
)
def test_padding_counts_for_nothing(tmp_path, save, kind, layer):
    model = loaded(kind, save(tmp_path))
    rows = [[5, 6, 7, 8], [9, 10]]
    alone = input_norms(model, [batch_of([row]) for row in rows], [layer])
    for length in (4, 9):
        padded = input_norms(model, [batch_of(rows, length)], [layer])
        torch.testing.assert_close(padded[layer], alone[layer], rtol=1e-6, atol=0)


def test_padding_on_the_left_counts_for_nothing_either(tmp_path):
    model = loaded("BertForMaskedLM", save_bert(tmp_path))
    layer = "bert.encoder.layer.0.intermediate.dense"
    right = batch_of([[5, 6, 7, 8], [9, 10]])
    left = {name: torch.stack([value[0], value[1].roll(2)]) for name, value in right.items()}
    torch.testing.assert_close(
        input_norms(model, [left], [layer])[layer], input_norms(model, [right], [layer])[layer], rtol=1e-6, atol=0
    )


def test_both_sides_of_an_encoder_decoder_lose_their_own_padding(tmp_path):
    model = loaded("T5ForConditionalGeneration", save_t5(tmp_path))
    layers = ["encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.1.EncDecAttention.k"]
    layers.append("decoder.block.0.layer.0.SelfAttention.q")
    rows, targets = [[5, 6, 7, 8], [9, 10]], [[5], [6, 7, 8, 9]]
    alone = input_norms(
        model,
        [{**batch_of([row]), "labels": torch.tensor([target])} for row, target in zip(rows, targets, strict=True)],
        layers,
    )
    labels = torch.tensor([[5, -100, -100, -100], [6, 7, 8, 9]])
    padded = input_norms(model, [{**batch_of(rows), "labels": labels}], layers)
    for layer in layers:
        torch.testing.assert_close(padded[layer], alone[layer], rtol=1e-6, atol=0)


def test_the_prefix_of_the_model_in_a_head_may_be_missing_or_too_much(tmp_path):
    save_bert(tmp_path)
    whole, bare = loaded("BertForMaskedLM", tmp_path), loaded("BertModel", tmp_path)
    batches = [batch_of([[5, 6]])]
    short, long = "encoder.layer.0.output.dense", "bert.encoder.layer.0.output.dense"
    found = [input_norms(model, batches, [name])[name] for model in (whole, bare) for name in (short, long)]
    assert all(torch.equal(found[0], other) for other in found)


def test_the_model_is_as_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    state = torch.random.get_rng_state()
    input_norms(model, [(torch.ones(1, 2), None)], ["0"])
    assert model.training
    assert not model[0]._forward_pre_hooks
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_number_of_batches_done_is_told():
    done = []
    input_norms(nn.Sequential(nn.Linear(2, 2)), [(torch.ones(1, 2), None)] * 3, ["0"], progress=done.append)
    assert done == [1, 2, 3]


def test_what_is_no_linear_layer_is_refused():
    model = nn.Sequential(nn.Conv1d(2, 2, 1), nn.Linear(2, 2))
    with pytest.raises(InputError, match="layer '0' is a Conv1d, and Wanda is for linear layers"):
        input_norms(model, [], ["0"])
    with pytest.raises(InputError, match="Sequential has no layer '10'. Did you mean '1'"):
        input_norms(model, [], ["10"])


def test_a_layer_that_is_not_reached_is_refused():
    with pytest.raises(InputError, match="layer '0' was not called on these batches"):
        input_norms(nn.Sequential(nn.Linear(2, 2)), [], ["0"])


def test_one_batch_alone_is_refused():
    with pytest.raises(InputError, match="single batch"):
        input_norms(nn.Sequential(nn.Linear(2, 2)), {"x": torch.ones(1, 2)}, ["0"])
