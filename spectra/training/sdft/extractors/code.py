"""Whether a response is a program: its code parses, in a language of the original. What two programs do is not compared.

To see whether a candidate does what it should, run tests: :mod:`spectra.training.sdft.extractors.run_tests`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.fenced_blocks import FencedBlock, fenced_blocks
from spectra.training.sdft.extractors.python_source import python_module

PYTHON = "python"
_PYTHON = (PYTHON, "python3", "py", "")  # a block without a name counts as Python
_ALIASES = {
    "js": "javascript", "node": "javascript", "ts": "typescript", "c++": "cpp", "cxx": "cpp", "cc": "cpp", "c#": "csharp",
    "cs": "csharp", "golang": "go", "rs": "rust", "rb": "ruby", "kt": "kotlin", "sh": "bash", "shell": "bash", "zsh": "bash",
    "ps1": "powershell", "yml": "yaml",
}  # fmt: skip
_NO_LANGUAGE = ("text", "txt", "plaintext", "output")
_WORK = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.Lambda, ast.comprehension)
_REFERENCE_FENCE = "```python"
_REFERENCE_OPENINGS = ("I have", "Here is", "I implemented")  # eval/eval_magicoder.py of the reference code


@dataclass(frozen=True)
class Programs:
    """What a response holds programs in.

    Attributes:
        languages: As their fences name them, in lower case; one that goes by several, such as ``js``, has one name.
        is_fenced: Whether there are fences. Otherwise the response is nothing but a Python program.
    """

    languages: frozenset[str]
    is_fenced: bool

    def __str__(self) -> str:
        return ", ".join(sorted(self.languages))

    def may_become(self, candidate: Programs) -> bool:
        """Say whether a candidate may take the place of the original, which these are of.

        Args:
            candidate: The programs of the candidate.

        Returns:
            Whether it has Python if the original does, since a line of ``bash`` that installs a program does not replace it;
            and one of the original's languages otherwise. Without fences it needs an original without fences.
        """
        wanted = self.languages & {PYTHON} or self.languages
        return (candidate.is_fenced or not self.is_fenced) and not wanted.isdisjoint(candidate.languages)


def program(text: str) -> str:
    """Return the Python program of a response.

    Args:
        text: Markdown with fenced blocks, or nothing but the program.

    Returns:
        The blocks of Python, one after the other; those without a language only if none has one. Without blocks the text.
    """
    return "\n\n".join(block.content for block in _blocks(text) if block.language in _PYTHON)


def readable_code(text: str, row: Mapping[str, Any] | None = None) -> Programs | None:
    r"""Find what a response holds programs in.

    Args:
        text: Markdown with fenced blocks, or nothing but a Python program.
        row: Not looked at.

    Returns:
        The languages of its blocks; ``None`` if there are none, if a block of Python cannot be parsed or if one of another
        language is empty. Python is among them if a statement does more than to name something: ``Sorry`` and ``42`` parse,
        too. Blocks without a language count, as Python, only if none has one: beside the program they hold what it prints.

    Example:
        >>> print(readable_code("def f(x):\n    return 2 * x"))
        python
        >>> print(readable_code("def f(x: return"), readable_code("Sorry"))
        None None
    """
    blocks = _blocks(text)
    python = [python_module(block.content) for block in blocks if block.language in _PYTHON]
    others = [block for block in blocks if block.language not in _PYTHON]
    if None in python or not all(block.content.strip() for block in others):
        return None
    has_python = any(_does_something(statement) for module in python if module for statement in module.body)
    languages = {_ALIASES.get(block.language, block.language) for block in others} | ({PYTHON} if has_python else set())
    return Programs(frozenset(languages), is_fenced=bool(fenced_blocks(text))) if languages else None


def reference_style(text: str, row: Mapping[str, Any]) -> str:
    """Name the style of a response as the reference code sees it: ``"styled"`` has a Python fence and one of three openings."""
    answer = text.strip()
    return "styled" if _REFERENCE_FENCE in answer and answer.startswith(_REFERENCE_OPENINGS) else "plain"


def reference_match(original: str, candidate: str) -> bool:
    """Say whether the candidate is styled; the original is not looked at."""
    return candidate == "styled"


CODE = Extractor("code", 3, readable_code, Programs.may_become)
REFERENCE_CODE = Extractor("reference-code", 1, reference_style, reference_match)


def _blocks(text: str) -> list[FencedBlock]:
    fenced = fenced_blocks(text) or [FencedBlock("", text)]
    blocks = [block for block in fenced if block.language not in _NO_LANGUAGE]
    return [block for block in blocks if block.language] or blocks


def _does_something(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None  # "Answer: 42" is an annotation
    return not isinstance(statement, ast.Expr) or any(isinstance(node, _WORK) for node in ast.walk(statement))
