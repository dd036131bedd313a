import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spectra import SourceError
from spectra.sources.safetensors_file import read_tensors


def write(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_rows_are_those_of_the_tensor(dtype, tmp_path):
    torch.manual_seed(0)
    tensors = {"a": torch.randn(3, 4, dtype=torch.float64).to(dtype), "b": torch.randn(11, 7, dtype=torch.float64).to(dtype)}
    save_file(tensors, tmp_path / "a.safetensors")
    stored = {tensor.name: tensor for tensor in read_tensors(tmp_path / "a.safetensors")}
    assert stored["b"].dtype == str(dtype).removeprefix("torch.")
    for start, stop in [(0, 11), (0, 1), (10, 11), (3, 8)]:
        rows = stored["b"].read(start, stop)
        assert rows.dtype == (np.float64 if dtype is torch.float64 else np.float32)
        np.testing.assert_array_equal(rows, tensors["b"][start:stop].to(torch.float64).numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_half_precision_number_is_widened_to_the_bit(dtype, tmp_path):
    # All 65 536 bit patterns: subnormal numbers, both zeros and infinities, NaN.
    tensor = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).reshape(256, 256)
    save_file({"a": tensor}, tmp_path / "a.safetensors")
    (stored,) = read_tensors(tmp_path / "a.safetensors")
    found, expected = stored.read(0, 256), tensor.float().numpy()
    np.testing.assert_array_equal(found, expected)  # NaN where there is NaN
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def test_tensors_of_more_and_fewer_dimensions_are_read_by_their_first_axis(tmp_path):
    torch.manual_seed(0)
    kernel = torch.randn(6, 3, 2, 2)
    save_file({"conv": kernel, "bias": torch.arange(6.0)}, tmp_path / "a.safetensors")
    stored = {tensor.name: tensor for tensor in read_tensors(tmp_path / "a.safetensors")}
    np.testing.assert_array_equal(stored["conv"].read(2, 5), kernel[2:5].numpy())
    np.testing.assert_array_equal(stored["bias"].read(1, 3), [1.0, 2.0])


@pytest.mark.parametrize(
    "dtype",
    [
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float16,
        torch.bfloat16,
    ],
    ids=str,
)
def test_dtypes_have_torchs_names(dtype, tmp_path):
    save_file({"a": torch.zeros(2, 2).to(dtype)}, tmp_path / "a.safetensors")
    (stored,) = read_tensors(tmp_path / "a.safetensors")
    assert f"torch.{stored.dtype}" == str(dtype)


def test_a_dtype_from_the_future_is_listed_under_its_own_name(tmp_path):
    path = write(tmp_path / "a.safetensors", {"a": entry([2, 2], 0, 4, "F9_E1M7")}, bytes(4))
    assert [(t.name, t.shape, t.dtype) for t in read_tensors(path)] == [("a", (2, 2), "f9_e1m7")]


def test_metadata_is_no_tensor(tmp_path):
    save_file({"a": torch.zeros(2, 2)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    assert [tensor.name for tensor in read_tensors(tmp_path / "a.safetensors")] == ["a"]


def test_listing_and_reading_a_few_rows_of_fifty_gigabytes_reads_no_more_than_those(tmp_path):
    # A sparse file: it says it is 50 GB and takes one block. To read it whole would not fit in memory.
    path = write(tmp_path / "huge.safetensors", {"huge.weight": entry([100_000, 125_000], 0, 50_000_000_000)})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 50_000_000_000)
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(7.0).tobytes())
    (stored,) = read_tensors(path)
    assert (stored.shape, stored.size) == ((100_000, 125_000), 12_500_000_000)
    rows = stored.read(99_998, 100_000)
    assert (rows.shape, rows[1, -1], np.count_nonzero(rows)) == ((2, 125_000), 7.0, 1)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"not json", "its header is not a JSON object"),
        (b"\xff\xfe\x00{}", "its header is not a JSON object"),
        (b"[1, 2]", "its header is not a JSON object"),
        (b"[" * 100_000, "its header is not a JSON object"),
        ({"a": [1]}, r"tensor 'a' has the entry \[1\]"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "tensor 'a' has the entry"),
        ({"a": entry("ab", 0, 16)}, "tensor 'a' has the entry"),
        ({"a": entry([2, 2], 0, "end")}, "tensor 'a' has the entry"),
        (b'{"a": {"dtype": "F32", "shape": [1e400, 2], "data_offsets": [0, 16]}}', "tensor 'a' has the entry"),
        ({"a": entry([2, 2], 16, 0)}, "offsets 16 to 0"),
        ({"a": entry([-2, -2], 0, 16)}, r"shape \(-2, -2\)"),
        ({"a": entry([2, 3], 0, 16)}, r"shape \(2, 3\) and dtype F32 takes 16 bytes"),
    ],
    ids=[
        "words",
        "bytes",
        "list",
        "deep list",
        "short entry",
        "no offsets",
        "shape of letters",
        "offset of letters",
        "infinite shape",
        "offsets swapped",
        "negative shape",
        "other size",
    ],
)
def test_a_damaged_header_is_refused(header, message, tmp_path):
    path = write(tmp_path / "a.safetensors", header, bytes(16))
    with pytest.raises(SourceError, match=f"a.safetensors' is damaged: .*{message}.*Download or copy it again"):
        read_tensors(path)


def test_a_truncated_file_is_refused_with_the_tensor_that_is_cut(tmp_path):
    path = write(tmp_path / "a.safetensors", {"a": entry([2, 2], 0, 16), "b": entry([2, 2], 16, 32)}, bytes(31))
    with pytest.raises(SourceError, match="is truncated: tensor 'b' ends at byte"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"\x02\x00", (100).to_bytes(8, "little") + b"{}", b"a text, no weights"])
def test_what_is_no_safetensors_file_is_refused(content, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(SourceError, match="no safetensors file, or truncated: its header length reads"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"cannot read '.*gone.safetensors': No such file"):
        read_tensors(tmp_path / "gone.safetensors")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(20, 20)}, path)
    (stored,) = read_tensors(path)
    path.write_bytes(path.read_bytes()[:-4])
    assert stored.read(0, 19).shape == (19, 20)
    with pytest.raises(SourceError, match="became shorter while it was read"):
        stored.read(19, 20)
    path.unlink()
    with pytest.raises(SourceError, match="cannot read"):
        stored.read(0, 1)
