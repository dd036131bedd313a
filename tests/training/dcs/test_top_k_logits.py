"""The most probable tokens, written sample by sample and read back in any order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.dcs.teacher_logits import TeacherLogits
from spectra.training.dcs.top_k_logits import TopKLogits, TopKWriter, top_k
from tests.training.dcs.full_disk import full_disk

WHOSE = {"weights": "ab", "tau": "2.0", "top_k": "3"}
COUNTS = (2, 0, 3, 1, 2)  # tokens of each sample
K = 3


def answers_about(sample):
    """Of its tokens: log-probabilities and ids, none of which another token has."""
    rng = np.random.default_rng(sample)
    return rng.standard_normal((COUNTS[sample], K)).astype(np.float32), rng.integers(
        0, 2**31 - 1, (COUNTS[sample], K), np.int32
    )


def about(samples):
    """What a teacher says about a batch: the arguments of :meth:`TopKWriter.add`."""
    log_probs, ids = zip(*map(answers_about, samples), strict=True)
    counts = np.array([COUNTS[sample] for sample in samples])
    return np.array(samples), np.concatenate(log_probs), np.concatenate(ids), counts


def write(path, *batches):
    with TopKWriter(path, len(COUNTS), WHOSE) as writer:
        for batch in batches:
            writer.add(*about(batch))
        writer.finish()
    found = TopKLogits.open(path, WHOSE)
    assert found is not None
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "top_k.safetensors"


@given(st.permutations(range(5)), st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_samples_written_in_any_order_are_read_in_any_order(tmp_path_factory, order, size, asked):
    path = tmp_path_factory.getbasetemp() / "order.safetensors"
    table = write(path, *(order[start : start + size] for start in range(0, 5, size)))
    log_probs, ids = table.rows(torch.tensor(asked))
    _, expected_log_probs, expected_ids, _ = about(asked)
    assert (log_probs.dtype, ids.dtype) == (torch.float32, torch.int64)
    np.testing.assert_array_equal(log_probs.numpy(), expected_log_probs)
    np.testing.assert_array_equal(ids.numpy(), expected_ids)


def test_sizes_are_known(path):
    table = write(path, range(5))
    assert (table.num_samples, table.num_tokens, table.num_outputs) == (5, 8, K)
    assert table.num_bytes == 8 * K * (4 + 4) + 5 * 2 * 8


def test_a_sample_that_comes_again_replaces_itself(path):
    table = write(path, [0, 1, 2], [3, 4, 0], [2, 2])
    assert table.num_tokens == 8
    for sample in range(5):
        np.testing.assert_array_equal(table.rows(torch.tensor([sample]))[0].numpy(), answers_about(sample)[0])


def test_nothing_is_there_before_the_end_and_only_the_file_after_it(path):
    with TopKWriter(path, len(COUNTS), WHOSE) as writer:
        writer.add(*about(range(5)))
        assert list(path.parent.iterdir()) == []
        writer.finish()
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_is_left_early_leaves_nothing(path):
    def fails():
        with TopKWriter(path, 5, WHOSE) as writer:
            writer.add(*about([0]))
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fails()
    assert list(path.parent.iterdir()) == []


def test_answers_of_another_teacher_temperature_or_kind_are_not_taken(path):
    write(path, range(5))
    for key in WHOSE:
        assert TopKLogits.open(path, WHOSE | {key: "other"}) is None
    assert TeacherLogits.open(path, WHOSE) is None
    assert TopKLogits.open(path.with_name("missing.safetensors"), WHOSE) is None


def test_a_truncated_file_is_replaced_with_a_warning(path):
    write(path, range(5))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(SpectraWarning, match="is damaged"):
        assert TopKLogits.open(path, WHOSE) is None


def test_missing_samples_are_refused(path):
    with pytest.raises(InputError, match="2 of 5 samples were not added, the first is sample 3. .*drop_last=False"):
        write(path, [0, 1, 2])
    assert list(path.parent.iterdir()) == []


def test_data_without_a_token_are_refused(path):
    nothing = np.empty((0, K))
    with TopKWriter(path, 2, WHOSE) as writer:
        writer.add(np.arange(2), nothing, nothing, np.zeros(2, dtype=np.int64))
        with pytest.raises(InputError, match="no sample has a token to learn from"):
            writer.finish()


@pytest.mark.parametrize(
    ("log_probs", "ids"),
    [((2, 3), (3, 3)), ((3, 3), (3, 2)), ((3, 2), (3, 2)), ((3,), (3,))],
    ids=["tokens", "ids", "k", "no rows"],
)
def test_shapes_that_do_not_fit_are_refused(path, log_probs, ids):
    with TopKWriter(path, 5, WHOSE) as writer:
        writer.add(*about([0]))
        with pytest.raises(InputError, match=r"expected 3 log-probabilities and ids for each of 3 tokens, got shapes"):
            writer.add(np.array([2]), np.zeros(log_probs), np.zeros(ids), np.array([3]))


def test_log_probabilities_that_are_not_finite_are_refused_by_sample(path):
    index, log_probs, ids, counts = about([3, 2, 0])
    log_probs[[1, 2], [0, 1]] = np.nan, -np.inf
    with TopKWriter(path, 5, WHOSE) as writer, pytest.raises(InputError, match="about 1 samples are not finite, .* sample 2"):
        writer.add(index, log_probs, ids, counts)


def test_a_full_disk_is_one_message_while_writing(path):
    tokens = np.zeros((5000, K))  # more than what is held back to be written together
    with TopKWriter(path, 1, WHOSE) as writer:
        with full_disk(), pytest.raises(ResultsError, match="cannot write to '.*top_k.safetensors': .*Free space"):
            writer.add(np.array([0]), tokens, tokens, np.array([5000]))
        assert list(path.parent.iterdir()) == []
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_is_one_message_when_the_rest_is_written(path):
    with TopKWriter(path, 5, WHOSE) as writer:
        writer.add(*about(range(5)))
        with full_disk(10), pytest.raises(ResultsError, match="cannot write to '.*top_k.safetensors'"):
            writer.finish()
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_is_one_message_at_the_end(path):
    with TopKWriter(path, 5, WHOSE) as writer:
        writer.add(*about(range(5)))
        with full_disk(150), pytest.raises(ResultsError, match="cannot write to '.*top_k.safetensors'"):
            writer.finish()  # what was added has 96 bytes in each file, all of it with its header more
    assert list(path.parent.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_one_message(tmp_path):
    with pytest.raises(ResultsError, match="cannot write to"):
        TopKWriter("/proc/none.safetensors", 1, WHOSE)
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write to"):
        TopKWriter(tmp_path / "file" / "a.safetensors", 1, WHOSE)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.0]))
def test_top_k_are_the_largest_of_the_whole_distribution(seed, num_rows, k, tau):
    logits = 5 * torch.randn(num_rows, 7, generator=torch.Generator().manual_seed(seed))
    log_probs, ids = top_k(logits, tau, k)
    expected, order = torch.log_softmax(logits.double() / tau, dim=-1).sort(dim=-1, descending=True)
    assert log_probs.shape == ids.shape == (num_rows, min(k, 7))
    assert (log_probs.dtype, ids.dtype) == (torch.float32, torch.int32)
    assert torch.equal(ids.long(), order[:, :k])
    # Float32 logits up to about 20 / 0.5: a difference of two such numbers.
    torch.testing.assert_close(log_probs.double(), expected[:, :k], rtol=0, atol=2e-5)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=40), st.integers(1, 6))
def test_of_equally_probable_tokens_the_first_comes_first_and_none_twice(values, k):
    logits = torch.tensor([values], dtype=torch.bfloat16)
    log_probs, ids = top_k(logits, 1.0, k)
    kept = ids[0].tolist()
    assert kept[0] == values.index(max(values))
    assert len(set(kept)) == len(kept) == min(k, len(values))
    assert [values[token] for token in kept] == sorted(values, reverse=True)[:k]
    torch.testing.assert_close(log_probs[0], logits[0].float().log_softmax(0)[ids[0].long()])


def test_what_is_nearly_equal_stays_so_after_the_temperature():
    """Dividing by a temperature may round two logits to one; the larger one still comes first."""
    low = torch.tensor(1.0).nextafter(torch.tensor(0.0))
    logits = torch.stack([low, torch.tensor(1.0)])[None]
    assert top_k(logits, 3.0, 2)[1].tolist() == [[1, 0]]


def test_no_token_at_all_gives_nothing():
    log_probs, ids = top_k(torch.empty(0, 5), 2.0, 3)
    assert log_probs.shape == ids.shape == (0, 3)
