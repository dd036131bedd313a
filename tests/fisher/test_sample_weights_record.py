"""The record of weights of samples, runs that go on with them, and where they are refused."""

import json

import pytest
import torch
from torch import nn

import spectra
from spectra.errors import InputError
from spectra.fisher.estimate import fisher
from spectra.fisher.mean_loss import mean_loss
from spectra.fisher.spectrum import fisher_spectrum
from spectra.fisher.surface import loss_surface
from tests.fisher.by_hand import random_fisher
from tests.fisher.uses import Custom
from tests.fisher.weighted import NUM_SAMPLES, WEIGHTS, assert_same_numbers, classifier, cut, data, own_loss, weighted

route = pytest.mark.parametrize("route", ["auto", "loop"])


def test_the_record_says_of_which_samples_weights_were_used(tmp_path):
    model, batch = classifier(), data()
    found, plain = fisher(model, [weighted(batch)]), fisher(model, [batch])
    note = f"squared gradients are multiplied by 'sample_weight' (5 samples of data {found.info.data[:8]})"
    assert found.info.notes == (note,)
    assert plain.info.notes == ()
    found.save(tmp_path / "fisher.safetensors")
    assert note in json.loads((tmp_path / "fisher.json").read_text())["info"]["notes"]
    assert fisher_spectrum(model, [weighted(batch)]).info.notes == (note,)
    assert fisher_spectrum(model, [batch]).info.notes == ()


def test_a_merged_record_tells_the_weighted_samples_from_the_others():
    model = classifier()
    one, two = cut(weighted(data(10), torch.ones(10)), 5)
    weighty, others = (fisher(model, [one]), fisher(model, [two])), fisher(model, [data(3)])
    merged = spectra.merge_fishers(*weighty, others)
    assert merged.info.num_samples == 13
    assert merged.info.notes == (*weighty[0].info.notes, *weighty[1].info.notes)
    assert len(merged.info.notes) == 2


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        pytest.param(
            torch.ones(4), r"has shape \(4,\) in a batch of 5 samples: pass a tensor of shape \(5,\), one w", id="short"
        ),
        pytest.param(torch.ones(1), r"has shape \(1,\) in a batch of 5 samples", id="one for all"),
        pytest.param(torch.ones(()), r"has shape \(\) in a batch of 5 samples", id="scalar"),
        pytest.param(torch.ones(5, 1), r"has shape \(5, 1\) in a batch of 5 samples", id="column"),
        pytest.param([1.0] * 5, "has type list in a batch of 5 samples: pass a tensor", id="list"),
        pytest.param(None, "has type NoneType in a batch of 5 samples: pass a tensor", id="none"),
        pytest.param(torch.tensor([1, 1, torch.nan, 1, 1]), "sample 2 of the batch has the weight nan: pass finite", id="nan"),
        pytest.param(torch.tensor([1, 1, 1, torch.inf, 1]), "sample 3 of the batch has the weight inf", id="infinite"),
        pytest.param(
            torch.tensor([1, 1, 1, 1, 1e39], dtype=torch.float64), r"sample 4 of the batch has the weight 1e\+39", id="huge"
        ),
        pytest.param(
            torch.tensor([1, -0.5, 1, 1, 1]), "weight -0.5: pass finite weights from 0 on as 'sample_w", id="negative"
        ),
    ],
)
@route
def test_weights_that_cannot_be_used_are_refused(weights, message, route):
    for measure in (fisher, fisher_spectrum):
        with pytest.raises(InputError, match=message):
            measure(classifier(), [weighted(data(), weights)], route=route)


def test_the_order_of_the_keys_does_not_matter():
    batch = {"sample_weight": torch.ones(4), **data()}
    with pytest.raises(InputError, match=r"has shape \(4,\) in a batch of 5 samples"):
        fisher_spectrum(classifier(), [batch], loss=own_loss)


@pytest.mark.parametrize(
    ("first", "message"), [(True, "has no 'sample_weight', those before"), (False, "has a 'sample_weight'")]
)
def test_weights_of_some_batches_only_are_refused(first, message):
    batches = [weighted(data()), data()]
    with pytest.raises(InputError, match=message) as caught:
        fisher(classifier(), batches if first else batches[::-1])
    assert "give it to all batches, 1 where a sample has no weight of its own, or to none" in str(caught.value)
    assert caught.value.__notes__ == ["in batch 1, counted from 0"]


@route
def test_a_class_that_the_model_excludes_is_told_also_where_its_weight_is_zero(route):
    model = Custom(lambda m, x: m.head(x).index_fill(1, torch.tensor([1]), -torch.inf), head=nn.Linear(4, 3)).double()
    with pytest.raises(InputError, match="the model excludes the label 1"):
        fisher(model, [weighted(data(), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]))], route=route)


def pair(model, batch):
    return fisher(model, [({"x": batch["x"], "sample_weight": WEIGHTS}, batch["labels"])])


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(pair, id="in a pair"),
        pytest.param(lambda model, batch: mean_loss(model, [weighted(batch)], "classification"), id="mean loss"),
        pytest.param(lambda model, batch: loss_surface(model, [weighted(batch)], random_fisher(model)), id="surface"),
    ],
)
def test_where_weights_have_no_meaning_they_are_refused(use):
    message = "a 'sample_weight' that cannot be used here. Leave it out; spectra.fisher and spectra.fisher_spectrum take it"
    with pytest.raises(InputError, match=message):
        use(classifier(), data())


def unfinished(path, batches):
    """Leave the state of the first batches: it is saved where the data fail."""

    def failing():
        yield from batches
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fisher(classifier(), failing(), state=path)


def test_a_run_that_was_stopped_goes_on_with_its_weights(tmp_path):
    batches, path = cut(weighted(data()), 2), tmp_path / "state.safetensors"
    unfinished(path, batches[:2])
    found, whole = fisher(classifier(), batches, state=path), fisher(classifier(), batches)
    assert_same_numbers(found, whole)
    assert found.info == whole.info
    assert "sample_weight" in found.info.notes[0]


@pytest.mark.parametrize("began_with_weights", [True, False])
def test_a_run_with_weights_and_one_without_do_not_go_on_from_each_other(tmp_path, began_with_weights):
    plain, with_ones = cut(data(), 2), cut(weighted(data(), torch.ones(NUM_SAMPLES)), 2)
    begun, other = (with_ones, plain) if began_with_weights else (plain, with_ones)
    unfinished(tmp_path / "state.safetensors", begun[:2])
    with pytest.raises(InputError, match="the first 2 batches are not those of the unfinished run"):
        fisher(classifier(), other, state=tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="give it to all batches"):
        fisher(classifier(), [*begun[:2], other[2]], state=tmp_path / "state.safetensors")
