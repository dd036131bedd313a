"""Safetensors files whose header is wrong: lengths, JSON, names, dtypes, shapes and places."""

from __future__ import annotations

import json
from typing import Any

from tests.malformed.cases import ANY_END, READ_BUT_FOR_IT, Case, container, entry, matrix, whole, written

_DATA = matrix().tobytes()
_SIZE = len(_DATA)
_GOOD = entry([24, 16], 0, _SIZE)
_HUGE = 2**60


def _text(text: str, data: bytes = _DATA) -> Case:
    return Case(written(container(text.encode(), data)))


def _entry(content: Any, data: bytes = _DATA) -> Case:
    return Case(written(container({"fc.weight": content}, data)))


def _with(key: str, value: str) -> Case:
    """One field of the good entry as this JSON text."""
    fields = {"dtype": '"F32"', "shape": "[24,16]", "data_offsets": f"[0,{_SIZE}]"} | {key: value}
    return _text('{"fc.weight":{' + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}}")


def _lengths() -> dict[str, Case]:
    header = json.dumps({"fc.weight": _GOOD}).encode()
    claims = {
        "zero": 0,
        "one": 1,
        "one too short": len(header) - 1,
        "one too long": len(header) + 1,
        "the whole file": 8 + len(header),
        "a gigabyte": 2**30,
        "over the limit": 10**9,
        "negative": 2**63,
        "all ones": 2**64 - 1,
    }
    cases = {f"header length {words}": Case(written(container(header, _DATA, length=claim))) for words, claim in claims.items()}
    return cases | {f"a file of {size} bytes": Case(written(whole()[:size])) for size in (0, 1, 7, 8, 9, 20)}


def _json() -> dict[str, Case]:
    good = json.dumps({"fc.weight": _GOOD})
    texts = {
        "header is empty": "",
        "header is a number": "17",
        "header is a text": '"fc"',
        "header is a list": f"[{good}]",
        "header is null": "null",
        "header is NaN": "NaN",
        "header has a comma too many": good[:-1] + ",}",
        "header ends early": good[:-1],
        "header goes on after its end": good + "{}",
        "header with a comment": good + "// fine",
        "header in single quotes": good.replace('"', "'"),
        "a list nested 100 000 deep": "[" * 100_000,
        "objects nested 100 000 deep": '{"a":' * 100_000,
        "a number of 5000 digits": '{"a":' + "9" * 5000 + "}",
        "a name twice": f'{{"a.weight":{json.dumps(_GOOD)},"a.weight":{json.dumps(_GOOD)}}}',
        "a field twice": good[:-2] + ',"shape":[24,16]}}',
        "metadata of numbers": f'{{"__metadata__":{{"a":1}},{good[1:]}',
        "metadata is a list": f'{{"__metadata__":["a"],{good[1:]}',
        "metadata nested": f'{{"__metadata__":{{"a":{{}}}},{good[1:]}',
        "only metadata": '{"__metadata__":{"format":"pt"}}',
        "a million empty objects": "[" + "{}," * 10**6 + "{}]",
    }
    cases = {words: _text(text) for words, text in texts.items()}
    cases["header in UTF-16"] = Case(written(container(good.encode("utf-16"), _DATA)))
    cases["header with bytes that are no UTF-8"] = Case(written(container(b'{"\xff\xfe":1}', _DATA)))
    cases["header with a byte order mark"] = Case(written(container(b"\xef\xbb\xbf" + good.encode(), _DATA)))
    cases["header with a NUL byte at its end"] = Case(written(container(good.encode() + b"\0", _DATA)))
    return cases


def _names() -> dict[str, Case]:
    kept = {
        "an empty name": "",
        "a name that clears the screen": "\x1b[2J\x1b[H",
        "a name with a line break": "a\nspectra: all is well",
        "a name with a NUL byte": "a\0b",
        "a name with a bell": "a\x07",
        "a name that is markup": "[red]a[/red][/]",
        "a name that is a formula": "=cmd|' /C calc'!A0",
        "a name that is HTML": "</script><script>alert(1)</script>",
        "a name written from right to left": "\u202egnitupmoc",
        "a name of mathematics": r"$\input{x}$ $",
        "a name of a path": "../../x",
        "a name of superscript digits": "²",
        "a name with an 8-bit escape": "\x9b2J",
        "a name that is a template": "{{ 7*7 }}{% x %}",
        "a name of one thousand dots": "." * 1000,
        "a name of a thousand digits": "9" * 1000,
    }
    cases = {words: Case(written(whole(name)), READ_BUT_FOR_IT) for words, name in kept.items()}
    cases["a name of 5000 digits"] = Case(written(whole("9" * 5000)))
    cases["a name of a million characters"] = Case(written(whole("a" * 10**6)))
    text = f'{{"\\ud800":{json.dumps(_GOOD)}}}'
    return cases | {"a name that is half a letter": _text(text)}


def _entries() -> dict[str, Case]:
    contents = {
        "null": None,
        "a list": [1],
        "a text": "F32",
        "a number": 3,
        "empty": {},
        "without dtype": {k: _GOOD[k] for k in ("shape", "data_offsets")},
        "without shape": {k: _GOOD[k] for k in ("dtype", "data_offsets")},
        "without offsets": {k: _GOOD[k] for k in ("dtype", "shape")},
    }
    cases = {f"an entry that is {words}": _entry(content) for words, content in contents.items()}
    wrong = {
        "dtype": ["null", "32", '["F32"]', '"f32"', '""', '"F64"', '"F16"', '"BOOL"', '"F4"', '"C64"', '"F8_E4M3"'],
        "shape": [
            "null",
            "384",
            '"24"',
            "{}",
            "[24.0,16]",
            "[24,16,NaN]",
            "[Infinity]",
            "[1e400,16]",
            "[true,384]",
            '["24",16]',
            "[null]",
            "[-24,-16]",
            "[-1]",
            "[24]",
            "[24,17]",
            "[24,16,2]",
            f"[{_HUGE},{_HUGE}]",
            f"[{_HUGE},{_HUGE},0]",
            "[[24,16]]",
            "[]",
            f"[{10**400},1]",
            "[" + "1," * 100 + "384]",
            "[" + "1," * 10**6 + "384]",
            f"[{2**32},{2**32}]",
            f"[{2**62},4]",
        ],
        "data_offsets": [
            "null",
            "[]",
            "[0]",
            f"[0,{_SIZE},9]",
            f"[{_SIZE},0]",
            f"[-4,{_SIZE - 4}]",
            f"[4,{_SIZE + 4}]",
            f"[0.0,{_SIZE}.0]",
            "[NaN,NaN]",
            f"[false,{_SIZE}]",
            f'["0","{_SIZE}"]',
            f"[0,{2**64 + _SIZE}]",
            f"[{2**63},{2**63 + _SIZE}]",
            '{"0":0}',
            f"[0,{10**4000}]",
        ],
    }
    for key, values in wrong.items():
        cases |= {f"{key} {value[:40]}": _with(key, value) for value in values}
    cases["a dtype from the future"] = Case(written(container({"a.weight": entry([2, 2], 0, 4, "F9")}, bytes(4))))
    cases["a dtype from the future that fills no byte"] = _entry(entry([10**9, 10**9], 0, 4, "F9"), bytes(4))
    return cases


def _places() -> dict[str, Case]:
    half = _SIZE // 2
    first, second = entry([12, 16], 0, half), entry([12, 16], half, _SIZE)
    wrong = {
        "two tensors in one place": ({"a.weight": _GOOD, "b.weight": _GOOD}, _DATA),
        "tensors that overlap": ({"a.weight": first, "b.weight": entry([12, 16], half - 4, _SIZE - 4)}, _DATA[:-4]),
        "a gap between tensors": ({"a.weight": first, "b.weight": entry([12, 16], half + 4, _SIZE + 4)}, _DATA + bytes(4)),
        "a gap before the first": ({"a.weight": entry([24, 16], 4, _SIZE + 4)}, _DATA + bytes(4)),
        "bytes that belong to nothing": ({"a.weight": _GOOD}, _DATA + b"hidden"),
        "a second file behind the first": ({"a.weight": _GOOD}, _DATA + whole()),
        "no tensors but bytes": ({}, _DATA),
        "no tensors": ({}, b""),
        "truncated by one byte": ({"a.weight": _GOOD}, _DATA[:-1]),
        "the second tensor cut off": ({"a.weight": first, "b.weight": second}, _DATA[:half]),
        "all numbers cut off": ({"a.weight": _GOOD}, b""),
        "a thousand tensors in one place": ({f"a{i}.weight": _GOOD for i in range(1000)}, _DATA),
    }
    cases = {words: Case(written(container(header, data))) for words, (header, data) in wrong.items()}
    empty = {"fc.weight": _GOOD} | {
        name: entry(shape, _SIZE, _SIZE)
        for name, shape in {
            "layers.0.mlp.experts.down_proj": [2**50, 0, 8],
            "conv.weight": [0, 1, 2**40, 2**20],
            "q_proj.weight": [_HUGE, 0],
            "a.weight": [0, _HUGE],
            "b.weight": [0, 0],
            "rnn.weight_hh_l0": [2**40, 0],
        }.items()
    }
    for words, options in {"": (), ", sliced": ("--conv-mode", "slices"), ", by heads": ("--split-heads",)}.items():
        cases[f"absurd sides beside a zero{words}"] = Case(written(container(empty, _DATA)), READ_BUT_FOR_IT, options)
    return cases


def _damaged() -> dict[str, Case]:
    """Single bytes changed at places spread over header and numbers: some leave a file that can be read."""
    good = whole()
    cases = {}
    for step in range(48):
        place = step * 7 % 110
        flipped = bytearray(good)
        flipped[place] ^= 1 << step % 8
        cases[f"bit {step % 8} of byte {place} flipped"] = Case(written(bytes(flipped)), ANY_END)
    for share in range(1, 10):
        cases[f"cut off after {share} tenths"] = Case(written(good[: len(good) * share // 10]))
    return cases


CASES = _lengths() | _json() | _names() | _entries() | _places() | _damaged()
