"""Processes forked from a server that has imported what tests need: imports take longer than what is done in them."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# The server lives as long as the worker of pytest, and the first test that forks starts it: one list for all of them.
PRELOAD = [
    "tests.killing",
    "tests.training.recipe.small_runs",
    "matplotlib.pyplot",
    "peft",
    "sklearn.metrics",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
    "spectra.training.dcs.trainer",
    "spectra.training.meta_peft.trainer",
    "spectra.training.recipe.checking.checks",
    "spectra.training.recipe.run.session",
    "tests.frozen",  # last: garbage collections leave out what was imported
]


class Ended(NamedTuple):
    """How a process ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def server() -> ForkServerContext:
    """Return the context whose processes begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def run_python(program: Path | str, *arguments: object, folder: Path | None = None) -> Ended:
    """Run a script or a text, as ``python SCRIPT`` or ``python -c TEXT`` does, in an empty folder or the given one."""
    with tempfile.TemporaryDirectory() as away:
        streams = [Path(away, name) for name in ("stdout", "stderr")]
        (Path(away) / "here").mkdir()
        where = folder or Path(away) / "here"
        child = server().Process(target=_as_main, args=(program, [*map(str, arguments)], where, streams))
        child.start()
        child.join()
        code = child.exitcode
        child.close()
        assert code is not None
        return Ended(code, *(stream.read_text(encoding="utf-8") for stream in streams))


def asked_of_weightwatcher(program: Path | str, *arguments: object) -> list[str]:
    """Return the lines that a program prints, which may import WeightWatcher: it changes warning filters and logging."""
    done = run_python(program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def launched(work: Callable[..., None], *arguments: Any, size: int = 2) -> None:
    """Run ``work(rank, *arguments)`` in processes that know of each other as those that torchrun has started.

    A process that fails or is killed takes the others with it, and raises here what torch says of it.
    """
    from torch.multiprocessing import start_processes

    server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(_with_ranks, (work, arguments, port, size), nprocs=size, start_method="forkserver")


def in_group(work: Callable[..., None], *arguments: Any, folder: Path, size: int = 2) -> None:
    """Run ``work(rank, *arguments)`` in each process of a gloo group, which meets at a file in the folder."""
    from torch import distributed

    if not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    launched(_of_group, work, arguments, str(folder / "meeting"), size, size=size)


def found_by_group(work: Callable[..., Any], folder: Path) -> list[Any]:
    """Return what ``work(folder / "two")`` returns in each of two processes of a group."""
    import torch

    in_group(_kept, work, folder, folder=folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _as_main(program: Path | str, arguments: list[str], folder: Path, streams: list[Path]) -> None:
    import matplotlib as mpl

    for number, stream in enumerate(streams, 1):
        with stream.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    mpl.use("Agg")
    if isinstance(program, Path):
        sys.argv = [str(program), *arguments]
        runpy.run_path(str(program), run_name="__main__")
    else:
        sys.argv = ["-c", *arguments]
        exec(compile(program, "-c", "exec"), {"__name__": "__main__"})


def _with_ranks(rank: int, work: Callable[..., None], arguments: tuple[Any, ...], port: int, size: int) -> None:
    import torch

    torch.set_num_threads(1)
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "OMP_NUM_THREADS": 1}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in (ranks | meeting).items()})
    work(rank, *arguments)


def _of_group(rank: int, work: Callable[..., None], arguments: tuple[Any, ...], meeting: str, size: int) -> None:
    from torch import distributed

    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(seconds=300)
    )
    work(rank, *arguments)
    distributed.destroy_process_group()


def _kept(rank: int, work: Callable[..., Any], folder: Path) -> None:
    import torch

    torch.save(work(folder / "two"), folder / f"{rank}.pt")
