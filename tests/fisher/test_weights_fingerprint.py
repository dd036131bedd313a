import pytest
import torch
from torch import nn

from spectra.fisher.weights_fingerprint import weights_fingerprint


def test_weights_are_told_from_others_in_whatever_precision_they_are():
    torch.manual_seed(0)
    weights = [torch.randn(3, 5), nn.Parameter(torch.randn(2)), torch.tensor(1.0)]
    same = weights_fingerprint(weights)
    assert same == weights_fingerprint(tensor.detach().clone() for tensor in weights)
    assert same != weights_fingerprint(weights[::-1])
    assert same != weights_fingerprint([weights[0] + 1e-6, *weights[1:]])
    assert weights_fingerprint(tensor.bfloat16() for tensor in weights) != same
    assert weights_fingerprint([]) == ""


def test_a_large_tensor_costs_about_a_thousand_entries():
    weight = torch.zeros(1000, 1000)
    before = weights_fingerprint([weight])
    weight.view(-1)[::1000] = 1.0
    after = weights_fingerprint([weight])
    assert after != before
    weight.view(-1)[1::1000] = 1.0  # between those that are read
    assert weights_fingerprint([weight]) == after


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_rows_of_a_compressed_matrix_are_told_apart():
    matrix = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    assert weights_fingerprint([matrix.to_sparse_csr()]) == weights_fingerprint([matrix.to_sparse()])
    assert weights_fingerprint([matrix.to_sparse_csr()]) != weights_fingerprint([matrix.flip(0).to_sparse_csr()])


def test_buffers_of_every_form_are_told_apart():
    dense = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    forms = {"complex": lambda t: torch.complex(t, t.T), "coo": torch.Tensor.to_sparse, "meta": lambda t: t[:1].to("meta")}
    forms |= {"bool": torch.Tensor.bool, "integer": torch.Tensor.long, "none": lambda t: t[:0]}
    hashes = {name: weights_fingerprint([form(dense)]) for name, form in forms.items()}
    for name, form in forms.items():
        assert weights_fingerprint([form(dense.clone())]) == hashes[name]
        if name not in ("none", "meta"):
            assert weights_fingerprint([form(dense.flip(0))]) != hashes[name]
