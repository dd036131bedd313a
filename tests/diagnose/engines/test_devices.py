"""Devices of torch's CPU stand for GPUs: they take the same way through the code."""

import threading

import pytest
import torch

import spectra
from spectra.diagnose.engines import devices, local
from spectra.diagnose.layer import batches
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.esd.accelerator import gram_product, symmetric_eigenvalues
from spectra.sources import open_source
from tests.models import heavy_tailed, small_weights

TORCH_CPU = "cpu:0"


def test_two_devices_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=60)

    def both_at_once(job, device):
        meeting.wait()  # one device alone would never pass
        return device

    answers = list(devices.run(both_at_once, list(range(4)), cost=float, seats=("a", "b")))
    assert sorted(job for job, _ in answers) == [0, 1, 2, 3]
    assert sorted(device for _, device in answers) == ["a", "a", "b", "b"]


def test_a_layer_is_fitted_while_the_next_one_is_solved():
    gram, next_one = gram_product([heavy_tailed(30, 20)], TORCH_CPU, "float64"), threading.Event()

    def work(job, device):
        def solver(stack):
            if job == "short":
                next_one.set()
            return torch.linalg.eigvalsh(stack)

        symmetric_eigenvalues([gram], device, solver)
        return job == "short" or next_one.wait(60)  # the long one's fit ends when the short one is being solved

    cost = {"long": 2.0, "short": 1.0}
    assert all(done for _, done in devices.run(work, list(cost), cost=cost.get, seats=(TORCH_CPU, TORCH_CPU)))


def test_jobs_come_from_one_queue_longest_first():
    order = []
    list(devices.run(lambda job, device: order.append((job, device)), [3, 1, 2], cost=float, seats=["a"]))
    assert order == [(3, "a"), (2, "a"), (1, "a")]


def test_a_seat_is_free_again_when_a_job_fails():
    def fail(job, device):
        raise RuntimeError(f"job {job} on {device}")

    with pytest.raises(RuntimeError, match="job 2 on a"):
        list(devices.run(fail, [1, 2], cost=float, seats=["a"]))


def test_leaving_early_starts_nothing_more():
    started = []
    for _ in (run := devices.run(lambda job, device: started.append(job), list(range(50)), cost=float, seats=["a"])):
        run.close()
        break
    assert len(started) < 50


@pytest.mark.parametrize(
    ("named", "workers", "seats"),
    [
        (("cpu",), 2, ("cpu", "cpu")),
        (("cpu",), "auto", ("cpu",) * local.usable_cores()),
        (("cuda:0",), "auto", ("cuda:0",) * 3),
        (("cuda:0", "cuda:1"), "auto", ("cuda:0", "cuda:1") * 3),
        (("cuda:0", "cuda:1"), 1, ("cuda:0", "cuda:1")),
    ],
)
def test_every_thread_has_a_seat_and_devices_take_turns(named, workers, seats):
    assert devices.seats_at(named, workers) == seats


@pytest.mark.parametrize("workers", [0, -1, 2.5, "two"])
def test_a_number_of_workers_that_cannot_be_is_refused(workers):
    with pytest.raises(spectra.InputError, match="workers: expected 'auto' or a number of at least 1"):
        devices.seats_at(("cpu",), workers)


@pytest.mark.parametrize(
    ("device", "names"),
    [("auto", ("cpu",)), ("cpu", ("cpu",)), (TORCH_CPU, (TORCH_CPU,)), ("cpu:0, cpu:0", (TORCH_CPU, TORCH_CPU))],
)
def test_devices_are_named_one_by_one(device, names):
    assert devices.resolve_devices(device, {}, "float64") == names


@pytest.mark.parametrize("device", ["cpu:0,cpu", "auto,cpu:0", "cpu:0,cuda"])
def test_names_that_stand_alone_are_refused_in_a_list(device):
    with pytest.raises(spectra.InputError, match=f"device: '{device}' names one that stands alone .*'cuda:0,cuda:1'"):
        devices.resolve_devices(device, {}, "float64")


def test_all_devices_that_are_not_there_are_named_at_once():
    with pytest.raises(spectra.InputError, match=r"cannot compute on 'cuda:77'.*cannot compute on 'gpu'"):
        devices.resolve_devices("cuda:77,cpu:0,gpu", {}, "float64")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_every_gpu_where_there_is_none_is_one_clear_error():
    with pytest.raises(spectra.InputError, match="cannot compute on 'cuda'"):
        devices.resolve_devices("cuda", {}, "float64")


def test_equal_layers_are_divided_over_the_seats_of_devices_and_not_of_the_cpu():
    weights = {f"layers.{i}.weight": heavy_tailed(30, 20, seed=i) for i in range(14)}
    jobs = plan_analysis(open_source(weights), resolve_settings("default")).jobs
    assert [len(batch) for batch in batches(jobs, ("cpu",) * 3)] == [14]
    assert [len(batch) for batch in batches(jobs, (TORCH_CPU,) * 3)] == [5, 5, 4]
    assert [len(batch) for batch in batches(jobs, (TORCH_CPU,))] == [14]


@pytest.mark.parametrize(("device", "workers"), [(TORCH_CPU, 1), (TORCH_CPU, "auto"), (f"{TORCH_CPU},{TORCH_CPU}", 2)])
def test_a_model_has_the_same_rows_on_one_device_and_on_several(device, workers):
    weights = small_weights(blocks=6) | {
        "wide.weight": heavy_tailed(30, 500),
        "conv.weight": heavy_tailed(64, 288).reshape(64, 32, 3, 3),
    }
    here = spectra.analyze(weights, randomize=True)
    there = spectra.analyze(weights, device=device, workers=workers, randomize=True)
    assert there.environment["device"] == device
    assert there.environment["workers"] == {(TORCH_CPU, 1): 1, (TORCH_CPU, "auto"): 3}.get((device, workers), 4)
    for ours, theirs in zip(here.layers, there.layers, strict=True):
        assert (theirs.status, theirs.num_tail, theirs.notes) == (ours.status, ours.num_tail, ours.notes)
        assert theirs.alpha == pytest.approx(ours.alpha, rel=1e-10)
        assert theirs.rand_distance == pytest.approx(ours.rand_distance, rel=1e-8)


def test_two_devices_compare_models_as_the_cpu_does():
    weights = small_weights()
    changed = weights | {"layers.1.fc.weight": weights["layers.1.fc.weight"] + heavy_tailed(60, 40, seed=7)}
    here, there = (spectra.compare(weights, changed, device=d) for d in ("cpu", f"{TORCH_CPU},{TORCH_CPU}"))
    assert [row.verdict for row in there.rows] == [row.verdict for row in here.rows]
    assert there.environment["workers"] == 6


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_several_gpus_have_the_rows_of_one():
    weights = {f"layers.{i}.weight": heavy_tailed(700, 600, seed=i) for i in range(8)}
    one, all_of_them = (spectra.analyze(weights, device=device) for device in ("cuda:0", "cuda"))
    assert all_of_them.environment["device"].startswith("cuda:0,cuda:1")
    for ours, theirs in zip(one.layers, all_of_them.layers, strict=True):
        assert theirs.alpha == pytest.approx(ours.alpha, rel=1e-10)
