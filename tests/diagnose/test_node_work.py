import dataclasses
import platform
import re

import numpy as np
import pytest
import safetensors.torch

from spectra.diagnose.layer import batches, diagnose_layers
from spectra.diagnose.model_run import ModelRun
from spectra.diagnose.node_work import diagnose_named
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.remote_work import checkpoint_of, device_on_nodes
from spectra.errors import EngineError, InputError, SourceError
from spectra.results.settings import AnalysisSettings
from tests.models import heavy_tailed, write_small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return ModelRun(write_small(tmp_path_factory.mktemp("model") / "tiny.safetensors"), resolve_settings("default"))


def test_a_node_finds_by_names_what_was_found_here(run):
    for batch in batches(run.plan.jobs):
        here = diagnose_layers(batch, run.plan.settings)
        there = diagnose_named(checkpoint_of(run), [job.matrix_name for job in batch], "cpu")
        for (row, values), (expected, numbers) in zip(there, here, strict=True):
            assert repr(row) == repr(expected)
            assert np.array_equal(values, numbers)


def test_what_a_node_does_not_find_is_told_with_its_name(run):
    checkpoint, node = checkpoint_of(run), re.escape(platform.node())
    with pytest.raises(SourceError, match=f"on node '{node}': no file or folder '/nowhere'"):
        diagnose_named(dataclasses.replace(checkpoint, model="/nowhere"), ["embed"], "cpu")
    with pytest.raises(SourceError, match=f"on node '{node}' '.*tiny.safetensors' holds other weights than here"):
        diagnose_named(dataclasses.replace(checkpoint, fingerprint="other"), ["embed"], "cpu")
    with pytest.raises(SourceError, match=f"on node '{node}' '.*' has no 'embed.head_0': its config.json is not the one"):
        diagnose_named(checkpoint, ["embed", "embed.head_0"], "cpu")
    with pytest.raises(EngineError, match=f"node '{node}' has Spectra .*, and 0.0.9 gave it work: numbers may differ"):
        diagnose_named(dataclasses.replace(checkpoint, version="0.0.9"), ["embed"], "cpu")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_checkpoint_that_was_written_anew_is_opened_anew(tmp_path, name):
    import torch

    def found_there():
        run = ModelRun(tmp_path / name, resolve_settings("default"))
        ((_, values),) = diagnose_named(checkpoint_of(run), ["a"], "cpu")
        return values

    def write(weight):
        save = torch.save if name.endswith("pt") else safetensors.torch.save_file
        save({"a.weight": torch.from_numpy(weight)}, tmp_path / "new")
        (tmp_path / "new").replace(tmp_path / name)

    weight = heavy_tailed(40, 30)
    write(weight)
    before = found_there()
    weight[1:-1] *= 2  # the rows that identify a weight stay as they were
    write(weight)
    ((_, expected),) = diagnose_layers(ModelRun(tmp_path / name, resolve_settings("default")).plan.jobs, AnalysisSettings())
    assert not np.array_equal(expected, before)
    assert np.array_equal(found_there(), expected)


def test_nodes_choose_their_gpu_themselves():
    assert [device_on_nodes(device) for device in ("auto", "cpu", "cuda")] == ["cpu", "cpu", "cuda"]
    with pytest.raises(
        InputError, match="device: engine 'ray' takes auto, cpu, cuda, got 'cuda:1'. Ray gives each task its own"
    ):
        device_on_nodes("cuda:1")
