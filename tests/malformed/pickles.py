"""Torch files: pickles that would run code or fill the memory, zips that lie, and neither."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.malformed.cases import ANY_END, MARKER, READ_BUT_FOR_IT, Case, matrix, written


class _Call:
    """Pickles as a call of a function, which is made on loading."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _torch_bytes(content: Any, **options: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _good() -> bytes:
    import torch

    return _torch_bytes({"fc.weight": torch.from_numpy(matrix())})


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _around(pickled: bytes) -> bytes:
    """The good zip file with another pickle."""
    members = _members(_good()) | {}
    return _zipped([(name, pickled if name.endswith("data.pkl") else content) for name, content in members.items()])


def _calls(folder: Path) -> dict[str, Any]:
    marker = str(folder / MARKER)
    return {
        "os.mkdir": _Call(os.mkdir, marker),
        "os.system": _Call(os.system, f"touch {marker}"),
        "exec": _Call(exec, f"open({marker!r}, 'w').close()"),
        "eval": _Call(eval, f"open({marker!r}, 'w')"),
        "open": _Call(open, marker, "w"),
        "__import__": _Call(__import__, "this"),
        "getattr": _Call(getattr, {}, "clear"),
    }


def _malicious(call: str, form: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        content = {"fc.weight": _calls(folder)[call]}
        if form == "zip":
            made = _torch_bytes(content)
        elif form == "old":
            made = _torch_bytes(content, _use_new_zipfile_serialization=False)
        else:
            made = pickle.dumps(content, protocol=int(form))
        return written(made, "a.bin" if form == "old" else "a.pt")(folder)

    return build


def _opcodes(*parts: bytes) -> Case:
    """A pickle written opcode by opcode, in a zip file."""
    return Case(lambda folder: written(_around(b"\x80\x02" + b"".join(parts) + b"."), "a.pt")(folder))


def _int(number: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", number)


def _by_hand() -> dict[str, Case]:
    text = b"X\x03\x00\x00\x00aaa"
    hexed = b"c_codecs\nencode\nq\x00" + text + b"X\x06\x00\x00\x00latin1\x86Rq\x01"
    deep = b")" + b"\x85" * 100_000
    return {
        "a bytearray of a terabyte": _opcodes(b"}" + text + b"cbuiltins\nbytearray\n" + _int(2**40) + b"\x85Rs"),
        "a bytearray of a terabyte under its old name": _opcodes(
            b"}" + text + b"c__builtin__\nbytearray\n" + _int(2**40) + b"\x85Rs"
        ),
        "bytes doubled forty times": _opcodes(hexed + b"h\x00h\x01X\x03\x00\x00\x00hex\x86Rq\x01" * 40),
        "a tuple nested 100 000 deep": _opcodes(b"}" + text + deep + b"s"),
        "a tuple nested 100 000 deep as a key": _opcodes(b"}" + deep + text + b"s"),
        "lists nested 100 000 deep": _opcodes(b"]" * 100_000 + b"a" * 99_999),
        "a list that holds itself": _opcodes(b"]q\x00h\x00a"),
        "a dict that holds itself": _opcodes(b"}q\x00" + text + b"h\x00s"),
        "a tensor of a terabyte": _opcodes(b"}" + text + b"ctorch\nTensor\n" + _int(2**20) + _int(2**20) + b"\x86Rs"),
        "a storage of a terabyte": _opcodes(b"}" + text + b"ctorch.storage\nUntypedStorage\n" + _int(2**40) + b"\x85Rs"),
        "an unknown opcode": _opcodes(b"\xff"),
        "a stack that runs empty": _opcodes(b"RRR"),
        "a memo that is not there": _opcodes(b"h\x09"),
        "a text longer than the file": _opcodes(b"X\xff\xff\xff\x7fa"),
        "no end": Case(written(b"\x80\x02}", "a.pt")),
        "a protocol of 200": Case(written(b"\x80\xc8}.", "a.pt")),
        "the text protocol": Case(written(b"(dp0\nS'a'\np1\nI1\ns.", "a.pt")),
        "a global with a line break": _opcodes(b"cos\nsys\x1b[2Jtem\n"),
        "a name that is half a letter": _opcodes(b"}X\x03\x00\x00\x00\xed\xa0\x80K\x01s"),
        "a persistent id of no storage": _opcodes(b"X\x01\x00\x00\x00aQ"),
        "a build of a text": _opcodes(text + text + b"b"),
    }


def _states() -> dict[str, Case]:
    import torch

    weight = torch.from_numpy(matrix())
    sparse = torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), [], (2**20, 2**20), check_invariants=True)
    contents: dict[str, Any] = {
        "a number": 3,
        "a text": "weights",
        "a list of tensors": [weight],
        "an empty state dict": {},
        "a tensor alone": weight,
        "numbers under names": {"a": 1.0, "b": 2},
        "a state dict of state dicts": {"a": {"b": {"c": weight}}},
        "None": None,
        "a set": {1, 2},
        "a state dict of vectors": {"a": weight[0].clone()},
        "a matrix repeated to a terabyte": {"a.weight": torch.zeros(1).expand(2**20, 2**20)},
        "a sparse tensor of a terabyte": {"a.weight": sparse},
    }
    cases = {
        words: Case(lambda folder, c=content: written(_torch_bytes(c), "a.pt")(folder)) for words, content in contents.items()
    }
    meta = {"a.weight": torch.empty(2**20, 2**20, device="meta")}
    cases["a meta tensor of a terabyte"] = Case(lambda folder: written(_torch_bytes(meta), "a.pt")(folder), ANY_END)
    kept = OrderedDict({3: weight, ("a", 1): weight.clone(), "\x1b[2J.weight": weight * 2})
    cases["names that are no texts"] = Case(lambda folder: written(_torch_bytes(kept), "a.pt")(folder), READ_BUT_FOR_IT)
    repeated = {"fc.weight": weight, "a.weight": torch.zeros(1, 64).expand(64, 64)}
    cases["one of two matrices repeated"] = Case(
        lambda folder: written(_torch_bytes(repeated), "a.pt")(folder), READ_BUT_FOR_IT
    )
    return cases


def _zips() -> dict[str, Case]:
    good = _good()
    members = list(_members(good).items())
    numbers = next(name for name, _ in members if name.endswith("data/0"))
    bomb = _zipped([*members, ("archive/zeros", bytes(64_000_000))], zipfile.ZIP_DEFLATED)
    claims = bytearray(good)
    claims[claims.rindex(numbers.encode()) - 22 : claims.rindex(numbers.encode()) - 18] = b"\xf0\xff\xff\xff"
    contents = {
        "a compressed zip": _zipped(members, zipfile.ZIP_DEFLATED),
        "a zip bomb of 64 megabytes": bomb,
        "a member that claims four gigabytes": bytes(claims),
        "a zip without members": _zipped([]),
        "a zip of a text": _zipped([("hello.txt", b"hello")]),
        "a zip without its pickle": _zipped([m for m in members if "data.pkl" not in m[0]]),
        "a zip without its numbers": _zipped([m for m in members if m[0] != numbers]),
        "a zip with two pickles": _zipped([*members, ("other/data.pkl", b"\x80\x02}.")]),
        "a member outside the archive": _zipped([*members, ("../../etc/passwd", b"root")]),
        "a member with an absolute path": _zipped([*members, ("/etc/passwd", b"root")]),
        "a member with backslashes": _zipped([*members, ("..\\..\\x", b"root")]),
        "numbers shorter than the tensor": _zipped([(n, c[:8] if n == numbers else c) for n, c in members]),
        "a zip with an empty pickle": _around(b""),
        "a zip with a pickle of noise": _around(bytes(range(256))),
        "a TorchScript archive": _zipped([*members, ("archive/constants.pkl", b"\x80\x02)."), ("archive/code/a.py", b"x")]),
        "only the end of a zip": good[-22:],
        "a zip inside a zip": _zipped([("archive/data.pkl", good)]),
        "a tar file": b"storages" + bytes(92) + b"0000644\0" + bytes(404),
        "a safetensors file under another name": b"\x02\0\0\0\0\0\0\0{}",
        "a text": b"a text, no weights\n" * 9,
        "nothing": b"",
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
    }
    cases = {words: Case(written(content, "a.pt")) for words, content in contents.items()}
    for share in range(1, 10):
        cases[f"a zip cut off after {share} tenths"] = Case(written(good[: len(good) * share // 10], "a.pt"))
    old = _torch_bytes({"fc.weight": __import__("torch").zeros(24, 16)}, _use_new_zipfile_serialization=False)
    for share in (1, 3, 5, 7, 9):
        cases[f"an old file cut off after {share} tenths"] = Case(written(old[: len(old) * share // 10], "a.pt"))
    return cases


@cache
def cases() -> dict[str, Case]:
    """All of them; made when they are asked for, as they need torch."""
    made = {
        f"{call} in {'a zip' if form == 'zip' else 'an old file' if form == 'old' else f'a pickle of protocol {form}'}": Case(
            _malicious(call, form)
        )
        for call in _calls(Path())
        for form in ("zip", "old", "0", "2", "4", "5")
    }
    return made | _by_hand() | _states() | _zips()
