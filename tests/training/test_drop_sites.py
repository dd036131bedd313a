"""Drop probabilities at work: what is dropped, how often, and that everything is as before when they come off."""

import re
from math import sqrt
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spectra.errors import InputError
from spectra.fisher.sites import find_sites
from spectra.training import apply_rates
from tests.dropout_models import batch_of, tiny

MLP, ATTENTION = "bert.encoder.layer.0.output.dropout", "bert.encoder.layer.1.attention.self.dropout"
# peft asks transformers for it.
ASKED_BY_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def rates_of(model, **options):
    return {site.name: site.drop_prob for site in find_sites(model, **options)}


def logits(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(**batch_of(model)).logits


class Kept(nn.Module):
    """Drops at a rate that it keeps as a number."""

    def __init__(self):
        super().__init__()
        self.dropout = 0.5

    def forward(self, x):
        return nn.functional.dropout(x, self.dropout, self.training)


class Adapter(nn.Module):
    """A layer of peft on its own; gives what enters the adapter."""

    def __init__(self, drop_prob):
        from peft.tuners.lora import LoraConfig
        from peft.tuners.lora.layer import Linear

        super().__init__()
        self.layer = Linear(nn.Linear(8, 8), "default", config=LoraConfig(lora_dropout=drop_prob), r=2, lora_alpha=2)
        self.layer.lora_A["default"].register_forward_pre_hook(lambda _, inputs: self.entering.append(inputs[0]))

    def forward(self, x):
        self.entering = []
        self.layer(x)
        return self.entering[0]


ONES = torch.ones(2**17, 8)  # at least 10^6 draws
KINDS = {
    "module": (lambda: nn.Sequential(nn.Dropout(0.5)), "0"),
    "module, in place": (lambda: nn.Sequential(nn.Dropout(0.5, inplace=True)), "0"),
    "attribute": (Kept, "dropout"),
    "lora": (lambda: Adapter(0.5), "layer.lora_dropout.default"),
    "lora, identity": (lambda: Adapter(0.0), "layer.lora_dropout.default"),
    "inserted": (lambda: nn.Sequential(nn.ReLU()), "0.output_dropout"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0275, 0.3])
def test_a_site_drops_at_its_rate_and_keeps_the_mean(kind, rate):
    make, name = KINDS[kind]
    model = make().train()
    torch.manual_seed(0)
    with apply_rates(model, {name: rate}), torch.no_grad():
        result = model(ONES.clone()).double()
    count = ONES.numel()
    # Four standard errors: of a share, and of the mean of Bernoulli(1 - p) / (1 - p).
    assert (result == 0.0).double().mean() == pytest.approx(rate, abs=4.0 * sqrt(rate * (1.0 - rate) / count))
    assert result.mean() == pytest.approx(1.0, abs=4.0 * sqrt(rate / (1.0 - rate) / count))


def test_attention_drops_its_weights_at_the_rate_of_its_attribute():
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 8, "d_kv": 2, "d_ff": 8, "num_layers": 1, "num_heads": 4, "vocab_size": 40}
    torch.manual_seed(0)
    model = T5EncoderModel(T5Config(**sizes, attn_implementation="eager"))
    tokens = {"input_ids": torch.randint(1, 40, (1, 512)), "output_attentions": True}
    with torch.no_grad():
        whole = model.eval()(**tokens).attentions[0].double()
        others = dict.fromkeys(rates_of(model), 0.0)
        with apply_rates(model, {**others, "encoder.block.0.layer.0.SelfAttention.dropout": 0.1}):
            dropped = model.train()(**tokens).attentions[0].double()
    count = whole.numel()
    assert count >= 10**6
    # Four standard errors; the sum of w m with m ~ Bernoulli(1 - p) / (1 - p) has the variance p / (1 - p) sum w^2.
    assert (dropped == 0.0).double().mean() == pytest.approx(0.1, abs=4.0 * sqrt(0.1 * 0.9 / count))
    assert dropped.sum().item() == pytest.approx(whole.sum().item(), abs=4.0 * sqrt(0.1 / 0.9 * (whole**2).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_at_rate_0_the_output_is_the_same_to_the_bit_and_no_random_number_is_used_up_by_what_we_insert(kind):
    make, name = KINDS[kind]
    model, x = make().train(), torch.randn(50, 8)
    before = torch.get_rng_state()
    with apply_rates(model, {name: 0.0}):
        result = model(x.clone())
    assert torch.equal(result, x.relu() if kind == "inserted" else x)
    assert kind != "inserted" or torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_with_all_rates_0_a_model_in_training_equals_itself_in_evaluation(attention):
    model = tiny("bert", attention)
    without = logits(model.eval())
    with apply_rates(model, dict.fromkeys(rates_of(model), 0.0)):
        assert torch.equal(logits(model.train()), without)


@pytest.mark.parametrize("family", ["bert", "llama", "bart"])
def test_seeded_runs_repeat(family):
    model = tiny(family).train()
    model.config.encoder_layerdrop = 0.0
    with apply_rates(model, dict.fromkeys(rates_of(model), 0.3)):
        first = logits(model, seed=1)
        assert torch.equal(first, logits(model, seed=1))
        assert not torch.equal(first, logits(model, seed=2))


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "bart", "vit"])
def test_in_evaluation_nothing_changes_and_afterwards_all_is_as_before(family):
    model = tiny(family)
    without, rates, keys = logits(model), rates_of(model), list(model.state_dict())
    inserted = [f"{name}.output_dropout" for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    with apply_rates(model, dict.fromkeys([*rates, *inserted], 0.5)) as applied:
        assert set(rates_of(model).values()) == {0.5}
        assert torch.equal(logits(model), without)
        assert list(model.state_dict()) == keys
        assert set(applied.rates) == {*rates, *inserted}
    assert rates_of(model) == rates
    assert torch.equal(logits(model), without)
    assert all(not module._forward_hooks for module in model.modules())


def test_rates_stay_until_restore_and_restoring_twice_changes_nothing():
    model = tiny("bert")
    old = rates_of(model)
    applied = apply_rates(model, {MLP: 0.25})
    assert rates_of(model) == {**old, MLP: 0.25}
    applied.restore()
    model.get_submodule(MLP).p = 0.4
    applied.restore()
    assert rates_of(model) == {**old, MLP: 0.4}


def test_the_very_objects_come_back_also_after_an_exception():
    model = nn.Sequential(Kept(), nn.Dropout(0.1 + 0.2))
    model[0].dropout = 0  # an int, as configurations have them
    with pytest.raises(KeyError), apply_rates(model, {"0.dropout": 0.25, "1": 0.25, "0.output_dropout": 0.5}):
        raise KeyError
    assert isinstance(model[0].dropout, int)
    assert (model[0].dropout, model[1].p) == (0, 0.1 + 0.2)
    assert not model[0]._forward_hooks


@given(st.lists(st.dictionaries(st.sampled_from(["0", "1.dropout", "2.output_dropout"]), st.floats(0.0, 0.99)), max_size=4))
@settings(deadline=None, max_examples=25)
def test_rates_on_top_of_rates_come_off_in_turn(layers):
    model = nn.Sequential(nn.Dropout(0.1), Kept(), nn.ReLU())

    def state():
        return model[0].p, model[1].dropout, [hook.drop_prob for hook in model[2]._forward_hooks.values()]

    states, applied = [state()], []
    for rates in layers:
        applied.append(apply_rates(model, rates))
        states.append(state())
        assert len(states[-1][2]) <= 1  # inserted once: on top of others it replaces, and does not drop twice
    for one in reversed(applied):
        assert state() == states.pop()
        one.restore()
    assert state() == states.pop() == (0.1, 0.5, [])


@ASKED_BY_PEFT
def test_the_identity_before_an_adapter_is_swapped_for_dropout_and_back():
    model = Adapter(0.0)
    identity, keys = model.layer.lora_dropout["default"], list(model.state_dict())
    assert isinstance(identity, nn.Identity)
    with apply_rates(model.eval(), {"layer.lora_dropout.default": 0.25}):
        dropout = model.layer.lora_dropout["default"]
        assert isinstance(dropout, nn.Dropout)
        assert (dropout.p, dropout.training, list(model.state_dict())) == (0.25, False, keys)
        with apply_rates(model, {"layer.lora_dropout.default": 0.5}):
            assert dropout.p == 0.5
        assert dropout.p == 0.25
    assert model.layer.lora_dropout["default"] is identity


def test_of_a_tuple_the_first_element_is_dropped():
    model = nn.GRU(4, 4).train()
    x = torch.randn(3, 2, 4)
    output, state = model(x)
    wrapped = nn.ModuleDict({"rnn": model})
    with apply_rates(wrapped, {"rnn.output_dropout": 0.5}):
        dropped, same = model(x)
    assert torch.equal(same, state)
    assert torch.equal(dropped[dropped != 0.0], 2.0 * output[dropped != 0.0])
    assert (dropped == 0.0).any()


def test_an_output_that_is_no_tensor_is_refused_by_name():
    model = tiny("bert").train()
    with (
        apply_rates(model, {"bert.output_dropout": 0.5}),
        pytest.raises(
            InputError, match="site 'bert.output_dropout': expected a tensor as output, got BaseModelOutputWithPooling"
        ),
    ):
        logits(model)


@pytest.mark.parametrize("kind", ["module", "attribute"])
def test_a_compiled_model_follows_changed_rates(kind):
    make, name = KINDS[kind]
    model, x = make().train(), torch.ones(100, 8)
    compiled = torch.compile(model, backend="eager")  # the tracing counts, not the code it makes
    with apply_rates(model, {name: 0.0}):
        assert (compiled(x) == 1.0).all()
    assert (compiled(x) == 0.0).any()  # the rate before: 0.5


def test_all_unknown_names_are_refused_at_once_with_suggestions_and_nothing_changes():
    model = tiny("bert")
    old = rates_of(model)
    unknown = {MLP: 0.3, "bert.encoder.layer.0.ouput.dropout": 0.3, "bert.encoder.layer.9.output_dropout": 0.3}
    with pytest.raises(InputError) as caught:
        apply_rates(model, unknown)
    assert re.search(
        r"2 of 3 names are no dropout sites of BertForSequenceClassification: 'bert.encoder.layer.0.ouput.dropout'\. "
        r"Did you mean 'bert.encoder.layer.0.output.dropout'\? 'bert.encoder.layer.9.output_dropout'\.",
        str(caught.value),
    )
    assert rates_of(model) == old


def test_a_layer_that_is_no_dropout_is_no_site():
    with pytest.raises(InputError, match="1 of 1 names are no dropout sites of BertForSequenceClassification: 'classifier'"):
        apply_rates(tiny("bert"), {"classifier": 0.3})


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan"), "0.1", None, True])
def test_what_is_no_rate_is_refused_and_nothing_changes(rate):
    model = tiny("bert")
    old = rates_of(model)
    with pytest.raises(InputError, match=re.escape(f"1 of 2 are no drop probabilities in [0, 1): '{ATTENTION}' ({rate!r})")):
        apply_rates(model, {MLP: 0.3, ATTENTION: rate})
    assert rates_of(model) == old


def test_rates_without_names_are_refused():
    with pytest.raises(InputError, match=r"rates: expected drop probabilities by name of the site, got list\."):
        apply_rates(tiny("bert"), [0.1])


def test_the_rates_that_are_replaced_can_be_read():
    model = nn.Sequential(nn.Dropout(0.1), Kept(), nn.ReLU())
    first = apply_rates(model, {"0": 0.2, "1.dropout": 0.3, "2.output_dropout": 0.4})
    second = apply_rates(model, {"2.output_dropout": 0.6, "0": 0.7})
    assert first.previous == {"0": 0.1, "1.dropout": 0.5, "2.output_dropout": 0.0}
    assert second.previous == {"0": 0.2, "2.output_dropout": 0.4}


class Uncalled(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.dropout, self.spare = nn.Linear(8, 8), nn.Dropout(0.1), nn.Dropout(0.1)

    def forward(self, x):
        return self.dropout(self.first(x))


def test_of_a_dropout_module_that_nothing_calls_this_is_said():
    with pytest.raises(InputError, match=r"'spare' \(a dropout module, but nothing in the model calls it\)\. find_sites"):
        apply_rates(Uncalled(), {"dropout": 0.2, "spare": 0.2})


def test_names_are_functions_and_classes_whatever_was_imported_before():
    from importlib import import_module
    from inspect import ismodule

    for folder in ("policies", "training"):
        package = import_module(f"spectra.{folder}")
        for file in Path(package.__file__).parent.glob("*.py"):
            import_module(f"spectra.{folder}.{file.stem}")
        assert not [name for name in package.__all__ if ismodule(getattr(package, name))]


def test_public_names_of_the_folder_are_what_they_say():
    import spectra.training

    assert set(spectra.training.__all__) <= set(dir(spectra.training))
    for name in spectra.training.__all__:
        assert getattr(spectra.training, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'apply_rate'"):
        spectra.training.apply_rate  # noqa: B018
