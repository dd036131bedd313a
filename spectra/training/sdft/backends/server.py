"""Any OpenAI-compatible chat server as a writer of candidates: vLLM, SGLang, llama.cpp, a hosted service.

What was answered is never lost: the first request that cannot be answered stops those that wait, those under way are finished,
and the error carries all that arrived.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from spectra.errors import BackendError, InputError, SpectraWarning
from spectra.training.libraries import imported
from spectra.training.sdft.generation import TOO_LONG, Completion, GenerationSpec, Request

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"  # the client's own names

_MESSAGE = ("role", "content", "name", "tool_calls", "tool_call_id")  # fields of the protocol; others are refused by some

_ROUNDS = 4  # requests at a time, per connection: the slowest one of a batch leaves the others idle; our choice

# How servers say that a prompt leaves no room for the answer; none but the first two has a code for it.
_TOO_LONG_CODES = ("context_length_exceeded", "exceed_context_size_error")  # OpenAI, TensorRT-LLM; llama.cpp
_TOO_LONG_PHRASES = (
    "context length",  # OpenAI, vLLM, SGLang, Mistral
    "context window",
    "context size",  # llama.cpp before it had a code
    "maximum model length",  # vLLM's engine
    "prompt is too long",  # Anthropic
    "`inputs` tokens + `max_new_tokens`",  # text-generation-inference
)

_AGAIN = "then run the same command again: it goes on where it stopped"
# The client's classes of errors, special ones first.
_REMEDIES = {
    "APITimeoutError": f"Raise the timeout or lower the concurrency, {_AGAIN}.",
    "APIConnectionError": f"Check that it runs and can be reached, {_AGAIN}.",
    "AuthenticationError": f"Set {KEY} in the environment to a key that it takes.",
    "PermissionDeniedError": f"Set {KEY} in the environment to a key that may use this model.",
    "NotFoundError": "Check the name of the model, and the address: most end in /v1.",
    "RateLimitError": f"Lower the concurrency or wait, {_AGAIN}.",
    "InternalServerError": f"Look into its log, {_AGAIN}.",
    "APIStatusError": (
        "Change the settings it refuses. If it knows no top_k, min_p or repetition_penalty, give its address as "
        f"{ADDRESS} in the environment: then they are left out."
    ),
}
_NOT_A_SERVER = "Check that this is the address of an OpenAI-compatible chat server: most end in /v1."


class OpenAIBackend:
    """Asks an OpenAI-compatible server, several requests at a time, each with its own seed.

    Only the server counts tokens: the ``max_length`` of the settings has no effect, and a prompt that leaves no room for the
    answer by the server's own measure comes back as ``"too_long"``. Seeds hold as far as the server honours them.

    Args:
        model: What the server calls it.
        base_url: Address of the server, such as ``http://localhost:8000/v1``. It is sent ``top_k``, too, and told to apply no
            penalty that a checkpoint brings along. ``None``: OpenAI, or the server that ``OPENAI_BASE_URL`` names; it is sent
            fields of the standard only.
        concurrency: Requests under way at a time.
        timeout: Seconds to wait for an answer.
        max_retries: Further attempts, with growing pauses, when the server is busy, fails, or cannot be reached.

    Attributes:
        name: ``"openai"``.
        batch_size: Four times the concurrency.
        context: Not known.

    Raises:
        InputError: Arguments that cannot be, a key in the address, or no key where one is needed: its only place is the
            environment, as ``OPENAI_API_KEY``.
        MissingPackageError: The package ``openai`` is not installed.
    """

    name = "openai"
    has_own_seeds = True
    context: int | None = None

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        concurrency: int = 16,
        timeout: float = 120.0,
        max_retries: int = 5,
    ) -> None:
        _check(concurrency=(concurrency, 1), max_retries=(max_retries, 0))
        if not timeout > 0:
            raise InputError(f"timeout: expected a number of seconds above 0, got {timeout}.")
        address = os.environ.get(ADDRESS) if base_url is None else base_url
        if address is not None:
            _check_address(address)
        if base_url is None and not os.environ.get(KEY):
            raise InputError(
                f"no key for {address or 'OpenAI'}: set {KEY} in the environment, or give a server of your own (base_url)."
            )
        self._openai = imported("openai", extra="openai", what="this backend")
        self._model = model
        self._base_url = base_url
        self._where = f"model '{model}' at {address or 'OpenAI'}"
        self._concurrency, self._timeout, self._max_retries = concurrency, timeout, max_retries
        self._has_warned = False
        self.batch_size = _ROUNDS * concurrency

    def identity(self) -> dict[str, str]:
        """Return the model, and whether the server takes more than the standard; not the address, since servers move."""
        return {"model": self._model, "fields": "standard" if self._base_url is None else "extended"}

    def lengths(self, requests: Sequence[Request]) -> list[int] | None:
        """Return nothing: only the server has the tokenizer.

        Args:
            requests: Not looked at.
        """
        return None

    def complete(self, requests: Sequence[Request], spec: GenerationSpec, seeds: Sequence[int]) -> list[Completion]:
        """Answer requests in their order.

        Args:
            requests: What is asked; none with a prefix.
            spec: How is generated.
            seeds: One for each request.

        Returns:
            The answers. Where the server does not count tokens, ``n_tokens`` is the number of words.

        Raises:
            InputError: A prefix: a chat server begins its answers itself.
            BackendError: A request was refused or not answered; ``completions`` has what did arrive.
        """
        from anyio.from_thread import start_blocking_portal

        if any(request.prefix for request in requests):
            raise InputError(
                f"{self._where}: a chat server cannot be told how its answer begins. Use a template without assistant_prefix, "
                "or another backend."
            )
        self._warn_of_top_k(spec)
        completions: dict[int, Completion] = {}
        # A thread with an event loop of its own: a notebook has one already. An interrupt cancels what is under way.
        with start_blocking_portal() as portal:
            failure = portal.call(self._complete, requests, spec, seeds, completions)
        if failure is not None:
            raise BackendError(self._message(failure), completions) from None  # the client's may hold the key
        return [completions[place] for place in range(len(requests))]

    async def _complete(
        self, requests: Sequence[Request], spec: GenerationSpec, seeds: Sequence[int], completions: dict[int, Completion]
    ) -> Exception | None:
        """Fill in what arrives; return the first failure."""
        from anyio import create_task_group

        failures: list[Exception] = []
        waiting = iter(range(len(requests)))

        async def work() -> None:
            for place in waiting:
                try:
                    completions[place] = await self._answer(client, requests[place], spec, seeds[place])
                except (self._openai.OpenAIError, ValueError) as error:
                    failures.append(error)
                if failures:
                    return

        async with self._client() as client, create_task_group() as group:
            for _ in range(min(self._concurrency, len(requests))):
                group.start_soon(work)
        return failures[0] if failures else None

    def _client(self) -> Any:
        key = os.environ.get(KEY) or "none"  # the client wants one, where a server does not
        return self._openai.AsyncOpenAI(
            api_key=key, base_url=self._base_url, timeout=self._timeout, max_retries=self._max_retries
        )

    async def _answer(self, client: Any, request: Request, spec: GenerationSpec, seed: int) -> Completion:
        messages = [{key: message[key] for key in _MESSAGE if key in message} for message in request.messages]
        settings = _settings(spec, is_standard=self._base_url is None) | (
            {"tools": list(request.tools)} if request.tools else {}
        )
        try:
            answer = await client.chat.completions.create(model=self._model, messages=messages, seed=seed, **settings)
        except self._openai.APIStatusError as error:
            if not _says_too_long(error):
                raise
            return Completion("", 0, TOO_LONG)
        return _completion(answer)

    def _warn_of_top_k(self, spec: GenerationSpec) -> None:
        if self._base_url is None and spec.sampled and spec.top_k and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self._where}: top_k={spec.top_k} is no field of the standard and is left out, so that tokens are drawn "
                "from all that top_p leaves. Give base_url if the server takes it.",
                SpectraWarning,
                stacklevel=3,
            )

    def _message(self, failure: Exception) -> str:
        """Say in one line, without the key, what the server said and what to do."""
        remedies = (remedy for kind, remedy in _REMEDIES.items() if isinstance(failure, getattr(self._openai, kind)))
        cause = f" ({failure.__cause__})" if str(failure.__cause__ or "") else ""
        reason = f"{failure}".rstrip(".") + cause
        if key := os.environ.get(KEY):
            reason = reason.replace(key, f"[{KEY}]")
        return f"{self._where}: {' '.join(reason.split())[:300]}. {next(remedies, _NOT_A_SERVER)}"


def _check(**least: tuple[int, int]) -> None:
    for name, (value, smallest) in least.items():
        if not isinstance(value, int) or value < smallest:
            raise InputError(f"{name}: expected a whole number of at least {smallest}, got {value!r}.")


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query:
        raise InputError(f"base_url: the address holds a user, a key or a query. Leave those out, and set {KEY} instead.")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(f"base_url: expected an address such as http://localhost:8000/v1, got '{address}'.")


def _settings(spec: GenerationSpec, *, is_standard: bool) -> dict[str, Any]:
    """Write settings as fields of a request."""
    drawn: dict[str, Any] = {"temperature": spec.temperature, "top_p": spec.top_p} if spec.sampled else {"temperature": 0.0}
    if is_standard:
        return {**drawn, "max_completion_tokens": spec.max_new_tokens}
    # Servers start from the checkpoint's settings or their own: what is not said is not neutral. They know max_tokens longer
    # than its successor, and -1 for no top_k longer than 0.
    top_k = (spec.top_k or -1) if spec.sampled else -1
    neutral = {"top_k": top_k, "min_p": 0.0, "repetition_penalty": 1.0}
    return {**drawn, "max_tokens": spec.max_new_tokens, "extra_body": neutral}


def _says_too_long(error: Any) -> bool:
    """Tell a prompt that does not fit from other requests that are refused."""
    if error.code in _TOO_LONG_CODES or error.type in _TOO_LONG_CODES:
        return True
    # Not a server's own failure (5xx), which may pass, nor a rate limit, which counts tokens as well.
    is_refused = error.status_code in {400, 413, 422}
    return is_refused and any(phrase in str(error).lower() for phrase in _TOO_LONG_PHRASES)


def _completion(answer: Any) -> Completion:
    try:
        choice, usage = answer.choices[0], answer.usage
        content, reason = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, TypeError):
        raise ValueError("it answered, but not with a chat completion") from None
    text = content if isinstance(content, str) else ""  # a refusal, or a call of a tool, has no text
    counted = getattr(usage, "completion_tokens", None)
    return Completion(text, counted if isinstance(counted, int) else len(text.split()), str(reason or "unknown"))
