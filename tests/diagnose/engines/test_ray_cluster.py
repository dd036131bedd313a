import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import suppress

import psutil
import pytest

import spectra
from spectra.diagnose.engines.ray_cluster import check_address, connected
from spectra.errors import EngineError, InputError, MissingPackageError
from tests.cli.processes import in_process
from tests.models import heavy_tailed, write_small
from tests.ray_clusters import EQUAL_WORKERS, ray_is_there

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
def test_a_cluster_of_this_machine_is_gone_with_the_command_however_that_ends(tmp_path):
    weights = {f"layers__{i}__fc__weight": heavy_tailed(600, 520, i) for i in range(6)}  # a task each, and 50 fits
    model, mark = write_small(tmp_path / "tiny.safetensors", **weights), uuid.uuid4().hex
    options = ["--engine", "ray", "--workers", "1", "--output", str(tmp_path / "out"), "--bootstrap-samples", "50"]
    command = [sys.executable, "-m", "spectra", "analyze", str(model), *options]
    environment = {**EQUAL_WORKERS, "MARK": mark}
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    while not is_begun(tmp_path / "out"):
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended by itself with exit code {process.wait(timeout=0.05)}: {process.communicate()}")
    process.terminate()
    assert "Finished layers are kept in" in process.communicate()[1]
    assert process.returncode == 143
    done = in_process(model, *options, "--json", "--quiet", env=environment)
    assert (done.returncode, done.stderr) == (0, "")  # and nothing of Ray's on stdout
    report = json.loads(done.stdout)
    assert report["layers"] == spectra.analyze(model, bootstrap_samples=50).to_dict()["layers"]
    assert (report["environment"]["engine"], report["environment"]["workers"]) == ("ray", 1)
    assert [process for process in psutil.process_iter() if environment_of(process).get("MARK") == mark] == []


def is_begun(folder):
    """Whether a layer is finished, and others are not."""
    progress = folder / "progress.jsonl"
    return progress.exists() and progress.read_bytes().count(b"\n") > 1


def environment_of(process):
    with suppress(psutil.Error, OSError):  # of others, or gone
        return process.environ()
    return {}
