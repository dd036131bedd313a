"""Channel rates: masks, refusals, and what a model is like before, in and after them."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils.checkpoint import checkpoint

from spectra.errors import InputError
from spectra.training.neuron_dropout import apply_neuron_rates, channel_dropout

RATES = [0.0, 0.1, 0.5, 0.9]
NUM_DRAWS = 1_000_000  # per channel


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def masks():
    return channel_dropout(torch.ones(NUM_DRAWS, len(RATES)), RATES, training=True, generator=generator())


@pytest.mark.parametrize("channel", range(len(RATES)), ids=[f"p={p}" for p in RATES])
def test_each_channel_is_dropped_at_its_own_rate_and_keeps_its_mean(masks, channel):
    p, mask = RATES[channel], masks[:, channel].double()
    # A share of Bernoulli(p) draws has the standard error sqrt(p (1 - p) / n); a mask entry has the variance p / (1 - p).
    assert abs((mask == 0.0).double().mean() - p) <= 4.0 * (p * (1.0 - p) / NUM_DRAWS) ** 0.5
    assert abs(mask.mean() - 1.0) <= 4.0 * (p / (1.0 - p) / NUM_DRAWS) ** 0.5 + 1e-7  # 1 / (1 - p) is rounded to float32
    assert mask.unique().tolist() == pytest.approx([0.0, 1.0 / (1.0 - p)] if p else [1.0], rel=1e-7)


def test_channels_are_dropped_independently_of_each_other(masks):
    covariance = torch.cov(masks[:, 1:].T.double())
    variances = torch.tensor([p / (1.0 - p) for p in RATES[1:]], dtype=torch.float64)
    # The mean of products of independent centred factors has the standard error sqrt(v_i v_j / n).
    bound = 4.0 * (variances[:, None] * variances / NUM_DRAWS).sqrt()
    off_diagonal = ~torch.eye(len(variances), dtype=torch.bool)
    assert bool((covariance.abs() <= bound)[off_diagonal].all())


def test_channels_with_rate_zero_are_bit_identical():
    x = torch.randn(7, 5, 4, generator=generator(), dtype=torch.bfloat16)
    y = channel_dropout(x, RATES, training=True)
    assert torch.equal(y[..., 0].view(torch.int16), x[..., 0].view(torch.int16))


def test_in_evaluation_the_input_itself_comes_back():
    x = torch.randn(3, 4)
    assert channel_dropout(x, RATES, training=False) is x


def test_the_same_seed_gives_the_same_masks():
    x = torch.ones(50, 4)
    first, again, other = (channel_dropout(x, RATES, training=True, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_a_generator_the_global_seed_counts():
    x = torch.ones(50, 4)
    torch.manual_seed(5)
    first = channel_dropout(x, RATES, training=True)
    torch.manual_seed(5)
    assert torch.equal(channel_dropout(x, RATES, training=True), first)


def test_tokens_have_masks_of_their_own_unless_a_sequence_shares_one():
    x, rates = torch.ones(3, 40, 20), [0.5] * 20
    per_token = channel_dropout(x, rates, training=True, generator=generator())
    shared = channel_dropout(x, rates, training=True, shared=True, generator=generator())
    assert not torch.equal(per_token[:, 0], per_token[:, 1])
    assert torch.equal(shared, shared[:, :1].expand_as(shared))
    assert not torch.equal(shared[0], shared[1])


def test_gradients_are_the_masks():
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    y = channel_dropout(x, RATES, training=True, generator=generator())
    y.sum().backward()
    assert torch.equal(x.grad, channel_dropout(torch.ones_like(x), RATES, training=True, generator=generator()))


def test_the_mean_of_bfloat16_activations_is_kept():
    p, n = 0.1, NUM_DRAWS
    y = channel_dropout(torch.full((n, 1), 3.0, dtype=torch.bfloat16), [p], training=True, generator=generator())
    # 3 / 0.9 is rounded once, to the nearest of numbers 2 ** -6 apart; a factor of 1 / 0.9 in bfloat16 would round twice.
    assert y[y != 0.0].unique().tolist() == [torch.tensor(3.0 / (1.0 - p)).bfloat16().item()]


@settings(max_examples=30)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    shared=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_entry_is_dropped_or_scaled_by_its_channel(shape, dtype, shared, seed):
    x = torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)
    probs = 0.95 * torch.rand(shape[-1], generator=generator(seed + 1), dtype=torch.float64)
    y = channel_dropout(x, probs, training=True, shared=shared, generator=generator(seed + 2))
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    scaled = x.double() / (1.0 - probs)
    # Rounded to the dtype; in half precision a small result may be subnormal.
    close = torch.isclose(y.double(), scaled, rtol=2.0 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).smallest_normal)
    assert bool((close | (y == 0.0)).all())


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([0.1, 0.2], r"x: expected one drop probability for each channel .* \(3, 4\), got 2"),
        ([0.1, 0.2, 1.0, 1.5], r"drop_probs: expected drop probabilities in \[0, 1\), got 1.0 for channel 2 \(2 of 4"),
        ([0.1, 0.2, float("nan"), 0.0], r"got nan for channel 2 \(1 of 4"),
        ([-0.1, 0.2, 0.0, 0.0], r"got -0.1 for channel 0"),
        ([[0.1, 0.2, 0.3, 0.4]], r"drop_probs: expected drop probabilities of shape \(channels,\), got \(1, 4\)"),
        (0.1, r"of shape \(channels,\), got \(\)"),
        ("high", "drop_probs: expected drop probabilities, one per channel, got 'high'"),
    ],
)
def test_unusable_rates_are_refused(rates, message):
    with pytest.raises(InputError, match=message):
        channel_dropout(torch.ones(3, 4), rates, training=True)


def test_integers_are_refused():
    with pytest.raises(InputError, match=r"x: expected floating-point activations, got torch.int64"):
        channel_dropout(torch.ones(3, 4, dtype=torch.int64), RATES, training=True)


# Models.

EMBEDDINGS, OUTPUT = "bert.embeddings.dropout", "bert.encoder.layer.1.output.dropout"
DENSE = "bert.encoder.layer.0.intermediate.dense"


@pytest.fixture
def bert():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(**sizes, vocab_size=32, max_position_embeddings=16)
    return BertForSequenceClassification(config).train()


BATCH = {"input_ids": torch.arange(10).reshape(2, 5), "labels": torch.tensor([0, 1])}


def loss(model, seed=0):
    torch.manual_seed(seed)
    return model(**BATCH).loss


def silence(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def outputs_of(model, name):
    seen = []
    handle = model.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    loss(model)
    handle.remove()
    return seen[0]


def test_a_dropout_module_is_replaced_not_added_to(bert):
    silence(bert)
    before = outputs_of(bert, EMBEDDINGS)
    bert.get_submodule(EMBEDDINGS).p = 0.5
    rates = torch.zeros(16)
    rates[3] = 0.9
    with apply_neuron_rates(bert, {EMBEDDINGS: rates}):
        assert bert.get_submodule(EMBEDDINGS).p == 0.0
        after = outputs_of(bert, EMBEDDINGS)
    changed = (after != before).any(dim=1).any(dim=0)
    assert changed.tolist() == [channel == 3 for channel in range(16)]


def test_the_output_of_any_other_module_is_dropped_from(bert):
    silence(bert)
    before = outputs_of(bert, DENSE)
    with apply_neuron_rates(bert, {DENSE: [0.0] * 12 + [0.5] * 12}):
        after = outputs_of(bert, DENSE)
    assert torch.equal(after[..., :12], before[..., :12])
    dropped = after[..., 12:] == 0.0
    assert bool(dropped.any())
    assert torch.equal(after[..., 12:][~dropped], 2.0 * before[..., 12:][~dropped])


def test_evaluation_is_bit_identical_and_the_state_dict_keeps_its_keys(bert):
    keys, expected = list(bert.state_dict()), loss(bert.eval())
    with apply_neuron_rates(bert, {EMBEDDINGS: [0.5] * 16, DENSE: [0.5] * 24}):
        assert torch.equal(loss(bert), expected)
        assert list(bert.state_dict()) == keys


def test_rates_of_zero_are_no_dropout(bert):
    silence(bert)
    expected = loss(bert)
    with apply_neuron_rates(bert, {EMBEDDINGS: [0.0] * 16, DENSE: [0.0] * 24}):
        assert torch.equal(loss(bert), expected)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_forward_that_is_run_again_for_the_backward_has_the_same_masks(use_reentrant):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.1)), torch.randn(9, 6, requires_grad=True)
    gradients = []
    with apply_neuron_rates(model, {"0": [0.5] * 4, "1": RATES}):
        for run in (model, lambda inputs: checkpoint(model, inputs, use_reentrant=use_reentrant)):
            torch.manual_seed(1)
            run(x).sum().backward()
            gradients.append(model[0].weight.grad)
            model.zero_grad()
    assert torch.equal(*gradients)


def test_a_shared_mask_reaches_the_model(bert):
    silence(bert)
    before = outputs_of(bert, DENSE)
    with apply_neuron_rates(bert, {DENSE: [0.5] * 24}, shared=True):
        after = outputs_of(bert, DENSE)
    dropped = (after == 0.0) & (before != 0.0)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))


def test_another_number_of_channels_is_refused_with_site_and_shapes(bert):
    message = rf"site '{DENSE}': expected one drop probability for each channel of the last dimension of \(2, 5, 24\), got 16"
    with apply_neuron_rates(bert, {DENSE: [0.1] * 16}), pytest.raises(InputError, match=message):
        loss(bert)


def test_a_bad_rate_is_refused_with_its_site(bert):
    with pytest.raises(InputError, match=rf"site '{OUTPUT}': expected drop probabilities in \[0, 1\), got 1.0 for channel 0"):
        apply_neuron_rates(bert, {EMBEDDINGS: [0.1] * 16, OUTPUT: [1.0] * 16})
    assert bert.get_submodule(EMBEDDINGS).p == 0.1
