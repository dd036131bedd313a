"""YAML as recipes have it: plain values with the line of each key, and every slip of the pen an error.

Words are read as in YAML 1.2, not 1.1: ``1e-4`` is a number, ``no`` and ``on`` are words (``eval_strategy: no``), ``010`` is no
eight, ``12:30`` and ``2020-01-01`` are text. A key that is given twice is an error; YAML readers keep the last one and say
nothing. Anchors, aliases and ``<<`` are read; tags are not, so that nothing but plain values comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from spectra.errors import InputError
from spectra.training.recipe.options import Fault, Key

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
# Kind of a word by YAML 1.2's core schema; whole numbers in decimal only.
_WORDS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)$"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"),
    "float": re.compile(
        r"(?:[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
    ),
    "merge": re.compile(r"<<$"),
}
# What YAML's own words mean to those who have not read its specification.
_PLAINLY = {
    "but found another document": "it holds two documents, and one is expected",
    "found character '\\t' that cannot start any token": "there is a tab, and YAML wants blanks",
}


@dataclass(frozen=True)
class Document:
    """What a text of YAML holds.

    Attributes:
        content: Plain values.
        lines: ``"line 3"`` by key, at all depths.
        faults: Keys that are given twice, or are no words.
    """

    content: Any
    lines: dict[Key, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """Words of YAML 1.2."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - as the base has it


for _kind, _pattern in _WORDS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, None)


def load_yaml(text: str, what: str) -> Document:
    """Read a text of YAML.

    Args:
        text: One document.
        what: It is, for messages.

    Returns:
        Its values and lines.

    Raises:
        InputError: It is no YAML, or holds itself.
    """
    document = Document(None)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            content = None if node is None else _value(loader, node, (), document)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "it" if mark is None else f"line {mark.line + 1}"
        words = error.problem or error.context or "not understood"
        raise InputError(f"{what} cannot be read as YAML: {_PLAINLY.get(words, words)}. Correct {line}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{what} cannot be read as YAML: {' '.join(str(error).split())}. Correct it.") from error
    except (ValueError, LookupError) as error:
        raise InputError(f"{what} cannot be read as YAML: a value is not what its tag says, or too long ({error}).") from error
    except RecursionError as error:
        raise InputError(f"{what} cannot be read as YAML: it nests too deeply, or holds itself. Simplify it.") from error
    return Document(content, document.lines, document.faults)


def _value(loader: _Loader, node: yaml.Node, above: Key, document: Document) -> Any:
    """Return the value of a node, and note the lines of the keys in it."""
    kind = node.tag.removeprefix(_TAG)
    if kind == "map" and isinstance(node, yaml.MappingNode):
        return {
            name: _value(loader, value, (*above, name), document) for name, value in _entries(loader, node, above, document)
        }
    if kind == "seq" and isinstance(node, yaml.SequenceNode):
        return [_value(loader, entry, (*above, str(place)), document) for place, entry in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        if kind in ("str", "merge"):
            return str(node.value)
        if kind in _WORDS:
            return loader.construct_object(node)
    raise yaml.MarkedYAMLError(problem=f"the tag '{node.tag}' is not read", problem_mark=node.start_mark)


def _entries(loader: _Loader, node: yaml.MappingNode, above: Key, document: Document) -> Iterator[tuple[str, yaml.Node]]:
    """Yield keys and values; merged ones first, so that those given here win."""
    own: dict[str, tuple[yaml.Node, int]] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            document.faults.append(Fault(above, f"a key in line {line} is no word."))
        elif key.tag == _MERGE:
            yield from _merged(loader, value, above, document)
        elif key.value in own:
            first = own[key.value][1]
            document.faults.append(Fault((*above, key.value), f"given twice, in lines {first} and {line}. Leave one out."))
        else:
            own[key.value] = (value, line)
    for name, (value, line) in own.items():
        document.lines[(*above, name)] = f"line {line}"
        yield name, value


def _merged(loader: _Loader, node: yaml.Node, above: Key, document: Document) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from _entries(loader, node, above, document)
    elif isinstance(node, yaml.SequenceNode):
        for mapping in reversed(node.value):  # the first wins
            yield from _merged(loader, mapping, above, document)
    else:
        raise yaml.MarkedYAMLError(problem="'<<' takes a mapping, or a list of them", problem_mark=node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader, or one of YAML 1.1, would take for something else; writes every value in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat what is there twice instead of pointing to it."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # In quotes PyYAML reads unicode line ends back as blanks; escaped they stay.
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isascii() and text.isprintable() else '"')


_Dumper.add_implicit_resolver(f"{_TAG}float", _WORDS["float"], list("-+.0123456789"))
_Dumper.add_representer(str, _text)


def dump_yaml(content: Mapping[str, Any], comments: Mapping[Key, str]) -> str:
    """Write plain values as YAML, mappings in blocks and lists in lines.

    Args:
        content: Keys and values.
        comments: To stand behind values, by key.

    Returns:
        The text.
    """
    return "".join(f"{line}\n" for line in _lines(content, comments, ()))


def _lines(content: Mapping[str, Any], comments: Mapping[Key, str], above: Key) -> Iterator[str]:
    for name, value in content.items():
        key = (*above, name)
        start = f"{'  ' * len(above)}{_in_line(name)}:"
        if isinstance(value, Mapping) and value:
            yield start
            yield from _lines(value, comments, key)
        else:
            yield f"{start} {_in_line(value)}" + (f"  # {comments[key]}" if key in comments else "")


def _in_line(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
