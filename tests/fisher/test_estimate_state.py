"""A run that was stopped goes on where it was, and ends with the same bits; what is not its own is refused."""

import json
import os
import signal
import threading
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from spectra import InputError
from spectra.errors import ResultsError, Terminated
from spectra.fisher import estimate as module
from spectra.fisher.estimate import fisher
from tests.fisher.models import CASES, LLAMA, causal
from tests.killing import in_child

BATCHES = 4


def classifier(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def data(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(3, 5, generator=generator), torch.arange(3)) for _ in range(BATCHES)]


def assert_same_bits(one, other):
    assert one.info == other.info
    np.testing.assert_equal([vars(tensor) for tensor in one.tensors], [vars(tensor) for tensor in other.tensors])
    for field in ("values", "row_sums", "col_sums"):
        mine, others = getattr(one, field), getattr(other, field)
        assert list(mine) == list(others)
        for name in mine:
            assert mine[name].tobytes() == others[name].tobytes()


def at(number, action):
    """A callback that acts after a batch."""

    def progress(done):
        if done.num_batches == number:
            action()

    return progress


def enough():
    raise RuntimeError("enough")


@pytest.fixture
def saves_every_batch(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(module, "_SHARE_OF_SAVING", float("inf"))


@pytest.mark.parametrize("settings", [{}, {"kind": "sampled", "num_draws": 2, "keep": "neurons"}, {"keep": "traces"}], ids=str)
@pytest.mark.parametrize("number", range(1, BATCHES + 1))
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_batch_and_the_run_goes_on_from_there(tmp_path, number, which, settings):
    state, seen = tmp_path / "unfinished.safetensors", []
    expected = fisher(classifier(), data(), **settings)
    with pytest.raises(KeyboardInterrupt) as stopped:
        fisher(classifier(), data(), state=state, progress=at(number, lambda: signal.raise_signal(which)), **settings)
    assert isinstance(stopped.value, Terminated) == (which == signal.SIGTERM)
    assert state.exists()
    resumed = fisher(classifier(), data(), state=state, progress=lambda done: seen.append(done.num_batches), **settings)
    assert_same_bits(resumed, expected)
    assert seen == list(range(number + 1, BATCHES + 1))
    assert list(tmp_path.iterdir()) == [state]  # whole now, and nothing beside it


@pytest.mark.parametrize("number", range(1, BATCHES + 1))
@pytest.mark.parametrize("route", ["auto", "loop"])
def test_an_exception_loses_the_batches_since_the_last_save_only(tmp_path, saves_every_batch, number, route):
    state, seen = tmp_path / "unfinished", []
    expected = fisher(classifier(), data(), route=route)
    with pytest.raises(RuntimeError, match="enough"):
        fisher(classifier(), data(), state=state, progress=at(number, enough), route=route)
    assert state.exists() == (number > 1)
    resumed = fisher(classifier(), data(), state=state, progress=lambda done: seen.append(done.num_batches), route=route)
    assert_same_bits(resumed, expected)
    assert seen == list(range(number, BATCHES + 1))


def test_when_the_data_fail_what_was_measured_is_kept(tmp_path):
    state, seen = tmp_path / "unfinished", []
    expected = fisher(classifier(), data())

    def failing():
        yield from data()[:2]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fisher(classifier(), failing(), state=state)
    resumed = fisher(classifier(), data(), state=state, progress=lambda done: seen.append(done.num_batches))
    assert_same_bits(resumed, expected)
    assert seen[0] == 3


@pytest.mark.parametrize("name", ["bert, sdpa", "experts"])
def test_a_run_that_stops_at_every_batch_ends_with_the_same_bits(tmp_path, name):
    def case():
        return CASES[name]() if name in CASES else causal("MixtralForCausalLM", **LLAMA, num_local_experts=4)

    expected, state = fisher(case().model, case().batches(2)), tmp_path / "unfinished"
    for number in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            fisher(
                case().model, case().batches(2), state=state, progress=at(number, lambda: signal.raise_signal(signal.SIGINT))
            )
    assert_same_bits(fisher(case().model, case().batches(2), state=state), expected)


def estimated(number, state, result):
    """Estimate the Fisher with the state saved after every batch; be killed after one of them."""
    module._SECONDS_BETWEEN_SAVES, module._SHARE_OF_SAVING = 0.0, float("inf")
    kill = at(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
    np.savez(result, **fisher(classifier(), data(), kind="sampled", state=state, progress=kill).values)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system does not kill")
def test_a_process_that_is_killed_several_times_ends_with_the_same_bits(tmp_path):
    state, result = tmp_path / "unfinished", tmp_path / "values.npz"
    codes = [in_child(estimated, number, state, result) for number in (2, 4, 0)]
    assert codes == [-signal.SIGKILL] * 2 + [0]
    expected = fisher(classifier(), data(), kind="sampled").values
    with np.load(result) as values:
        assert {name: values[name].tobytes() for name in values} == {name: one.tobytes() for name, one in expected.items()}


def test_the_second_signal_stops_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("it did")

    with pytest.raises(RuntimeError, match="it did"):
        fisher(classifier(), data(), state=tmp_path / "unfinished", progress=at(1, twice))


def test_without_a_state_a_signal_stops_after_the_batch_too():
    seen = []

    def progress(done):
        seen.append(done.num_batches)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fisher(classifier(), data(), progress=progress)
    assert seen == [1]


def test_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fisher(classifier(), data())
    with pytest.raises(RuntimeError, match="enough"):
        fisher(classifier(), data(), progress=at(1, enough))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_leaves_signals_alone():
    found = []
    thread = threading.Thread(target=lambda: found.append(fisher(classifier(), data())))
    thread.start()
    thread.join()
    assert_same_bits(found[0], fisher(classifier(), data()))


def test_the_state_of_a_run_that_ended_holds_everything(tmp_path):
    state, seen = tmp_path / "folder" / "unfinished", []
    expected = fisher(classifier(), data())
    assert_same_bits(fisher(classifier(), data(), state=str(state)), expected)
    written = state.stat().st_mtime_ns
    assert_same_bits(fisher(classifier(), data(), state=state, progress=seen.append), expected)
    assert seen == []
    assert state.stat().st_mtime_ns == written


def test_a_run_that_ended_goes_on_with_more_data(tmp_path):
    state = tmp_path / "unfinished"
    fisher(classifier(), data()[:2], state=state)
    assert_same_bits(fisher(classifier(), data(), state=state), fisher(classifier(), data()))


@pytest.fixture
def stopped(tmp_path):
    """The state of a run that stopped after two batches."""
    state = tmp_path / "unfinished"
    with pytest.raises(KeyboardInterrupt):
        fisher(classifier(), data(), state=state, progress=at(2, lambda: signal.raise_signal(signal.SIGINT)))
    return state


def test_other_data_is_refused(stopped):
    with pytest.raises(
        InputError, match=r"the first 2 batches are not those of the unfinished run in '.*unfinished'\. Pass the same"
    ):
        fisher(classifier(), data(seed=2), state=stopped)
    assert stopped.exists()


@pytest.mark.parametrize("number", [0, 1])
def test_less_data_is_refused(stopped, number):
    with pytest.raises(
        InputError, match=r"there are fewer batches than the unfinished run in '.*unfinished' has\. Pass the same"
    ):
        fisher(classifier(), data()[:number], state=stopped)
    assert stopped.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "exact"},
        {"reduction": "token"},
        {"keep": "traces"},
        {"task": "regression"},
        {"num_draws": 2},
        {"seed": 1},
        {"route": "loop"},
        {"exclude": "*.bias"},
    ],
    ids=str,
)
def test_other_settings_are_refused(stopped, settings):
    word = "parameters" if "exclude" in settings else next(iter(settings))
    with pytest.raises(
        ResultsError, match=f"'.*unfinished' is an unfinished estimate with another setting of {word}\\. Remove"
    ):
        fisher(classifier(), data(), state=stopped, **settings)
    assert stopped.exists()


def test_other_weights_are_refused(stopped):
    with pytest.raises(ResultsError, match="an unfinished estimate with another setting of weights"):
        fisher(classifier(seed=1), data(), state=stopped)


@pytest.mark.parametrize("name", ["0.weight", "1.running_mean"])
def test_other_frozen_weights_and_buffers_are_refused(tmp_path, name):
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 4).requires_grad_(False), nn.BatchNorm1d(4), nn.Linear(4, 3))

    state, other = tmp_path / "unfinished", model()
    other.load_state_dict({**other.state_dict(), name: other.state_dict()[name] + 1})
    expected = fisher(model(), data())
    fisher(model(), data()[:2], state=state)
    with pytest.raises(ResultsError, match="an unfinished estimate with another setting of weights"):
        fisher(other, data(), state=state)
    assert_same_bits(fisher(model(), data(), state=state), expected)


def scaled(model, batch, scale=1.0):
    inputs, targets = batch
    return scale * nn.functional.cross_entropy(model(inputs), targets, reduction="none")


def test_another_loss_is_refused(tmp_path):
    state = tmp_path / "unfinished"
    losses = {
        "none": None,
        "function": scaled,
        "partial": partial(scaled, scale=2.0),
        "other argument": partial(scaled, scale=3.0),
        "other code": lambda model, batch: scaled(model, batch) ** 2,
    }
    for name, loss in losses.items():
        state.unlink(missing_ok=True)
        fisher(classifier(), data()[:2], state=state, task=None, loss=loss)
        for other_name, other in losses.items():
            if other_name != name:
                # Without a loss there is a task, which differs first.
                with pytest.raises(ResultsError, match="an unfinished estimate with another setting of (loss|task)"):
                    fisher(classifier(), data(), state=state, loss=other)
        assert_same_bits(fisher(classifier(), data(), state=state, loss=loss), fisher(classifier(), data(), loss=loss))


def rewritten(path, change):
    """Change the header of a state."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["spectra_fisher_state"])
    tensors = load_file(path)
    save_file(tensors, path, {"spectra_fisher_state": json.dumps(change(header))})


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_that_was_cut_is_refused(stopped, length):
    stopped.write_bytes(stopped.read_bytes()[:length])
    with pytest.raises(ResultsError, match=r"is no state of an unfinished estimate, or damaged \(.*Remove it to start again"):
        fisher(classifier(), data(), state=stopped)


def test_a_file_of_something_else_is_refused(tmp_path):
    for name, write in {
        "text": lambda path: path.write_text("hello " * 10),
        "weights": lambda path: save_file({"0.weight": torch.ones(4, 5)}, path),
        "folder": lambda path: path.mkdir(),
    }.items():
        write(tmp_path / name)
        with pytest.raises(ResultsError, match="is no state of an unfinished estimate, or damaged"):
            fisher(classifier(), data(), state=tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: [],
        lambda header: {},
        lambda header: {**header, "settings": None},
        lambda header: {**header, "counts": {"num_samples": 1, "unknown": 2}},
    ],
    ids=["a list", "nothing", "no settings", "other counts"],
)
def test_a_header_that_makes_no_sense_is_refused(stopped, change):
    rewritten(stopped, change)
    with pytest.raises(ResultsError, match="is no state of an unfinished estimate, or damaged"):
        fisher(classifier(), data(), state=stopped)


def test_a_state_of_another_version_is_refused(stopped):
    rewritten(stopped, lambda header: {**header, "version": 0})
    with pytest.raises(ResultsError, match="is an unfinished estimate of another version of Spectra"):
        fisher(classifier(), data(), state=stopped)


def test_a_state_that_cannot_be_written_is_an_error(tmp_path, saves_every_batch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match=r"cannot write '.*unfinished': .*Free space or choose another place"):
        fisher(classifier(), data(), state=tmp_path / "file" / "unfinished")
