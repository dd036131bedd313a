import copy
import math

import pytest
import torch

from spectra.errors import InputError
from spectra.training.sdft.divergence import divergence
from tests.adapters import adapted
from tests.models import gpt2, llama

pytestmark = pytest.mark.filterwarnings("ignore")  # peft remarks on layers it adapts to, bases without a path, old names

TEXTS = [[5, 9, 2, 40], [7, 7, 101], [3, 8, 60, 61, 62, 90], [11, 12]]
# Logits of float32 passes of other batches: their rounding, seen through a divergence of about one nat.
FLOAT32 = {"rel": 1e-4}


def tuned(model, size=0.3):
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn_like(parameter)
    return model


def batch_of(texts, *, left=False, **more):
    longest = max(map(len, texts))
    fill = [[0] * (longest - len(text)) for text in texts]
    rows = [gap + text if left else text + gap for text, gap in zip(texts, fill, strict=True)]
    real = [[1] * len(text) for text in texts]
    mask = [gap + ones if left else ones + gap for ones, gap in zip(real, fill, strict=True)]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask), **more}


def by_hand(seed, model, texts):
    """Text by text, token by token, class by class, in float64."""
    sums = []
    for text in texts:
        with torch.no_grad():
            of_seed, of_model = (one.eval()(torch.tensor([text])).logits[0].double().softmax(-1) for one in (seed, model))
        terms = [[float(p * (p / q).log()) for p, q in zip(*rows, strict=True)] for rows in zip(of_seed, of_model, strict=True)]
        sums.append(math.fsum(term for row in terms[:-1] for term in row))
    return sums


@pytest.mark.parametrize("left", [False, True], ids=["padded right", "padded left"])
def test_the_mean_is_that_of_a_plain_loop_over_tokens(left):
    seed, model = llama(), tuned(llama())
    sums, counts = by_hand(seed, model, TEXTS), [len(text) - 1 for text in TEXTS]
    found = divergence(seed, model, [batch_of(TEXTS[:3], left=left), batch_of(TEXTS[3:])])
    assert found.mean == pytest.approx(sum(sums) / sum(counts), **FLOAT32)
    assert (found.num_tokens, found.num_texts) == (11, 4)
    # The usual error of a ratio estimate, Cochran (1977), section 2.11, without the correction for a finite population.
    rests = [one - found.mean * count for one, count in zip(sums, counts, strict=True)]
    expected = math.sqrt(sum(rest**2 for rest in rests) / 3 / 4) / (sum(counts) / 4)
    assert found.std_error == pytest.approx(expected, **FLOAT32)


def test_tokens_with_labels_are_those_that_count():
    seed, model = llama(), tuned(llama())
    text = TEXTS[2]
    labels = torch.tensor([[-100, -100, -100, 61, 62, 90]])
    found = divergence(seed, model, [batch_of([text], labels=labels)])
    whole, prompt = by_hand(seed, model, [text, text[:3]])
    assert found.num_tokens == 3
    assert found.mean == pytest.approx((whole - prompt) / 3, **FLOAT32)
    assert math.isnan(found.std_error)


def test_texts_without_a_label_do_not_count():
    seed, model = llama(), tuned(llama())
    labels = torch.tensor([[5, 9, 2], [-100, -100, -100]])
    batch = {"input_ids": torch.tensor([[5, 9, 2], [1, 1, 1]]), "labels": labels}
    found, alone = (divergence(seed, model, [one]) for one in (batch, {"input_ids": torch.tensor([[5, 9, 2]])}))
    assert (found.num_tokens, found.num_texts) == (alone.num_tokens, alone.num_texts) == (2, 1)
    assert found.mean == pytest.approx(alone.mean, **FLOAT32)


def test_large_vocabularies_are_taken_in_parts(monkeypatch):
    seed, model = llama(), tuned(llama())
    whole = divergence(seed, model, [batch_of(TEXTS)])
    monkeypatch.setattr("spectra.training.sdft.divergence._AT_ONCE", 3 * 128)
    parts = divergence(seed, model, [batch_of(TEXTS)])
    assert parts.num_tokens == whole.num_tokens
    assert parts.mean == pytest.approx(whole.mean, rel=1e-12)  # rows in parts: round-off of float64 at most


def test_equal_models_do_not_diverge():
    found = divergence(llama(), llama(), [batch_of(TEXTS)])
    assert found.mean == 0.0
    assert found.std_error == 0.0


def test_it_falls_with_the_square_of_a_small_step():
    # In float32 softmax such a divergence would be lost in rounding: at the smaller step it is about 1e-9 nats.
    steps = (1e-3, 1e-4)
    seed = llama().double()
    large, small = (divergence(seed, tuned(llama().double(), step), [batch_of(TEXTS)]).mean for step in steps)
    assert large / small == pytest.approx(100.0, rel=0.05)  # the next order of the expansion is a few per cent


@pytest.mark.parametrize("make", [llama, gpt2])
def test_a_model_with_an_adapter_is_its_own_seed(make):
    options = {"target_modules": ["c_attn"], "fan_in_fan_out": True} if make is gpt2 else {"target_modules": ["q_proj"]}
    model = adapted(make, **options)
    apart = divergence(make(), model, [batch_of(TEXTS)])
    assert divergence(None, model, [batch_of(TEXTS)]) == apart
    assert apart.mean > 0.0


def test_an_adapter_that_transformers_loaded_is_switched_off(tmp_path):
    adapted(llama, target_modules=["q_proj"]).save_pretrained(tmp_path)
    model = llama()
    model.load_adapter(str(tmp_path))
    assert divergence(None, model, [batch_of(TEXTS)]).mean == divergence(llama(), model, [batch_of(TEXTS)]).mean > 0.0


def test_models_are_left_as_they_were():
    model = adapted(gpt2, target_modules=["c_attn"], fan_in_fan_out=True).train()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    batch = batch_of(TEXTS)
    first = divergence(None, model, [batch])
    assert first == divergence(None, model, [batch])  # in spite of dropout
    assert all(module.training for module in model.modules())
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trained
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert set(batch) == {"input_ids", "attention_mask"}


def test_half_precision_models_are_compared():
    found = divergence(llama().bfloat16(), tuned(llama()).bfloat16(), [batch_of(TEXTS)])
    exact = divergence(llama(), tuned(llama()), [batch_of(TEXTS)])
    assert found.mean == pytest.approx(exact.mean, rel=0.1)  # bfloat16 has eight bits


def other_vocabulary():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=120))


def test_what_cannot_be_compared_is_refused():
    model, texts = llama(), batch_of(TEXTS)
    with pytest.raises(InputError, match="a LlamaForCausalLM without adapter is no seed of its own"):
        divergence(None, model, [texts])
    with pytest.raises(InputError, match="single batch"):
        divergence(model, model, texts)
    with pytest.raises(InputError, match="expected batches with 'input_ids', as the model takes them, got list"):
        divergence(model, model, [["a text"]])
    with pytest.raises(InputError, match="no batch has a token to predict"):
        divergence(model, model, [batch_of([[4], [5]])])
    with pytest.raises(InputError, match="no batch has a token to predict"):
        divergence(model, model, [])
    with pytest.raises(InputError, match="the seed predicts 128 tokens, the tuned model 120"):
        divergence(model, other_vocabulary(), [texts])
    broken = llama()
    broken.lm_head.weight.data[0, 0] = math.inf
    with pytest.raises(InputError, match="the logits are not finite"):
        divergence(model, broken, [texts])


def test_a_merged_adapter_is_no_seed():
    model = adapted(llama, target_modules=["q_proj"])
    model.merge_adapter()
    with pytest.raises(InputError, match="merged into the weights"):
        divergence(None, model, [batch_of(TEXTS)])
