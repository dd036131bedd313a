import itertools
from contextlib import closing

import pytest

from spectra.diagnose.engines import ray as engine
from spectra.diagnose.engines.ray_cluster import connected
from spectra.errors import EngineError
from tests.ray_clusters import two_nodes
from tests.remote_functions import act

pytestmark = pytest.mark.slow
ROOM = 2 * 2**30


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with two_nodes(memory=ROOM) as nodes, connected(nodes.address, workers=1, gpus=False):
        yield nodes


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
    with closing(run([["a"], ["stay"], ["stay"]], tmp_path, at_once=2)) as finished:
        next(finished)
    assert [result for _, result in run([["b"]], tmp_path)] == [["b"]]  # nobody stays in its place


def test_a_job_larger_than_any_node_gets_a_node_for_itself(tmp_path):
    assert [result for _, result in run([["a"]], tmp_path, num_bytes=lambda _: 10 * ROOM)] == [["a"]]
