"""Training examples as tokens: which are the prompt's, and what belongs to the response."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from spectra.errors import InputError
from spectra.training.sdft.backends.transformers import TransformersBackend
from spectra.training.sdft.generation import GREEDY, Request, generation_spec
from spectra.training.sdft.samples import read_training_data
from spectra.training.sdft.training_text import encoded, encoded_sample
from tests.pretrained import encoder_tokenizer
from tests.writers import CHAT, CHAT_WITHOUT_SYSTEM, llama, tokenizer

USER = {"role": "user", "content": "was it good"}
SYSTEM = {"role": "system", "content": "a film"}
EARLIER = (USER, {"role": "assistant", "content": "very"}, {"role": "user", "content": "and bad"})

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What Qwen3 does: an empty train of thought before the last answer, and none in the generation prompt.
EMPTY_THOUGHT = CHATML.replace(
    "{{ m.content }}", "{{ '<think></think>' if loop.last and m.role == 'assistant' }}{{ m.content }}"
)
# What DeepSeek-R1 does: the generation prompt begins a train of thought, and of an answer only what comes after it is kept.
OPEN_THOUGHT = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}").replace(
    "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
)
# Thoughts of earlier turns are shown only while the last turn is the user's.
FORGETFUL = CHATML.replace(
    "{{ m.content }}", "{{ m.content if messages[-1].role == 'user' else m.content.split('</think>')[-1] }}"
)
TRIMMING = CHATML.replace("{{ m.content }}", "{{ m.content | trim }}")
PREPENDING = CHATML.replace("{{ m.content }}", "{{ raise_exception('no system turns') if m.role == 'system' }}{{ m.content }}")
NO_ANSWERS = "{% for m in messages %}{{ m.content if m.role == 'user' }}{% endfor %}"


def characters(template=None, eos="$"):
    """A token for each character, so that tokens are read like the text; two line ends grow together."""
    letters = [*map(chr, range(32, 127)), "\n", "\n\n"]
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, [("\n", "\n")], unk_token="~"))
    made.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="~", eos_token=eos)
    made.chat_template = template
    return made


def parts(made, messages, response, **options):
    tokens, num_prompt = encoded(made, messages, response, **options)
    return made.decode(tokens[:num_prompt]), made.decode(tokens[num_prompt:])


@pytest.mark.parametrize(
    ("template", "response", "expected"),
    [
        (CHATML, "very good", "very good<|im_end|>\n"),
        (CHATML, "", "<|im_end|>\n"),
        (EMPTY_THOUGHT, "very good", "<think></think>very good<|im_end|>\n"),
        (TRIMMING, " very good\n", "very good<|im_end|>\n"),
        (OPEN_THOUGHT, "very good", "very good<|im_end|>\n"),
        (OPEN_THOUGHT, "well</think>very good", "well</think>very good<|im_end|>\n"),
        (FORGETFUL, "<think>well</think>good", "<think>well</think>good<|im_end|>\n"),
        (PREPENDING, "very good", "very good<|im_end|>\n"),
    ],
    ids=["plain", "empty", "empty thought", "trimmed", "open thought", "thought", "thought kept", "no system turns"],
)
@pytest.mark.parametrize("messages", [(USER,), (SYSTEM, USER), EARLIER], ids=["user", "system", "turns"])
def test_the_prompt_is_what_generation_sees_and_the_response_is_what_comes_after_it(template, response, expected, messages):
    made = characters(template)
    prompt, answer = parts(made, messages, response)
    assert prompt == TransformersBackend(llama(), made).render(Request(messages))
    assert answer == expected


def test_thoughts_of_earlier_turns_stay_in_the_prompt_though_an_answer_would_remove_them():
    thinking = (USER, {"role": "assistant", "content": "well</think>very"}, EARLIER[2])
    prompt, answer = parts(characters(FORGETFUL), thinking, "bad")
    assert "well</think>very" in prompt
    assert answer == "bad<|im_end|>\n"


@pytest.mark.parametrize("template", [CHAT, CHAT_WITHOUT_SYSTEM, None], ids=["chat", "no system turns", "none"])
@pytest.mark.parametrize("messages", [(USER,), (SYSTEM, USER), EARLIER], ids=["user", "system", "turns"])
@pytest.mark.parametrize("make", [tokenizer, characters, encoder_tokenizer], ids=["words", "characters", "with ends"])
def test_the_prompts_tokens_are_those_that_a_model_is_given(template, messages, make):
    made = make()
    made.chat_template = template
    tokens, num_prompt = encoded(made, messages, "very good")
    given = []
    model = llama(vocab_size=200, max_position_embeddings=200)
    model.register_forward_pre_hook(lambda _, args, inputs: given.append(inputs["input_ids"]), with_kwargs=True)
    backend = TransformersBackend(model, made)
    backend.complete([Request(messages)], generation_spec(GREEDY, max_new_tokens=1, max_length=None), [0])
    assert tokens[:num_prompt] == given[0][0].tolist()
    assert backend.lengths([Request(messages)]) == [num_prompt]


def test_without_a_template_the_response_ends_with_the_token_that_ends_a_text():
    assert parts(characters(), (SYSTEM, USER), "very good") == ("a film\n\nwas it good\n\n", "very good$")
    assert parts(characters(eos=None), (USER,), "very good") == ("was it good\n\n", "very good")
    bert = encoder_tokenizer()
    bert.eos_token = "[SEP]"
    assert bert.convert_ids_to_tokens(encoded(bert, (USER,), "very good")[0]) == [
        "[CLS]", "was", "it", "good", "very", "good", "[SEP]",
    ]  # fmt: skip


def test_tokens_of_prompt_and_response_do_not_grow_together():
    """GPT-2 cuts white space so that the last line end before a word stands alone: a prompt of itself ends differently."""
    letters = {letter: place for place, letter in enumerate(["a", "Ċ", "ĊĊ", "b"])}
    inner = Tokenizer(models.BPE(letters, [("Ċ", "Ċ")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = PreTrainedTokenizerFast(tokenizer_object=inner)
    assert made("a\n\nb")["input_ids"] == [0, 1, 1, 3]
    assert encoded(made, ({"role": "user", "content": "a"},), "b") == ([0, 2, 3], 2)


def test_the_end_is_cut_off_and_a_prompt_that_fills_everything_leaves_no_response():
    made = characters()
    whole, num_prompt = encoded(made, (USER,), "very good")
    assert num_prompt == len("was it good") + 1  # the two line ends are one token
    assert encoded(made, (USER,), "very good", max_length=len(whole)) == (whole, num_prompt)
    assert encoded(made, (USER,), "very good", max_length=num_prompt + 2) == (whole[: num_prompt + 2], num_prompt)
    assert encoded(made, (USER,), "very good", max_length=num_prompt) == (whole[:num_prompt], num_prompt)
    assert encoded(made, (USER,), "very good", max_length=3) == (whole[:3], 3)


def test_turns_of_tools_go_through_the_template_with_all_that_they_hold():
    template = "{% for m in messages %}[{{ m.role }}{{ m.tool_calls[0].name if m.tool_calls }}]{{ m.content }}{% endfor %}"
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "rate"}]}
    messages = (USER, call, {"role": "tool", "content": "9"})
    assert parts(characters(template), messages, "good")[0] == "[user]was it good[assistantrate][tool]9"


TOOLS = ({"type": "function", "function": {"name": "rate"}},)


@pytest.mark.parametrize("template", [CHATML, FORGETFUL, PREPENDING], ids=["plain", "forgetful", "no system turns"])
def test_tools_stand_in_the_prompt_as_generation_sees_it(template):
    listing = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}" + template
    made, messages = characters(listing), (SYSTEM, USER)
    prompt, answer = parts(made, messages, "<think>well</think>good", tools=TOOLS)
    assert prompt.startswith("[rate]")
    assert prompt == TransformersBackend(llama(), made).render(Request(messages, tools=TOOLS))
    assert answer == "<think>well</think>good<|im_end|>\n"


@pytest.mark.parametrize("template", [CHATML, None], ids=["chat", "none"])
def test_tools_change_nothing_where_the_template_does_not_take_them(template):
    made = characters(template)
    assert encoded(made, (USER,), "good", tools=TOOLS) == encoded(made, (USER,), "good")


def test_a_sample_is_rendered_with_its_tools_and_faults_name_its_row():
    rows = [{"messages": [USER, {"role": "assistant", "content": "good"}], "tools": list(TOOLS)}] * 2
    sample = read_training_data(rows).samples[1]
    listing = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}" + CHATML
    assert encoded_sample(characters(listing), sample, "bad") == encoded(characters(listing), (USER,), "bad", tools=TOOLS)
    with pytest.raises(InputError, match="row 2: the model's chat template writes no answer"):
        encoded_sample(characters(NO_ANSWERS), sample, "bad")


def test_the_messages_are_left_as_they_are():
    messages = (dict(SYSTEM), dict(USER))
    encoded(characters(PREPENDING), messages, "good")
    assert messages == (SYSTEM, USER)


def test_a_template_that_writes_no_answers_is_refused():
    with pytest.raises(InputError, match="chat template writes no answer of the assistant after these messages"):
        encoded(characters(NO_ANSWERS), (USER,), "good")
