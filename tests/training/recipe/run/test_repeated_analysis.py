import dataclasses
import math

import numpy as np
import pytest
import torch

import spectra
from spectra.training.libraries import quiet
from spectra.training.recipe.run.repeated_analysis import analyzed
from tests.dcs_runs import bert


def adapted():
    from peft import LoraConfig, get_peft_model

    model = bert(hidden_size=24)
    torch.manual_seed(1)
    with quiet():
        return get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))


def train_a_little(model):
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))


def rows(report):
    """Fields of all layers; NaN is equal to NaN here."""
    return [
        {
            name: "nan" if isinstance(value, float) and math.isnan(value) else value
            for name, value in dataclasses.asdict(row).items()
        }
        for row in report.layers
    ]


def test_a_trained_model_is_analysed_as_always():
    model = bert()
    assert rows(analyzed(model).report) == rows(spectra.analyze(model))


def test_an_adapter_is_analysed_with_its_base():
    model = adapted()
    train_a_little(model)
    assert rows(analyzed(model).report) == rows(spectra.analyze(model, lora="merged"))


@pytest.mark.parametrize("make", [adapted, lambda: frozen(bert(hidden_size=24))], ids=["adapter", "frozen"])
def test_a_second_analysis_equals_one_from_scratch(make):
    model = make()
    first = analyzed(model)
    train_a_little(model)
    second, scratch = analyzed(model, earlier=first).report, analyzed(model).report
    assert rows(second) == rows(scratch)
    assert second.summary == scratch.summary
    assert (second.model, second.skipped, second.settings) == (scratch.model, scratch.skipped, scratch.settings)
    assert second.spectra.keys() == scratch.spectra.keys()
    for name in scratch.spectra:
        np.testing.assert_array_equal(second.spectra[name], scratch.spectra[name])


def frozen(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("encoder" not in name)
    return model


def test_what_has_not_changed_keeps_its_row():
    model = adapted()
    first = analyzed(model)
    train_a_little(model)
    second = analyzed(model, earlier=first)
    before, after = ({row.matrix_name: row for row in one.report.layers} for one in (first, second))
    changed = [name for name in after if after[name] is not before[name]]
    assert changed == ["bert.encoder.layer.0.attention.self.query", "classifier"]


def test_a_frozen_weight_that_was_changed_all_the_same_is_seen():
    model = frozen(bert(hidden_size=24))
    first = analyzed(model)
    model.bert.encoder.layer[0].output.dense.weight.data[3, 4] += 0.5
    second = analyzed(model, earlier=first)
    assert rows(second.report) == rows(spectra.analyze(model)) != rows(first.report)


def test_a_model_that_has_not_changed_keeps_its_report():
    model = adapted()
    first = analyzed(model)
    assert analyzed(model, earlier=first).report is first.report


def test_weights_that_cannot_be_read_are_tried_again():
    model = frozen(bert(hidden_size=24))
    model.bert.encoder.layer[0].output.dense.to("meta")
    first = analyzed(model)
    train_a_little(model.classifier)
    assert rows(analyzed(model, earlier=first).report) == rows(spectra.analyze(model))
