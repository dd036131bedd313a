"""What torch's own caution lets through: archives and pickles that ask for more than their size."""

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from spectra import SourceError
from spectra.sources import open_source, torch_archive
from spectra.sources.torch_file import read_tensors
from tests.malformed import pickles
from tests.malformed.cases import matrix


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_writes_is_let_through(zipped, tmp_path):
    layer = torch.nn.LSTM(8, 8)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.zeros(1, 1, 8))[0].sum().backward()
    optimizer.step()
    content = {
        "state_dict": OrderedDict(layer.state_dict()),
        "optimizer": optimizer.state_dict(),
        "names": {"deep": [{"er": (1, 2.0, "hex", b"bytes"[:0])}]},
        "losses": [0.5] * 1000,
        "parameter": torch.nn.Parameter(torch.zeros(2, 2)),
    }
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert torch_archive.check(tmp_path / "a.pt") is zipped


def test_an_old_file_with_numbers_like_the_end_of_a_zip_file_is_read(tmp_path):
    weight = torch.from_numpy(np.frombuffer(b"PK\x05\x06" + bytes(18) + bytes(10), dtype=np.float32).reshape(2, 4).copy())
    torch.save({"a": weight}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert zipfile.is_zipfile(tmp_path / "a.pt")
    ((tensor,), _) = read_tensors(tmp_path / "a.pt")
    np.testing.assert_array_equal(tensor.read(0, 2), weight)


def test_bytes_as_pickle_writes_them_are_let_through(tmp_path):
    torch.save({"a": torch.zeros(2, 2), "comment": b"\xff\x00text"}, tmp_path / "a.pt")
    assert len(read_tensors(tmp_path / "a.pt")[0]) == 1


def test_a_dictionary_of_a_few_thousand_entries_is_not_deep(tmp_path):
    torch.save({"a": torch.zeros(2, 2), "others": {str(i): i for i in range(5000)}}, tmp_path / "a.pt")
    assert torch_archive.check(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("a bytearray of a terabyte", "its pickle makes a bytearray, which may be of any size. Save the state dict alone"),
        ("bytes doubled forty times", "its pickle encodes bytes as 'hex', which may grow to any size"),
        ("a tuple nested 100 000 deep as a key", "its pickle nests more than 200 deep"),
        ("lists nested 100 000 deep", "its pickle nests more than 200 deep"),
        ("a compressed zip", "is compressed, which torch.save never does"),
        ("a member that claims four gigabytes", "is damaged or not a state dict"),
        ("a member outside the archive", "member '../../etc/passwd' leads out of the archive"),
        ("a member with an absolute path", "member '/etc/passwd' leads out of the archive"),
        ("a zip with two pickles", "2 members named data.pkl"),
        ("a TorchScript archive", "a TorchScript archive, which holds code"),
        ("a matrix repeated to a terabyte", "numbers of which the file stores fewer: save its contiguous"),
    ],
)
def test_a_file_that_asks_for_more_than_its_size_is_refused(case, message, tmp_path):
    with pytest.raises(SourceError, match=message):
        _skipping(pickles.cases()[case].build(tmp_path))


def _skipping(path):
    """Open a file; tensors that are listed and cannot be read say so in their reason."""
    for tensor in open_source(path).tensors:
        raise SourceError(str(tensor.unreadable))


def test_limits_of_numbers_are_said(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(2, 2)}, tmp_path / "a.pt")
    for limit, message in (
        ("_MOST_OPCODES", "more than 3 opcodes"),
        ("_LONGEST_PICKLE", "a pickle of"),
        ("_MOST_MEMBERS", "members, at most 3"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(torch_archive, limit, 3)
            with pytest.raises(SourceError, match=message):
                torch_archive.check(tmp_path / "a.pt")


def test_members_that_are_there_twice_or_overlap_are_refused(tmp_path):
    torch.save({"a": torch.zeros(2, 2)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a/data/0", bytes(16))
    with pytest.raises(SourceError, match="member 'a/data/0' is there twice"):
        torch_archive.check(tmp_path / "a.pt")
    torch.save({"a": torch.zeros(2, 2)}, tmp_path / "b.pt")
    content = bytearray((tmp_path / "b.pt").read_bytes())
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    content[second + 42 : second + 46] = bytes(4)  # where its local header lies: at the place of the first
    (tmp_path / "b.pt").write_bytes(content)
    with pytest.raises(SourceError, match="is damaged or not a state dict"):
        torch_archive.check(tmp_path / "b.pt")


def test_a_pickle_is_searched_for_code_wherever_it_lies(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps(np.zeros(3)))
    assert torch_archive.names_code(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"a": 1}))
    assert not torch_archive.names_code(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(pickles._zipped([("hello.txt", b"hello")]))
    assert not torch_archive.names_code(tmp_path / "c.pt")


def test_a_mapped_file_that_shrinks_is_refused_and_does_not_end_the_process(tmp_path):
    torch.save({"a": torch.zeros(400, 400)}, tmp_path / "a.pt")
    ((tensor,), _) = read_tensors(tmp_path / "a.pt")
    assert tensor.read(0, 400).shape == (400, 400)
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:1000])
    with pytest.raises(SourceError, match="became shorter while it was read"):
        tensor.read(0, 1)


def test_names_without_end_are_refused(tmp_path):
    torch.save({"a" * 2000: torch.zeros(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(SourceError, match="has 2000 characters, and at most 1024 are read"):
        read_tensors(tmp_path / "a.pt")


def test_a_part_of_a_larger_tensor_is_read(tmp_path):
    values = torch.from_numpy(matrix())
    torch.save({"a": values[4:9], "b": values.T, "c": values[:, ::2]}, tmp_path / "a.pt")
    found = {tensor.name: tensor for tensor in read_tensors(tmp_path / "a.pt")[0]}
    np.testing.assert_array_equal(found["b"].read(0, 16), matrix().T)
    np.testing.assert_array_equal(found["c"].read(1, 3), matrix()[1:3, ::2])
    assert not any(tensor.unreadable for tensor in found.values())
