"""Likelihoods of responses, against a loop over tokens, and the shift that rewriting makes."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.training.libraries import quiet
from spectra.training.sdft import CallableBackend, ResponseDistiller
from spectra.training.sdft.data_shifts import data_shift, response_nll, samples_of
from spectra.training.sdft.samples import read_training_data
from spectra.training.sdft.similarity import bleu, rouge_l
from spectra.training.sdft.training_text import encoded
from tests.distilled import record_of
from tests.pretrained import save_bert
from tests.writers import CHAT, POSITIONS, gpt2, llama, tokenizer

ROWS = [
    {"prompt": "was the film good", "completion": "it was very good and not bad"},
    {"prompt": "it", "completion": "bad"},
    {"prompt": "the film was not good and it was bad", "completion": "a good film"},
    {"prompt": "and", "completion": ""},
]
RESPONSES = ["very good and very very good", "not good", "good", "bad"]


def read_samples(rows):
    return read_training_data([{**row, "completion": row["completion"] or "-"} for row in rows]).samples


SAMPLES = read_samples(ROWS)
ORIGINALS = [row["completion"] for row in ROWS]


@torch.no_grad()
def by_hand(model, made, sample, response, max_length=None):
    """One token after the other, each from the tokens before it alone."""
    tokens, num_prompt = encoded(made, sample.messages, response, max_length=max_length)
    nll = 0.0
    for place in range(num_prompt, len(tokens)):
        logits = model(input_ids=torch.tensor([tokens[:place]]), use_cache=False).logits[0, -1].double()
        nll -= torch.log_softmax(logits, dim=0)[tokens[place]].item()
    return nll, max(len(tokens) - num_prompt, 0)


class Whole(nn.Module):
    """A model that computes all logits, whatever is asked."""

    def __init__(self, inside):
        super().__init__()
        self.inside, self.config, self.dtype = inside, inside.config, inside.dtype
        self.generate = inside.generate

    def forward(self, input_ids, attention_mask, use_cache):
        return self.inside(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)


def lora():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    with quiet():  # what peft asks of transformers is deprecated
        model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora" in name:
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(
    ("make", "template"),
    [(llama, CHAT), (gpt2, None), (lora, CHAT), (lambda: Whole(llama()), None)],
    ids=["llama", "gpt2", "adapter", "all logits"],
)
def test_likelihoods_are_those_of_a_loop_over_tokens(make, template):
    model, made = make().eval(), tokenizer(template)
    loop = model.inside if isinstance(model, Whole) else model
    expected = [by_hand(loop, made, sample, response) for sample, response in zip(SAMPLES, ORIGINALS, strict=True)]
    for batch_size in (1, 3, 8):
        found = response_nll(model, made, SAMPLES, ORIGINALS, batch_size=batch_size)
        assert [number for _, number in found] == [number for _, number in expected]
        # Of float32 logits, from passes over other lengths.
        assert [nll for nll, _ in found] == pytest.approx([nll for nll, _ in expected], rel=1e-6, abs=1e-6)


def test_in_double_precision_they_agree_to_rounding():
    model, made = llama().double(), tokenizer(CHAT)
    found = response_nll(model, made, SAMPLES, ORIGINALS)
    for (nll, _), sample, response in zip(found, SAMPLES, ORIGINALS, strict=True):
        assert nll == pytest.approx(by_hand(model, made, sample, response)[0], rel=1e-12)


def test_low_precision_logits_are_raised_to_float32_before_the_logarithm():
    model, made = llama().bfloat16(), tokenizer()
    tokens, num_prompt = encoded(made, SAMPLES[0].messages, ORIGINALS[0])
    ((nll, _),) = response_nll(model, made, SAMPLES[:1], ORIGINALS[:1])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0, num_prompt - 1 : -1]
    exact = -torch.log_softmax(logits.double(), dim=1)[torch.arange(len(logits)), torch.tensor(tokens[num_prompt:])].sum()
    assert nll == pytest.approx(exact.item(), rel=1e-6)  # of float32; bfloat16 would miss by 1e-3


def test_an_adapter_counts_while_it_is_switched_on():
    model, made = lora(), tokenizer()
    with_adapter = response_nll(model, made, SAMPLES, ORIGINALS)
    with model.disable_adapter():
        without = response_nll(model, made, SAMPLES, ORIGINALS)
    assert without == response_nll(llama(), made, SAMPLES, ORIGINALS)
    assert with_adapter != without


def test_only_logits_of_responses_are_computed():
    model, made, widths = llama(), tokenizer(), []
    model.lm_head.register_forward_hook(lambda _, args, __: widths.append(args[0].shape[1]))
    tokens, num_prompt = encoded(made, SAMPLES[2].messages, ORIGINALS[2])
    response_nll(model, made, SAMPLES[2:3], ORIGINALS[2:3])
    assert widths == [len(tokens) - num_prompt + 1]


def test_what_goes_beyond_the_length_is_cut_off_and_a_prompt_that_fills_it_leaves_nothing():
    model, made = llama(), tokenizer()
    _, num_prompt = encoded(made, SAMPLES[0].messages, ORIGINALS[0])
    for extra in (3, 1):
        ((nll, number),) = response_nll(model, made, SAMPLES[:1], ORIGINALS[:1], max_length=num_prompt + extra)
        assert number == extra
        assert nll == pytest.approx(by_hand(model, made, SAMPLES[0], ORIGINALS[0], num_prompt + extra)[0], rel=1e-6)
    assert response_nll(model, made, SAMPLES[:1], ORIGINALS[:1], max_length=num_prompt) == [(0.0, 0)]
    ((_, number),) = response_nll(model, made, SAMPLES[:1], ["good " * 99])
    assert number == POSITIONS - num_prompt


class Full(nn.Module):
    """A model with memory for so many rows."""

    def __init__(self, inside, most):
        super().__init__()
        self.most = most
        self.inside, self.config, self.dtype, self.generate = inside, inside.config, inside.dtype, inside.generate
        self.sizes = []

    def forward(self, input_ids, **others):
        self.sizes.append(len(input_ids))
        if len(input_ids) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inside(input_ids=input_ids, **others)


def test_where_the_memory_does_not_suffice_batches_are_halved_and_nothing_is_lost():
    model, done = Full(llama(), most=2), []
    found = response_nll(model, tokenizer(), SAMPLES, ORIGINALS, progress=lambda *numbers: done.append(numbers))
    assert model.sizes == [4, 2, 2]
    assert done == [(2, 4), (4, 4)]
    expected = response_nll(llama(), tokenizer(), SAMPLES, ORIGINALS)
    assert [nll for nll, _ in found] == pytest.approx([nll for nll, _ in expected], rel=1e-6)  # of float32
    model.most = 0
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        response_nll(model, tokenizer(), SAMPLES, ORIGINALS)


def test_the_model_is_left_as_it_was():
    model = lora().train()
    modes = {name: module.training for name, module in model.named_modules()}
    flags = {name: (parameter.requires_grad, parameter.detach().clone()) for name, parameter in model.named_parameters()}
    random = torch.random.get_rng_state()
    response_nll(model, tokenizer(), SAMPLES, ORIGINALS)
    assert {name: module.training for name, module in model.named_modules()} == modes
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == flags[name][0]
        assert parameter.grad is None
        assert torch.equal(parameter, flags[name][1])
    assert torch.equal(torch.random.get_rng_state(), random)


def test_weights_that_give_no_likelihood_are_an_error_that_names_the_row():
    model = llama()
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    with pytest.raises(InputError, match=r"the response of row 2 has a likelihood of nan nats in float32.*\(--dtype\)"):
        response_nll(model, tokenizer(), SAMPLES[1:2], ORIGINALS[1:2])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SAMPLES, ["good"]), {}, "responses: got 1 for 4 samples"),
        ((SAMPLES, ORIGINALS), {"max_length": 1}, f"max_length: expected 2 to {POSITIONS} tokens, as the model takes, got 1"),
        ((SAMPLES, ORIGINALS), {"max_length": POSITIONS + 1}, f"max_length: .*got {POSITIONS + 1}"),
        ((SAMPLES, ORIGINALS), {"batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ],
    ids=["number", "short", "long", "batch"],
)
def test_arguments_that_cannot_be_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        response_nll(llama(), tokenizer(), *arguments, **options)


def test_a_model_that_does_not_continue_texts_is_refused(tmp_path):
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(save_bert(tmp_path))
    with pytest.raises(InputError, match="BertForMaskedLM does not continue texts"):
        response_nll(model, tokenizer(), SAMPLES, ORIGINALS)


def test_no_responses_have_no_likelihoods():
    assert response_nll(llama(), tokenizer(), [], []) == []


DECISIONS = ("accepted", "rejected", "identical", "accepted")


def records_of(samples):
    """Two accepted, one rejected with a candidate, one identical."""
    made = []
    for place, (sample, decision, written) in enumerate(zip(samples, DECISIONS, RESPONSES, strict=True)):
        candidate = sample.response if decision == "identical" else written
        response = candidate if decision == "accepted" else sample.response
        changes = {"original": sample.response, "candidate": candidate, "response": response}
        made.append(record_of(place, decision, row_id=sample.row_id, row=sample.row, turn=sample.turn, **changes))
    return made


def test_the_shift_is_that_of_the_likelihoods_under_the_training_prompt():
    model, made, done = llama(), tokenizer(CHAT), []
    records = records_of(SAMPLES)
    shift = data_shift(model, made, records, SAMPLES, seed=3, progress=lambda *numbers: done.append(numbers))
    assert done[-1] == (6, 6)  # four originals and two responses that changed
    for one, record, sample in zip(shift.samples, records, SAMPLES, strict=True):
        assert (one.row_id, one.decision) == (record.row_id, record.decision)
        before, after = (by_hand(model, made, sample, text) for text in (record.original, record.response))
        assert (one.nll_original, one.nll_response) == pytest.approx((before[0], after[0]), rel=1e-6)
        assert (one.tokens_original, one.tokens_response) == (before[1], after[1])
        assert one.rouge_l == rouge_l(record.original, record.candidate)
        assert one.bleu == bleu(record.original, record.candidate)
    assert [one.difference == 0.0 for one in shift.samples] == [False, True, True, False]
    assert (shift.overall.num_samples, shift.accepted.num_samples, shift.seed) == (4, 2, 3)
    assert shift.model["model"] == "LlamaForCausalLM"
    assert shift.model["dtype"] == "float32"


def test_responses_like_those_of_the_model_are_likelier():
    """The direct test of the method's claim: greedy answers are likelier than shuffled ones."""
    from spectra.training.sdft.backends.transformers import TransformersBackend
    from spectra.training.sdft.generation import GREEDY, Request, generation_spec

    model, made = llama(), tokenizer()
    answers = TransformersBackend(model, made).complete(
        [Request(sample.messages) for sample in SAMPLES], generation_spec(GREEDY, max_new_tokens=8, max_length=None), [0] * 4
    )
    records = [
        record_of(place, row_id=one.row_id, original=one.response, candidate=answer.text, response=answer.text)
        for place, (one, answer) in enumerate(zip(SAMPLES, answers, strict=True))
    ]
    assert data_shift(model, made, records, SAMPLES).accepted.difference < 0.0


def test_the_data_that_rewriting_wrote_have_the_same_prompts():
    records = records_of(SAMPLES)
    data = read_training_data([{**row, "completion": row["completion"] or "-"} for row in ROWS])
    written = data.with_responses({one.row_id: one.response for one in records if one.decision == "accepted"})
    model, made = llama(), tokenizer(CHAT)
    of_original = data_shift(model, made, records, SAMPLES)
    assert data_shift(model, made, records, read_training_data(written).samples) == of_original


def test_samples_without_room_are_left_out_and_counted():
    model, made = llama(), tokenizer()
    length = encoded(made, SAMPLES[2].messages, "")[1]  # the longest prompt
    shift = data_shift(model, made, records_of(SAMPLES), SAMPLES, max_length=length)
    assert (len(shift.samples), shift.num_left_out, shift.max_length) == (3, 1, length)
    assert "1 sample left out" in shift.notes[0]
    with pytest.raises(InputError, match="max_length: none of the 4 prompts leaves room for a response"):
        data_shift(model, tokenizer(CHAT), records_of(SAMPLES), SAMPLES, max_length=2)


def test_a_record_without_a_candidate_has_no_similarity():
    never = dataclasses.replace(records_of(SAMPLES)[1], candidate=None)
    shift = data_shift(llama(), tokenizer(), [never], SAMPLES)
    assert math.isnan(shift.samples[0].rouge_l)
    assert math.isnan(shift.samples[0].bleu)


@pytest.mark.parametrize("samples", [SAMPLES[1:], read_samples(ROWS[1:] + ROWS[:1])], ids=["missing", "other"])
def test_records_of_other_data_are_refused(samples):
    with pytest.raises(InputError, match="samples: row 1 is not the one that sample '.*' was"):
        data_shift(llama(), tokenizer(), records_of(SAMPLES), samples)


def test_turns_are_measured_on_the_history_they_were_rewritten_on():
    turns = [{"role": role, "content": f"{role} says {n}"} for n in (1, 2) for role in ("user", "assistant")]
    backend = CallableBackend(lambda texts: ["other words"] * len(texts), name="x")
    done = ResponseDistiller(backend, task="text").distill([{"messages": turns}], turns="all")
    assert [turn["content"] for turn in done.rows[0]["messages"]][1::2] == ["other words", "other words"]
    found = samples_of(done.rows, done.records)
    assert found == read_training_data([{"messages": turns}], turns="all").samples


def test_what_a_conversation_ends_with_after_the_turns_that_were_rewritten_is_no_matter():
    turns = [
        {"role": "user", "content": "the film was"},
        {"role": "assistant", "content": "very good"},
        {"role": "user", "content": "and"},
    ]
    backend = CallableBackend(lambda texts: ["other words"] * len(texts), name="x")
    done = ResponseDistiller(backend, task="text").distill([{"messages": turns}], turns="all")
    assert samples_of(done.rows, done.records) == read_training_data([{"messages": turns}], turns="all").samples


def test_the_tools_of_a_conversation_are_part_of_its_prompt():
    made = tokenizer("{% for t in tools or [] %}{{ t.name }} {% endfor %}" + CHAT)
    turns = [{"role": "user", "content": "the film was"}, {"role": "assistant", "content": "very good"}]
    listed, other, without = ({"messages": turns, "tools": tools} for tools in ([{"name": "film"}], [{"name": "bad"}], None))
    samples = read_training_data([listed, other, without]).samples
    nll = [sums for sums, _ in response_nll(llama(), made, samples, ["good"] * 3)]
    assert len(set(nll)) == 3
