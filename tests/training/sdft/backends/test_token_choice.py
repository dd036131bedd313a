"""The choice of each next token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectra.training.sdft.backends.token_choice import TokenChoice, drawn
from spectra.training.sdft.generation import GREEDY, GenerationSpec

CPU = torch.device("cpu")


def logits_of(seed, rows=1, words=12):
    return 3 * torch.randn(rows, words, generator=torch.Generator().manual_seed(seed))


def probabilities(logits, spec):
    """By the processors of transformers, in the order in which its sampling applies them."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = TemperatureLogitsWarper(spec.temperature)(None, logits)
    if spec.top_k:
        logits = TopKLogitsWarper(spec.top_k)(None, logits)
    if spec.top_p < 1:
        logits = TopPLogitsWarper(spec.top_p)(None, logits)
    return logits.softmax(dim=-1)


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 0, "top_p": 1.0}, {"top_k": 3, "top_p": 1.0}, {"top_k": 0, "top_p": 0.6}, {"temperature": 3.0, "top_k": 99}],
    ids=["reference", "all", "top-k", "top-p", "more than there are"],
)
@pytest.mark.parametrize("seed", range(3))
def test_tokens_are_drawn_with_the_probabilities_of_transformers(options, seed):
    spec, logits, number = GenerationSpec(**options), logits_of(seed), 20_000
    # Evenly spaced draws give each token its share, up to one draw and rounding.
    uniform = (torch.arange(number) + 0.5) / number
    found = torch.bincount(drawn(logits.expand(number, -1), spec, uniform), minlength=12) / number
    torch.testing.assert_close(found, probabilities(logits, spec)[0], atol=2 / number, rtol=0)


@given(st.integers(0, 2**16), st.floats(0, 1, exclude_max=True, width=32), st.floats(0.01, 1), st.integers(0, 12))
def test_no_token_is_drawn_that_top_k_or_top_p_leaves_out(seed, uniform, top_p, top_k):
    spec, logits = GenerationSpec(top_p=top_p, top_k=top_k), logits_of(seed)
    token = drawn(logits, spec, torch.tensor([uniform]))
    # A token at the very edge of top-p may be in or out by rounding.
    widened = GenerationSpec(top_p=min(1.0, top_p + 1e-5), top_k=top_k)
    assert probabilities(logits, widened)[0, token] > 0


def test_a_low_temperature_takes_the_most_probable_token():
    logits = logits_of(0, rows=50)
    chosen = drawn(logits, GenerationSpec(temperature=1e-30, top_p=1.0, top_k=0), torch.rand(50, generator=None))
    assert torch.equal(chosen, logits.argmax(dim=-1))


def test_a_row_draws_by_its_own_seed_whoever_stands_beside_it():
    spec, logits = GenerationSpec(max_new_tokens=4, top_p=1.0), logits_of(1, rows=3)
    prompts = torch.zeros(3, 5, dtype=torch.long)
    together = TokenChoice(spec, [11, 12, 13], 5, CPU)(prompts, logits).argmax(dim=-1)
    alone = [TokenChoice(spec, [11 + row], 5, CPU)(prompts[:1], logits[row : row + 1]).argmax() for row in range(3)]
    assert together.tolist() == [int(token) for token in alone]


def test_all_bits_of_a_seed_count():
    spec, logits = GenerationSpec(max_new_tokens=1, top_p=1.0, top_k=0), torch.zeros(2, 10_000)
    low, high = TokenChoice(spec, [1, 1 + 2**62], 0, CPU)(torch.zeros(2, 0), logits).argmax(dim=-1)
    assert low != high


@pytest.mark.parametrize("spec", [GREEDY, GenerationSpec()], ids=["greedy", "sampled"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_logits_that_are_not_finite_are_counted_out(spec, value):
    choice = TokenChoice(spec, [0, 0], 3, CPU)
    for step in range(4):
        logits = logits_of(step, rows=2)
        if step == 2:
            logits[1] = value
        choice(torch.zeros(2, 3 + step, dtype=torch.long), logits)
    assert choice.num_sound.tolist() == [4, 2]


def test_a_word_that_is_ruled_out_by_minus_infinity_is_sound():
    choice, logits = TokenChoice(GREEDY, [0], 0, CPU), logits_of(0)
    logits[0, 3] = -torch.inf
    choice(torch.zeros(1, 0), logits)
    assert choice.num_sound.tolist() == [1]


def test_greedy_decoding_sees_the_logits_of_the_model():
    logits = logits_of(0)
    assert TokenChoice(GREEDY, [0], 0, CPU)(torch.zeros(1, 0), logits) is logits
