"""What the model is told when it rewrites a response: templates, their files, and a check that they reach the model whole.

A template is filled literally, both placeholders in one pass: a prompt may hold braces and even the text ``{response}``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError, SpectraError, did_you_mean
from spectra.training.sdft.generation import Request

_PLACEHOLDER = re.compile(r"\{(prompt|response)\}")


@dataclass(frozen=True, kw_only=True)
class RewriteTemplate:
    """How a model is asked to write a response anew.

    ``{prompt}`` and ``{response}`` in ``system`` and ``user`` are filled from each sample.

    Attributes:
        id: Its name and version, which every record bears.
        system: The system turn; empty for none.
        user: The user's turn.
        assistant_prefix: How the answer has to begin.
        keep_prefix: Whether the beginning is part of the response.
        leak_phrases: Phrases that give the rewriting away, beside those known for all templates.

    Raises:
        InputError: Values that cannot be, or a placeholder that is nowhere; all are named.
    """

    id: str
    system: str
    user: str
    assistant_prefix: str = ""
    keep_prefix: bool = False
    leak_phrases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults = list(_faults(dataclasses.asdict(self)))
        if faults:
            raise InputError(f"template {self.id!r}: {' '.join(faults)}")

    def digest(self) -> str:
        """Return the SHA-256 of all that it says."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


def _faults(values: Mapping[str, Any]) -> Iterator[str]:
    for name in [name for name in _EXPECTED if name in values]:
        what, is_right = _EXPECTED[name]
        if not is_right(values[name]):
            yield f"{name}: expected {what}, got {values[name]!r}."
    texts = " ".join(str(values.get(name, "")) for name in ("system", "user"))
    missing = [f"{{{name}}}" for name in ("prompt", "response") if f"{{{name}}}" not in texts]
    if missing:
        yield f"{' and '.join(missing)} must stand in system or user: the model answers the one and rewrites the other."
    if _PLACEHOLDER.search(str(values.get("assistant_prefix", ""))):
        yield "assistant_prefix is taken as it is: take the placeholder out."


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


# field: (what it has to be, whether a value is that)
_EXPECTED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("a name", _is_text),
    "system": ("text, empty for none", lambda value: isinstance(value, str)),
    "user": ("text that is not empty", _is_text),
    "assistant_prefix": ("text, empty for none", lambda value: isinstance(value, str)),
    "keep_prefix": ("true or false", lambda value: isinstance(value, bool)),
    "leak_phrases": ("a list of phrases", lambda value: isinstance(value, list | tuple) and all(map(_is_text, value))),
}

TEMPLATES: Mapping[str, Path] = {
    name: Path(__file__).parent / "template_files" / f"{name.replace('/', '-')}.toml"
    for name in ("rewrite/v1", "math/v1", "code/v1", "call/v1")
}
"""The files of the templates that come with Spectra, by id. What is published stays: another wording is another version."""


def template(given: str | Path | RewriteTemplate) -> RewriteTemplate:
    """Find a template.

    Args:
        given: The id of one that comes with Spectra, the path of a ``.toml`` file with the fields of
            :class:`RewriteTemplate`, or a template.

    Returns:
        The template.

    Raises:
        InputError: An unknown id, a file that cannot be used (all its faults are named), or a template that bears the id of one
            that comes with Spectra and says something else.
    """
    if isinstance(given, RewriteTemplate):
        return _with_own_id(given)
    name = str(given)
    if isinstance(given, Path) or name.endswith(".toml"):
        return _with_own_id(_read(Path(name)))
    if name not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise InputError(f"unknown template '{name}'.{did_you_mean(name, TEMPLATES)} Known: {known}, or a .toml file.")
    return _shipped(name)


def default_template(task: str) -> RewriteTemplate:
    """Return the template that is made for a task.

    Args:
        task: Such as ``"math"``.

    Returns:
        That of ``math``, ``code`` or ``call``; for all others ``rewrite/v1``.
    """
    return template(f"{task}/v1" if f"{task}/v1" in TEMPLATES else "rewrite/v1")


def rewriting_request(template: RewriteTemplate, prompt: str, response: str) -> Request:
    """Ask for a response anew.

    Args:
        template: How to ask.
        prompt: What the response answers.
        response: The original.

    Returns:
        The request, with both texts as they are.
    """
    texts = {"prompt": prompt, "response": response}
    turns = {"system": template.system, "user": template.user}
    messages = (
        {"role": role, "content": _PLACEHOLDER.sub(lambda found: texts[found[1]], text)}
        for role, text in turns.items()
        if text.strip()
    )
    return Request(tuple(messages), template.assistant_prefix)


def check_rendering(template: RewriteTemplate, render: Callable[[Request], str]) -> None:
    """Make sure that a model reads all of a template: chat templates differ in what they make of a system turn.

    A request with two markers is rendered. White space may differ, as most chat templates strip it.

    Args:
        template: What is asked with.
        render: Makes the model's input of a request.

    Raises:
        InputError: It cannot be rendered, a turn is left out, changed or out of order, or the assistant's prefix is not what
            the answer would continue.
    """
    request = rewriting_request(template, "a prompt to be answered", "a response to be rewritten")
    rendered = _rendered(template, render, request)
    place, words = 0, _squeezed(rendered)
    for message in request.messages:
        content = _squeezed(message["content"])
        place = words.find(content, place)
        if place < 0:
            raise InputError(
                f"template '{template.id}': the model's chat template leaves out, changes or moves the {message['role']} turn. "
                'Say all in the user turn (system = ""), or correct the chat template.'
            )
        place += len(content)
    bare = _rendered(template, render, dataclasses.replace(request, prefix=""))
    if rendered != bare + template.assistant_prefix:
        raise InputError(
            f"template '{template.id}': the rendered request ends with {rendered[-40:]!r} and not with its assistant_prefix "
            f"{template.assistant_prefix!r} after the generation prompt. Leave the prefix out, or correct the chat template."
        )


def _rendered(template: RewriteTemplate, render: Callable[[Request], str], request: Request) -> str:
    try:
        return render(request)
    except SpectraError:
        raise
    except Exception as error:  # chat templates are programs that raise what they like
        raise InputError(
            f"template '{template.id}': the model's chat template refuses it ({error}). If it knows no system turn, say all "
            'in the user turn (system = ""); else correct the chat template.'
        ) from error


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _with_own_id(found: RewriteTemplate) -> RewriteTemplate:
    if found.id in TEMPLATES and found.digest() != _shipped(found.id).digest():
        raise InputError(
            f"template '{found.id}' is not the one of that id that comes with Spectra, and records could not tell them apart. "
            "Give it an id of its own."
        )
    return found


@functools.cache
def _shipped(name: str) -> RewriteTemplate:
    return _read(TEMPLATES[name])


def _read(path: Path) -> RewriteTemplate:
    """Read a template's file; all its faults at once."""
    content = _toml(path)
    fields = {field.name: field for field in dataclasses.fields(RewriteTemplate)}
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    faults = [f"unknown key '{key}'.{did_you_mean(key, fields)}" for key in content if key not in fields]
    faults += [f"key '{name}' is missing." for name in required if name not in content]
    faults += _faults(content)
    if faults:
        raise InputError(f"'{path}': {' '.join(faults)} A template has: {', '.join(fields)}.")
    return RewriteTemplate(**{**content, "leak_phrases": tuple(content.get("leak_phrases", ()))})


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read template '{path}': {error.strerror or error}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is not in UTF-8 (byte {error.start}). Convert it, for example with iconv.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"'{path}': not readable TOML ({error}). Correct it there.") from error
