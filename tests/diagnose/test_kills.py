"""Acceptance: an analysis or comparison that is killed at any moment goes on by the same call, and ends with the same files."""

import random
import shutil
from collections import Counter
from functools import partial

import pytest

import spectra
from tests import killing
from tests.killing import content_of, in_child, is_killed_after, killed_at_every_step, seconds_of, step
from tests.models import write_layers

pytestmark = [pytest.mark.slow, killing.pytestmark]


def analyze(model, output):
    spectra.analyze(model, output=output, workers=1, progress=lambda _: step(output))


def compare(base, model, output):
    spectra.compare(base, model, output=output, workers=1, progress=lambda _: step(output))


def place_of_kill(folder, num_parts):
    """Tell from what is left how far the work was."""
    progress = folder / "progress.jsonl"
    if not progress.is_file():
        return "end" if any(folder.glob("*.json")) else "start"
    parts = progress.read_bytes().count(b"\n") - 1
    return "start" if parts == 0 else "end" if parts == num_parts else "middle"


@pytest.mark.parametrize("what", ["analysis", "comparison"])
def test_a_kill_between_any_two_steps_costs_only_what_was_at_work(what, tmp_path):
    base, model = write_layers(tmp_path / "base.safetensors", 3), write_layers(tmp_path / "model.safetensors", 3, change=0.1)
    work = partial(analyze, model) if what == "analysis" else partial(compare, base, model)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    work(whole)
    places = Counter()
    for _ in killed_at_every_step(folder, work, folder):
        places[place_of_kill(folder, 3)] += 1
        work(folder)
        assert content_of(folder) == content_of(whole)
        shutil.rmtree(folder)
    assert min(places["start"], places["middle"], places["end"]) >= 2, places


def test_a_replacement_that_is_killed_between_any_two_steps_goes_on_without_force(tmp_path):
    model, folder, whole = write_layers(tmp_path / "model.safetensors", 2), tmp_path / "killed", tmp_path / "whole"
    earlier = spectra.analyze(model, output=tmp_path / "earlier", workers=1, xmin="median")
    analyze(model, whole)
    shutil.copytree(tmp_path / "earlier", folder)
    for _ in killed_at_every_step(folder, partial(spectra.analyze, model, workers=1, force=True, output=folder)):
        if (folder / "progress.jsonl").is_file():
            analyze(model, folder)
            assert content_of(folder) == content_of(whole)
        else:  # not begun, or finished
            assert spectra.load(folder).settings.xmin in (earlier.settings.xmin, "ks")
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "earlier", folder)


def test_fifty_kills_at_random_moments_cost_only_what_was_at_work(tmp_path):
    model, whole, folder = write_layers(tmp_path / "model.safetensors", 30), tmp_path / "whole", tmp_path / "killed"
    analyze(model, whole)
    assert in_child(analyze, model, tmp_path / "first") == 0  # waits for the process that the others are forked from
    lasts = seconds_of(analyze, model, tmp_path / "second")
    moments, kills, places = random.Random(0), 0, Counter()
    while kills < 50:
        if is_killed_after(moments.uniform(0.0, lasts), analyze, model, folder):
            kills += 1
            places[place_of_kill(folder, 30)] += 1
        analyze(model, folder)
        assert content_of(folder) == content_of(whole)
        shutil.rmtree(folder)
    assert places["start"], places  # where the others are depends on the machine; every step has a test of its own
