import io
import os
import pickle
import warnings

import numpy as np
import pytest
import torch

import spectra
from spectra import SourceError
from spectra.sources import open_source
from spectra.sources.torch_file import SUFFIXES, read_tensors


class Malicious:
    """What a pickle can carry: a call that is made while it is loaded. Here it would make a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def zipped(content, path):
    torch.save(content, path)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def pickled(protocol):
    def save(content, path):
        path.write_bytes(pickle.dumps(content, protocol=protocol))

    return save


FORMATS = {"zip": zipped, "before torch 1.6": legacy}
PICKLES = {**FORMATS, "pickle": pickled(2), "newer pickle": pickled(4), "older pickle": pickled(0)}


def weights(seed=0):
    torch.manual_seed(seed)
    return {"a.weight": torch.randn(9, 5), "b.weight": torch.randn(4, 4), "b.bias": torch.randn(4)}


def names(path):
    return [tensor.name for tensor in open_source(path).tensors]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", FORMATS)
def test_rows_are_widened_without_loss(form, dtype, tmp_path):
    tensor = weights()["a.weight"].double().to(dtype)
    FORMATS[form]({"a": tensor}, tmp_path / "a.pt")
    ((stored,), _) = read_tensors(tmp_path / "a.pt")
    rows = stored.read(2, 7)
    assert (stored.dtype, rows.dtype) == (str(dtype).removeprefix("torch."), "float64" if dtype is torch.float64 else "float32")
    np.testing.assert_array_equal(rows, tensor[2:7].double().numpy())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_read(suffix, tmp_path):
    torch.save(weights(), tmp_path / f"a{suffix}")
    assert names(tmp_path / f"a{suffix}") == ["a.weight", "b.weight", "b.bias"]


def test_a_zip_file_stays_on_disk_until_rows_are_read(tmp_path):
    torch.save({"a": torch.full((50, 20), 5.0)}, tmp_path / "a.pt")
    ((stored,), _) = read_tensors(tmp_path / "a.pt")
    with (tmp_path / "a.pt").open("r+b") as file:  # in place: the mapped file shows it, a copy in memory would not
        file.seek(file.read().index(np.full(1000, 5.0, np.float32).tobytes()))
        file.write(np.float32(7.0).tobytes())
    assert stored.read(0, 1)[0, 0] == 7.0


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_state_dict_is_found_under_its_key(form, key, tmp_path):
    FORMATS[form]({"epoch": 3, key: weights(), "optimizer": {"state": {0: {"step": torch.zeros(3, 3)}}}}, tmp_path / "a.pt")
    assert names(tmp_path / "a.pt") == ["a.weight", "b.weight", "b.bias"]


def test_tensors_beside_other_things_are_found_at_the_top(tmp_path):
    torch.save({**weights(), "epoch": 3, "model": {"note": "no tensors here"}}, tmp_path / "a.pt")
    assert names(tmp_path / "a.pt") == ["a.weight", "b.weight", "b.bias"]


def test_a_lightning_checkpoint_loses_the_trainers_prefix_and_a_plain_one_keeps_it(tmp_path):
    state = {f"model.{name}": tensor for name, tensor in weights().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.0"}, tmp_path / "lightning.ckpt")
    torch.save(state, tmp_path / "plain.pt")
    assert names(tmp_path / "lightning.ckpt") == ["a.weight", "b.weight", "b.bias"]
    assert names(tmp_path / "plain.pt") == ["model.a.weight", "model.b.weight", "model.b.bias"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_go(prefix, tmp_path):
    torch.save({f"{prefix}{name}": tensor for name, tensor in weights().items()}, tmp_path / "a.pt")
    assert names(tmp_path / "a.pt") == ["a.weight", "b.weight", "b.bias"]


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_that_share_their_storage_are_tied(form, tmp_path):
    shared = torch.ones(6, 4)
    state = {"module.embed.weight": shared, "module.head.weight": shared, "module.copy.weight": shared.clone()}
    FORMATS[form]({"state_dict": state}, tmp_path / "a.pt")
    assert [(t.name, t.tied_to) for t in open_source(tmp_path / "a.pt").tensors] == [
        ("embed.weight", None),
        ("head.weight", "embed.weight"),
        ("copy.weight", None),
    ]


def test_a_file_from_before_torch_1_6_gives_the_rows_of_a_new_one(tmp_path):
    torch.manual_seed(0)
    state = torch.nn.Linear(30, 20).state_dict()
    legacy(state, tmp_path / "old.pt")
    zipped(state, tmp_path / "new.pt")
    old, new = spectra.analyze(tmp_path / "old.pt"), spectra.analyze(tmp_path / "new.pt")
    assert old.layers == new.layers
    assert old.layers[0].status == "ok"


@pytest.mark.parametrize("form", PICKLES)
@pytest.mark.parametrize("place", ["beside the weights", "alone"])
def test_code_in_a_file_is_refused_and_never_run(place, form, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "malicious.pth"
    content = Malicious(marker)
    PICKLES[form]({"a.weight": content, "epoch": 3} if place == "beside the weights" else content, path)
    pickle.loads(pickle.dumps(Malicious(marker)))
    assert marker.exists()  # it would run
    marker.rmdir()
    with pytest.raises(SourceError, match=r"malicious.pth' cannot be loaded without running code .* never runs such code"):
        open_source(path)
    assert not marker.exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(3, 3), tmp_path / "a.pt")
    with pytest.raises(SourceError, match=r"running code .*torch.nn.modules.linear.Linear.* Save the state dict alone"):
        open_source(tmp_path / "a.pt")


def test_a_torchscript_archive_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 3)), tmp_path / "a.pt")
    with pytest.raises(SourceError, match="not a state dict written by torch.save .*TorchScript"):
        open_source(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3, 3), "holds a Tensor, not a state dict. Save model.state_dict"),
        ([torch.zeros(3, 3)], "holds a list, not a state dict"),
        ({"epoch": 3, "loss": 0.5}, "holds no weights .* its keys are: 'epoch', 'loss'"),
        ({"epoch": torch.tensor(3), "net": {"a.weight": torch.eye(9)}}, "its keys are: 'epoch', 'net'"),
        ({}, "holds no weights .* its keys are: none"),
    ],
    ids=["tensor", "list", "numbers", "an unknown key", "nothing"],
)
def test_what_is_no_state_dict_is_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / "a.pt")


def cut(path, save, drop):
    buffer = io.BytesIO()
    save(weights(), buffer)
    path.write_bytes(buffer.getvalue()[:-drop])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("drop", [10, 100, 700])
def test_a_truncated_file_is_refused(form, drop, tmp_path):
    cut(tmp_path / "a.pt", FORMATS[form], drop)
    with pytest.raises(SourceError, match="a.pt' is damaged"):
        open_source(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a text, no weights\n" * 5,
        b"PK\x03\x04 no zip",
        b"\x80\x02.",
        bytes(500),
        pickle.dumps({"a": 1}),
    ],
    ids=["empty", "text", "half a zip", "half a pickle", "zeros", "a plain pickle"],
)
def test_what_torch_did_not_write_is_refused(content, tmp_path):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(SourceError, match=r"a.bin' is damaged or not .*written by torch.save.* Check what the file is"):
        open_source(tmp_path / "a.bin")


def test_an_archive_of_something_else_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(SourceError, match="is damaged or not a state dict"):
        open_source(tmp_path / "a.pt")


def test_a_meta_tensor_is_a_row_without_numbers(tmp_path):
    torch.save({"a.weight": torch.empty(20, 20, device="meta"), "b.weight": torch.eye(20)}, tmp_path / "a.pt")
    report = spectra.analyze(tmp_path / "a.pt")
    assert [row.status for row in report.layers] == ["meta", "no_tail"]


def test_a_sparse_tensor_is_skipped_with_a_reason(tmp_path):
    torch.save({"a.weight": torch.eye(20).to_sparse(), "b.weight": torch.eye(20)}, tmp_path / "a.pt")
    assert [tensor.name for tensor in spectra.analyze(tmp_path / "a.pt").skipped] == ["a.weight"]
