import pytest

from spectra.training.recipe import parse_recipe
from spectra.training.recipe.diagnostics_part import DiagnosticsPart
from spectra.training.recipe.options import PartError

RECIPE = "{model: demo, data: {train: a.txt}, output: runs/a}"


def test_diagnostics_may_take_a_twentieth_of_the_time_unless_more_is_granted():
    assert parse_recipe(RECIPE).diagnostics.budget == 0.05
    assert parse_recipe(RECIPE, ["diagnostics.budget=0.2"]).diagnostics.budget == 0.2


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, "much", True, None])
def test_a_budget_that_cannot_be_is_refused(budget):
    with pytest.raises(PartError) as caught:
        DiagnosticsPart.of({"budget": budget})
    (fault,) = caught.value.faults
    assert fault.key == ("budget",)
    assert fault.sentence.startswith(f"expected a share of the time in (0, 1], got {budget!r}.")


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ([], 1),
        (["diagnostics.spectra=none"], 1),
        (["tempbalance=recommended"], 2),
        (["tempbalance=recommended", "alphadecay=alphadecay"], 3),
        (["tempbalance=recommended", "diagnostics.spectra=none"], 1),
    ],
)
def test_what_takes_time_shares_the_budget(changes, number):
    assert parse_recipe(RECIPE, changes).diagnostics.budget_of_each == pytest.approx(0.05 / number)
