"""Faults of a recipe as they are found, in the words of recipes: what a command calls ``--task`` is ``model.task`` here."""

from __future__ import annotations

import re
from types import TracebackType

from spectra.errors import SpectraError
from spectra.training.recipe.parts import PARTS, Recipe

_PLACED = re.compile(rf"(({'|'.join(PARTS)})(\.\w+)*|output)( \([^()]+\))?: ")
_COLUMN = re.compile(r"--(text|pair|label|target)-column( NAME)?")


class Findings:
    """Collects faults.

    Args:
        recipe: Whose faults they are.

    Attributes:
        sentences: A sentence for each fault, with its place and way out.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.sentences: list[str] = []

    def add(self, sentence: str, *key: str) -> None:
        """Add a fault.

        Args:
            sentence: What is wrong, and what to do.
            *key: The option it is about.
        """
        self.sentences.append(f"{self._recipe.where(*key)}: {recipe_words(sentence, *key)}")

    def has(self, *key: str) -> bool:
        """Say whether there is a fault of an option."""
        return any(sentence.startswith(f"{self._recipe.where(*key)}: ") for sentence in self.sentences)

    def of(self, *key: str, begin: str = "") -> _Refusals:
        """Return a context that takes what is refused inside for a fault.

        Args:
            *key: The option it is about; a message that begins with a place keeps that.
            begin: Goes before what is said.
        """
        return _Refusals(self, key, begin)


class _Refusals:
    """Leaves a block of statements where it raised one of our errors, and adds that."""

    def __init__(self, found: Findings, key: tuple[str, ...], begin: str) -> None:
        self._found, self._key, self._begin = found, key, begin

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, SpectraError):
            return False
        sentence = str(error)
        if _PLACED.match(sentence):
            self._found.sentences.append(sentence)
        else:
            self._found.add(f"{self._begin}{sentence}", *self._key)
        return True


def recipe_words(sentence: str, *key: str) -> str:
    """Put a message of a command into the words of recipes.

    Args:
        sentence: Of an error.
        *key: The option it is about, whose name is then not said again.

    Returns:
        The sentence.

    Example:
        >>> recipe_words("Choose another (--task).", "data", "label_column")
        'Choose another (model.task).'
    """
    sentence = _COLUMN.sub(r"data.\1_column", sentence).replace("--task", "model.task")
    return sentence.removeprefix(f"{key[-1]}: ").removesuffix(f" ({'.'.join(key)})")
