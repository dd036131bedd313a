"""Checkpoints of the shapes of Llama 2 that take no room: sharded safetensors files whose weights are holes, read as zeros.

Run as a child process (``python -m benchmarks.sparse_checkpoints FOLDER NAME [LAYERS]``) it makes one. With LAYERS only that
many layers are made, without embeddings, and of random numbers: those take their room.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a model of Llama's architecture, in the words of its ``config.json``."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int = 32000

    def layer(self, number: int) -> Shapes:
        """Return the tensors of a layer."""
        width, wide = self.hidden_size, self.intermediate_size
        keys = width // self.num_attention_heads * self.num_key_value_heads
        weights = {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (wide, width),
            "mlp.up_proj": (wide, width),
            "mlp.down_proj": (width, wide),
        }
        norms = {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
        return {f"model.layers.{number}.{name}.weight": shape for name, shape in {**weights, **norms}.items()}

    def shards(self) -> list[Shapes]:
        """Return the tensors, file by file: three layers to a shard, the embeddings in the first, the output in the last."""
        ends: Shapes = {"model.embed_tokens.weight": (self.vocab_size, self.hidden_size)}
        shards: list[Shapes] = [ends]
        for first in range(0, self.num_hidden_layers, 3):
            numbers = range(first, min(first + 3, self.num_hidden_layers))
            shards.append({name: shape for number in numbers for name, shape in self.layer(number).items()})
        shards[-1] |= {"model.norm.weight": (self.hidden_size,), "lm_head.weight": (self.vocab_size, self.hidden_size)}
        return shards


#: arXiv 2307.09288 and the models' config.json.
SHAPES = {"7b": LlamaShape(4096, 11008, 32, 32, 32), "70b": LlamaShape(8192, 28672, 80, 64, 8)}


def write_sparse(folder: Path, shape: LlamaShape) -> None:
    """Write a checkpoint in bfloat16 whose numbers are all holes of the files.

    Args:
        folder: Made if it is not there.
        shape: Of the model.
    """
    shards = shape.shards()
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, tensors in zip(names, shards, strict=True):
        header, size = _header(tensors)
        with (folder / name).open("wb") as file:
            file.write(header)
            file.truncate(len(header) + size)
        total += size
    weight_map = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **shape.__dict__}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_random(folder: Path, shape: LlamaShape, layers: int) -> None:
    """Write some layers of random numbers in bfloat16, in one file.

    Args:
        folder: Made if it is not there.
        shape: Of the model.
        layers: How many layers.
    """
    import numpy as np

    tensors = {name: sides for number in range(layers) for name, sides in shape.layer(number).items()}
    header, _ = _header(tensors)
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        for rows, width in _blocks(tensors):
            numbers = rng.standard_normal((rows, width), dtype=np.float32)
            (numbers.view(np.uint32) >> np.uint32(16)).astype("<u2").tofile(file)  # cut off to bfloat16
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")


def _blocks(tensors: Shapes) -> Iterator[tuple[int, int]]:
    """Yield the tensors in pieces that are small in memory, as numbers of rows and their width."""
    for shape in tensors.values():
        width = shape[-1]
        rows = shape[0] if len(shape) > 1 else 1
        step = max(1, 2**22 // width)
        yield from ((min(step, rows - start), width) for start in range(0, rows, step))


def _header(tensors: Shapes) -> tuple[bytes, int]:
    """Return the beginning of a safetensors file, and the size of the numbers that follow."""
    entries, offset = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, offset


def main() -> None:
    """Make what the command line says."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        write_random(folder, SHAPES[name], int(sys.argv[3]))
    else:
        write_sparse(folder, SHAPES[name])
    print("{}")


if __name__ == "__main__":
    main()
