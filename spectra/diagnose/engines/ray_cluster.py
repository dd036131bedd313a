"""The Ray cluster that does the work: one that is there already, or one of this machine's for as long as it is needed."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any

from spectra.errors import EngineError, InputError, MissingPackageError

_ADDRESS = re.compile(r"auto|(ray://)?[^\s/:]+:\d+|ray://\[[^\s/]+\]:\d+|\[[^\s/]+\]:\d+")
# Rows and spectra pass through it and are taken out at once; Ray would set aside a third of the memory.
_OBJECT_STORE_BYTES = 128 * 2**20
_SECONDS_TO_ANSWER = 10.0  # our choice


@contextmanager
def connected(address: str | None, *, workers: int, gpus: bool) -> Iterator[bool]:
    """Be connected to a cluster within the block.

    Args:
        address: ``"auto"`` for the cluster this machine belongs to (or that ``RAY_ADDRESS`` names), ``"HOST:PORT"``, or
            ``"ray://HOST:PORT"`` through Ray's client. ``None``: the cluster this process is connected to already, which is
            left as it is; else a new one of this machine, stopped at the end.
        workers: CPUs of a new one.
        gpus: Whether a new one offers the GPUs of this machine.

    Yields:
        Whether this process stays connected after the block.

    Raises:
        InputError: An address beside a connection that exists already.
        EngineError: Nothing answers there.
    """
    ray = imported()
    if ray.is_initialized():
        if address is not None:
            raise InputError(f"this process is connected to a Ray cluster already. Leave out the address '{address}'.")
        yield True
        return
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "num_cpus": workers, "object_store_memory": _OBJECT_STORE_BYTES}
        options |= {"include_dashboard": False} | ({} if gpus else {"num_gpus": 0})
    with _own_sigterm() as keep_sigterm:
        _connect(ray, options)
        keep_sigterm()
        try:
            yield False
        finally:
            ray.shutdown()


def check_address(address: str | None) -> None:
    """Refuse what is no address of a cluster, before anything is read.

    Args:
        address: As :func:`connected` takes it.

    Raises:
        InputError: It has another form.
        MissingPackageError: Ray is not installed, or its client, which an address ``ray://`` needs.
    """
    imported()
    if address is not None and not _ADDRESS.fullmatch(address):
        raise InputError(f"address: expected 'auto', 'HOST:PORT' or 'ray://HOST:PORT', got {address!r}.")
    if address is not None and address.startswith("ray://") and find_spec("grpc") is None:
        raise MissingPackageError(
            "an address 'ray://...' needs Ray's client: pip install \"ray[client]\"; or give 'HOST:PORT'."
        )


def num_cpus() -> int:
    """Return how many CPUs the connected cluster has now."""
    return int(imported().cluster_resources().get("CPU", 0))


def imported() -> ModuleType:
    """Return the package.

    Returns:
        ``ray``.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError("engine 'ray' needs Ray: pip install \"spectra-nn[ray]\"") from error
    return ray


def _connect(ray: ModuleType, options: dict[str, Any]) -> None:
    where = "on this machine" if options["address"] == "local" else f"at '{options['address']}'"
    try:
        _knock(options["address"])
        # What Ray tells of itself is no answer of ours; what fails is raised.
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(
            f"no Ray cluster {where}: {reason}. Check that 'ray status' answers there, or leave the address out for one of "
            "this machine alone."
        ) from error


def _knock(address: str) -> None:
    """Raise an error of the network where nothing listens: Ray would try for more than five minutes (2.60)."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


@contextmanager
def _own_sigterm() -> Iterator[Callable[[], None]]:
    """Keep this process' answer to SIGTERM.

    Ray's own is an exit of Python's, with which a command would end as if it were done; and what a handler raises while
    Ray waits arrives as a KeyboardInterrupt.

    Yields:
        A function that puts the answer back in its place, once Ray has set its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = signal.getsignal(signal.SIGTERM)
    raised: list[BaseException] = []

    def answer(number: int, frame: FrameType | None) -> None:
        assert callable(before)  # else this is no handler
        try:
            before(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    def keep() -> None:
        signal.signal(signal.SIGTERM, answer if callable(before) else before)

    try:
        yield keep
    except KeyboardInterrupt as interrupt:
        raise (raised[-1] if raised else interrupt) from None
    finally:
        signal.signal(signal.SIGTERM, before)
