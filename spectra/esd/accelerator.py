"""The two steps of the Gram route on a device of torch's: the product and the symmetric eigensolver.

Each worker thread copies and multiplies on a stream of its own, so that the rows of one matrix travel while another one is
solved; the solver itself takes one call at a time, as its workspace is what fills the memory. Other devices than CUDA's have
no streams here, and do the same one after the other.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError

if TYPE_CHECKING:
    import torch

    Solver = Callable[[torch.Tensor], torch.Tensor]

CPU = "cpu"

# Blocks of one matrix that wait in page-locked memory: one travels while one is multiplied.
_BLOCKS_AHEAD = 2

# How torch, CUDA and the libraries under them say that memory ran out, where it is no torch.OutOfMemoryError.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")

_OF_THREAD = threading.local()


def check_device(device: str) -> str:
    """Check that torch can compute on a device.

    Args:
        device: ``"cpu"`` (NumPy, without torch) or a device of torch's, such as ``"cuda"`` or ``"cuda:1"``.

    Returns:
        The same name.

    Raises:
        InputError: Not a device, or one that is not there.
    """
    if device == CPU:
        return device
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: cannot compute on '{device}' ({reason}). Use 'cpu', or a device that is there.") from None
    return device


def check_solver(device: str, precision: str) -> None:
    """Check that a device which is there has the eigensolver, in this arithmetic.

    Args:
        device: As :func:`check_device` takes it.
        precision: ``"float64"`` or ``"float32"``.

    Raises:
        InputError: It has not: Apple's devices know no float64.
    """
    if device == CPU:
        return
    import torch

    try:
        torch.linalg.eigvalsh(torch.eye(2, dtype=getattr(torch, precision)).to(device))
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        other = ", or precision 'float32'" if precision == "float64" else ""
        raise InputError(f"device: '{device}' has no eigenvalues in {precision} ({reason}). Use 'cpu'{other}.") from None


@contextmanager
def own_stream(device: str) -> Iterator[None]:
    """Let this thread's work on a device run beside that of other threads.

    Everything from the copy to the solver goes to one stream, so nothing within it has to wait for another; memory that it
    frees is used again by the same stream.

    Args:
        device: Where to compute; without effect for other devices than CUDA's.

    Yields:
        Nothing. Results must be on the host before the end.
    """
    import torch

    where = torch.device(device)
    if where.type != "cuda":
        yield
        return
    streams: dict[str, torch.cuda.Stream] = _OF_THREAD.__dict__.setdefault("streams", {})
    if device not in streams:  # kept: memory that one stream freed is no other's
        streams[device] = torch.cuda.Stream(where)  # type: ignore[no-untyped-call]
    streams[device].wait_stream(torch.cuda.current_stream(where))  # a live weight may still be written to
    with torch.cuda.stream(streams[device]):
        yield


def gram_product(blocks: Iterable[Any], device: str, precision: str) -> Any:
    """Add up the Gram matrices of blocks of rows.

    Args:
        blocks: At least one, of shape ``(rows, n)``: NumPy arrays or torch tensors of any floating-point dtype. They travel as
            they are.
        device: Where to compute.
        precision: Arithmetic of the product, ``"float64"`` or ``"float32"``.

    Returns:
        A torch tensor of shape ``(n, n)`` in that precision, on the device.
    """
    import torch

    working = getattr(torch, precision)
    exact = torch.float64 if shortens_float32() else working  # the user's choice, and 10 bits: alpha would lose three digits
    gram: torch.Tensor | None = None
    for stored in _transferred(blocks, device):
        rows = stored.to(exact)
        gram = rows.T @ rows if gram is None else gram.addmm_(rows.T, rows)
    assert gram is not None
    return gram.to(working)


def _transferred(blocks: Iterable[Any], device: str) -> Iterator[torch.Tensor]:
    """Copy blocks to a device, the next ones while it is busy with the last."""
    import torch

    where = torch.device(device)
    travelling: deque[torch.cuda.Event] = deque()
    for block in blocks:
        rows = block.detach() if isinstance(block, torch.Tensor) else _tensor_of(block)
        if where.type != "cuda" or rows.is_cuda:
            yield rows.to(where)
            continue
        if len(travelling) == _BLOCKS_AHEAD:  # the host reads faster than a product takes, and would fill its memory
            travelling.popleft().synchronize()
        # torch keeps page-locked memory until the copy has left it, and then for the next one.
        yield rows.contiguous().pin_memory().to(where, non_blocking=True)
        travelling.append(torch.cuda.current_stream(where).record_event())


def _tensor_of(block: NDArray[Any]) -> torch.Tensor:
    import torch

    array = block if block.dtype in (np.float16, np.float32, np.float64) else block.astype(np.float64)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def shortens_float32() -> bool:
    """Tell whether torch's matrix products of float32 numbers on CUDA may keep fewer bits.

    Returns:
        The user's choice, whichever of torch's settings it was made by.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    # torch 2.9's setting; once somebody has used it, reading the older one raises.
    chosen = getattr(matmul, "fp32_precision", None)
    return bool(matmul.allow_tf32) if chosen is None else chosen not in ("ieee", "none")


def symmetric_eigenvalues(grams: Sequence[Any], device: str, solver: Solver | None = None) -> list[NDArray[np.float64]]:
    """Solve for the eigenvalues of symmetric matrices of equal size, in their own arithmetic.

    Args:
        grams: Torch tensors on the device, shape ``(n, n)`` each, of one dtype.
        device: Where they are. It solves for one caller at a time.
        solver: From a stack of shape ``(k, n, n)`` to its eigenvalues, shape ``(k, n)``, ascending. Default:
            ``torch.linalg.eigvalsh``.

    Returns:
        Shape ``(n,)`` each, ascending, float64, on the host.
    """
    import torch

    if not grams:
        return []
    with _turn(device):
        values = (solver or torch.linalg.eigvalsh)(torch.stack(list(grams)) if len(grams) > 1 else grams[0][None])
        return list(values.double().cpu().numpy())


@functools.cache
def _turn(device: str) -> threading.Lock:
    """The one lock of a device in this process."""
    return threading.Lock()


def refusal(error: object, device: str) -> str:
    """Say why a device could not do what another route can.

    Args:
        error: What was raised, or anything else.
        device: Where.

    Returns:
        That memory ran out or the solver did not converge, in words; empty for everything else.
    """
    if not isinstance(error, RuntimeError):
        return ""
    import torch

    if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return f"too little memory on {device}"
    linalg: Any = torch.linalg  # its error is documented, and not exported for checkers of types
    return f"no convergence on {device}" if isinstance(error, linalg.LinAlgError) else ""
