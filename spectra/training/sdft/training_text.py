"""A prompt and a response as the tokens that a model is trained on, and which of them are the prompt's.

The prompt's tokens are those that the model is given when it is to answer, and what comes after them is what it would have to
write. Where a chat template writes a whole conversation, that is:

===============================================  ==============================================================
template                                         tokens of the response
===============================================  ==============================================================
whole conversation begins with the prompt        all that comes after it, such as an empty train of thought
prompt is rewritten once there is an answer      the response, and what the template puts after one
response is rewritten, such as without thoughts  the same
none                                             the response and the token that ends a text
===============================================  ==============================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from spectra.errors import InputError
from spectra.training.sdft.backends.prompts import REFUSALS, chat, rendered
from spectra.training.sdft.backends.prompts import encoded as encoded_requests
from spectra.training.sdft.generation import Request
from spectra.training.sdft.row_faults import naming_row
from spectra.training.sdft.samples import Sample

_MARK = "\ue000"  # of a private use area: no template looks for it, and none writes it


def encoded_sample(tokenizer: Any, sample: Sample, response: str, *, max_length: int | None = None) -> tuple[list[int], int]:
    """Tokenise a response to what a sample asks, as :func:`encoded` does.

    Args:
        tokenizer: Of the model.
        sample: With the messages and tools.
        response: The answer.
        max_length: Most tokens.

    Returns:
        The tokens, and how many of them are the prompt's.

    Raises:
        InputError: The chat template refuses them; the sample's row is named.
    """
    with naming_row(sample.row):
        return encoded(tokenizer, sample.messages, response, tools=sample.tools, max_length=max_length)


def encoded(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    response: str,
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    max_length: int | None = None,
) -> tuple[list[int], int]:
    """Tokenise a training example.

    Args:
        tokenizer: Of the model.
        messages: What is answered, with ``role`` and ``content`` and whatever else the chat template reads.
        response: The answer.
        tools: What can be called, where the chat template takes it.
        max_length: Most tokens; what goes beyond is cut off at the end. ``None``: all.

    Returns:
        The tokens, and how many of them are the prompt's: all of them if it leaves no room.

    Raises:
        InputError: The chat template refuses the messages or an answer to them.
    """
    context = Request(tuple(messages), tools=tuple(tools))
    answer = _answer(tokenizer, context, response)
    prompt, whole = encoded_requests(tokenizer, [context, dataclasses.replace(context, prefix=answer)])
    if whole[: len(prompt)] != prompt:  # the last token of the one and the first of the other have grown together
        whole = prompt + tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
    if tokenizer.chat_template is None and tokenizer.eos_token_id is not None:
        whole = [*whole, tokenizer.eos_token_id]
    return whole[:max_length], min(len(prompt), len(whole[:max_length]))


def _answer(tokenizer: Any, context: Request, response: str) -> str:
    """Return what comes after the prompt, as a text."""
    if tokenizer.chat_template is None:
        return response
    prompt, whole = rendered(tokenizer, context), _conversation(tokenizer, context, response)
    if whole is not None and whole.startswith(prompt) and response.strip() in whole[len(prompt) :]:
        return whole[len(prompt) :]
    return response + _closing(tokenizer, context)


def _closing(tokenizer: Any, context: Request) -> str:
    """Return what the template puts after an answer."""
    spoken = tuple(message for message in context.messages if message["role"] != "system")  # which some templates refuse
    _, mark, closing = (_conversation(tokenizer, dataclasses.replace(context, messages=spoken), _MARK) or "").rpartition(_MARK)
    if not mark:
        raise InputError("the model's chat template writes no answer of the assistant after these messages. Give others.")
    return closing


def _conversation(tokenizer: Any, context: Request, response: str) -> str | None:
    turns = [*context.messages, {"role": "assistant", "content": response}]
    try:
        return chat(tokenizer, turns, context.tools, is_prompt=False)
    except REFUSALS:
        return None
