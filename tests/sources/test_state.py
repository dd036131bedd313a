import subprocess
import sys
import textwrap

import numpy as np
import pytest

from spectra import InputError, SourceError
from spectra.sources import open_source
from spectra.transform import save, smooth
from tests.models import gpt2


def test_saving_and_reading_is_the_identity(tmp_path):
    import torch
    from safetensors.torch import load_file

    generator = torch.Generator().manual_seed(0)
    state = {
        "half": torch.randn(4, 5, generator=generator).bfloat16(),
        "turned": torch.randn(6, 3, generator=generator).T,
        "slice": torch.randn(6, 3, generator=generator)[2:4],
        "scalar": torch.tensor(7),
        "array": np.arange(6, dtype=np.float16).reshape(2, 3),
    }
    save(state, tmp_path / "state.safetensors")
    back = load_file(tmp_path / "state.safetensors")
    assert set(back) == set(state)
    for name, value in state.items():
        assert torch.equal(back[name], torch.as_tensor(value))
        assert back[name].dtype == torch.as_tensor(value).dtype
    assert (tmp_path / "state.safetensors").stat().st_size < 1000
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_arrays_are_saved_as_they_are(tmp_path):
    from safetensors.numpy import load_file

    state = {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "s": np.array(3.0), "step": np.arange(8)[::2]}
    save(state, tmp_path / "arrays.safetensors")
    back = load_file(tmp_path / "arrays.safetensors")
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].shape == value.shape


def test_saving_arrays_imports_no_torch(tmp_path):
    code = f"""
        import sys, numpy as np
        from spectra.transform import save, smooth
        save(smooth({{"fc.weight": np.eye(4) + 1}}, keep=0.5), {str(tmp_path / "a.safetensors")!r})
        sys.exit("torch" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_a_saved_state_loads_into_the_model_with_its_ties(tmp_path):
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_model

    model, fresh = gpt2(), gpt2()
    state = smooth(model, keep=0.5)
    file = tmp_path / "model.safetensors"
    save(state, file)
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "lm_head.weight": "transformer.wte.weight"}
        assert "lm_head.weight" not in opened.keys()  # noqa: SIM118 - the handle is no mapping
    load_model(fresh, file)
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, state[name])
    assert {tensor.name for tensor in open_source(file).tensors} == set(state) - {"lm_head.weight"}


def test_saving_refuses_what_it_should_not_do(tmp_path):
    import torch

    file = tmp_path / "a.safetensors"
    save({"a": np.eye(2)}, file)
    with pytest.raises(InputError, match="exists. Pass overwrite=True"):
        save({"a": np.ones(2)}, file)
    save({"a": np.ones(2)}, file, overwrite=True)
    with pytest.raises(InputError, match="expected a '.safetensors' file"):
        save({"a": np.eye(2)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="'ghost' cannot be written: meta"):
        save({"ghost": torch.empty(2, device="meta")}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="'a' cannot be written: a str, neither array nor tensor"):
        save({"a": "text"}, tmp_path / "b.safetensors")
    with pytest.raises(SourceError, match="cannot write"):
        save({"a": np.eye(2)}, tmp_path / "missing" / "b.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
