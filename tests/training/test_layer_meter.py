"""Layers of a model in training, measured again and again: always the numbers of the analysis."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError
from spectra.training.layer_meter import LayerMeter
from tests.adapters import adapted
from tests.models import bert, gpt2
from tests.training.metered import Net, analyzed, table, train

FLOAT64 = resolve_settings("default", xmin="median")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an older name

PROFILES = {"default": {}, "tempbalance": {"profile": "tempbalance"}}


def meter(model, settings=FLOAT64, **options):
    return LayerMeter(model, settings, **options)


def resolved(profile="default", **options):
    return resolve_settings(profile, **options)


@pytest.mark.parametrize("make", [Net, bert, gpt2])
@pytest.mark.parametrize("options", PROFILES.values(), ids=PROFILES)
def test_rows_are_those_of_the_analysis(make, options):
    model = make()
    assert table(meter(model, resolved(**options)).measure()) == analyzed(model, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"subsample": "farms", "windows_per_side": 2},
        {"randomize": True, "mp_fit": True},
        {"vectors": True},
        {"split_fused": "none", "method": "svd"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_setting_of_the_analysis_counts(options):
    model = Net()
    assert table(meter(model, resolved(**options)).measure()) == analyzed(model, **options)


def test_it_sees_weights_as_they_are_now():
    model = Net()
    ours = meter(model)
    for change in (
        train,
        lambda model: model.load_state_dict(Net(seed=1).state_dict()),
        lambda model: setattr(model.square, "weight", nn.Parameter(torch.randn(33, 33))),
        lambda model: model.to(torch.bfloat16),
        lambda model: prune.l1_unstructured(model.square, "weight", 0.5),
        lambda model: parametrizations.weight_norm(model.inputs),
    ):
        change(model)
        assert table(ours.measure()) == analyzed(model, xmin="median")


def test_some_layers_come_in_model_order():
    model = Net()
    ours = meter(model)
    rows = ours.measure(["square", "blocks.1.gate_up_proj"])
    assert [row.matrix_name for row in rows] == ["blocks.1.gate_up_proj.gate", "blocks.1.gate_up_proj.up", "square"]
    assert table(rows) == [row for row in table(ours.measure()) if row["layer_name"] in ("square", "blocks.1.gate_up_proj")]
    assert ours.measure([]) == ()


def test_layers_and_costs_are_known_before_measuring():
    ours = meter(Net())
    assert ours.layers == (
        *("inputs", "blocks.0.gate_up_proj", "blocks.0.down", "blocks.1.gate_up_proj", "blocks.1.down", "conv", "square"),
    )
    assert ours.costs["square"] == pytest.approx((1 + 4 / 3) * 33**3)  # the product, and the tridiagonal form
    assert ours.costs["blocks.0.gate_up_proj"] == pytest.approx(2 * (33 * 21**2 + 4 / 3 * 21**3))
    known = ours.rows_before_reading
    assert [row.matrix_name for row in known] == [row.matrix_name for row in ours.measure()]
    assert all(math.isnan(row.alpha) for row in known)


def test_an_unknown_layer_is_refused():
    ours = meter(Net())
    for call in (ours.measure, ours.snapshot, ours.change):
        with pytest.raises(InputError, match=r"no layer 'sqare' is measured\. Did you mean 'square'\?"):
            call(["sqare"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_a_status(bad):
    model = Net()
    ours = meter(model)
    model.square.weight.data[3, 4] = bad
    model.inputs.weight.data.zero_()
    status = {row.layer_name: row.status for row in ours.measure()}
    assert (status["square"], status["inputs"], status["conv"]) == ("nonfinite", "zero", "ok")


def test_wrappers_leave_names_alone():
    plain = Net()
    expected = table(meter(plain).measure())
    assert table(meter(nn.DataParallel(copy.deepcopy(plain))).measure()) == expected
    assert table(meter(torch.compile(copy.deepcopy(plain), backend="eager")).measure()) == expected


def test_adapters_count_with_the_weights_they_make():
    model = adapted(bert, target_modules=["query", "value"], modules_to_save=["pooler"])
    ours = meter(model, resolved(xmin="median", lora="merged"))
    assert "encoder.layer.0.attention.self.query" in ours.layers
    before = table(ours.measure())
    assert before == analyzed(model, xmin="median", lora="merged")
    for change in (model.merge_adapter, model.unmerge_adapter, model.disable_adapter_layers, model.enable_adapter_layers):
        change()
        assert table(ours.measure()) == analyzed(model, xmin="median", lora="merged")
    assert ours.measure()[0].alpha == pytest.approx(before[0]["alpha"], rel=1e-5)  # float32: merged and taken out again


def test_a_model_without_adapters_has_nothing_to_merge():
    assert table(meter(Net(), resolved(lora="merged")).measure()) == analyzed(Net())


@pytest.mark.parametrize("lora", ["merged", "delta"])
def test_a_snapshot_stays_as_it_was(lora):
    model = adapted(gpt2, target_modules=["c_attn"], fan_in_fan_out=True)
    model.base_model.model.transformer.h[0].mlp.c_fc.weight.data[0, 0] = math.nan
    ours = meter(model, resolved(lora=lora))
    expected = ours.measure()
    snapshot = ours.snapshot()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0).add_(1.0)
    with ThreadPoolExecutor(1) as thread:
        assert table(thread.submit(snapshot.measure).result()) == table(expected)
    assert table(ours.measure()) != table(expected)


def test_a_snapshot_holds_only_what_was_asked_for():
    snapshot = meter(Net()).snapshot(["conv"])
    assert [row.layer_name for row in snapshot.measure()] == ["conv"]


def test_a_model_without_numbers_has_statuses():
    with torch.device("meta"):
        model = Net()
    ours = meter(model)
    assert {row.status for row in ours.measure()} == {"meta"}
    assert {row.status for row in ours.snapshot().measure()} == {"meta"}
    assert set(ours.change(ours.layers).values()) == {math.inf}


def test_the_change_is_that_of_the_rows():
    model = Net()
    ours = meter(model)
    assert set(ours.change(ours.layers).values()) == {math.inf}
    ours.measure()
    assert set(ours.change(ours.layers).values()) == {0.0}
    with torch.no_grad():
        model.square.weight *= 1.01
        model.conv.weight.neg_()
        model.blocks[0].down.weight[0, 0] = math.nan
    change = ours.change(["square", "conv", "blocks.0.down", "inputs"])
    assert list(change) == ["inputs", "blocks.0.down", "conv", "square"]
    assert change == pytest.approx({"inputs": 0.0, "blocks.0.down": math.inf, "conv": 2.0, "square": 0.01}, rel=1e-4)
    ours.measure(["square"])
    assert ours.change(["square", "conv"]) == pytest.approx({"conv": 2.0, "square": 0.0})
    ours.snapshot(["conv"])
    assert ours.change(["conv"]) == {"conv": 0.0}


def test_sixteen_rows_estimate_the_change_of_all():
    model = nn.Sequential(nn.Linear(64, 400, bias=False))
    ours = meter(model)
    ours.measure()
    before = model[0].weight.detach().clone()
    torch.manual_seed(0)
    model[0].weight.data += 0.01 * torch.randn_like(before)
    true = float((model[0].weight.detach() - before).norm() / before.norm())
    # Each of the norms is over 16 * 64 independent numbers: relative standard error 1 / sqrt(2 * 1024), about 2 %.
    assert ours.change(["0"])["0"] == pytest.approx(true, rel=0.1)


def test_the_change_of_an_adapted_layer_is_that_of_its_weight():
    model = adapted(bert, target_modules=["query"])
    ours = meter(model, resolved(lora="merged"))
    ours.measure()
    layer = model.base_model.model.encoder.layer[0].attention.self.query
    rows = torch.linspace(0, 63, 16).long()
    with torch.no_grad():
        before = (layer.get_delta_weight("default") + layer.base_layer.weight)[rows]
        layer.lora_B["default"].weight *= 1.5
        after = (layer.get_delta_weight("default") + layer.base_layer.weight)[rows]
    change = ours.change(ours.layers)
    expected = float((after - before).norm() / before.norm())
    assert change.pop("encoder.layer.0.attention.self.query") == pytest.approx(expected, rel=1e-5)
    assert set(change.values()) == {0.0}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_host(precision):
    model = bert()
    settings = resolved(xmin="median", precision=precision)
    expected = meter(model, settings).measure()
    ours = meter(model.cuda(), settings)
    for mine, theirs in zip(ours.measure(), expected, strict=True):
        assert (mine.matrix_name, mine.status) == (theirs.matrix_name, theirs.status)
        assert mine.alpha == pytest.approx(theirs.alpha, rel=1e-4, nan_ok=True)  # float32 products in another order
    assert table(ours.snapshot().measure()) == table(expected)
