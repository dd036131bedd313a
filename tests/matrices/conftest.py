"""Tiny models run fastest on one thread: handing out a product of 32 x 32 takes longer than computing it."""

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
