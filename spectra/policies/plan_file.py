"""The file of a plan: YAML that people edit, or JSON. Read strictly: a slip of the pen must not pass for a default.

YAML where the name ends in ``.yaml`` or ``.yml``, JSON for ``.json``. ``1e-4`` is text in YAML 1.1 and a number here. A key
that is given twice is an error; YAML readers keep the last one and say nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spectra.errors import ResultsError
from spectra.results.writing import made, write_whole

Key = tuple[str, ...]  # ("values", "encoder.layer.0"): where something stands in a file

_YAML, _JSON = (".yaml", ".yml"), ".json"
_FLOAT, _TEXT, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("float", "str", "merge"))
_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")


@dataclass(frozen=True)
class PlanFile:
    """What stands in the file of a plan.

    Attributes:
        path: The file.
        content: As its format reads it; any value.
        lines: Line numbers from 1, of the keys at the top and of those below them; empty for JSON.
        doubled: What to say of each key that is given twice.
    """

    path: Path
    content: Any
    lines: Mapping[Key, int] = field(default_factory=dict)
    doubled: Sequence[str] = ()


class _Loader(yaml.SafeLoader):
    """Plain values only; ``1e-4`` is a number, and every key is text: a layer may be called ``1`` or ``on``."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                key.tag = _TEXT
        return dict(super().construct_mapping(node, deep))


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would take for a number, and repeats what is there twice instead of pointing to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))


def save_plan_file(
    content: Mapping[str, Any], path: str | os.PathLike[str], *, force: bool, comments: Sequence[str] = ()
) -> None:
    """Write a plan's file, atomically.

    Args:
        content: Its keys and values; made plain.
        path: The file; its folder is made if it is missing.
        force: Replace an existing file.
        comments: Lines that YAML begins with.

    Raises:
        ResultsError: As :func:`check_free`, or the file cannot be written.
    """
    file, content = check_free(path, force=force), plain(content)
    if is_yaml(file):
        text = "".join(f"# {line}\n" for line in comments)
        # No width: a wrapped sentence is hard to edit. ASCII: PyYAML reads unicode line ends in quotes back as blanks.
        text += yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=float("inf"))
    else:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    made(file.parent)
    write_whole(file, text.encode())


def plain(value: Any) -> Any:
    """Return a value in plain types: lists for tuples, Python's own numbers for NumPy's, words for members of enumerations."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    kind = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return value if kind is None else kind(value)


def is_yaml(path: str | os.PathLike[str]) -> bool:
    """Say whether the file of a plan is YAML, by its name."""
    return Path(path).suffix in _YAML


def check_free(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Refuse a name that is taken, or says nothing of the format.

    Args:
        path: A file to write.
        force: It may be replaced.

    Returns:
        Its path.

    Raises:
        ResultsError: It exists, is a folder, or has another ending than those of YAML and JSON.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise ResultsError(f"'{file}' is a folder. Name a file in it, such as '{file / 'plan.yaml'}'.")
    if file.suffix not in (*_YAML, _JSON):
        raise ResultsError(f"'{file}': a plan is YAML or JSON, and its name ends in {', '.join(_YAML)} or {_JSON}. Rename it.")
    if file.exists() and not force:
        raise ResultsError(f"'{file}' exists. Choose another file, or pass force=True (--force).")
    return file


def read_plan_file(path: str | os.PathLike[str], what: str, remedy: str) -> PlanFile:
    """Read the file of a plan, whatever it holds.

    Args:
        path: The file.
        what: It should be, for messages.
        remedy: How to make one.

    Returns:
        Its content.

    Raises:
        ResultsError: The file is missing, or is no YAML or JSON.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
        return _read_yaml(file, text) if is_yaml(file) else PlanFile(file, json.loads(text))
    except FileNotFoundError as error:
        raise ResultsError(f"no file '{file}'. {remedy}") from error
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        line = "the file" if place is None else f"line {place.line + 1}"
        words = error.problem or error.context or "not understood"
        raise ResultsError(f"'{file}' cannot be read as {what}: {words}. Correct {line}.") from error
    except json.JSONDecodeError as error:
        raise ResultsError(f"'{file}' cannot be read as {what}: {error.msg}. Correct line {error.lineno}.") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's own messages have several lines
        raise ResultsError(f"'{file}' cannot be read as {what} ({reason}). {remedy}") from error


def _read_yaml(file: Path, text: str) -> PlanFile:
    loader = _Loader(text)
    loader.name = file.name  # for its messages
    try:
        node = loader.get_single_node()
        keys = list(_keys(node))
        content = None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
    lines: dict[Key, int] = {}
    doubled = []
    for key, line in keys:
        if key in lines:
            doubled.append(f"'{key[-1]}' is given twice, in lines {lines[key]} and {line}")
        lines[key] = line
    return PlanFile(file, content, lines, doubled)


def _keys(node: yaml.Node | None, above: Key = ()) -> Iterator[tuple[Key, int]]:
    """Yield the keys at the top and those below them, each with its line."""
    if not isinstance(node, yaml.MappingNode) or len(above) == 2:
        return
    for key, value in node.value:
        place = (*above, str(key.value))
        yield place, key.start_mark.line + 1
        yield from _keys(value, place)
