"""Requests as a tokenizer's model gets them: by its chat template if it has one, as plain text otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from spectra.errors import InputError
from spectra.training.sdft.generation import Request, plain_text
from spectra.training.text_batches import padding_id

DIGITS = 16  # of a digest: our choice, to be read beside another

# What chat templates say no with: their own refusals, and what comes of values that they did not expect.
REFUSALS = (TemplateError, TypeError, ValueError)

Message = Mapping[str, Any]
Tool = Mapping[str, Any]


def rendered(tokenizer: Any, request: Request) -> str:
    """Write a request down.

    Args:
        tokenizer: Of the model.
        request: What is asked. Where the chat template refuses a system turn, its text goes before the next one's.

    Returns:
        The prompt, with the prefix at its end.

    Raises:
        InputError: The chat template refuses the messages.
    """
    if tokenizer.chat_template is None:
        return plain_text(request)
    return _prompt(tokenizer, request.messages, request.tools) + request.prefix


def chat(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool], *, is_prompt: bool) -> str:
    """Write messages by the chat template.

    Args:
        tokenizer: Of the model.
        messages: With all that the template reads.
        tools: What can be called. A template that knows no tools does not see them.
        is_prompt: Whether an answer is to begin at the end.

    Returns:
        The text, special tokens included. What the template raises, if it refuses the messages, goes through.
    """
    options: dict[str, Any] = {"tools": list(tools)} if tools else {}  # of several templates, tools choose another one
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=is_prompt, **options))


def _prompt(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    try:
        return chat(tokenizer, messages, tools, is_prompt=True)
    except REFUSALS as error:
        first, *rest = messages
        if first["role"] != "system" or not rest:
            raise InputError(f"the model's chat template refuses the messages ({error}). Give others.") from error
        return _prompt(tokenizer, [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]], tools)


def encoded(tokenizer: Any, requests: Sequence[Request]) -> list[list[int]]:
    """Tokenise requests.

    Args:
        tokenizer: Of the model.
        requests: What is asked.

    Returns:
        The tokens of each prompt. A chat template writes the special tokens itself; a plain text begins with the tokenizer's,
        but does not end as a whole text would.

    Raises:
        InputError: The chat template refuses the messages.
    """
    is_plain, end = tokenizer.chat_template is None, tokenizer.eos_token_id
    texts = [rendered(tokenizer, request) for request in requests]
    rows = tokenizer(texts, add_special_tokens=is_plain, verbose=False)["input_ids"] if texts else []
    return [row[:-1] if is_plain and len(row) > 1 and row[-1] == end else row or [padding_id(tokenizer)] for row in rows]


def template_digest(tokenizer: Any) -> str:
    """Tell chat templates apart.

    Args:
        tokenizer: Of the model.

    Returns:
        A digest, or ``"none"``.
    """
    template = tokenizer.chat_template
    return "none" if template is None else hashlib.sha256(str(template).encode()).hexdigest()[:DIGITS]
