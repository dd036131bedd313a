import itertools

import pytest

from spectra.training.recipe.run.spent import Spent


def test_time_is_counted_by_what_it_was_spent_on_also_where_that_fails():
    spent = Spent(clock=itertools.count().__next__)
    with spent.on("training"):
        pass
    with pytest.raises(ValueError, match="no"), spent.on("training"):
        raise ValueError("no")
    spent.add({"fisher": 2.5, "training": 1.0})
    assert spent.seconds == {"training": 3.0, "fisher": 2.5}
