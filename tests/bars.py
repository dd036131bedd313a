"""Lists of correctness bars: which tests hold each, and that these tests exist."""

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent


@cache
def functions_of(file):
    return [node.name for node in ast.parse((TESTS / file).read_text()).body if isinstance(node, ast.FunctionDef)]


def missing(places):
    """The places ``file::test`` that do not exist; a name that ends in ``_`` stands for all that begin so."""

    def exists(place):
        file, name = place.split("::")
        return any(function == name or (name[-1] == "_" and function.startswith(name)) for function in functions_of(file))

    return [place for place in places if not exists(place)]
