import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.training.meta_peft.sampling import StepSampler
from spectra.training.meta_peft.steps import PartCollator, StepLoader, TaskData


def parts_of(total, batch_size, rank=0, num_processes=1):
    """The only part of a step, as a process has it: its rows are their numbers."""
    data = TaskData({"one": list(range(total))})
    sampler = StepSampler([total], max(total, num_processes), rank=rank, num_processes=num_processes)
    loader = StepLoader(data, batch_sampler=sampler, collate_fn=PartCollator(list, batch_size, num_processes))
    (step,) = loader
    return step[0]


def test_rows_are_cut_into_batches_that_count_by_their_rows():
    part = parts_of(7, 3)

    assert part.task == "one"
    assert sorted(row for batch in part.batches for row in batch.inputs) == list(range(7))
    assert [batch.share for batch in part.batches] == pytest.approx([3 / 7, 3 / 7, 1 / 7])
    assert [batch.alone for batch in part.batches] == [1.0, 1.0, 1.0]


@given(total=st.integers(1, 40), batch_size=st.integers(1, 6), num_processes=st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_processes_have_as_many_batches_and_together_the_mean_over_all_rows(total, batch_size, num_processes):
    found = [parts_of(total, batch_size, rank, num_processes).batches for rank in range(num_processes)]

    assert len({len(batches) for batches in found}) == 1
    mean = sum(sum(b.share * sum(b.inputs) / len(b.inputs) for b in batches) for batches in found) / num_processes
    assert mean == pytest.approx(sum(range(total)) / total)
    for together in zip(*found, strict=True):  # a step of Reptile
        rows = [row for batch in together if batch.share for row in batch.inputs]
        average = sum(batch.alone * sum(batch.inputs) / len(batch.inputs) for batch in together) / num_processes
        assert average == pytest.approx(sum(rows) / len(rows))


def test_a_loader_takes_the_order_of_the_epoch():
    loader = StepLoader(
        TaskData({"one": list(range(20))}), batch_sampler=StepSampler([20], 5), collate_fn=PartCollator(list, 5)
    )
    first = [step[0].batches[0].inputs for step in loader]

    loader.set_epoch(1)

    assert [step[0].batches[0].inputs for step in loader] != first
