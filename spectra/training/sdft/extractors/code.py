"""Whether a response is a program: its code parses. What two programs do is not compared.

To see whether a candidate does what it should, run tests: :mod:`spectra.training.sdft.extractors.run_tests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.fenced_blocks import FencedBlock, fenced_blocks
from spectra.training.sdft.extractors.python_source import python_module

_PYTHON = ("python", "python3", "py", "")  # a block without a name counts as Python
_REFERENCE_FENCE = "```python"
_REFERENCE_OPENINGS = ("I have", "Here is", "I implemented")  # eval/eval_magicoder.py of the reference code


def program(text: str) -> str:
    """Return the Python program of a response.

    Args:
        text: Markdown with fenced blocks, or nothing but the program.

    Returns:
        The blocks of Python, one after the other; those without a language only if none has one. Without blocks the text.
    """
    blocks = _blocks(text)
    return "\n\n".join(block.content for block in blocks if block.language in _PYTHON)


def readable_code(text: str, row: Mapping[str, Any] | None = None) -> str | None:
    r"""Say whether a response is a program.

    Args:
        text: Markdown with fenced blocks, or nothing but a Python program.
        row: Not looked at.

    Returns:
        ``"ok"`` if all blocks of Python can be parsed and those of other languages are not empty; ``None`` otherwise. Blocks
        without a language count, as Python, only if none has one: beside the program they hold what it prints.

    Example:
        >>> readable_code("def f(x):\n    return 2 * x")
        'ok'
        >>> readable_code("def f(x: return") is None
        True
    """
    return "ok" if all(map(_is_readable, _blocks(text))) else None


def reference_style(text: str, row: Mapping[str, Any]) -> str:
    """Name the style of a response as the reference code sees it: ``"styled"`` has a Python fence and one of three openings."""
    answer = text.strip()
    return "styled" if _REFERENCE_FENCE in answer and answer.startswith(_REFERENCE_OPENINGS) else "plain"


def reference_match(original: str, candidate: str) -> bool:
    """Say whether the candidate is styled; the original is not looked at."""
    return candidate == "styled"


CODE = Extractor("code", 1, readable_code)
REFERENCE_CODE = Extractor("reference-code", 1, reference_style, reference_match)


def _blocks(text: str) -> list[FencedBlock]:
    blocks = fenced_blocks(text) or [FencedBlock("", text)]
    return [block for block in blocks if block.language] or blocks


def _is_readable(block: FencedBlock) -> bool:
    if block.language not in _PYTHON:
        return bool(block.content.strip())
    module = python_module(block.content)
    return module is not None and bool(module.body)
