"""How many matrices of equal smaller side make one call of the eigensolver."""

from __future__ import annotations

from spectra.esd.accelerator import CPU

# NumPy's gufunc loop (ufunc_object.c) keeps the interpreter lock up to this problem size, which for a stack of k matrices
# with n rows is k * n. Two matrices of n = 384 on two threads took 9.9 ms one by one, as long as on one thread.
_ROWS_THAT_HOLD_THE_LOCK = 500

# cuSOLVER solves stacks in one kernel only for small matrices, of some hundred rows at most; larger ones it takes one by one.
_LARGEST_IN_STACKS = 512

# Our choice, not measured on a GPU: 32 matrices of 512 rows keep one busy, and a model still gives several stacks, so that the
# rows of the next one are read and the last one is fitted meanwhile.
_ROWS_OF_A_STACK = 2**14
_ELEMENTS_OF_A_STACK = 2**27  # weights of one stack, some of which stay on the host until it is solved: 256 MiB of bfloat16

# A Gram matrix, its place in the stack, and the solver's copy and workspace; of the free memory a quarter, as three threads
# work on a device and what a training run there needs is not ours.
_COPIES = 4
_SHARE_OF_FREE_MEMORY = 0.25
_FREE_WHERE_UNKNOWN = 2**31


def stack_size(small: int) -> int:
    """Return how many matrices of a smaller side NumPy solves in one call.

    Args:
        small: The smaller side.

    Returns:
        One for sides above 500, and as many as exceed 500 rows in all below.
    """
    return 1 if small > _ROWS_THAT_HOLD_THE_LOCK else _ROWS_THAT_HOLD_THE_LOCK // max(small, 1) + 1


def stack_size_on(device: str, shape: tuple[int, int], precision: str) -> int:
    """Return how many matrices of one shape a device solves in one call.

    Args:
        device: ``"cpu"`` (NumPy) or a device of torch's.
        shape: Of each matrix.
        precision: ``"float64"`` or ``"float32"``.

    Returns:
        For ``"cpu"`` :func:`stack_size`. For other devices one where the smaller side is above 512; below, as many as there is
        memory for, 2**14 rows in all at most.
    """
    small, large = sorted(shape)
    if device == CPU:
        return stack_size(small)
    if small > _LARGEST_IN_STACKS:
        return 1
    bytes_each = _COPIES * max(small, 1) ** 2 * (8 if precision == "float64" else 4)
    in_memory = int(_SHARE_OF_FREE_MEMORY * free_memory(device)) // bytes_each
    return max(1, min(in_memory, _ROWS_OF_A_STACK // max(small, 1), _ELEMENTS_OF_A_STACK // max(small * large, 1)))


def free_memory(device: str) -> int:
    """Return how many bytes of a device this process could still take.

    Args:
        device: Of torch's.

    Returns:
        What the driver says is free and what torch holds without using it; 2 GiB where neither can be asked.
    """
    import torch

    module = torch.get_device_module(torch.device(device))
    if not hasattr(module, "mem_get_info"):
        return _FREE_WHERE_UNKNOWN
    free, _ = module.mem_get_info(device)
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))
