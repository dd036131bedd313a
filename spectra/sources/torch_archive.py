"""A torch file, looked over before torch unpickles it.

``weights_only`` keeps code from running. It does not keep a file of a kilobyte from asking for a terabyte: members of the zip
may be compressed or lie over each other, ``bytearray(2**40)`` is allowed, so is ``_codecs.encode(…, "hex")``, which doubles
what it is given as often as it is named, and the hash of a tuple nested a million deep overflows the stack of the process.
``torch.save`` writes none of these.
"""

from __future__ import annotations

import encodings
import io
import pickletools
import pkgutil
import zipfile
from collections.abc import Iterator
from encodings import aliases
from functools import cache
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources.file_checks import file_size, reading

# Limits of our choice. A tensor takes 60 opcodes and 300 bytes, so that 40 000 of them fit; and an opcode makes an object of
# up to 100 bytes, so that those of a hostile pickle fit into memory.
_LONGEST_PICKLE = 64 * 2**20
_MOST_OPCODES = 2_500_000
_DEEPEST = 200
_MOST_MEMBERS = 200_000  # a tensor is a member

_FIRST_BYTES = b"PK\x03\x04"
_PICKLES_OF_A_FILE = 5  # before torch 1.6: magic number, protocol, system, objects, keys of storages; then numbers
_IMPORTING = {"GLOBAL", "STACK_GLOBAL", "INST"}
_NESTING = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ"}
_FILLING = {"BUILD", "SETITEM", "SETITEMS", "APPEND", "APPENDS"}  # what lies below the items on the stack
_STORING, _FETCHING = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_FIXED_ENCODINGS = {"latin_1", "ascii", "utf_8"}  # 'latin1' is what pickle writes bytes with
_LONGEST_ENCODING = 40


def check(path: Path) -> bool:
    """Look a file over.

    Args:
        path: Said to be written by ``torch.save``.

    Returns:
        Whether it is a zip file, which torch can map; otherwise it is from before torch 1.6, or none of torch's.

    Raises:
        SourceError: It asks for more than its own size, or cannot be read.
    """
    size = file_size(path)
    try:
        with reading(path):
            is_zip = _is_zip(path)
            if is_zip:
                _check_members(path, size)
            fault = next((fault for stream in pickles(path) for fault in _faults(stream)), None)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise SourceError(
            f"'{path}' is damaged or not a state dict written by torch.save ({named(error)}). Check what the file is."
        ) from error
    if fault is not None:
        raise SourceError(f"'{path}' is refused: its pickle {fault}. Save the state dict alone, best as safetensors.")
    return is_zip


def names_code(path: Path) -> bool:
    """Look for what a pickle would import, without loading it: torch's refusal does not tell code from damage.

    Args:
        path: The file.

    Returns:
        Whether it imports anything.
    """
    try:
        streams = list(pickles(path))
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError):
        return False
    return any(opcode.name in _IMPORTING for stream in streams for opcode, _ in _opcodes(stream))


def pickles(path: Path) -> Iterator[bytes]:
    """Yield the pickles of a file; the numbers after those of an old file follow the last one.

    Args:
        path: A zip file of ``torch.save``, or one from before torch 1.6.

    Yields:
        At most 64 MiB of each.

    Raises:
        ValueError: A zip file without exactly one ``data.pkl``.
    """
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith("data.pkl")]
            if len(members) != 1:
                raise ValueError(f"{len(members)} members named data.pkl")
            if members[0].file_size > _LONGEST_PICKLE:
                raise ValueError(f"a pickle of {members[0].file_size} bytes")
            yield archive.read(members[0])
    else:
        with path.open("rb") as file:
            yield file.read(_LONGEST_PICKLE)


def _is_zip(path: Path) -> bool:
    """Tell which way torch.load takes, by the first bytes as it does: zipfile looks for an end, which numbers may look like."""
    with path.open("rb") as file:
        return file.read(len(_FIRST_BYTES)) == _FIRST_BYTES


def _check_members(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise ValueError("a TorchScript archive, which holds code")
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"{len(members)} members, at most {_MOST_MEMBERS} are read")
    place, seen = 0, set()
    for member in sorted(members, key=lambda member: member.header_offset):
        shown = f"member '{named(member.orig_filename)}'"
        parts = member.orig_filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or "\0" in member.orig_filename:
            raise ValueError(f"{shown} leads out of the archive")
        if member.orig_filename in seen:
            raise ValueError(f"{shown} is there twice")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"{shown} is compressed, which torch.save never does")
        if member.header_offset < place or member.header_offset + member.file_size > size:
            raise ValueError(f"{shown} of {member.file_size} bytes at {member.header_offset} does not lie in the file's {size}")
        place = member.header_offset + member.file_size
        seen.add(member.orig_filename)


def _opcodes(content: bytes) -> Iterator[tuple[Any, Any]]:
    """Yield opcodes and arguments of consecutive pickles, as far as there are any: torch says what is no pickle."""
    stream = io.BytesIO(content)
    try:
        for _ in range(_PICKLES_OF_A_FILE):
            for opcode, argument, _ in pickletools.genops(stream):
                yield opcode, argument
    except (ValueError, OverflowError, MemoryError):
        return


def _faults(content: bytes) -> Iterator[str]:
    """Yield what a pickle asks for that no state dict needs."""
    depths = _Depths()
    encodes, named_encodings = False, set()
    for number, (opcode, argument) in enumerate(_opcodes(content)):
        if number >= _MOST_OPCODES:
            yield f"has more than {_MOST_OPCODES} opcodes"
            return
        name = str(argument)
        if opcode.name in _IMPORTING and name.endswith("bytearray"):
            yield "makes a bytearray, which may be of any size"
        encodes |= opcode.name in _IMPORTING and name.startswith("_codecs")
        if isinstance(argument, str) and len(argument) <= _LONGEST_ENCODING and _is_encoding(argument):
            named_encodings.add(argument)
        if depths.after(opcode, argument) > _DEEPEST:
            yield f"nests more than {_DEEPEST} deep"
            return
    if encodes and named_encodings:
        yield f"encodes bytes as {named(sorted(named_encodings)[0])!r}, which may grow to any size"


def _is_encoding(text: str) -> bool:
    name = encodings.normalize_encoding(text).lower() if text.isascii() else ""
    return name in _encodings() and aliases.aliases.get(name, name) not in _FIXED_ENCODINGS


@cache
def _encodings() -> frozenset[str]:
    """Return the names of Python's encodings; to look one up imports it."""
    return frozenset({*aliases.aliases, *(module.name for module in pkgutil.iter_modules(encodings.__path__))})


class _Depths:
    """How deep the objects on a pickle's stack are nested, as the opcodes move them: a pickle machine without objects."""

    def __init__(self) -> None:
        self._stack: list[int | None] = []  # None is a mark
        self._memo: dict[int, int] = {}

    def after(self, opcode: Any, argument: Any) -> int:
        """Move the stack as an opcode does.

        Args:
            opcode: Of ``pickletools``.
            argument: Of the opcode.

        Returns:
            The depth of the object that is on top now; 0 for a pickle that takes more than there is, which torch refuses.
        """
        name = opcode.name
        top = self._stack[-1] if self._stack else 0
        if name in _STORING or name == "MEMOIZE":
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = top or 0
            return 0
        taken = self._taken(*_moves(opcode))
        if name in _FETCHING:
            depth = self._memo.get(int(argument), 0)
        elif name in _FILLING and taken:
            depth = max(taken[-1] or 0, 1 + max((part or 0 for part in taken[:-1]), default=0))
        else:
            depth = max((part or 0 for part in taken), default=0) + (name in _NESTING)
        self._stack += [None if name == "MARK" else depth] * len(opcode.stack_after)
        return depth

    def _taken(self, number: int, to_mark: bool) -> list[int | None]:
        taken: list[int | None] = []
        if to_mark:
            while self._stack and (part := self._stack.pop()) is not None:
                taken.append(part)
        taken += (self._stack.pop() for _ in range(min(number, len(self._stack))))
        return taken


@cache
def _moves(opcode: Any) -> tuple[int, bool]:
    """Return how many objects an opcode takes, below the mark if it takes everything above one, and whether it does."""
    wanted = [thing.name for thing in opcode.stack_before]
    to_mark = "mark" in wanted
    return wanted.index("mark") if to_mark else len(wanted), to_mark
