"""A function as a writer of candidates: any engine, any service, or a script in a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spectra.errors import BackendError, InputError
from spectra.training.sdft.generation import STOP, Completion, GenerationSpec, Request, plain_text


class CallableBackend:
    """Answers requests by a function of their texts.

    The function alone decides how it generates: it sees neither the settings nor the seeds.

    .. code-block:: python

        backend = CallableBackend(lambda prompts: [ask(prompt) for prompt in prompts], name="our model, revision 3")

    Args:
        function: Takes texts and returns as many answers in the same order, each a
            :class:`~spectra.training.sdft.generation.Completion` or its text alone, which then counts as one that ended, with a
            token for every word. What it raises goes through.
        name: Your word for the model behind it. A run that was interrupted goes on under the same name only.
        batch_size: Texts handed over at a time. Default 32, as for models here.
        render: Writes a request as a text. Default: its messages with a blank line after each, then the prefix.

    Attributes:
        name: ``"callable"``.
        batch_size: As given.
        context: Not known.
        render: As given.

    Raises:
        InputError: No name, or a batch size below 1.
    """

    name = "callable"
    has_own_seeds = False  # it may be anything
    context: int | None = None

    def __init__(
        self,
        function: Callable[[list[str]], Sequence[Completion | str]],
        *,
        name: str,
        batch_size: int = 32,
        render: Callable[[Request], str] = plain_text,
    ) -> None:
        if not name:
            raise InputError("name: expected a word for the model behind the function, got ''. A run goes on by it.")
        if batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {batch_size}.")
        self._function = function
        self._model = name
        self.batch_size = batch_size
        self.render = render

    def identity(self) -> dict[str, str]:
        """Return the user's word for the model."""
        return {"model": self._model}

    def lengths(self, requests: Sequence[Request]) -> list[int] | None:
        """Return nothing: only the function knows what a token is.

        Args:
            requests: Not looked at.
        """
        return None

    def complete(self, requests: Sequence[Request], spec: GenerationSpec, seeds: Sequence[int]) -> list[Completion]:
        """Answer requests in their order.

        Args:
            requests: What is asked.
            spec: Not looked at.
            seeds: Not looked at.

        Returns:
            What the function answered.

        Raises:
            BackendError: It returned something else than as many answers as it was given texts.
        """
        answers = self._function([self.render(request) for request in requests])
        if isinstance(answers, str) or not isinstance(answers, Sequence):
            raise BackendError(
                f"{self._what}: expected a list of answers, got {type(answers).__name__}. Return one for each text."
            )
        if len(answers) != len(requests):
            raise BackendError(
                f"{self._what}: {len(answers)} answers to {len(requests)} texts. Return one for each, in the same order."
            )
        return [self._completion(answer, place) for place, answer in enumerate(answers)]

    def _completion(self, answer: object, place: int) -> Completion:
        if isinstance(answer, Completion):
            return answer
        if isinstance(answer, str):
            return Completion(answer, len(answer.split()), STOP)
        raise BackendError(
            f"{self._what}: answer {place + 1} is of type {type(answer).__name__}. Return a text, or a Completion, for each."
        )

    @property
    def _what(self) -> str:
        return f"the function that writes for '{self._model}'"
