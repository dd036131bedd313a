import pytest

from spectra import InputError
from spectra.diagnose.shard_of_process import resolve_shard, shard_of_process
from spectra.results.shards import Shard

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
MPIRUN = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3", "SLURM_NTASKS": "3"}
BATCH_SCRIPT = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "77"}


def array(task, first=0, last=7, count=8):
    names = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (TORCHRUN, Shard(5, 8)),
        (MPIRUN, Shard(2, 4)),
        (SRUN, Shard(1, 3)),
        (array(6), Shard(6, 8)),
        (array(8, first=1, last=8), Shard(7, 8)),
        (array(14, last=14), Shard(7, 8)),  # --array=0-14:2
        (array(0, last=0, count=1), Shard(0, 1)),
        ({**BATCH_SCRIPT, **array(3)}, Shard(3, 8)),  # the script of a task of an array is one process
        ({**SRUN, **MPIRUN}, Shard(2, 4)),  # mpirun starts its daemons by srun, one for each machine
        ({**SRUN, **MPIRUN, **TORCHRUN}, Shard(5, 8)),
        ({**SRUN, **array(6)}, Shard(6 * 3 + 1, 8 * 3)),  # three processes in each of eight tasks
        ({**TORCHRUN, **array(1, last=1, count=2)}, Shard(13, 16)),
    ],
)
def test_each_launcher_tells_which_shard_a_process_is(environment, shard):
    assert shard_of_process(environment) == shard


def test_the_processes_of_all_tasks_of_an_array_are_different_shards():
    found = {
        shard_of_process({"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "3", **array(task, last=3, count=4)})
        for task in range(4)
        for rank in range(3)
    }
    assert found == {Shard(index, 12) for index in range(12)}


@pytest.mark.parametrize("environment", [{}, BATCH_SCRIPT, {"PATH": "/bin"}])
def test_without_a_launcher_auto_is_refused(environment):
    with pytest.raises(InputError, match=r"no launcher or job array tells .* \(RANK and WORLD_SIZE; .* Say it: --shard 0/8"):
        shard_of_process(environment)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "WORLD_SIZE is not set, though its like are"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"RANK": "two", "WORLD_SIZE": "4"}, "RANK is 'two', no number"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "RANK is '-1', no number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK=4 is none of WORLD_SIZE=4"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "SLURM_PROCID is not set"),
        ({"SLURM_ARRAY_TASK_ID": "4"}, "SLURM_ARRAY_TASK_COUNT is not set"),
        (
            array(5, first=1, last=9, count=3) | {"SLURM_ARRAY_TASK_ID": "4"},
            "3 tasks from 1 to 9 are no even job array; this is 4",
        ),
        (array(2, last=9, count=3), "3 tasks from 0 to 9 are no even job array"),  # --array=0,2,9
        (array(3, first=3, last=3, count=2), "2 tasks from 3 to 3 are no even job array"),
    ],
)
def test_variables_that_do_not_fit_together_are_refused(environment, message):
    with pytest.raises(InputError, match=message):
        shard_of_process(environment)


def test_the_environment_divides_nothing_by_itself(monkeypatch):
    for name, value in {**TORCHRUN, **SRUN, **array(3)}.items():
        monkeypatch.setenv(name, value)
    assert resolve_shard(None) is None
    assert resolve_shard("1/2") == Shard(1, 2)
    assert resolve_shard("auto") == Shard(3 * 8 + 5, 64)


def test_shards_need_a_folder():
    with pytest.raises(InputError, match=r"shards are merged from their files. Give all of them one folder with output"):
        resolve_shard("0/2", has_output=False)
