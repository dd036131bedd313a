import itertools
import shutil
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

import spectra
from spectra.diagnose.engines import ray as engine
from spectra.diagnose.engines.ray_cluster import connected
from spectra.diagnose.fleet import analyze_fleet
from spectra.errors import EngineError, InputError
from tests.models import heavy_tailed, write_small
from tests.ray_clusters import node_options, ray_is_there, two_nodes
from tests.remote_functions import act

pytestmark = [pytest.mark.slow, ray_is_there]
ROOM = 2 * 2**30


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with two_nodes(memory=ROOM) as nodes, connected(nodes.address, workers=1, gpus=False):
        yield nodes


def wait_for(*paths):
    """Wait until jobs have written files, but not for ever."""
    until = time.monotonic() + 120
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until, "a job has not begun"
        time.sleep(0.02)


def run(jobs, tmp_path, **options):
    """Let workers act out jobs, which are lists of words."""
    arguments = {"arguments": lambda job: (job, str(tmp_path)), "num_bytes": lambda _: 2**20, **options}
    return engine.run(act, jobs, **arguments)


def test_jobs_whose_process_is_killed_are_tried_again_and_then_in_parts(tmp_path):
    repeated = []
    jobs = [["a"], ["die once"], ["b", "die", "c"]]
    parts = {"parts": lambda job: [[word] for word in job], "repeated": repeated.append}
    found = {tuple(job): result for job, result in run(jobs, tmp_path, **parts)}
    lost = found.pop(("die",))
    assert found == {(word,): [word] for word in ("a", "die once", "b", "c")}
    assert "process was killed" in lost.reason
    assert repeated.count(["die once"]) == 1
    assert repeated.count(["b", "die", "c"]) == engine.MOST_ATTEMPTS


def test_what_fails_on_every_node_is_lost_with_its_reason_and_mistakes_end_the_run(tmp_path):
    found = {job[0]: result for job, result in run([["miss"], ["a"]], tmp_path)}
    assert found["a"] == ["a"]
    assert found["miss"] == engine.Lost("no file here")
    with pytest.raises(TypeError, match="a mistake of ours"):
        list(run([["err"]], tmp_path))
    with pytest.raises(
        EngineError, match="lacks what it needs: No module named 'spectra'. Install the same Spectra on every node"
    ):
        list(run([["lack"]], tmp_path))
    with pytest.raises(EngineError, match="no node of the Ray cluster has a GPU. Leave out the device"):
        list(run([["a"]], tmp_path, on_gpu=True))


def test_jobs_are_taken_as_there_is_room_and_leaving_early_cancels_the_others(tmp_path):
    taken = []
    jobs = (taken.append(number) or [str(number)] for number in itertools.count())
    with closing(run(jobs, tmp_path, at_once=3)) as finished:
        for _ in range(10):
            next(finished)
            assert len(taken) <= 10 + 3
    assert len(taken) <= 13
    with closing(run([["a"], ["stay"], ["stay too"]], tmp_path, at_once=3)) as finished:
        next(finished)
        # A job that is cancelled on its way into a process runs all the same (Ray 2.60), so until both are at work:
        wait_for(tmp_path / "stay", tmp_path / "stay too")
    assert [result for _, result in run([["b"]], tmp_path)] == [["b"]]  # nobody stays in its place


def test_a_job_that_only_a_lost_node_had_room_for_gets_the_largest_that_is_left(cluster, tmp_path):
    def jobs():
        yield ["stay once"]
        wait_for(tmp_path / "stay once")
        cluster.remove_node(large, allow_graceful=False)
        yield ["a"]

    large = cluster.add_node(**node_options(4 * ROOM))
    claims = {"stay once": 3 * ROOM, "a": 2**20}
    repeated = []
    found = run(jobs(), tmp_path, num_bytes=lambda job: claims[job[0]], at_once=2, repeated=repeated.append)
    assert sorted(result for _, result in found) == [["a"], ["stay once"]]
    assert set(map(tuple, repeated)) == {("stay once",)}


def test_a_job_larger_than_any_node_gets_a_node_for_itself(tmp_path):
    assert [result for _, result in run([["a"]], tmp_path, num_bytes=lambda _: 10 * ROOM)] == [["a"]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two checkpoints with layers that take a while each."""
    folder = tmp_path_factory.mktemp("models")
    weights = {
        name: {f"layers.{i}.fc.weight": heavy_tailed(700, 520, seed + i) for i in range(8)}
        for seed, name in ((0, "a"), (50, "b"))
    }
    return [
        write_small(folder / f"{name}.safetensors", **{key.replace(".", "__"): value for key, value in found.items()})
        for name, found in weights.items()
    ]


def kill_one_at_work(nodes):
    """Kill a worker process in the middle of a task, if one is there now; tell whether it was."""
    for node in nodes:
        for process in psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "".join(process.cmdline()[:1]).startswith("ray::diagnose_named"):
                    process.kill()
                    return True
    return False


def test_a_fleet_outlives_a_process_and_a_node_and_equals_what_threads_compute(cluster, models, tmp_path):
    killed = []

    def kill(progress):
        # Whoever waits here for a task to begin holds up the handing out of tasks: rather look again after the next layer.
        if progress.num_done >= 3 and not any(killed):
            killed.append(kill_one_at_work(cluster.list_all_nodes()))
        if progress.num_done == 8:
            cluster.remove_node(other, allow_graceful=False)

    (other,) = cluster.worker_nodes
    options = {"bootstrap_samples": 20, "include": "layers.*"}
    try:
        fleet = analyze_fleet(models, output=tmp_path / "ray", engine="ray", progress=kill, **options)
    finally:
        cluster.add_node(**node_options(ROOM))
    expected = analyze_fleet(models, output=tmp_path / "local", **options)
    assert [model.summary for model in fleet.models] == [model.summary for model in expected.models]
    repeated = 0
    for name in ("a", "b"):
        ours, theirs = fleet.report(name), expected.report(name)
        assert [repr(layer) for layer in ours.layers] == [repr(layer) for layer in theirs.layers]
        assert len(ours.spectra) == 8
        assert all(np.array_equal(ours.spectra[key], theirs.spectra[key]) for key in theirs.spectra)
        assert ours.environment["engine"] == "ray"
        repeated += ours.environment["repeated_tasks"]
    assert any(killed)
    assert repeated >= 1


def test_what_is_lost_on_every_node_is_a_row_that_says_why_and_is_tried_again(models, tmp_path):
    model, aside = shutil.copy(models[0], tmp_path / "a.safetensors"), tmp_path / "aside"

    def take_away(_):
        if Path(model).exists():
            Path(model).rename(aside)

    report = spectra.analyze(model, engine="ray", output=tmp_path / "out", progress=take_away, include="layers.*")
    assert {layer.status for layer in report.layers} == {"unreadable"}
    assert f"no file or folder '{model}'" in report.layers[0].notes
    aside.rename(model)
    again = spectra.analyze(model, engine="ray", output=tmp_path / "out", include="layers.*")
    assert [repr(layer) for layer in again.layers] == [
        repr(layer) for layer in spectra.analyze(model, include="layers.*").layers
    ]


def test_what_is_in_memory_and_a_second_address_are_refused():
    with pytest.raises(InputError, match="engine 'ray' opens checkpoints on its nodes, and a dict is in the memory"):
        spectra.analyze({"a.weight": np.eye(20)}, engine="ray")
    with pytest.raises(InputError, match="connected to a Ray cluster already. Leave out the address 'auto'"):
        spectra.analyze("demo", engine="ray", address="auto", include="encoder.layer.0.*")
