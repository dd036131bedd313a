import torch
from torch import nn

from spectra.training.meta_peft.outlines import around, filled, outline
from tests.dcs_runs import bert, gpt2


class Counting(nn.Module):
    """A parameter, a buffer, and one that is in no state dict."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]), requires_grad=False)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("scale", torch.tensor([5.0]), persistent=False)


class TestOutline:
    def test_has_the_shapes_and_dtypes_and_no_numbers(self):
        model = bert()

        empty = outline(model)

        assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
        assert {key: (tensor.shape, tensor.dtype) for key, tensor in empty.state_dict().items()} == {
            key: (tensor.shape, tensor.dtype) for key, tensor in model.state_dict().items()
        }
        assert all(parameter.device.type == "cpu" for parameter in model.parameters())

    def test_keeps_the_buffers_that_no_state_dict_has(self):
        assert outline(Counting()).scale == 5


class TestFilled:
    def test_is_the_model_again(self):
        model = Counting()

        again = filled(outline(model), model.state_dict())

        assert again.weight.tolist() == [1, 2]
        assert again.count == 3
        assert again.scale == 5
        assert not again.weight.requires_grad

    def test_shares_nothing_with_the_tensors_it_is_made_of(self):
        model = Counting()

        again = filled(outline(model), model.state_dict())
        again.weight += 1
        again.count += 1

        assert model.weight.tolist() == [1, 2]
        assert model.count == 3

    def test_tied_weights_stay_tied(self):
        model = gpt2()

        again = filled(outline(model), model.state_dict())

        assert again.lm_head.weight is again.transformer.wte.weight
        ids = torch.arange(8)[None]
        assert torch.equal(again.eval()(ids).logits, model.eval()(ids).logits)

    def test_a_module_without_tensors_is_copied(self):
        assert isinstance(filled(outline(nn.ReLU()), {}), nn.ReLU)


def test_around_live_parameters_what_changes_there_changes_here():
    model = Counting()

    view = around(outline(model), model.state_dict(keep_vars=True))
    model.weight += 1

    assert view.weight is model.weight
    assert view is not model
