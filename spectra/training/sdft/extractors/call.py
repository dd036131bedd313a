"""The function call of a response, as a value: order of keywords, quotes and spacing do not matter.

====================================== ==========================================
two calls                              agree
====================================== ==========================================
``f(a=1, b='x')``, ``f(b="x",a=1.0)``  yes: order, quotes, spacing, ``1 == 1.0``
``f(a=(1, 2))``, ``f(a=[1, 2])``       yes: a list is a tuple
``f(a={'x': 1, 'y': 2})``, reordered   yes, sets too
``f(a=my_list)``, ``f(a=g(x=1))``      yes, if written alike: names are not looked up
``f(a=True)``, ``f(a=1)``              no: JSON knows both
``f(1)``, ``f(a=1)``                   no: which parameter comes first is not known; ``f(1)`` agrees with itself
====================================== ==========================================

Source: the rule of the reference code (sail-sg/sdft), which compares text, and what it gets wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.python_source import python_expression, python_module

# A dotted name and its bracket, with nothing between. "(s)" is a plural: "file(s)".
_START = re.compile(r"(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)*\((?!(?:e?s|ies)\))")
_STRING_OR_BRACKET = re.compile(
    r"""(?s:'''.*?'''|\"{3}.*?\"{3})|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[()]""",
)
_GOES_ON = re.compile(r"[(\[]|\.\w")  # f(a=1)(b), f(a=1)[0], f(a=1).b
_BULLET = re.compile(r"[ \t]*(?:[-*+>][ \t]+)?")
_REFERENCE_LABEL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*)\((.*)\)")


def function_call(text: str, row: Mapping[str, Any] | None = None) -> str | None:
    """Return the only function call in a text, in one spelling.

    Args:
        text: A call in Python's syntax, alone, in a fenced block, or with prose around it.
        row: Not looked at.

    Returns:
        The call with its keywords sorted, as Python would write it. ``None`` if there is no call, or more than one, be it the
        same again: whoever carries them out would do so twice. ``None`` as well if a keyword comes twice, or if the call is a
        part of something else, as in ``f(a=1)(b)`` and ``x = 2 * f(a=1)``.

    Example:
        >>> function_call("Use this call: add(y=[1, 2], x='a').")
        "add(x='a', y=[1, 2])"
    """
    calls = list(_calls(text))
    return _spelled(calls[0]) if len(calls) == 1 and calls[0] is not None else None


def reference_call(text: str, row: Mapping[str, Any]) -> str | None:
    """Return a text as the reference code compares it: one blank for white space, one kind of quotes, none after commas."""
    return re.sub(r"\s+", " ", text.strip()).replace("'", '"').replace(", ", ",") or None


def reference_match(original: str, candidate: str) -> bool:
    """Say whether the text of the original's call occurs in the candidate, whatever else does."""
    label = _REFERENCE_LABEL.match(original)
    if label is None:
        return False  # where the reference code stops with an error
    name, arguments = map(re.escape, label.groups())
    return re.search(rf"\b{name}\({arguments}\)", candidate) is not None


CALL = Extractor("call", 2, function_call)
REFERENCE_CALL = Extractor("reference-call", 1, reference_call, reference_match)


def _calls(text: str) -> Iterator[ast.Call | None]:
    """Yield the outermost calls; ``None`` for one that goes on as something else, or does not end."""
    place = 0
    while (start := _START.search(text, place)) is not None:
        end = _after_bracket(text, start.end())
        if end is None:
            yield None
            return
        call = python_expression(text[start.start() : end])
        if isinstance(call, ast.Call):  # otherwise prose: "Wi-Fi(2.4 GHz)", "not(x)"
            yield None if _GOES_ON.match(text, end) or _is_operand(text, start.start(), end) else call
        place = end


def _is_operand(text: str, start: int, end: int) -> bool:
    """Tell whether the lines of a call are Python, and compute something of it."""
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    lines = text[first : len(text) if last < 0 else last]
    module = python_module(lines[bullet.end() if (bullet := _BULLET.match(lines)) else 0 :].strip("` \t\r"))
    values = [getattr(statement, "value", None) for statement in module.body] if module else []
    return any(_computes(value) for value in values)


def _computes(value: Any) -> bool:
    """Tell a computation from prose that could be read as one: with names beside the call, an operator is a dash or a word."""
    match value:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.UnaryOp(operand=operand):
            return bool(operand.col_offset == value.col_offset + 1)
        case ast.BinOp(left=left, right=right):
            operands = [left, right]
        case ast.BoolOp(values=operands):
            pass
        case ast.Compare(left=left, comparators=others):
            operands = [left, *others]
        case ast.IfExp(test=test, body=body, orelse=other):
            operands = [test, body, other]
        case _:
            return False
    return all(_is_number_or_call(operand) or _computes(operand) for operand in operands)


def _is_number_or_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) or (isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes))


def _after_bracket(text: str, place: int) -> int | None:
    depth = 1
    for piece in _STRING_OR_BRACKET.finditer(text, place):
        depth += {"(": 1, ")": -1}.get(piece.group(), 0)
        if depth == 0:
            return piece.end()
    return None


def _spelled(call: ast.Call) -> str | None:
    try:
        return ast.unparse(_OneSpelling().visit(call))
    except (ValueError, RecursionError):  # a keyword twice; a number or f-string that Python reads but does not write
        return None


class _OneSpelling(ast.NodeTransformer):
    """Writes equal values alike."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
        if len(set(names)) < len(names):
            raise ValueError("a keyword comes twice")
        node.keywords.sort(key=lambda keyword: keyword.arg or "")
        return node

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        self.generic_visit(node)
        return ast.List(elts=node.elts, ctx=node.ctx)

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.generic_visit(node)
        node.elts.sort(key=ast.unparse)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        items = sorted(
            zip(node.keys, node.values, strict=True), key=lambda item: "" if item[0] is None else ast.unparse(item[0])
        )
        return ast.Dict(keys=[key for key, _ in items], values=[value for _, value in items])

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        return ast.Constant(int(value) if isinstance(value, float) and value.is_integer() else value)
