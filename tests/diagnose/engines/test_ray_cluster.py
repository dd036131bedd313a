import json
import os
import signal
import socket
import uuid
from contextlib import suppress

import psutil
import pytest

import spectra
from spectra.diagnose.engines.ray_cluster import check_address, connected
from spectra.errors import EngineError, InputError, MissingPackageError
from tests.cli.processes import in_process
from tests.models import write_small
from tests.ray_clusters import ray_is_there

pytestmark = ray_is_there


@pytest.mark.parametrize("address", ["auto", "localhost:6379", "10.0.0.1:6379", "[::1]:6379"])
def test_addresses_of_clusters_are_taken(address):
    check_address(address)


@pytest.mark.parametrize("address", ["", "here", "local", "host:", "http://host:1", "host:port", "a b:1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="address: expected 'auto', 'HOST:PORT' or 'ray://HOST:PORT', got "):
        check_address(address)


def test_an_address_of_the_client_needs_the_client():
    try:
        import grpc  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPackageError, match="needs Ray's client: pip install"):
            check_address("ray://host:10001")
    else:
        check_address("ray://host:10001")


def test_a_place_where_nothing_listens_is_told_at_once(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(EngineError, match=f"no Ray cluster at '{address}': .*refused. Check that 'ray status' answers"):
            connected(address, workers=1, gpus=False).__enter__()
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EngineError, match="no Ray cluster at 'auto': .*refused"):
            connected("auto", workers=1, gpus=False).__enter__()
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_cluster_of_this_machine_answers_on_stdout_alone_and_leaves_no_process_behind(tmp_path):
    model, mark = write_small(tmp_path / "tiny.safetensors"), uuid.uuid4().hex
    done = in_process(model, "--engine", "ray", "--workers", 1, "--json", "--quiet", env={"MARK": mark})
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["layers"] == spectra.analyze(model).to_dict()["layers"]
    assert (report["environment"]["engine"], report["environment"]["workers"]) == ("ray", 1)
    assert [process for process in psutil.process_iter() if environment(process).get("MARK") == mark] == []


def environment(process):
    with suppress(psutil.Error, OSError):
        return process.environ()
    return dict.fromkeys(os.environ, "")
