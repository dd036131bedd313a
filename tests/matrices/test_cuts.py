"""Reading by blocks gives what reading whole gives, and reads no more than it has to."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spectra.matrices import WeightMatrices
from spectra.matrices.cuts import Dense, Entries, Kernel
from spectra.matrices.stripes import Stripes
from spectra.sources.tensors import StoredTensor
from tests.strategies import layouts


def tensor_of(array, log=None, factors=None):
    def read(start, stop):
        if log is not None:
            log.append((start, stop))
        return array[start:stop]

    return StoredTensor("a.weight", array.shape, "float32", read, factors=factors)


def in_words(stripes):
    """The definition, index by index."""
    return [stripes.start + i * stripes.period + j for i in range(stripes.count) for j in range(stripes.width)]


@given(layouts())
@settings(deadline=None)
def test_parts_that_take_turns_are_all_indices_once(layout):
    parts, length = layout
    assert sorted(index for stripes in parts.values() for index in in_words(stripes)) == list(range(length))
    assert sum(stripes.length for stripes in parts.values()) == length


@given(layouts(), st.data())
@settings(deadline=None)
def test_intervals_slices_and_indices_say_the_same(layout, data):
    parts, length = layout
    stripes = parts[data.draw(st.sampled_from(sorted(parts)))]
    start = data.draw(st.integers(0, stripes.length))
    stop = data.draw(st.integers(start, stripes.length + 3))
    found = [index for first, past_last in stripes.intervals(start, stop) for index in range(first, past_last)]
    assert found == in_words(stripes)[start:stop]
    array = np.arange(3 * length).reshape(length, 3)
    np.testing.assert_array_equal(stripes.of(array, 0), array[in_words(stripes)])
    np.testing.assert_array_equal(stripes.of(array.T, 1), array.T[:, in_words(stripes)])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
@settings(deadline=None)
def test_blocks_of_a_part_are_its_indices_in_order(size, per_stripe, count, gap):
    stripes = Stripes(2, size * per_stripe, size * per_stripe + gap, count)
    blocks = [stripes.block(number, size) for number in range(per_stripe * count)]
    assert [index for block in blocks for index in in_words(block)] == in_words(stripes)


def blocks_of(read, num_rows, step):
    return np.concatenate([read(start, min(start + step, num_rows)) for start in range(0, num_rows, step)])


@given(layouts(), st.integers(1, 7), st.integers(0, 1), st.data())
@settings(deadline=None)
def test_blocks_of_a_dense_part_are_the_whole_part(layout, step, axis, data):
    parts, length = layout
    stripes = parts[data.draw(st.sampled_from(sorted(parts)))]
    array = np.random.default_rng(0).standard_normal((length, 4) if axis == 0 else (9, length)).astype(np.float32)
    cut = Dense(cols=stripes) if axis else Dense(rows=stripes)
    log = []
    (read,) = cut.readers(tensor_of(array, log))
    expected = np.take(array, in_words(stripes), axis=axis)
    np.testing.assert_array_equal(blocks_of(read, len(expected), step), expected)
    asked = [row for start, stop in log for row in range(start, stop)]
    assert asked == (in_words(stripes) if axis == 0 else list(range(9)))  # every row wanted, once, and no other


@given(layouts(), st.integers(1, 7), st.integers(0, 1), st.data())
@settings(deadline=None)
def test_blocks_of_an_entry_are_the_whole_part_and_the_entry_is_read_once(layout, step, axis, data):
    parts, length = layout
    stripes = parts[data.draw(st.sampled_from(sorted(parts)))]
    array = np.random.default_rng(0).standard_normal((3, length, 4) if axis == 0 else (3, 9, length)).astype(np.float32)
    cut = Entries(range(3), cols=stripes) if axis else Entries(range(3), rows=stripes)
    log = []
    for entry, read in enumerate(cut.readers(tensor_of(array, log))):
        expected = np.take(array[entry], in_words(stripes), axis=axis)
        np.testing.assert_array_equal(blocks_of(read, len(expected), step), expected)
        assert log == [(e, e + 1) for e in range(entry + 1)]


def test_packed_entries_are_read_by_their_rows():
    array, log = np.arange(24.0).reshape(12, 2), []
    readers = list(Entries(range(1, 3), height=4).readers(tensor_of(array, log)))
    assert log == []
    np.testing.assert_array_equal(readers[1](1, 3), array[9:11])
    assert log == [(8, 12)]


def test_all_of_a_dense_weight_is_read_as_the_tensor_is():
    tensor = tensor_of(np.eye(3))
    assert list(Dense().readers(tensor)) == [tensor.read]


def test_reading_no_rows_gives_an_array_of_the_right_width():
    (read,) = Dense(rows=Stripes(2, 3, 3)).readers(tensor_of(np.zeros((6, 5))))
    assert read(0, 0).shape == (0, 5)


@given(layouts(), st.integers(0, 1), st.data())
@settings(deadline=None)
def test_the_factors_of_a_part_multiply_to_the_part(layout, axis, data):
    parts, length = layout
    stripes = parts[data.draw(st.sampled_from(sorted(parts)))]
    rng = np.random.default_rng(0)
    shape = (length, 4) if axis == 0 else (9, length)
    left, right = rng.standard_normal((shape[0], 2)), rng.standard_normal((2, shape[1]))
    tensor = tensor_of(left @ right, factors=lambda: (left, right))
    cut = Dense(cols=stripes) if axis else Dense(rows=stripes)
    ((a, b),) = cut.factors(tensor)
    assert a.shape[1] == b.shape[0] == 2
    (read,) = cut.readers(tensor)
    np.testing.assert_allclose(a @ b, read(0, shape[0]), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("cut", "shape"),
    [
        (Dense(), (6, 5)),
        (Entries(range(3), rows=Stripes(1, 2, 2)), (3, 4, 5)),
        (Entries(range(1, 3), cols=Stripes(0, 1, 2, 2)), (3, 4, 5)),
        (Entries(range(3), height=2, cols=Stripes(1, 3, 3)), (6, 5)),
        (Kernel(1, range(1), range(6)), (4, 3, 2, 3)),
        (Kernel(2, range(2), range(6)), (4, 3, 2, 3)),
        (Kernel(2, range(1, 2), range(2, 3)), (4, 3, 2, 3)),
    ],
)
def test_the_factors_of_every_cut_multiply_to_its_matrices(cut, shape):
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((shape[0], 2)), rng.standard_normal((2, int(np.prod(shape[1:]))))
    tensor = tensor_of((left @ right).reshape(shape), factors=lambda: (left, right))
    row = WeightMatrices(tensor, "a", "a", "linear", 0, 0, cut=cut)
    readers, factors = list(row.readers()), list(row.factors())
    assert len(readers) == len(factors)
    for read, (a, b) in zip(readers, factors, strict=True):
        np.testing.assert_allclose(a @ b, read(0, 100), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("cut", "num_matrices", "expected"),
    [
        (Dense(), 1, True),
        (Entries(range(2, 3)), 1, True),
        (Entries(range(3)), 3, False),
        (Kernel(1, range(1), range(1)), 1, False),
    ],
)
def test_one_matrix_that_needs_no_other_to_be_read_is_single(cut, num_matrices, expected):
    row = WeightMatrices(tensor_of(np.zeros((3, 4, 5))), "a", "a", "linear", 4, 5, num_matrices, cut=cut)
    assert row.is_single == expected


def test_rows_can_be_changed_and_compared_by_their_fields():
    row = WeightMatrices(tensor_of(np.eye(3)), "a", "a", "linear", 3, 3)
    assert dataclasses.replace(row, part="q").part == "q"
    assert row.num_params == 9
