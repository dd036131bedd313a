"""What must hold of every file that says it is safetensors; shared by the fuzzers."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

from spectra.errors import SourceError
from spectra.sources.safetensors_file import read_tensors
from tests.malformed.cases import container, entry, whole

#: Good files to begin from: one matrix, several tensors with one that is empty, a scalar with metadata, no tensors.
SEEDS = (
    whole(),
    container({"a": entry([2, 2], 0, 8, "BF16"), "b": entry([0, 3], 8, 8), "c": entry([4], 8, 12, "F8_E4M3")}, bytes(12)),
    container({"__metadata__": {"format": "pt"}, "a": entry([], 0, 8, "F64"), "b": entry([3], 8, 9, "F9")}, bytes(9)),
    container({}),
)

# Python's objects beside a header and the blocks read: both are small in a fuzzer.
_MOST_MEMORY = 50 * 2**20


def check(content: bytes) -> list[str]:
    """Open a file of these bytes and read what it lists.

    Args:
        content: Any bytes.

    Returns:
        The names of the tensors; none for a file that is refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.safetensors"
        file.write_bytes(content)
        tracemalloc.start()
        try:
            return _names(file, len(content))
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < _MOST_MEMORY + 100 * len(content), f"{peak} bytes for a file of {len(content)}"


def _refused(line: str, words: str = "") -> list[str]:
    assert len(line) < 2000, line
    assert "\n" not in line, line
    assert words in line, line
    return []


def _names(file: Path, size: int) -> list[str]:
    try:
        tensors = read_tensors(file)
    except SourceError as refusal:
        return _refused(str(refusal))
    assert len({tensor.name for tensor in tensors}) == len(tensors)
    for tensor in tensors:
        assert tensor.size <= 8 * size, "more numbers than bits"
        try:
            rows = tensor.read(0, tensor.shape[0] if tensor.shape else 1)
        except SourceError as refusal:  # a dtype that is not known
            _refused(str(refusal), "which are not read")
        else:
            assert rows.size == tensor.size
    return [tensor.name for tensor in tensors]
