import dataclasses
import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra import InputError
from spectra.results.fisher import Fisher
from spectra.results.fisher_merge import merge_fishers
from tests.fishers import SITES, fisher_of, info_of, squared_gradients


def parts(squares, cut, keep="values"):
    first = {name: values[:cut] for name, values in squares.items()}
    second = {name: values[cut:] for name, values in squares.items()}
    return fisher_of(first, keep, data="aa"), fisher_of(second, keep, data="bb")


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), num_samples=st.integers(2, 9), data=st.data())
@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
def test_merged_parts_equal_one_run_over_all_samples(keep, seed, num_samples, data):
    squares = squared_gradients(num_samples, seed)
    whole = fisher_of(squares, keep)
    merged = merge_fishers(*parts(squares, data.draw(st.integers(1, num_samples - 1)), keep))
    for ours, expected in zip(merged.tensors, whole.tensors, strict=True):
        # sums of under a thousand float64 of one sign, and the roots of their variances
        assert ours.trace == pytest.approx(expected.trace, rel=1e-12)
        assert ours.trace_std_error == pytest.approx(expected.trace_std_error, rel=1e-9)
        assert ours.relative == pytest.approx(expected.relative, rel=1e-12, nan_ok=True)
    for name in ("values", "row_sums", "col_sums"):
        ours, expected = getattr(merged, name), getattr(whole, name)
        assert list(ours) == list(expected)
        for key in expected:
            assert ours[key].shape == expected[key].shape
            assert ours[key].dtype == expected[key].dtype
            np.testing.assert_allclose(ours[key], expected[key], rtol=1e-6)  # float32, a few roundings
    assert merged.info.num_samples == num_samples
    assert merged.info.num_tokens == whole.info.num_tokens
    assert merged.info.num_skipped == 2


def test_the_standard_error_of_two_single_samples_is_half_their_distance():
    first, second = parts(squared_gradients(2), 1)
    assert math.isnan(first.tensors[0].trace_std_error)
    merged = merge_fishers(first, second)
    assert merged.tensors[0].trace_std_error == pytest.approx(abs(first.tensors[0].trace - second.tensors[0].trace) / 2)


def test_a_part_without_samples_changes_nothing_even_if_its_averages_are_nan():
    full = fisher_of(squared_gradients(3))
    nothing = dataclasses.replace(
        full,
        info=info_of(0, num_skipped=4),
        tensors=tuple(
            dataclasses.replace(t, trace=math.nan, trace_std_error=math.nan, relative=math.nan) for t in full.tensors
        ),
        values={name: np.full_like(values, np.nan) for name, values in full.values.items()},
    )
    for merged in (merge_fishers(full, nothing), merge_fishers(nothing, full)):
        assert [t.trace for t in merged.tensors] == [t.trace for t in full.tensors]
        std_errors = [t.trace_std_error for t in full.tensors]
        assert [t.trace_std_error for t in merged.tensors] == pytest.approx(std_errors, rel=1e-14)  # a square and its root
        np.testing.assert_array_equal(merged.values["scale"], full.values["scale"])
        assert merged.info.num_skipped == 5


def test_one_sample_and_none_have_no_standard_error():
    full = fisher_of(squared_gradients(1))
    merged = merge_fishers(full, dataclasses.replace(full, info=info_of(0)))
    assert math.isnan(merged.tensors[0].trace_std_error)


def test_two_fishers_without_samples_are_refused():
    nothing = Fisher(info_of(0), ())
    with pytest.raises(InputError, match="neither Fisher has a sample: there is nothing to merge. Measure at least one"):
        merge_fishers(nothing, nothing)


def test_where_it_comes_from_is_merged_too():
    first = fisher_of(squared_gradients(), data="aa", seed=3, notes=("one", "both"))
    second = fisher_of(squared_gradients(seed=1), data="bb", seed=4, notes=("both", "two"))
    second = dataclasses.replace(second, tensors=(dataclasses.replace(second.tensors[0], route="loop"), *second.tensors[1:]))
    merged = merge_fishers(first, second)
    assert merged.info.data == hashlib.sha256(b"aa\nbb").hexdigest()
    assert merged.info.data != merge_fishers(second, first).info.data
    assert merged.info.notes == ("one", "both", "two", "merged from seeds 3 and 4")
    assert [t.route for t in merged.tensors[:2]] == ["mixed", "batched"]
    assert merged.sites == SITES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "sampled"), ("reduction", "token"), ("keep", "traces"), ("aggregate", "trace"), ("task", "masked-lm"),
        ("num_draws", 2), ("model", "other"), ("dtype", "bfloat16"),
    ],
)  # fmt: skip
def test_other_settings_are_refused_by_name(name, value):
    first = fisher_of(squared_gradients())
    second = dataclasses.replace(first, info=dataclasses.replace(first.info, **{name: value}))
    with pytest.raises(
        InputError, match=rf"two Fishers that differ in {name}: '[\w-]+' and '{value}'. Measure both in the same way"
    ):
        merge_fishers(first, second)


def test_other_parameters_shapes_and_sites_are_refused_by_name():
    first = fisher_of(squared_gradients())
    with pytest.raises(InputError, match="differ in a parameter's name: 'embed.weight' and 'block.fc.weight'"):
        merge_fishers(first, dataclasses.replace(first, tensors=first.tensors[1:]))
    with pytest.raises(InputError, match="differ in the number of parameters: '6' and '5'"):
        merge_fishers(first, dataclasses.replace(first, tensors=first.tensors[:-1]))
    turned = (dataclasses.replace(first.tensors[0], shape=(4, 7)), *first.tensors[1:])
    with pytest.raises(InputError, match=r"differ in the shape of 'embed.weight': '\(7, 4\)' and '\(4, 7\)'"):
        merge_fishers(first, dataclasses.replace(first, tensors=turned))
    with pytest.raises(InputError, match="differ in the dropout sites"):
        merge_fishers(first, dataclasses.replace(first, sites=()))


def test_more_than_two_are_merged_in_turn():
    squares = squared_gradients(6)
    thirds = [
        fisher_of({name: values[start : start + 2] for name, values in squares.items()}, data=word)
        for start, word in ((0, "aa"), (2, "bb"), (4, "cc"))
    ]
    merged, whole = merge_fishers(*thirds), fisher_of(squares)
    assert merged.info.num_samples == 6
    assert [t.trace for t in merged.tensors] == pytest.approx([t.trace for t in whole.tensors], rel=1e-12)  # float64 sums


def test_the_same_data_do_not_count_twice():
    first = fisher_of(squared_gradients())
    with pytest.raises(InputError, match="both Fishers are of the same data, which would count twice"):
        merge_fishers(first, first)


def test_the_same_data_do_not_count_twice_among_more_than_two():
    first, second = (fisher_of(squared_gradients(seed=seed), data=word) for seed, word in ((0, "aa"), (1, "bb")))
    with pytest.raises(InputError, match="^Fishers 1 and 3 of 3 are of the same data, which would count twice"):
        merge_fishers(first, second, first)
    with pytest.raises(InputError, match="^Fishers 2 and 3 of 3 are of the same data"):
        merge_fishers(first, second, second)
