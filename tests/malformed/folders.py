"""Folders whose files contradict each other or lead elsewhere: indexes, links, special files, configurations, adapters."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.malformed.cases import ANY_END, READ_BUT_FOR_IT, Case, container, entry, folder_of, matrix, whole, written

_INDEX = "model.safetensors.index.json"
_ONE, _TWO = "model-1-of-2.safetensors", "model-2-of-2.safetensors"


def _shards(**changes: Any) -> dict[str, Any]:
    """Two good shards and their index, with files changed, added, or left out (``None``)."""
    index = {"weight_map": {"a.weight": _ONE, "b.weight": _TWO}}
    files: dict[str, Any] = {_ONE: whole("a.weight"), _TWO: whole("b.weight"), _INDEX: index}
    files |= {{"index": _INDEX, "one": _ONE, "two": _TWO}.get(name, name): content for name, content in changes.items()}
    return {name: content for name, content in files.items() if content is not None}


def _mapped(**weight_map: Any) -> Case:
    return Case(folder_of(_shards(index={"weight_map": {"a.weight": _ONE, "b.weight": _TWO} | weight_map})))


def _indexes() -> dict[str, Case]:
    outside = {
        "up and out": "../model.safetensors",
        "absolute": "/etc/passwd",
        "the folder above": "..",
        "the folder": ".",
        "nameless": "",
        "below": "inner/model.safetensors",
        "a Windows path": "C:\\model.safetensors",
        "backslashes": "..\\model.safetensors",
        "a drive": "C:model.safetensors",
        "a NUL byte": "model\0.safetensors",
        "a home": "~/model.safetensors",
        "a URL": "https://example.org/a.safetensors",
        "a very long name": "a" * 5000 + ".safetensors",
        "an escape": "\x1b[2J.safetensors",
    }
    cases = {f"a shard named by {words}": _mapped(**{"c.weight": name}) for words, name in outside.items()}
    texts = {
        "a list": [1],
        "a number": 3,
        "null": None,
        "empty": {},
        "without a map": {"metadata": {}},
        "with a map that is a list": {"weight_map": [1]},
        "with an empty map": {"weight_map": {}},
        "with numbers for files": {"weight_map": {"a.weight": 1, "b.weight": 2}},
        "with lists for files": {"weight_map": {"a.weight": [_ONE]}},
        "with null for files": {"weight_map": {"a.weight": None}},
    }
    cases |= {f"an index that is {words}": Case(folder_of(_shards(index=json.dumps(c).encode()))) for words, c in texts.items()}
    broken = {
        "not JSON": b"{",
        "binary": bytes(range(256)),
        "nested 100 000 deep": b'{"a":' * 100_000,
        "of 40 megabytes": b" " * 40_000_000,
        "nested 500 deep": b'{"a":' * 500 + b"1" + b"}" * 500,
        "in UTF-16": json.dumps({"weight_map": {}}).encode("utf-16"),
        "with a name twice": f'{{"weight_map":{{"a.weight":"{_ONE}","a.weight":"{_TWO}"}}}}'.encode(),
        "of a million empty objects": b"[" + b"{}," * 10**6 + b"{}]",
    }
    cases |= {f"an index {words}": Case(folder_of(_shards(index=content))) for words, content in broken.items()}
    both = container(
        {n: entry([24, 16], i * 1536, i * 1536 + 1536) for i, n in enumerate(("a.weight", "c.weight"))}, bytes(3072)
    )
    twice = container(
        {n: entry([24, 16], i * 1536, i * 1536 + 1536) for i, n in enumerate(("b.weight", "c.weight"))}, bytes(3072)
    )
    return cases | {
        "a tensor in no shard": _mapped(**{"lost.weight": _ONE}),
        "a tensor in the other shard": _mapped(**{"a.weight": _TWO, "b.weight": _ONE}),
        "a shard that is missing": Case(folder_of(_shards(two=None))),
        "a shard that is empty": Case(folder_of(_shards(two=b""))),
        "a shard that is truncated": Case(folder_of(_shards(two=whole("b.weight")[:-1]))),
        "a shard that is a text": Case(folder_of(_shards(two=b"a text"))),
        "a shard of another kind": _mapped(**{"c.weight": "config.json"}),
        "shards of two kinds": Case(
            folder_of(_shards(**{"a.bin": b"x"}, index={"weight_map": {"a.weight": _ONE, "b.weight": "a.bin"}}))
        ),
        "an unlisted tensor in two shards": Case(folder_of(_shards(one=both, two=twice))),
        "a listed tensor in two shards": Case(
            folder_of(
                _shards(one=both, two=twice, index={"weight_map": {"a.weight": _ONE, "b.weight": _TWO, "c.weight": _ONE}})
            ),
            READ_BUT_FOR_IT,
        ),
        "the index as a shard": _mapped(**{"c.weight": _INDEX}),
    }


def _linked(name: str, target: str, **files: bytes) -> Callable[[Path], Path]:
    """A folder with a link, and a file outside it."""

    def build(folder: Path) -> Path:
        (folder / "private").mkdir()
        (folder / "private" / "model.safetensors").write_bytes(whole())
        (folder / "private" / "config.json").write_text("{}")
        (folder / "given").mkdir()
        folder_of(files)(folder / "given")
        (folder / "given" / name).symlink_to(target.format(private=folder / "private"))
        return folder / "given"

    return build


def _special(make: Callable[[Path], Any], name: str = "model.safetensors", *, whole_folder: bool = False) -> Case:
    def build(folder: Path) -> Path:
        make(folder / name)
        return folder if whole_folder else folder / name

    return Case(build)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(here)


def _files() -> dict[str, Case]:
    index = json.dumps({"weight_map": {"fc.weight": "model-1-of-1.safetensors"}}).encode()
    kinds: dict[str, Callable[[Path], Any]] = {
        "a pipe": os.mkfifo,
        "a folder": Path.mkdir,
        "a socket": _socket,
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to nothing": lambda path: path.symlink_to("nothing"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to /proc/self/mem": lambda path: path.symlink_to("/proc/self/mem"),
        "a link to /dev/stdin": lambda p: p.symlink_to("/dev/stdin"),
    }
    cases = {
        f"{words} in the place of {name}": _special(make, name)
        for words, make in kinds.items()
        for name in ("model.safetensors", "a.pt")
    }
    cases |= {f"a folder with {words} for weights": _special(make, whole_folder=True) for words, make in kinds.items()}
    cases |= {
        "weights linked from outside": Case(_linked("model.safetensors", "../private/model.safetensors")),
        "weights linked by an absolute path": Case(_linked("model.safetensors", "{private}/model.safetensors")),
        "other weights linked from outside": Case(_linked("other.safetensors", "../private/model.safetensors")),
        "a shard linked from outside": Case(
            _linked("model-1-of-1.safetensors", "../private/model.safetensors", **{_INDEX: index})
        ),
        "an index linked from outside": Case(_linked(_INDEX, "../private/model.safetensors")),
        "a configuration linked from outside": Case(
            _linked("config.json", "../private/config.json", **{"model.safetensors": whole()})
        ),
        "a pipe for a configuration": Case(
            lambda folder: (os.mkfifo(folder / "config.json"), written(whole())(folder))[1], READ_BUT_FOR_IT
        ),
        "two weights without an index": Case(folder_of({"a.safetensors": whole(), "b\x1b[2J.safetensors": whole()})),
    }
    return cases


_ABSURD: tuple[Any, ...] = (
    "x",
    0,
    -1,
    10**18,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    True,
    None,
    [],
    {},
    [1],
    "0",
    "\x1b[2J",
)


def _configurations() -> dict[str, Case]:
    keys = ("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size")
    weights = container(
        {f"h.0.attn.{n}.weight": entry([48, 16], i * 3072, i * 3072 + 3072) for i, n in enumerate(("qkv_proj", "q_proj"))},
        (matrix(96, 16)).tobytes(),
    )
    good = {"model_type": "phi3", "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 16}
    cases = {}
    for value in _ABSURD:
        config = json.dumps(good | dict.fromkeys(keys, value)).encode()
        files = {"model.safetensors": weights, "config.json": config}
        cases[f"heads of {repr(value)[:14]}"] = Case(folder_of(files), READ_BUT_FOR_IT, ("--split-heads",))
    configs: dict[str, Any] = {
        "a list": b"[1]",
        "a text": b'"x"',
        "not JSON": b"{",
        "nested 100 000 deep": b'{"a":' * 100_000,
        "binary": bytes(range(256)),
        "nested 900 deep": b'{"a":' * 900 + b"1" + b"}" * 900,
        "of 40 megabytes": b" " * 40_000_000,
        "a number of 5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    }
    cases |= {
        f"a configuration that is {w}": Case(folder_of({"model.safetensors": whole(), "config.json": c}))
        for w, c in configs.items()
    }
    odd: dict[str, Any] = {
        "a model type that is a list": {"model_type": ["gpt2"]},
        "experts that are a text": {"model_type": "dbrx", "ffn_config": "x"},
        "a quantization that is a list": {"quantization_config": [1]},
        "itself in itself": {"text_config": {"text_config": {"text_config": {}}}},
        "ties that are a text": {"tie_word_embeddings": "yes"},
    }
    packed = container(
        {n: entry([24, 16], i * 1536, i * 1536 + 1536) for i, n in enumerate(("h.experts.mlp.w1", "fc.weight"))},
        matrix(48).tobytes(),
    )
    return cases | {
        f"a configuration with {w}": Case(folder_of({"model.safetensors": packed, "config.json": c}), READ_BUT_FOR_IT)
        for w, c in odd.items()
    }


def _tensors(**tensors: Any) -> bytes:
    from safetensors.numpy import save

    return save(tensors)


def _quantized() -> dict[str, Case]:
    words, halves = np.ones((2, 16), np.int32), np.ones((1, 16), np.float16)
    packed = {"fc.qweight": words, "fc.qzeros": np.ones((1, 2), np.int32), "fc.scales": halves, "plain.weight": matrix()}
    good = {"quant_method": "gptq", "bits": 4, "group_size": 16, "checkpoint_format": "gptq_v2", "desc_act": False}
    cases = {}
    for method in ("gptq", "awq"):
        for key in ("bits", "group_size"):
            for value in _ABSURD:
                config = {"quantization_config": good | {"quant_method": method, key: value}}
                files = {"model.safetensors": _tensors(**packed), "config.json": json.dumps(config).encode()}
                cases[f"{method} with {key} {repr(value)[:14]}"] = Case(folder_of(files), READ_BUT_FOR_IT)
    for value in _ABSURD:
        group = {"weights": {"num_bits": value, "group_size": value, "block_structure": [value, value], "symmetric": value}}
        config = {
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "config_groups": {"a": group},
                "weight_block_size": [value],
            }
        }
        tensors = {
            "fc.weight_packed": np.ones((16, 2), np.int32),
            "fc.weight_scale": np.ones((16, 1), np.float32),
            "fc.weight_shape": np.array([16, 16]),
            "plain.weight": matrix(),
            "b.weight": np.ones((8, 8), np.int8),
            "b.weight_scale": np.ones((8, 1), np.float32),
        }
        files = {"model.safetensors": _tensors(**tensors), "config.json": json.dumps(config).encode()}
        cases[f"compressed-tensors with {repr(value)[:14]}"] = Case(folder_of(files), READ_BUT_FOR_IT)
        state = {"shape": [value, 16], "blocksize": value, "nested_blocksize": value, "nested_offset": value}
        tensors = {
            "fc.weight": np.ones((128, 1), np.uint8),
            "fc.weight.absmax": np.ones(4, np.float32),
            "plain.weight": matrix(),
            "fc.weight.quant_map": np.ones(16, np.float32),
            "fc.weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8),
        }
        cases[f"nf4 with {repr(value)[:14]}"] = Case(folder_of({"model.safetensors": _tensors(**tensors)}), READ_BUT_FOR_IT)
    shapes = {
        "negative": [-16, -16],
        "huge": [2**62, 2**62],
        "empty": [],
        "of one side": [16],
        "another": [15, 16],
        "of zeros": [0, 0],
    }
    for words_, sides in shapes.items():
        tensors = {
            "fc.weight_packed": np.ones((16, 2), np.int32),
            "fc.weight_scale": np.ones((16, 1), np.float32),
            "fc.weight_shape": np.array(sides, np.int64),
            "plain.weight": matrix(),
        }
        cases[f"packed weights whose shape is {words_}"] = Case(
            folder_of({"model.safetensors": _tensors(**tensors)}), READ_BUT_FOR_IT
        )
    states = {"noise": bytes(range(256)), "nested deep": b"[" * 60_000, "a number": b"3"}
    for words_, text in states.items():
        tensors = {
            "fc.weight": np.ones((128, 1), np.uint8),
            "fc.weight.absmax": np.ones(4, np.float32),
            "plain.weight": matrix(),
            "fc.weight.quant_map": np.ones(16, np.float32),
            "fc.weight.quant_state.bitsandbytes__nf4": np.frombuffer(text, np.uint8),
        }
        cases[f"nf4 whose state is {words_}"] = Case(folder_of({"model.safetensors": _tensors(**tensors)}), READ_BUT_FOR_IT)
    return cases


def _adapters() -> dict[str, Case]:
    layer = "base_model.model.h.0.q_proj"
    factors = {f"{layer}.lora_A.weight": matrix(4, 32), f"{layer}.lora_B.weight": matrix(32, 4)}
    good = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "no-such/base"}

    def adapter(config: Any, tensors: Any = None, ends: tuple[int, ...] = ANY_END, options: tuple[str, ...] = ()) -> Case:
        text = config if isinstance(config, bytes) else json.dumps(good | config).encode()
        files = {"adapter_model.safetensors": _tensors(**(tensors or factors)), "adapter_config.json": text}
        return Case(folder_of(files), ends, options)

    cases = {}
    for key in ("r", "lora_alpha", "rank_pattern", "peft_type", "revision", "target_parameters", "fan_in_fan_out"):
        for value in _ABSURD:
            cases[f"an adapter with {key} {repr(value)[:14]}"] = adapter({key: value})
    patterns = {
        "repeated groups": "(a+)+q_proj",
        "many repetitions": ".*" * 30 + "x",
        "options": "h?" * 60 + "x",
        "half a group": "((",
        "code": "(?{x})",
    }
    names = {
        f"base_model.model.{'h' * 60}.q_proj.lora_{side}.weight": matrix(*shape)
        for side, shape in (("A", (4, 32)), ("B", (32, 4)))
    }
    for words, pattern in patterns.items():
        cases[f"an adapter whose pattern has {words}"] = adapter({"rank_pattern": {pattern: 8}}, names, (2,))
    bases = {
        "a NUL byte": "a\0b",
        "a home of nobody": "~nobody-here/x",
        "a very long name": "a/" * 5000,
        "a folder of the system": "/proc",
        "a device": "/dev/zero",
        "itself": ".",
    }
    for words, base in bases.items():
        cases[f"an adapter whose base is {words}"] = adapter(
            {"base_model_name_or_path": base}, None, (2,), ("--lora", "merged")
        )
    cases["an adapter whose revision leads out"] = adapter(
        {"revision": "../../../../etc/passwd"}, None, (2,), ("--lora", "merged")
    )
    wrong = {
        "of ranks that differ": ((4, 32), (32, 5)),
        "of one axis": ((4,), (32,)),
        "of three axes and two": ((4, 3, 3), (32,)),
        "without numbers": ((0, 32), (32, 0)),
    }
    for words, shapes in wrong.items():
        tensors = {f"{layer}.lora_{side}.weight": np.resize(matrix(), shape) for side, shape in zip("AB", shapes, strict=True)}
        cases[f"an adapter with factors {words}"] = adapter({}, tensors, (2,))
    cases["an adapter with half a layer"] = adapter({}, {f"{layer}.lora_A.weight": matrix(4, 32)}, (2,))
    cases["an adapter configuration that is a list"] = adapter(b"[1]", None, (2,))
    return cases


@cache
def cases() -> dict[str, Case]:
    """All of them."""
    return _indexes() | _files() | _configurations() | _quantized() | _adapters()
