import errno

import pytest
import torch
from safetensors.torch import save_file

from spectra.errors import InputError, ResultsError
from spectra.training.recipe.run.full_disk import full_disk_in_words
from tests.training.dcs.full_disk import full_disk

ROWS = {"a": torch.zeros(1000)}


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(4000)),
        lambda path: save_file(ROWS, path),
        lambda path: torch.save(ROWS, path),
    ],
    ids=["a file", "safetensors", "torch"],
)
def test_a_full_disk_is_one_sentence_whoever_writes(tmp_path, write):
    said = r"cannot write to '.*Free space or choose another folder\."
    with full_disk(), pytest.raises(ResultsError, match=said) as found, full_disk_in_words(tmp_path):
        write(tmp_path / "file")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA out of memory"), OSError(errno.ENOENT, "No such file"), InputError("x: no"), KeyboardInterrupt()],
    ids=repr,
)
def test_other_errors_are_what_they_were(tmp_path, error):
    with pytest.raises(type(error)) as found, full_disk_in_words(tmp_path):
        raise error
    assert found.value is error
