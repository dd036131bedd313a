"""Settings of adapters and of quantization that no library writes, each refused with its reason."""

import pytest

from spectra import SourceError
from spectra.sources import hub, open_source
from spectra.sources.adapter_folder import _matches_end
from tests.malformed import folders


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("an adapter whose pattern has repeated groups", r"rank_pattern has '\(a\+\)\+q_proj', .*repeated groups"),
        ("an adapter whose pattern has many repetitions", "too many repetitions are not read"),
        ("an adapter whose base is a home of nobody", "cannot look at '~nobody-here/x'"),
        ("an adapter whose base is a very long name", "cannot look at .* File name too long"),
        ("a shard named by up and out", "names files outside its folder: '../model.safetensors'"),
        ("shards of two kinds", "names both safetensors and other files as shards"),
        ("an unlisted tensor in two shards", "does not list 'c.weight', which several of its shards hold"),
    ],
)
def test_a_folder_is_refused_with_its_reason(case, message, tmp_path):
    with pytest.raises(SourceError, match=message):
        open_source(folders.cases()[case].build(tmp_path), lora="merged" if "base" in case else "delta")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("gptq with group_size 'x'", "whose group_size is 'x', where a whole number is known"),
        ("nf4 with -1", "has negative sides, or blocks of no length"),
        ("packed weights whose shape is empty", "'fc.weight_shape' has 0 numbers where a few are known"),
        ("nf4 whose state is noise", "is no JSON object"),
    ],
)
def test_a_weight_is_refused_with_its_reason_and_others_are_read(case, reason, tmp_path):
    tensors = open_source(folders.cases()[case].build(tmp_path)).tensors
    assert [tensor.name for tensor in tensors if reason in (tensor.unreadable or "")]
    assert [tensor.name for tensor in tensors if tensor.name == "plain.weight" and not tensor.unreadable]


@pytest.mark.parametrize("revision", ["../../etc/passwd", "/etc", [], {"a": 1}, 3, "a\0b", ""])
def test_a_revision_that_is_no_name_finds_nothing(revision):
    assert hub.cached_folder("org/name", revision) is None


@pytest.mark.parametrize(
    ("pattern", "layer", "found"),
    [
        ("q_proj", "h.0.q_proj", True),
        ("proj", "h.0.q_proj", False),
        (r"^h\.0\.q_proj", "h.0.q_proj", True),
        (r".*layers\.(0|1)\..*(q|v)_proj", "model.layers.1.self_attn.q_proj", True),
        (r"layers\.\d+\.q_proj", "model.layers.12.q_proj", True),
        (r"layers\.\d+\.q_proj", "model.layers.x.q_proj", False),
    ],
)
def test_patterns_as_people_write_them_match_whole_components_at_the_end(pattern, layer, found):
    assert _matches_end(pattern, layer) is found
