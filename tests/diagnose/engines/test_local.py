import weakref
from contextlib import closing

import numpy as np
import pytest
import threadpoolctl

from spectra.diagnose.engines import local


def test_workers_have_one_blas_thread_each():
    def limits(_):
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    assert [result for _, result in local.run(limits, [1, 2, 3], cost=float, workers=2)] == [{1}] * 3


def test_the_longest_job_starts_first_and_errors_end_the_run():
    order = []
    list(local.run(order.append, [3, 1, 2], cost=float, workers=1))
    assert order == [3, 2, 1]

    def fail(job):
        raise RuntimeError(f"job {job}")

    with pytest.raises(RuntimeError, match="job 2"):
        list(local.run(fail, [1, 2], cost=float, workers=1))


def test_a_result_goes_when_its_taker_lets_it_go():
    finished = local.run(lambda job: np.full(job, 1.0), [3, 2, 1], cost=float, workers=1)
    with closing(finished):
        references = []
        for _, result in finished:
            assert not any(reference() is not None for reference in references)
            references.append(weakref.ref(result))
            del result
