"""Candidates written by models of transformers."""

import random

import numpy as np
import pytest
import torch

from spectra.errors import BackendError, InputError, SourceError
from spectra.training.libraries import quiet
from spectra.training.sdft.backends.transformers import TransformersBackend, load_backend
from spectra.training.sdft.generation import GenerationSpec, Request
from tests.pretrained import VOCABULARY, WORDS, save_gpt2
from tests.writers import CHAT, CHAT_WITHOUT_SYSTEM, POSITIONS, gpt2, llama, tokenizer

END = VOCABULARY.index("[SEP]")
GREEDY = GenerationSpec(sampled=False, max_new_tokens=12)
SAMPLED = GenerationSpec(temperature=1.5, top_p=1.0, max_new_tokens=12)


def asked(*texts, system=None, prefix=""):
    first = () if system is None else ({"role": "system", "content": system},)
    return [Request((*first, {"role": "user", "content": text}), prefix) for text in texts]


def questions(number=8):
    """Prompts of one to twelve words."""
    generator = random.Random(0)
    return asked(*(" ".join(generator.choices(WORDS[:10], k=generator.randint(1, 12))) for _ in range(number)))


def texts(backend, spec=GREEDY, requests=None, seeds=None):
    requests = questions() if requests is None else requests
    return [one.text for one in backend.complete(requests, spec, range(len(requests)) if seeds is None else seeds)]


def tuned(model):
    """A LoRA that changes what a model says."""
    from peft import LoraConfig, get_peft_model

    with quiet():
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.normal_()
    return model


def limited(most_rows, error, *, passes=10**6):
    """A model whose memory suffices for some rows, and for some passes; also the sizes of the batches it was asked for."""
    model, sizes = llama(), []

    def refuse(_, positional, named):
        sizes.append(len(named["input_ids"]))
        if sizes[-1] > most_rows or len(sizes) > passes:
            raise error

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    return model, sizes


@torch.no_grad()
def greedy_by_hand(model, prompt):
    """Token by token, each by a whole pass over one row, with neither padding nor a cache."""
    tokens = list(prompt)
    for _ in range(GREEDY.max_new_tokens):
        tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
        if tokens[-1] == END:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("make", [llama, gpt2], ids=["rotary positions", "learned positions"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_greedy_text_is_the_same_for_all_batches_and_as_by_hand(make, batch_size):
    model, words = make().double(), tokenizer()
    answers = TransformersBackend(model, words, batch_size=batch_size).complete(questions(), GREEDY, range(8))
    for request, answer in zip(questions(), answers, strict=True):
        expected = greedy_by_hand(model, words(request.messages[0]["content"])["input_ids"])
        is_stopped = expected[-1] == END
        assert answer.n_tokens == len(expected)
        assert answer.finish_reason == ("stop" if is_stopped else "length")
        assert answer.text == words.decode(expected[:-1] if is_stopped else expected, skip_special_tokens=True)
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}  # both were compared


def test_sampled_text_is_the_same_for_the_same_seeds_and_another_for_others():
    backend = TransformersBackend(llama(), tokenizer(), batch_size=8)
    first = texts(backend, SAMPLED)
    assert texts(backend, SAMPLED) == first
    assert sum(map(str.__ne__, texts(backend, SAMPLED, seeds=range(100, 108)), first)) >= 6


@pytest.mark.parametrize("batch_size", [1, 3])
def test_sampled_text_does_not_depend_on_the_batch(batch_size):  # in float64, where rounding decides nothing
    whole, parts = (TransformersBackend(llama().double(), tokenizer(), batch_size=size) for size in (8, batch_size))
    assert texts(parts, SAMPLED) == texts(whole, SAMPLED)


@pytest.mark.parametrize("spec", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_model_and_all_randomness_are_left_as_they_were(spec):
    model, words = tuned(llama()).train(), tokenizer()
    words.padding_side = "right"
    model.get_base_model().model.layers[0].eval()
    model.get_base_model().config.use_cache = False
    settings = model.get_base_model().generation_config
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    texts(TransformersBackend(model, words), spec)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert [module.training for module in model.modules()] == modes
    assert (words.padding_side, model.get_base_model().config.use_cache) == ("right", False)
    assert model.get_base_model().generation_config is settings
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002


def test_the_base_of_an_adapter_writes():
    base, model = TransformersBackend(llama(), tokenizer()), tuned(llama())
    merged = texts(TransformersBackend(tuned(llama()).merge_and_unload(), tokenizer()))
    assert texts(TransformersBackend(model, tokenizer())) == texts(base) != merged
    assert TransformersBackend(model, tokenizer()).identity() == base.identity()


@pytest.mark.parametrize("spec", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_settings_of_the_checkpoint_do_not_leak_in(spec):
    backend = TransformersBackend(llama(), tokenizer())
    plain = texts(backend, spec)
    own = {"repetition_penalty": 9.0, "num_beams": 3, "do_sample": True, "temperature": 0.01, "min_new_tokens": 11}
    for name, value in {**own, "top_p": 0.1, "suppress_tokens": [8], "max_length": 14, "length_penalty": 2.0}.items():
        setattr(backend.model.generation_config, name, value)
    assert texts(backend, spec) == plain


def test_memory_that_does_not_suffice_halves_the_batch_and_is_remembered():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
    model, sizes = limited(3, error)
    backend = TransformersBackend(model, tokenizer(), batch_size=8)
    expected = texts(TransformersBackend(llama(), tokenizer(), batch_size=2))
    assert texts(backend) == expected
    assert [size for size in sizes if size > 2] == [8, 4]
    sizes.clear()
    assert texts(backend) == expected
    assert max(sizes) == 2
    assert backend.batch_size == 8  # what batches are planned by does not change on the way


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("of another wording"), RuntimeError("MPS backend out of memory (1 GB)")],
    ids=["by its kind", "by its message"],
)
def test_a_single_request_that_does_not_fit_into_memory_ends_the_run(error):
    model, _ = limited(0, error)
    backend = TransformersBackend(model, tokenizer())
    requests = [*asked("the " * POSITIONS), *questions(2)]
    message = r"LlamaForCausalLM: the memory of cpu does not suffice for one prompt of 7 tokens and 12 new ones\. Lower"
    with pytest.raises(BackendError, match=message) as caught:
        backend.complete(requests, GREEDY, range(3))
    assert {place: one.finish_reason for place, one in caught.value.completions.items()} == {0: "too_long"}


def test_what_was_written_before_the_memory_ran_out_is_kept():
    model, _ = limited(2, torch.OutOfMemoryError("CUDA out of memory."), passes=GREEDY.max_new_tokens)
    expected = texts(TransformersBackend(llama(), tokenizer()), requests=questions()[:2])
    with pytest.raises(BackendError, match="does not suffice") as caught:
        TransformersBackend(model, tokenizer(), batch_size=2).complete(questions(), GREEDY, range(8))
    assert [caught.value.completions[place].text for place in range(2)] == expected


def test_other_errors_of_a_model_go_through():
    model, sizes = limited(0, RuntimeError("no such kernel"))
    with pytest.raises(RuntimeError, match="no such kernel"):
        texts(TransformersBackend(model, tokenizer()))
    assert sizes == [8]


@pytest.mark.parametrize("spec", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_logits_that_are_not_finite_end_the_run(spec):
    model = llama()
    model.lm_head.weight.data[7] = torch.nan
    message = r"LlamaForCausalLM: its logits in float32 are not finite\. Load it in bfloat16 or float32 \(--dtype\)"
    with pytest.raises(BackendError, match=message):
        texts(TransformersBackend(model, tokenizer()), spec)


def test_several_tokens_may_end_an_answer():
    backend = TransformersBackend(llama(), tokenizer())
    before = texts(backend)
    backend.model.generation_config.eos_token_id = [END, VOCABULARY.index("and")]
    answers = backend.complete(questions(), GREEDY, range(8))
    assert [one.text.split() for one in answers] == [
        text.split()[: text.split().index("and")] if "and" in text.split() else text.split() for text in before
    ]
    assert all(one.finish_reason == "stop" for one, text in zip(answers, before, strict=True) if "and" in text.split())


def test_the_end_is_the_tokenizers_where_the_model_names_none():
    backend = TransformersBackend(llama(), tokenizer())
    expected = texts(backend)
    backend.model.generation_config.eos_token_id = None
    assert texts(backend) == expected


def test_without_any_end_answers_go_on_to_the_limit():
    words = tokenizer()
    words.eos_token = None
    answers = TransformersBackend(llama(eos_token_id=None), words).complete(questions(), GREEDY, range(8))
    assert {(one.n_tokens, one.finish_reason) for one in answers} == {(12, "length")}


def test_special_tokens_are_left_out_of_the_text():
    assert "[PAD]" in " ".join(texts(TransformersBackend(llama(), tokenizer())))
    assert "[PAD]" not in " ".join(texts(TransformersBackend(llama(), tokenizer(pad_token="[PAD]"))))


def test_prompts_without_room_are_said_to_be_too_long_and_the_others_answered():
    backend = TransformersBackend(llama(), tokenizer(), batch_size=2)
    middle = questions(3)
    requests = [*asked("the " * 37), *middle, *asked("the " * 36)]
    answers = backend.complete(requests, GREEDY, [0, 1, 2, 3, 4])
    assert [one.finish_reason == "too_long" for one in answers] == [True, False, False, False, False]
    assert (answers[0].text, answers[0].n_tokens) == ("", 0)
    assert [one.text for one in answers[1:4]] == texts(backend, requests=middle)
    assert backend.lengths(requests) == [37, *backend.lengths(middle), 36]


def test_nothing_asked_is_nothing_answered():
    backend = TransformersBackend(llama(), tokenizer())
    assert backend.complete([], GREEDY, []) == []
    assert backend.lengths([]) == []


def test_an_answer_goes_on_from_its_prefix():
    backend = TransformersBackend(llama().double(), tokenizer(CHAT))
    whole = texts(backend, requests=asked("the film"))[0].split()
    prefix = " ".join(whole[:2])
    continued = backend.complete(asked("the film", prefix=prefix), GREEDY, [0])[0].text.split()
    assert continued[: len(whole) - 2] == whole[2:]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHAT, "[CLS] system : very good [CLS] user : the film [CLS] it was"),
        (CHAT_WITHOUT_SYSTEM, "[CLS] user : very good\n\nthe film [CLS] it was"),
        (None, "very good\n\nthe film\n\nit was"),
    ],
    ids=["system turn", "no system turn", "no chat template"],
)
def test_requests_are_rendered_by_the_chat_template(template, expected):
    backend = TransformersBackend(llama(), tokenizer(template))
    assert backend.render(asked("the film", system="very good", prefix="it was")[0]) == expected


def test_the_context_is_that_of_the_models_positions():
    from transformers import BloomConfig, BloomForCausalLM

    bloom = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2))
    found = [TransformersBackend(model, tokenizer()).context for model in (llama(), gpt2(), tuned(llama()), bloom)]
    assert found == [POSITIONS, POSITIONS, POSITIONS, None]


def test_identity_tells_weights_dtypes_and_templates_apart():
    backends = [
        TransformersBackend(model, tokenizer(template))
        for model, template in [(llama(), None), (llama(seed=1), None), (llama().double(), None), (llama(), CHAT)]
    ]
    identities = [backend.identity() for backend in backends]
    assert identities[0] == TransformersBackend(llama(), tokenizer()).identity()
    assert len({tuple(one.values()) for one in identities}) == 4
    assert identities[0]["model"] == "LlamaForCausalLM"
    assert all(len(value) < 40 for one in identities for value in one.values())


@pytest.mark.parametrize(
    ("make", "kind"), [(lambda: torch.nn.Linear(2, 2), "Linear"), (lambda: t5(), "T5ForConditionalGeneration")]
)
def test_models_that_do_not_continue_texts_are_refused(make, kind):
    with pytest.raises(InputError, match=f"a {kind} does not continue texts. Give a causal language model"):
        TransformersBackend(make(), tokenizer())


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(InputError, match="batch_size: expected at least 1, got 0"):
        TransformersBackend(llama(), tokenizer(), batch_size=0)


def test_a_saved_model_writes(tmp_path):
    folder = save_gpt2(tmp_path / "writer")
    backend = load_backend(str(folder), dtype="bfloat16", batch_size=4)
    assert (backend.name, backend.batch_size, backend.context) == ("transformers", 4, 32)
    assert backend.identity() | {"weights": ""} == {
        "model": "writer",
        "weights": "",
        "dtype": "bfloat16",
        "chat_template": "none",
    }
    assert len(texts(backend)) == 8


def test_of_a_saved_adapter_only_the_base_is_loaded(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2LMHeadModel

    folder = save_gpt2(tmp_path / "base")
    with quiet():
        model = GPT2LMHeadModel.from_pretrained(folder)
        config = LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
        get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    backend = load_backend(str(tmp_path / "adapter"))
    assert type(backend.model).__name__ == "GPT2LMHeadModel"
    assert not any("lora" in name for name, _ in backend.model.named_parameters())
    assert backend.identity() == load_backend(str(folder)).identity()


def test_a_checkpoint_that_lacks_weights_does_not_write(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_gpt2(tmp_path / "half")
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if "ln_f" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match="half' lacks weights that a causal language model needs"):
        load_backend(str(folder))
