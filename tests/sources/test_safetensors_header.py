"""Headers that say what the file does not hold; what the safetensors package refuses is refused."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from spectra import SourceError
from spectra.sources.file_checks import LONGEST_JSON
from spectra.sources.safetensors_file import read_tensors
from spectra.sources.safetensors_header import read_header
from tests.malformed.cases import container, entry

SIXTEEN = entry([2, 2], 0, 16)


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": SIXTEEN}, 20, "4 bytes at its end belong to no tensor"),
        ({}, 4, "4 bytes at its end belong to no tensor"),
        ({"a": entry([2, 2], 4, 20)}, 20, "tensor 'a' at offset 4 leaves 4 bytes before it unused"),
        ({"a": SIXTEEN, "b": entry([2, 2], 12, 28)}, 28, "tensor 'b' at offset 12 overlaps the one before it"),
        ({"a": SIXTEEN, "b": SIXTEEN}, 16, "tensor 'b' at offset 0 overlaps"),
        ({"a": entry([True, 4], 0, 16)}, 16, "tensor 'a' has the entry"),
        ({"a": entry([2.0, 2], 0, 16)}, 16, "tensor 'a' has the entry"),
        ({"a": entry([2, 2], 0, 16, 3)}, 16, "tensor 'a' has the entry"),
        ({"a": entry([2**62, 2, 0], 0, 0)}, 0, r"tensor 'a' has the shape \(4611686018427387904, 2, 0\), which no machine"),
        ({"a": entry([1] * 65, 0, 4)}, 4, "tensor 'a' has the shape .* which no machine can hold"),
        ({"a": entry([4], 0, 1, "F9")}, 1, None),
        ({"a": entry([9], 0, 1, "F9")}, 1, r"tensor 'a' of shape \(9,\) and dtype F9 takes 1 bytes"),
        ({"a": entry([3], 0, 2, "F4")}, 2, r"tensor 'a' of shape \(3,\) and dtype F4 takes 2 bytes"),
        ({"a": entry([4], 0, 2, "F4")}, 2, None),
        ({"__metadata__": {"a": 1}, "a": SIXTEEN}, 16, "its '__metadata__' is no table of texts"),
        ({"a" * 1025: SIXTEEN}, 16, "has 1025 characters, and at most 1024 are read"),
        (b'{"\\ud800": {}}', 0, "the name '\ufffd' is no Unicode text"),
        (b'{"a": 1, "a": 2}', 0, r"its header is not a JSON object \('a' is there twice\)"),
        ({"a\x1b[2J": [1]}, 0, r"tensor 'a␛\[2J' has the entry \[1\]"),
    ],
    ids=range(19),
)
def test_a_header_is_checked_before_it_is_believed(header, size, message, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(container(header, bytes(size)))
    if message is None:
        assert read_header(tmp_path / "a.safetensors")[0]
    else:
        with pytest.raises(SourceError, match=f"a.safetensors' is damaged: .*{message}.*Download or copy it again"):
            read_header(tmp_path / "a.safetensors")


def test_a_header_longer_than_python_can_hold_is_not_read(tmp_path):
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write((LONGEST_JSON + 1).to_bytes(8, "little"))
        file.truncate(2 * LONGEST_JSON)  # a sparse file
    with pytest.raises(SourceError, match=f"and at most {LONGEST_JSON} are read as a header"):
        read_header(tmp_path / "a.safetensors")


def test_empty_tensors_lie_between_others(tmp_path):
    header = {"b": entry([0, 3], 16, 16), "a": SIXTEEN, "c": entry([], 16, 20), "d": entry([0], 20, 20)}
    (tmp_path / "a.safetensors").write_bytes(container(header, np.arange(5, dtype="<f4").tobytes()))
    entries, start = read_header(tmp_path / "a.safetensors")
    assert [(e.name, e.shape) for e in entries] == [("b", (0, 3)), ("a", (2, 2)), ("c", ()), ("d", (0,))]
    assert (tmp_path / "a.safetensors").stat().st_size == start + 20
    assert read_tensors(tmp_path / "a.safetensors")[2].read(0, 1) == 4.0


def test_numbers_of_an_unknown_dtype_are_listed_and_not_read(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(container({"a": entry([4], 0, 4, "F9")}, bytes(4)))
    (tensor,) = read_tensors(tmp_path / "a.safetensors")
    with pytest.raises(SourceError, match="holds numbers of dtype 'f9', which are not read"):
        tensor.read(0, 4)


sides = st.integers(-1, 4) | st.sampled_from([2**31, 2**60, 2**63, 2**64, True, 1.0, None])
entries = st.builds(
    entry,
    st.lists(sides, max_size=3),
    st.integers(-4, 40),
    st.integers(-4, 40),
    st.sampled_from(["F32", "F16", "U8", "F4", "F64"]),
)
headers = st.dictionaries(st.sampled_from("abc"), entries, max_size=3)


@settings(max_examples=300, deadline=None)
@given(headers, st.integers(0, 40))
def test_what_the_package_refuses_is_refused(header, size):
    content = container(header, bytes(size))
    try:
        deserialize(content)
    except (SafetensorError, OverflowError):
        with pytest.raises(SourceError):
            _read(content)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from([("F32", 4), ("F16", 2), ("U8", 1)])), max_size=4
    )
)
def test_what_follows_the_format_is_read(tensors):
    header, place = {}, 0
    for number, (shape, (dtype, size)) in enumerate(tensors):
        end = place + int(np.prod(shape, dtype=int)) * size
        header[str(number)] = entry(shape, place, end, dtype)
        place = end
    assert [found.name for found in _read(container(header, bytes(place)))] == list(header)


def _read(content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.safetensors"
        file.write_bytes(content)
        return read_header(file)[0]
