"""Work that fits into the memory there is, and what is said of layers that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError
from spectra.diagnose.layer import batches
from spectra.diagnose.memory_need import remedy_of
from spectra.diagnose.within_memory import check_that_all_fit, split_to_fit, too_large
from tests.diagnose.peaks import planned


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=12), st.integers(0, 10**9))
def test_batches_are_taken_apart_only_where_they_do_not_fit(shapes, spare):
    plan = planned({f"l{number}": shape for number, shape in enumerate(shapes)})
    budget = max(plan.need([job]) for job in plan.jobs) + spare
    whole = batches(plan.jobs)
    fitting = split_to_fit(whole, plan.need, budget)
    assert all(plan.need(batch) <= budget for batch in fitting)
    assert [job.matrix_name for batch in fitting for job in batch] == [job.matrix_name for batch in whole for job in batch]
    assert split_to_fit(whole, plan.need, None) == whole
    assert too_large(plan.jobs, plan.need, budget) == []


def test_a_batch_that_does_not_fit_becomes_single_layers():
    plan = planned({f"l{number}": (100, 400_000) for number in range(3)})
    (batch,) = batches(plan.jobs)
    assert plan.need(batch) > plan.need(batch[:1])
    assert split_to_fit([batch], plan.need, plan.need(batch[:1])) == [[job] for job in batch]


def test_layers_that_never_fit_are_named_with_what_they_need_and_what_helps():
    plan = planned({"small": (50, 40), "large": (3000, 4000), "larger": (4000, 5000)})
    with pytest.raises(InputError) as caught:
        check_that_all_fit(plan.jobs, plan.need, 10**8, remedy=remedy_of(plan.settings))
    assert str(caught.value) == (
        "2 layers may need more memory than the 100.0 MB there are: 'larger' (732.0 MB), 'large' (444.0 MB). Allow more with "
        "--max-memory, leave them out with --exclude or --max-evals 2999, or choose --precision float32, which needs less."
    )


def test_of_many_layers_that_never_fit_the_largest_are_named():
    plan = planned({f"l{number}": (2000, 2000) for number in range(7)})
    with pytest.raises(InputError, match=r"^7 layers .* and 2 more\. Allow"):
        check_that_all_fit(plan.jobs, plan.need, 10**7)


def test_where_float32_is_no_remedy_it_is_not_said():
    plan = planned({"a": (300, 400)}, precision="float32")
    with pytest.raises(InputError) as caught:
        check_that_all_fit(plan.jobs, plan.need, 10**6, remedy=remedy_of(plan.settings))
    assert str(caught.value).endswith("Allow more with --max-memory, or leave them out with --exclude or --max-evals 299.")
