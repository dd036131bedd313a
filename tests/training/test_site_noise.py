"""Noise at named modules: what gets it, what is refused, and that the model is as before when it comes off."""

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.training.site_noise import apply_noise

EMBEDDINGS, DENSE = "bert.embeddings.dropout", "bert.encoder.layer.0.intermediate.dense"
SELF, ATTENTION = "bert.encoder.layer.0.attention.self", "bert.encoder.layer.0.attention.self.dropout"


@pytest.fixture
def bert():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(**sizes, vocab_size=32, max_position_embeddings=16)
    return BertForSequenceClassification(config).train()


def loss(model):
    torch.manual_seed(0)
    return model(input_ids=torch.arange(10).reshape(2, 5), labels=torch.tensor([0, 1])).loss


def doubled(x, training):
    return 2.0 * x if training else x


def test_a_dropout_module_gives_the_noise_and_nothing_else(bert):
    x = torch.randn(2, 5, 16)
    module = bert.get_submodule(EMBEDDINGS)
    with apply_noise(bert, {EMBEDDINGS: doubled}):
        assert module.p == 0.0
        assert torch.equal(module(x), 2.0 * x)
        assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize(
    ("kind", "num_dimensions"),
    [
        (nn.Dropout, 2),
        (nn.Dropout1d, 3),
        (nn.Dropout2d, 4),
        (nn.Dropout3d, 5),
        (nn.AlphaDropout, 2),
        (nn.FeatureAlphaDropout, 3),
    ],
)
@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_every_kind_of_dropout_module_is_replaced(kind, num_dimensions, inplace):
    model, x = nn.Sequential(kind(0.5, inplace=inplace)), torch.randn([4] * num_dimensions)
    with apply_noise(model, {"0": doubled}):
        assert torch.equal(model(x.clone()), 2.0 * x)
    assert model[0].p == 0.5


def test_the_output_of_any_other_module_gets_the_noise_on_top(bert):
    module, x = bert.get_submodule(DENSE), torch.randn(2, 5, 16)
    with apply_noise(bert, {DENSE: doubled}):
        noisy = module(x)
    assert torch.equal(noisy, 2.0 * module(x))


def test_of_a_tuple_the_first_element_gets_the_noise(bert):
    module, x = bert.get_submodule(SELF).train(), torch.randn(1, 5, 16)
    module.dropout.p = 0.0
    plain = module(x)
    with apply_noise(bert, {SELF: doubled}):
        noisy = module(x)
    assert torch.equal(noisy[0], 2.0 * plain[0])
    assert noisy[1:] == plain[1:]


def test_afterwards_the_model_is_as_before(bert):
    expected = loss(bert)
    with apply_noise(bert, {EMBEDDINGS: doubled, DENSE: doubled}):
        assert not torch.equal(loss(bert), expected)
    assert torch.equal(loss(bert), expected)
    assert not any(module._forward_hooks for module in bert.modules())


def fail_with_noise(model):
    with apply_noise(model, {EMBEDDINGS: doubled}):
        raise KeyError


def test_an_exception_takes_the_noise_away_too(bert):
    expected = loss(bert)
    with pytest.raises(KeyError):
        fail_with_noise(bert)
    assert torch.equal(loss(bert), expected)


def test_noise_is_taken_away_by_hand_and_only_once(bert):
    module = bert.get_submodule(EMBEDDINGS)
    applied = apply_noise(bert, {EMBEDDINGS: doubled})
    assert module.p == 0.0
    applied.restore()
    assert module.p == 0.1
    module.p = 0.2
    applied.restore()
    assert module.p == 0.2


def test_noise_within_noise_comes_off_in_order(bert):
    module = bert.get_submodule(EMBEDDINGS)
    with apply_noise(bert, {EMBEDDINGS: doubled}):
        with apply_noise(bert, {EMBEDDINGS: doubled}):
            assert torch.equal(module(torch.ones(1)), torch.full((1,), 4.0))
        assert torch.equal(module(torch.ones(1)), torch.full((1,), 2.0))
        assert module.p == 0.0
    assert module.p == 0.1


def test_a_module_that_is_read_but_never_called_is_refused_in_training(bert):
    with apply_noise(bert, {ATTENTION: doubled}):
        with pytest.raises(InputError, match=f"site '{ATTENTION}': BertSelfAttention never calls this module"):
            loss(bert)
        loss(bert.eval())


def test_unknown_names_are_refused_all_at_once(bert):
    noises = {"bert.embeddings.dropuot": doubled, "head": doubled, "": doubled}
    with pytest.raises(InputError, match=r"dropuot'. Did you mean 'bert.embeddings.dropout'\? Nor 'head'.* Nor ''"):
        apply_noise(bert, noises)


def test_two_names_of_one_module_are_refused():
    dropout = nn.Dropout(0.1)
    model = nn.Sequential(nn.Linear(2, 2), dropout, nn.Linear(2, 2), dropout)
    with pytest.raises(InputError, match="'1' and '3' are one module"):
        apply_noise(model, {"1": doubled, "3": doubled})
    with apply_noise(model, {"3": doubled}):
        model(torch.ones(1, 2))
    assert dropout.p == 0.1


def test_an_output_that_is_no_tensor_is_refused(bert):
    with (
        apply_noise(bert, {"bert": doubled}),
        pytest.raises(InputError, match="site 'bert': expected a tensor as output, got BaseModelOutput"),
    ):
        loss(bert)
