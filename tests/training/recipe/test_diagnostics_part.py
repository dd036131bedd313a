import pytest

from spectra.training.recipe import parse_recipe
from spectra.training.recipe.diagnostics_part import DiagnosticsPart
from spectra.training.recipe.options import PartError

RECIPE = "{model: demo, data: {train: a.txt}, output: runs/a}"


def test_diagnostics_may_take_three_hundredths_of_the_time_unless_more_is_granted():
    assert parse_recipe(RECIPE).diagnostics.budget == 0.03
    assert parse_recipe(RECIPE, ["diagnostics.budget=0.2"]).diagnostics.budget == 0.2


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, "much", True, None])
def test_a_budget_that_cannot_be_is_refused(budget):
    with pytest.raises(PartError) as caught:
        DiagnosticsPart.of({"budget": budget})
    (fault,) = caught.value.faults
    assert fault.key == ("budget",)
    assert fault.sentence.startswith(f"expected a share of the time in (0, 1], got {budget!r}.")


@pytest.mark.parametrize(
    ("changes", "of_spectra", "of_each_balance"),
    [
        ([], 1, None),
        (["diagnostics.spectra=none"], None, None),
        (["tempbalance=recommended"], 1 / 2, 1 / 2),
        (["tempbalance=recommended", "alphadecay=alphadecay"], 1 / 2, 1 / 4),
        (["tempbalance=recommended", "diagnostics.spectra=none"], None, 1),
        (["tempbalance=recommended", "alphadecay=alphadecay", "diagnostics.spectra=none"], None, 1 / 2),
    ],
)
def test_what_takes_time_shares_the_budget(changes, of_spectra, of_each_balance):
    part = parse_recipe(RECIPE, changes).diagnostics
    if of_spectra is not None:
        assert part.budget_of_spectra == pytest.approx(0.03 * of_spectra)
    if of_each_balance is not None:
        assert part.budget_of_each_balance == pytest.approx(0.03 * of_each_balance)
