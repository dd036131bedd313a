import numpy as np
import pytest
import torch

from spectra.sources.torch_tensor import dtype_name, row_reader, storage_key


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [(torch.float16, "float32"), (torch.bfloat16, "float32"), (torch.float32, "float32"), (torch.float64, "float64")],
    ids=str,
)
def test_rows_are_widened_without_loss(dtype, wide):
    torch.manual_seed(0)
    tensor = torch.randn(9, 5, dtype=torch.float64).to(dtype)
    rows = row_reader(lambda: tensor)(2, 7)
    assert (rows.dtype, rows.shape) == (np.dtype(wide), (5, 5))
    np.testing.assert_array_equal(rows.astype(np.float64), tensor[2:7].double().numpy())


@pytest.mark.parametrize(
    "view",
    [lambda t: t.T, lambda t: t[::2], lambda t: t[:, 1::3], lambda t: t[:1].expand(4, -1)],
    ids=["transposed", "every second row", "some columns", "expanded"],
)
def test_views_are_read_in_their_own_order(view):
    tensor = view(torch.arange(48.0).reshape(6, 8).requires_grad_())
    rows = row_reader(lambda: tensor)(1, 3)
    np.testing.assert_array_equal(rows, tensor[1:3].detach().numpy())
    assert rows.flags.c_contiguous


def test_a_tensor_is_fetched_anew_for_every_block():
    calls = []

    def get():
        calls.append(1)
        return torch.zeros(4, 2)

    read = row_reader(get)
    assert len(calls) == 0
    read(0, 2)
    read(2, 4)
    assert len(calls) == 2


def test_dtypes_have_torchs_names():
    assert [dtype_name(torch.zeros(1, dtype=d)) for d in (torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.int8)] == [
        "bfloat16",
        "float8_e4m3fn",
        "bool",
        "int8",
    ]


def test_the_storage_key_is_equal_for_the_same_numbers_in_the_same_place_only():
    tensor = torch.arange(16.0).reshape(4, 4)
    assert storage_key(tensor) == storage_key(tensor.detach()) == storage_key(tensor[:])
    others = [tensor.clone(), tensor.T, tensor[:2], tensor[1:], tensor.reshape(2, 8), tensor.view(torch.int32)]
    assert storage_key(tensor) not in [storage_key(other) for other in others]


def test_what_has_no_storage_has_no_key():
    assert storage_key(torch.empty(3, 3, device="meta")) is None
    assert storage_key(torch.empty(0, 3)) is None
