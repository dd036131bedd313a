import numpy as np
import pytest
import torch

import spectra
from spectra import InputError, SourceError
from spectra.sources import open_source


def only(mapping):
    (stored,) = open_source(mapping).tensors
    return stored


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        (">f8", "float64"),
        (">f4", "float32"),
        ("<f8", "float64"),
    ],
)
def test_arrays_are_widened_without_loss(dtype, wide):
    array = np.random.default_rng(0).standard_normal((9, 5)).astype(dtype)
    rows = only({"a": array}).read(2, 7)
    assert rows.dtype == np.dtype(wide)
    np.testing.assert_array_equal(rows, array[2:7])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_tensors_are_widened_without_loss(dtype):
    torch.manual_seed(0)
    tensor = torch.randn(9, 5, dtype=torch.float64).to(dtype).requires_grad_()
    stored = only({"a": tensor})
    assert (stored.dtype, stored.shape) == (str(dtype).removeprefix("torch."), (9, 5))
    np.testing.assert_array_equal(stored.read(2, 7), tensor[2:7].detach().double().numpy())


def test_the_order_of_the_mapping_is_kept():
    names = ["z.weight", "a.weight", "m.10.weight", "m.9.weight"]
    source = open_source({name: np.zeros((3, 3)) + i for i, name in enumerate(names)})
    assert [tensor.name for tensor in source.tensors] == names
    assert source.format == "mapping"


def test_arrays_that_share_their_memory_are_tied():
    array = np.arange(16.0).reshape(4, 4)
    source = open_source(
        {"a": array, "same": array, "view": array[:], "copy": array.copy(), "turned": array.T, "part": array[:2]}
    )
    assert {t.name: t.tied_to for t in source.tensors} == {
        "a": None,
        "same": "a",
        "view": "a",
        "copy": None,
        "turned": None,
        "part": None,
    }


def test_tensors_that_share_their_storage_are_tied_under_the_names_without_prefix():
    tensor = torch.zeros(4, 4)
    source = open_source({"module.embed.weight": tensor, "module.head.weight": tensor, "module.other.weight": tensor.clone()})
    assert [(t.name, t.tied_to) for t in source.tensors] == [
        ("embed.weight", None),
        ("head.weight", "embed.weight"),
        ("other.weight", None),
    ]


def test_names_that_are_no_strings_are_written_as_such():
    array = np.random.default_rng(0).standard_normal((20, 20))
    assert [(t.name, t.tied_to) for t in open_source({0: array, 1: array.copy(), 2: array}).tensors] == [
        ("0", None),
        ("1", None),
        ("2", "0"),
    ]


def test_empty_arrays_are_never_tied():
    assert [t.tied_to for t in open_source({"a": np.zeros((0, 3)), "b": np.zeros((0, 3))}).tensors] == [None, None]
    assert [t.tied_to for t in open_source({"a": torch.zeros(0, 3), "b": torch.zeros(0, 3)}).tensors] == [None, None]


def test_a_meta_tensor_is_a_row_without_numbers():
    report = spectra.analyze({"a.weight": torch.empty(20, 20, device="meta"), "b.weight": torch.eye(20)})
    assert [row.status for row in report.layers] == ["meta", "no_tail"]
    assert report.summary.num_failed == 1


def test_a_sparse_tensor_is_skipped_with_a_reason():
    report = spectra.analyze({"a.weight": torch.eye(20).to_sparse(), "b.weight": torch.eye(20)})
    assert [tensor.name for tensor in report.skipped] == ["a.weight"]


def test_values_that_are_no_weights_are_refused_all_at_once():
    with pytest.raises(InputError, match=r"2 of 3 values are neither arrays nor tensors, 'epoch' \(int\) among them"):
        open_source({"a": np.zeros((2, 2)), "epoch": 3, "name": "x"})


def test_an_empty_mapping_has_nothing_to_analyse():
    with pytest.raises(SourceError, match="no weight to analyse among 0 tensors"):
        spectra.analyze({})
