"""What an estimate says of itself, what it tells on its way, and what it refuses."""

from collections import namedtuple

import pytest
import torch
from torch import nn

import spectra
from spectra import InputError
from spectra.fisher.batches import num_samples_of
from spectra.fisher.estimate import FisherProgress, fisher, unwrapped
from spectra.results.fisher_store import load_fisher
from tests.fisher.models import CASES, NUM_SAMPLES, in_batches


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def pair(size=4):
    return torch.randn(size, 5, generator=torch.Generator().manual_seed(1)), torch.arange(size) % 3


def test_the_package_is_the_function():
    assert spectra.fisher(classifier(), [pair()]).info == fisher(classifier(), [pair()]).info


def test_an_estimate_says_which_fisher_it_is():
    case = CASES["bert, sdpa"]()
    info = fisher(
        case.model, case.batches(3), kind="sampled", reduction="sequence_sum", num_draws=2, seed=7, keep="traces"
    ).info
    assert (info.kind, info.reduction, info.keep, info.aggregate) == ("sampled", "sequence_sum", "traces", "param_mean")
    assert (info.task, info.num_draws, info.seed) == ("masked-lm", 2, 7)
    assert (info.num_samples, info.num_skipped) == (NUM_SAMPLES, 0)
    assert info.num_tokens == int((case.batch["labels"] != -100).sum())
    assert (info.model, info.dtype, info.version) == ("BertForMaskedLM", "float32", spectra.__version__)
    assert info.num_params == sum(parameter.numel() for parameter in case.model.parameters())


def test_a_model_is_called_by_the_last_part_of_where_it_comes_from():
    case = CASES["bert, sdpa"]()
    case.model.config._name_or_path = "somebody/bert-tiny/"
    assert fisher(case.model, case.batches()).info.model == "bert-tiny"


def test_dropout_sites_are_part_of_the_record():
    case = CASES["bert, sdpa"]()
    estimate = fisher(case.model, case.batches())
    assert [site.role for site in estimate.sites].count("attention_probs") == 2
    assert set(estimate.scores("site")) == {site.name for site in estimate.sites}


def test_the_fingerprint_is_of_the_data_in_its_order_and_batches():
    one, two = pair(), (pair()[0] + 1, pair()[1])
    found = [fisher(classifier(), batches).info.data for batches in ([one, two], [one, two], [two, one], [one], [one, one])]
    assert found[0] == found[1]
    assert len(set(found)) == 4
    assert all(len(digest) == 64 for digest in found)


def test_an_estimate_survives_its_file(tmp_path):
    case = CASES["gpt2, sdpa"]()
    estimate = fisher(case.model, case.batches(3), aggregate="mean_of_means")
    estimate.save(tmp_path / "fisher.safetensors")
    loaded = load_fisher(tmp_path / "fisher.safetensors")
    assert loaded.info == estimate.info
    assert loaded.tensors == estimate.tensors
    assert all((loaded.values[name] == values).all() for name, values in estimate.values.items())


def test_values_have_the_shapes_and_order_of_the_parameters():
    case = CASES["gpt2, sdpa"]()
    estimate = fisher(case.model, case.batches(3))
    shapes = {name: tuple(parameter.shape) for name, parameter in case.model.named_parameters()}
    assert {name: values.shape for name, values in estimate.values.items()} == shapes
    assert {tensor.name: tensor.shape for tensor in estimate.tensors} == shapes
    assert [tensor.name for tensor in estimate.tensors] == list(shapes)
    (fused,) = (tensor for tensor in estimate.tensors if tensor.name == "transformer.h.0.attn.c_attn.weight")
    assert fused.transposed
    assert estimate.row_sums[fused.name].shape == (48,)  # output neurons, though it is stored as (in, out)


def test_progress_is_told_after_every_batch():
    case, seen = CASES["bert, sdpa"](), []
    fisher(case.model, case.batches(2), progress=seen.append)
    assert seen == [FisherProgress(2, 1, 3), FisherProgress(4, 2, 3), FisherProgress(5, 3, 3)]


def test_batches_may_be_named_tuples():
    named = namedtuple("Batch", "inputs targets")
    assert fisher(classifier(), [named(*pair())]).tensors == fisher(classifier(), [pair()]).tensors


def test_batches_without_a_length_have_no_total():
    seen = []
    fisher(classifier(), (one for one in [pair(), pair()]), progress=seen.append)
    assert seen == [FisherProgress(4, 1, None), FisherProgress(8, 2, None)]


def test_names_are_those_of_the_module_inside():
    model = classifier()
    assert unwrapped(nn.DataParallel(nn.DataParallel(model))) is model
    assert fisher(nn.DataParallel(model), [pair()]).tensors == fisher(model, [pair()]).tensors


@pytest.mark.slow  # importing the compiler takes seconds, and uses deprecated parts of torch
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_of_a_compiled_model_the_original_is_measured():
    model = classifier()
    compiled = torch.compile(model)
    assert unwrapped(compiled) is model
    assert fisher(compiled, [pair()]).tensors == fisher(model, [pair()]).tensors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "empircal"}, r"unknown kind 'empircal'\. Did you mean 'empirical'\? Known: empirical, sampled, exact"),
        ({"reduction": "mean"}, r"unknown reduction 'mean'\..* Known: token_mean, sequence_sum, token"),
        ({"keep": "value"}, r"unknown keep 'value'\. Did you mean 'values'\? Known: values, neurons, traces"),
        ({"aggregate": "sum"}, r"unknown aggregate 'sum'\..* Known: param_mean, mean_of_means, trace"),
        ({"route": "batch"}, r"unknown route 'batch'\..* Known: auto, loop"),
        ({"task": "regresion"}, r"unknown task 'regresion'\. Did you mean 'regression'\?"),
        (
            {"aggregate": "relative", "keep": "traces"},
            r"aggregate='relative' needs every value: pass keep='values', not 'traces'",
        ),
        ({"kind": "sampled", "num_draws": 0}, r"num_draws is 0: pass a whole number, 1 or more"),
        ({"kind": "sampled", "num_draws": 1.5}, r"num_draws is 1\.5: pass a whole number, 1 or more"),
        ({"seed": 1.5}, r"seed is 1\.5: pass a whole number of at most 64 bits, such as 0"),
        ({"seed": None}, r"seed is None: pass a whole number"),
        ({"seed": 2**64}, r"seed is 18446744073709551616: pass a whole number of at most 64 bits"),
        ({"kind": "sampled", "reduction": "token"}, r"Use reduction='sequence_sum'"),
        ({"include": "*.nothing"}, r"no parameter matches '\*\.nothing'"),
        ({"exclude": "*"}, r"no parameter is left to measure"),
        ({"loss": lambda model, batch: model(batch[0]).sum()}, r"the loss function returned shape \(\) for a batch of 4"),
        ({"loss": lambda model, batch: model(batch[0]).sum(1).detach()}, r"no gradient reaches any of the 4 parameters"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, dict) else "",
)
def test_arguments_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        fisher(classifier(), [pair()], **settings)


def changed(**changes):
    """A batch of a masked language model, with some of it replaced."""
    batch = dict(CASES["bert, sdpa"]().batch)
    return {key: value for key, value in {**batch, **changes}.items() if value is not None}


def wrong_label():
    labels = CASES["bert, sdpa"]().batch["labels"].clone()
    labels[2, 1] = 1000
    return labels


@pytest.mark.parametrize("route", ["auto", "loop"])
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (list, r"there are no batches: pass at least one"),
        (lambda: [changed(labels=None)], r"the batch has no target for the task 'masked-lm': mask some tokens"),
        (lambda: [changed(labels=torch.full((5, 8), -100))], r"no sample of 5 has a target: every label is -100"),
        (
            lambda: [changed(labels=wrong_label())],
            r"sample 2 of the batch has the label 1000, but the model has classes in \[0, 20\)",
        ),
        (lambda: [["no tensors"]], r"a batch of type list holds no tensor"),
        (
            lambda: list(in_batches({"input_ids": torch.ones(0, 8)}, 1)) or [{"input_ids": torch.ones(0, 8)}],
            r"a batch holds no sample",
        ),
    ],
    ids=["none", "no labels", "no target", "no class", "no tensor", "no sample"],
)
def test_data_that_cannot_be_used_is_refused(batches, message, route):
    with pytest.raises(InputError, match=message):
        fisher(CASES["bert, sdpa"]().model, batches(), route=route)


@pytest.mark.parametrize("route", ["auto", "loop"])
def test_outputs_that_are_not_finite_are_refused(route):
    model = classifier()
    x, y = pair()
    x[2] = float("nan")
    with pytest.raises(InputError, match=r"sample 2 of the batch: its logits are not finite"):
        fisher(model, [(x, y)], route=route)


@pytest.mark.parametrize("route", ["auto", "loop"])
def test_gradients_that_are_not_finite_are_refused(route):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.head(x).abs().sqrt()  # at 0 the root has no derivative

    model = Root()
    x, y = pair()
    nn.init.zeros_(model.head.bias)
    x[2] = 0.0
    with pytest.raises(
        InputError, match=r"the gradient of 'head\.weight' is not finite for sample 2 of the batch\. Check the weights"
    ):
        fisher(model, [(x, y)], route=route)


def test_a_loss_that_works_for_some_batches_only_is_refused():
    def loss(model, batch):
        losses = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return losses if len(losses) == 4 else losses.sum()

    with pytest.raises(InputError, match=r"the loss function returned shape \(\) for a batch of 3"):
        fisher(classifier(), [pair()], loss=loss)


def test_samples_are_counted_by_the_labels_or_else_by_the_inputs():
    assert num_samples_of({"position_ids": torch.zeros(1, 7), "labels": torch.zeros(3)}) == 3
    assert num_samples_of({"position_ids": torch.zeros(1, 7), "input_ids": torch.zeros(4, 7)}) == 4
    assert num_samples_of({"scale": torch.tensor(2.0), "anything": torch.zeros(5, 2)}) == 5
    assert num_samples_of((torch.zeros(9, 6, 2), torch.zeros(6))) == 6
    assert num_samples_of(({"x": torch.zeros(2, 4)}, torch.zeros(2))) == 2


def test_what_is_no_model_is_refused():
    with pytest.raises(InputError, match=r"the model is a NoneType: pass a torch\.nn\.Module"):
        fisher(None, [pair()])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ({"input_ids": torch.ones(2, 3)}, r"batches is a single batch: pass a list of batches, \[batch\]"),
        (None, "batches is a NoneType: pass a list of batches"),
    ],
)
def test_what_is_no_list_of_batches_is_refused(batches, message):
    with pytest.raises(InputError, match=message):
        fisher(classifier(), batches)


def test_weights_that_are_not_finite_are_named():
    model = classifier()
    name, weight = next(iter(model.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = float("nan")
    with pytest.raises(InputError, match=rf"weight '{name}' is not finite: it holds NaN"):
        fisher(model, [pair()])


def test_inference_mode_is_refused():
    model, batch = classifier(), pair()
    with torch.inference_mode(), pytest.raises(InputError, match=r"no gradients inside torch\.inference_mode"):
        fisher(model, [batch])


def test_an_error_of_the_model_says_in_which_batch():
    x, y = pair()
    with pytest.raises(RuntimeError) as caught:
        fisher(classifier(), [(x, y), (x[:, :-1], y)])
    assert caught.value.__notes__ == ["in batch 1, counted from 0"]
