"""A preview on the terminal: what stands in it, for which recipe, and in how many columns."""

import dataclasses
import io

import pytest

from spectra.report.preview_text import preview_text
from spectra.training.recipe.preview_record import (
    MemoryEstimate,
    PlannedBalance,
    PlannedDropout,
    PlannedGroups,
    PlannedUnit,
    Preview,
)

MEMORY = MemoryEstimate(weights=4_000_000, adapters=0, gradients=4_000_000, optimizer_state=8_000_000)
PLAIN = Preview(
    name="first",
    model="demo",
    method="plain",
    adapter="none",
    output="runs/first",
    num_train=300,
    num_eval=100,
    num_test=0,
    num_steps=57,
    steps_per_epoch=19,
    num_epochs=3,
    examples_per_step=16,
    num_parameters=1_000_000,
    num_trained=1_000_000,
    groups=(
        PlannedGroups(learning_rate=5e-5, weight_decay=0.1, num_groups=1, num_parameters=990_000),
        PlannedGroups(learning_rate=5e-5, weight_decay=0.0, num_groups=1, num_parameters=10_000),
    ),
    balances=(),
    dropout=(),
    adapter_ranks={},
    memory=MEMORY,
    first=(),
    files=(("model/", "the model"),),
    notes=(),
)
UNITS = tuple(
    PlannedUnit(name=f"encoder.layer.{number}", num_layers=6, score=3.0 + number / 10, multiplier=0.5 + number / 10)
    for number in range(12)
)
BALANCE = PlannedBalance(method="tempbalance", target="learning_rate", metric="alpha", first_step=0, units=UNITS)


def lines(preview, *, width=100, **options):
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(preview_text(preview, width=width, **options))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def changed(**changes):
    return dataclasses.replace(PLAIN, **changes)


def words(found):
    return [" ".join(line.split()) for line in found]


def test_the_first_lines_say_how_much_there_is_to_do():
    assert words(lines(PLAIN))[:7] == [
        "Would fine-tune 'demo', all weights; nothing is trained or written now",
        "",
        "examples 300 to train on, 100 to evaluate on",
        "steps 57 (3 epochs of 19), 16 examples each",
        "parameters 1,000,000; trained: all",
        "memory 16.0 MB without activations (weights 4.0 MB; gradients 4.0 MB; optimizer 8.0 MB)",
        "",
    ]


def test_a_part_that_is_trained_is_counted():
    assert "parameters 1,000,000; trained: 12,500 of them, 1.25%" in words(lines(changed(num_trained=12_500)))


def test_what_cannot_be_known_is_said():
    unknown = dataclasses.replace(MEMORY, optimizer_state=None)
    found = words(lines(changed(memory=unknown, notes=("the head is new", "texts are cut.")), width=120))
    assert any("memory at least 8.0 MB" in line and "optimizer unknown" in line for line in found)
    assert found[-3:] == [
        "Not known before: how long it takes, and the memory that activations need.",
        "Note: the head is new.",
        "Note: texts are cut.",
    ]


def test_groups_that_are_alike_have_a_row():
    assert "1 parameter group 5e-05 0.1 990,000" in words(lines(PLAIN))
    assert "1 parameter group 5e-05 0 10,000" in words(lines(PLAIN))


def test_multipliers_stand_with_the_rate_that_they_make():
    found = words(lines(changed(balances=(BALANCE,))))
    assert "Multipliers of the learning rate (tempbalance) to begin with:" in found
    assert "unit layers alpha multiplier learning rate" in found
    assert "encoder.layer.3 6 3.3 0.8 4e-05" in found


def test_decays_are_multiplied_where_there_are_some():
    decays = dataclasses.replace(BALANCE, method="alphadecay", target="weight_decay", units=UNITS[:1])
    assert "encoder.layer.0 6 3 0.5 0.05" in words(lines(changed(balances=(decays,))))


def test_multipliers_of_a_later_step_are_called_so():
    later = dataclasses.replace(BALANCE, first_step=1200)
    assert (
        "Multipliers of the learning rate (tempbalance), as they would be now; they are measured first at step 1,200:"
        in words(lines(changed(balances=(later,)), width=140))
    )


def test_a_unit_without_a_score_has_a_dash():
    unit = PlannedUnit(name="head", num_layers=1, score=None, multiplier=1.0)
    found = words(lines(changed(balances=(dataclasses.replace(BALANCE, units=(unit,)),))))
    assert "head 1 – 1 5e-05" in found


def test_of_many_rows_the_highest_and_the_lowest_are_shown():
    found = words(lines(changed(balances=(BALANCE,)), max_rows=5))
    start = found.index("unit layers alpha multiplier learning rate")
    assert [line.split()[0] for line in found[start + 1 : start + 6]] == [
        "encoder.layer.11", "encoder.layer.10", "…", "encoder.layer.1", "encoder.layer.0",
    ]  # fmt: skip
    assert found[start + 3] == "… 8 more"


def test_drop_probabilities_stand_beside_those_of_the_checkpoint():
    sites = (PlannedDropout(site="layer[0].dropout", before=0.1, drop_prob=0.03),)
    assert "layer[0].dropout 0.1 0.03" in words(lines(changed(dropout=sites)))


def test_ranks_that_are_alike_are_a_sentence_and_others_a_table():
    alike = {f"layer.{number}.{kind}": 8 for number in range(2) for kind in ("query", "value")}
    assert "Adapters of rank 8 at 4 modules (query, value)" in lines(changed(adapter="lora", adapter_ranks=alike))
    found = words(lines(changed(adapter="lora", adapter_ranks={**alike, "layer.0.query": 2})))
    assert "layer.0.query 2" in found
    assert "layer.1.value 8" in found


def test_many_kinds_of_modules_are_counted():
    alike = {f"layer.{kind}": 4 for kind in ("q", "k", "v", "o", "up", "down")}
    assert "Adapters of rank 4 at 6 modules (q, k, v, o, and 2 more)" in lines(changed(adapter="lora", adapter_ranks=alike))


@pytest.mark.parametrize(
    ("method", "adapter", "words_of_it"),
    [("dcs", "none", "by DCS, all weights"), ("sdft", "lora", "by SDFT, LoRA"), ("meta_peft", "lora", "by meta-PEFT, LoRA")],
)
def test_the_headline_names_method_and_adapter(method, adapter, words_of_it):
    assert words_of_it in lines(changed(method=method, adapter=adapter))[0]


def test_what_comes_first_and_what_is_written_are_listed():
    found = words(lines(changed(first=("the Fisher is measured",))))
    at = found.index("Before training:")
    assert found[at + 1] == "the Fisher is measured"
    at = found.index("Would write to 'runs/first':")
    assert found[at + 1] == "model/ the model"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_names_are_cut_so_that_numbers_stay(width):
    unit = PlannedUnit(name="model.layers.10.self_attention." * 4 + "query", num_layers=1, score=3.0, multiplier=1.25)
    found = lines(changed(balances=(dataclasses.replace(BALANCE, units=(unit,)),)), width=width)
    assert max(map(len, found)) <= width
    assert any(line.endswith("6.25e-05") for line in found)
