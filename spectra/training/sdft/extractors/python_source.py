"""Python source as a tree, for text that anybody wrote."""

from __future__ import annotations

import ast
import warnings


def python_expression(source: str) -> ast.expr | None:
    """Return the one expression that a text consists of, or ``None`` if it is none."""
    tree = _parsed(source, "eval")
    return tree.body if isinstance(tree, ast.Expression) else None


def python_module(source: str) -> ast.Module | None:
    """Return the program that a text consists of, or ``None`` if it is none."""
    tree = _parsed(source, "exec")
    return tree if isinstance(tree, ast.Module) else None


def _parsed(source: str, mode: str) -> ast.AST | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a string that is not raw
        warnings.simplefilter("ignore", DeprecationWarning)  # the same, in Python 3.11
        try:
            return ast.parse(source, mode=mode)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # NUL bytes; brackets or operators nested too deep
            return None
