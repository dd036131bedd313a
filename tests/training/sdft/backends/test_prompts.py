"""Requests as chat templates and tokenizers write them."""

import pytest

from spectra.errors import InputError
from spectra.training.sdft.backends.prompts import encoded, rendered, template_digest
from spectra.training.sdft.generation import Request
from tests.pretrained import decoder_tokenizer, encoder_tokenizer

SYSTEM, USER = {"role": "system", "content": "a film"}, {"role": "user", "content": "was it good"}
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}" + CHAT
NOTHING = "{{ raise_exception('closed today') }}"


def tokenizer(template):
    made = decoder_tokenizer()
    made.chat_template = template
    return made


def test_a_chat_template_writes_the_turns_and_the_prefix_begins_the_answer():
    assert rendered(tokenizer(CHAT), Request((SYSTEM, USER), "it was")) == "<system>a film<user>was it good<assistant>it was"


def test_where_no_system_turn_is_allowed_its_text_goes_before_the_users():
    assert rendered(tokenizer(NO_SYSTEM), Request((SYSTEM, USER))) == "<user>a film\n\nwas it good<assistant>"


def test_without_a_template_it_is_plain_text():
    assert rendered(tokenizer(None), Request((SYSTEM, USER), "it was")) == "a film\n\nwas it good\n\nit was"


def test_tools_reach_a_template_that_takes_them_and_break_none_that_does_not():
    tools = ({"type": "function", "function": {"name": "rate"}},)
    listing = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}" + CHAT
    assert rendered(tokenizer(listing), Request((USER,), tools=tools)) == "[rate]<user>was it good<assistant>"
    assert rendered(tokenizer(listing), Request((USER,))) == "<user>was it good<assistant>"
    assert rendered(tokenizer(listing.replace(CHAT, NO_SYSTEM)), Request((SYSTEM, USER), tools=tools)).startswith(
        "[rate]<user>a"
    )
    for template in (CHAT, None):
        assert rendered(tokenizer(template), Request((USER,), tools=tools)) == rendered(tokenizer(template), Request((USER,)))


@pytest.mark.parametrize("messages", [(USER,), (SYSTEM, USER)], ids=["user", "system and user"])
def test_messages_that_a_template_refuses_are_an_error_with_its_reason(messages):
    with pytest.raises(InputError, match=r"refuses the messages \(closed today\)\. Give others"):
        rendered(tokenizer(NOTHING), Request(messages))


def test_what_a_template_did_not_expect_is_a_refusal():
    listing = (
        "{% for m in messages %}{% for name, value in m.tool_calls[0].arguments | items %}{{ name }}{% endfor %}{% endfor %}"
    )
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "rate", "arguments": "{}"}]}
    with pytest.raises(InputError, match=r"refuses the messages \(Can only get item pairs from a mapping\.\)"):
        rendered(tokenizer(listing), Request((call, USER)))


def test_a_plain_text_begins_with_special_tokens_and_does_not_end_with_one():
    bert = encoder_tokenizer()  # puts a text between [CLS] and [SEP]
    bert.eos_token = "[SEP]"
    (row,) = encoded(bert, [Request((USER,))])
    assert bert.convert_ids_to_tokens(row) == ["[CLS]", "was", "it", "good"]


def test_a_chat_template_writes_the_special_tokens_itself():
    bert = encoder_tokenizer()
    bert.chat_template = "[CLS]{{ messages[-1].content }}"
    (row,) = encoded(bert, [Request((USER,))])
    assert bert.convert_ids_to_tokens(row) == ["[CLS]", "was", "it", "good"]


def test_an_empty_prompt_is_one_token_and_no_requests_are_no_rows():
    empty = Request(({"role": "user", "content": ""},))
    assert [len(row) for row in encoded(tokenizer("{{ messages[-1].content }}"), [empty])] == [1]
    assert encoded(tokenizer(CHAT), []) == []


def test_chat_templates_are_told_apart():
    digests = [template_digest(tokenizer(template)) for template in (CHAT, NO_SYSTEM, None)]
    assert digests[2] == "none"
    assert len({len(digest) for digest in digests[:2]}) == 1
    assert digests[0] != digests[1]
