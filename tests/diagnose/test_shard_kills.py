"""Acceptance: a shard or a merge that is killed at any moment goes on by the same call, and ends with the same files."""

import shutil
from collections import Counter
from functools import partial

import pytest
from safetensors.numpy import save_file

import spectra
from tests import killing
from tests.killing import content_of, killed_at_every_step, step
from tests.models import uneven_weights

pytestmark = [pytest.mark.slow, killing.pytestmark]


@pytest.fixture
def model(tmp_path):
    save_file(uneven_weights(4), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def analyze(model, output):
    spectra.analyze(model, output=output, shard="0/2", workers=1, progress=lambda _: step(output))


def merge(folder, output):
    spectra.merge(folder, output=output)


def test_a_shard_that_is_killed_between_any_two_steps_goes_on(model, tmp_path):
    whole, folder, states = tmp_path / "whole", tmp_path / "killed", Counter()
    analyze(model, whole)
    for _ in killed_at_every_step(folder, analyze, model, folder):
        states[tuple(sorted(path.name for path in folder.glob("shards/0-of-2/*.json*")))] += 1
        analyze(model, folder)
        assert content_of(folder / "shards" / "0-of-2") == content_of(whole / "shards" / "0-of-2")
        shutil.rmtree(folder)
    assert {(), ("progress.jsonl",), ("progress.jsonl", "shard.json"), ("report.json", "shard.json")} <= set(states)


def test_a_merge_that_is_killed_between_any_two_steps_goes_on(model, tmp_path):
    for index in range(2):
        spectra.analyze(model, output=tmp_path / "parts", shard=f"{index}/2")
    whole, output, states = tmp_path / "whole", tmp_path / "merged", Counter()
    merge(tmp_path / "parts", whole)
    for _ in killed_at_every_step(output, partial(merge, tmp_path / "parts"), output):
        states["report.json" in (path.name for path in output.glob("*"))] += 1
        merge(tmp_path / "parts", output)
        assert content_of(output) == content_of(whole)
        shutil.rmtree(output)
    assert min(states[False], states[True]) >= 3, states
