"""The fenced blocks of a Markdown text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FencedBlock:
    """A fenced block.

    Attributes:
        language: As its fence names it, in lower case; empty if it names none.
        content: What lies between the fences, indented as the fence's lines are not.
    """

    language: str
    content: str


def fenced_blocks(text: str) -> list[FencedBlock]:
    """Find the fenced blocks of a text.

    Args:
        text: Markdown. A block that is not closed ends with the text, as CommonMark has it.

    Returns:
        The blocks, in their order.
    """
    from markdown_it import MarkdownIt

    blocks = MarkdownIt("commonmark").disable("inline").parse(text)  # what is within paragraphs is not looked at
    fences = [token for token in blocks if token.type == "fence"]
    return [FencedBlock(next(iter(fence.info.lower().split()), ""), fence.content) for fence in fences]
