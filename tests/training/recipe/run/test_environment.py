import json

import pytest

from spectra._version import __version__
from spectra.training.recipe.run import environment as module
from spectra.training.recipe.run.environment import differences, environment


def test_an_environment_tells_versions_machine_and_processes():
    import numpy
    import torch

    found = environment(2)
    assert found["packages"]["spectra"] == __version__
    assert found["packages"]["torch"] == torch.__version__
    assert found["packages"]["numpy"] == numpy.__version__
    assert {"transformers", "peft", "accelerate"} <= found["packages"].keys()
    assert found["num_processes"] == 2
    assert "cores" in found["cpu"]
    assert len(found["gpus"]) == torch.cuda.device_count()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_environment_holds_no_variables_but_a_few(monkeypatch):
    for name in ("HF_TOKEN", "WANDB_API_KEY", "HOME"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("SPECTRA_X", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = environment()
    assert "secret" not in json.dumps(found)
    assert {"SPECTRA_X": "1", "CUDA_VISIBLE_DEVICES": "0"}.items() <= found["variables"].items()


def test_a_package_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("torch", "no-such-package"))
    assert environment()["packages"].keys() == {"spectra", "torch"}


def test_a_system_that_does_not_name_its_processor_still_has_one(monkeypatch):
    monkeypatch.setattr(module.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    assert module._cpu()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": "3.1.0"}, ["Python 3.0.0 before, 3.1.0 now"]),
        ({"packages": {"torch": "2"}}, ["torch 1 before, 2 now"]),
        ({"packages": {}}, ["torch 1 before, missing now"]),
        ({"gpus": ["H200"]}, ["GPUs none before, H200 now"]),
        ({"cpu": "another"}, ["the processor one before, another now"]),
        ({"began_at": "later", "command": [], "variables": {}}, []),
    ],
    ids=["python", "package", "package missing", "gpu", "cpu", "nothing that matters"],
)
def test_what_numbers_depend_on_is_compared(change, said):
    before = {"python": "3.0.0", "packages": {"torch": "1"}, "cpu": "one", "gpus": []}
    assert differences(before, {**before, **change}) == said
