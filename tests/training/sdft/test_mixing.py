import hashlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.training.sdft.mixing import mixed_in

IDS = [f"{number:032x}" for number in range(2000)]
RATIOS = st.floats(0.0, 1.0)


def chosen(ratio, seed=0):
    return {row_id for row_id in IDS if mixed_in(row_id, ratio, seed)}


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=10), RATIOS, RATIOS, st.integers(0, 2**40))
def test_what_a_share_takes_a_larger_share_takes_too(row_id, one, other, seed):
    if mixed_in(row_id, min(one, other), seed):
        assert mixed_in(row_id, max(one, other), seed)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=10), st.integers(0, 2**40))
def test_none_are_taken_at_zero_and_all_at_one(row_id, seed):
    assert not mixed_in(row_id, 0.0, seed)
    assert mixed_in(row_id, 1.0, seed)
    assert mixed_in(row_id, 1, seed)


@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_share_is_kept(ratio, seed):
    # Four standard deviations of a binomial count: hashes are as good as independent.
    assert abs(len(chosen(ratio, seed)) - ratio * len(IDS)) < 4.0 * math.sqrt(len(IDS) * ratio * (1.0 - ratio))


def test_another_seed_takes_others():
    # Independent sets of half of all share a quarter of all; four standard deviations of that count.
    shared = len(chosen(0.5, 0) & chosen(0.5, 1))
    assert abs(shared - len(IDS) / 4) < 4.0 * math.sqrt(len(IDS) * 0.25 * 0.75)


def test_a_hash_decides_so_that_every_machine_takes_the_same():
    for row_id in IDS[:200]:
        digest = hashlib.sha256(json.dumps(["mixing", 7, row_id]).encode()).hexdigest()
        assert mixed_in(row_id, 0.3, 7) == (int(digest[:16], 16) // 2 < 0.3 * 2**63)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, math.nan, math.inf])
def test_shares_outside_of_zero_and_one_are_refused(ratio):
    with pytest.raises(InputError, match="mix_ratio is .*: pass the share of samples .* from 0 to 1"):
        mixed_in(IDS[0], ratio, 0)
