import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from spectra.diagnose.layer import batches
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.shards import divided, part_of
from spectra.results.shards import Shard
from spectra.sources import open_source
from tests.models import heavy_tailed

COSTS = st.lists(st.integers(0, 10**6).map(float), max_size=40)
COUNTS = st.integers(1, 12)


def loads_of(costs, count):
    shares = divided(costs, count)
    return [sum(cost for cost, share in zip(costs, shares, strict=True) if share == index) for index in range(count)]


@given(COSTS, COUNTS)
def test_every_piece_is_in_one_share_and_no_share_is_far_above_the_others(costs, count):
    shares = divided(costs, count)
    assert len(shares) == len(costs)
    assert set(shares) <= set(range(count))
    loads = loads_of(costs, count)
    assert sum(loads) == sum(costs)
    # Whoever ends last began its last piece when nobody had less: Graham 1966, of every list schedule.
    assert max(loads) <= sum(costs) / count + (1 - 1 / count) * max(costs, default=0.0) + 1e-6
    assert max(loads) - min(loads) <= max(costs, default=0.0)


@given(st.lists(st.integers(1, 50).map(float), min_size=1, max_size=7), st.integers(1, 3))
def test_the_largest_share_is_at_most_four_thirds_of_the_best_possible(costs, count):
    def largest(shares):
        return max(sum(cost for cost, share in zip(costs, shares, strict=True) if share == index) for index in range(count))

    best = min(largest(shares) for shares in itertools.product(range(count), repeat=len(costs)))
    assert max(loads_of(costs, count)) <= (4 / 3 - 1 / (3 * count)) * best + 1e-9


@given(COSTS, COUNTS, st.randoms())
def test_the_shares_do_not_depend_on_the_order_of_the_work(costs, count, random):
    shuffled = random.sample(costs, len(costs))
    assert sorted(loads_of(costs, count)) == sorted(loads_of(shuffled, count))


@pytest.fixture(scope="module")
def plan():
    sides = [30, 30, 200, 30, 64, 30, 500, 64, 30, 30, 30, 64, 600, 30]
    weights = {f"{place}.weight": heavy_tailed(side + 5, side, seed=place) for place, side in enumerate(sides)}
    return plan_analysis(open_source(weights), resolve_settings("default"))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_every_layer_is_in_one_shard_in_model_order_with_those_it_is_decomposed_with(plan, count):
    parts = [part_of(plan, Shard(index, count)) for index in range(count)]
    names = [[job.matrix_name for job in part.jobs] for part in parts]
    order = {job.matrix_name: place for place, job in enumerate(plan.jobs)}
    assert sorted(itertools.chain(*names)) == sorted(order)
    assert all(list(part) == sorted(part, key=order.__getitem__) for part in names)
    for batch in batches(plan.jobs):
        together = {job.matrix_name for job in batch}
        assert sum(bool(together & set(part)) for part in names) == 1
    assert all(part.is_part and part.settings == plan.settings and part.skipped == plan.skipped for part in parts)
