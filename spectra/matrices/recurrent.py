"""Recurrent layers of torch: ``weight_ih`` and ``weight_hh`` hold one matrix per gate, one below the other.

Source: the attributes of ``torch.nn.RNN``, ``torch.nn.LSTM`` ``(W_ii|W_if|W_ig|W_io)`` and ``torch.nn.GRU``
``(W_ir|W_iz|W_in)``, the same for their cells. The shapes tell the kinds apart, so that a file needs no configuration.
"""

from __future__ import annotations

import re

from spectra.errors import InputError
from spectra.matrices.context import ModelContext
from spectra.matrices.fused import Parts
from spectra.matrices.stripes import interleaved

_NAME = re.compile(r"(?:^|\.)weight_(?P<which>ih|hh|hr)(?:_l\d+(?:_reverse)?)?$")

GATES = {3: ("reset", "update", "new"), 4: ("input", "forget", "cell", "output")}


def is_recurrent(name: str) -> bool:
    """Tell a recurrent weight by its name."""
    return _NAME.search(name) is not None


def gates_of(name: str, shape: tuple[int, ...], context: ModelContext) -> Parts:
    """Divide the rows of a recurrent weight into its gates.

    Args:
        name: Full name of the parameter, such as ``rnn.weight_ih_l0``.
        shape: Its shape, two axes.
        context: The model; the layer's other weights tell the number of gates.

    Returns:
        The rows of each gate, by name; empty for a layer without gates, and for the projection ``weight_hr``.

    Raises:
        InputError: The layer's weights fit neither RNN, GRU nor LSTM.
    """
    match = _NAME.search(name)
    which = match["which"] if match else "hr"
    if which == "hr":
        return {}
    hidden = shape if which == "hh" else context.beside(name, "weight_ih", "weight_hh")
    if hidden is None or len(hidden) != 2 or hidden[0] != shape[0]:
        raise InputError(f"recurrent gates of shape {shape} without a 'weight_hh' of as many rows, which tells their number")
    # With a projection the hidden state is longer than the columns of weight_hh; only an LSTM has one.
    projection = context.beside(name, f"weight_{which}", "weight_hr")
    state = projection[1] if projection is not None and len(projection) == 2 else hidden[1]
    count, rest = divmod(shape[0], state) if state else (0, shape[0])
    if rest or count not in (0, 1, *GATES) or (projection is not None and count != 4):
        raise InputError(
            f"{shape[0]} rows are not the gates of a layer with {state} hidden units: 1 (RNN), 3 (GRU) or 4 (LSTM)"
        )
    return interleaved(1, [(gate, state) for gate in GATES.get(count, ())])
