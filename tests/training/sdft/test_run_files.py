import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from spectra.errors import InputError, ResultsError
from spectra.results.journal import Journal, json_line, read_journal
from spectra.training.sdft import run_files
from spectra.training.sdft.run_files import RunFiles, merge, open_run, process_rank
from tests.training.dcs.full_disk import full_disk

MANIFEST = {"seed": 0, "model": {"name": "tiny", "dtype": "float32"}, "generation": {"temperature": 0.95, "top_k": 50}}
IDS = [f"{number:032x}" for number in range(12)]

# Writes the share of one process of a run, and says so row by row; "hold": stays after the first, "force": starts over. With a
# limit the system ends it where a file reaches that size.
PROCESS = f"""
import resource, signal, sys
from pathlib import Path
from spectra.training.sdft.run_files import RunFiles, merge, open_run

output, hold, force = Path(sys.argv[1]), "hold" in sys.argv[2], "force" in sys.argv[2]
rank, world, limit = map(int, sys.argv[3:])
if limit:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
ids = [f"{{number:032x}}" for number in range({len(IDS)})]
files = RunFiles(output)
with open_run(files, {MANIFEST!r}, rank=rank, world=world, force=force) as (finished, append):
    done = {{record["row_id"] for record in finished}}
    for row_id in ids[rank::world]:
        if row_id not in done:
            append({{"row_id": row_id, "response": row_id * 3}})
            print(row_id, flush=True)
        if hold:
            sys.stdin.read()
print("closed", flush=True)
sys.stdin.readline()
print(merge(files, ids) == [{{"row_id": row_id, "response": row_id * 3}} for row_id in ids], flush=True)
"""


def record(row_id):
    return {"row_id": row_id, "response": row_id * 3}


def records(ids=IDS):
    return [record(row_id) for row_id in ids]


def write(files, ids, manifest=MANIFEST, **options):
    """Add records to a run, and return those that there were."""
    with open_run(files, manifest, **options) as (finished, append):
        for row_id in ids:
            append(record(row_id))
    return finished


@contextmanager
def process(files, rank=0, world=1, how="", limit=0):
    arguments = [sys.executable, "-c", PROCESS, str(files.output), how, str(rank), str(world), str(limit)]
    pipe, environment = subprocess.PIPE, os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path / "new" / "own [v1].jsonl")  # brackets mean something to glob


def names(files):
    return sorted(path.name for path in files.output.parent.iterdir())


def test_names_stand_beside_the_output(tmp_path):
    files = RunFiles(tmp_path / "own.jsonl")
    assert files.manifest == tmp_path / "own.manifest.json"
    assert files.records == tmp_path / "own.records.jsonl"
    assert files.shard(0, 4) == tmp_path / "own.records.rank-00000-of-00004.jsonl"


def test_a_run_begins_with_nothing_and_its_manifest(files):
    with open_run(files, MANIFEST) as (finished, _):
        assert finished == []
        assert json.loads(files.manifest.read_text()) == MANIFEST


def test_a_run_that_stopped_goes_on(files):
    assert write(files, IDS[:4]) == []
    assert write(files, IDS[4:6]) == records(IDS[:4])
    assert merge(files, IDS) is None
    assert write(files, reversed(IDS[6:])) == records(IDS[:6])
    assert merge(files, IDS) == records()


def test_what_is_complete_is_one_file_in_the_order_of_the_data(files):
    write(files, reversed(IDS))
    assert merge(files, IDS) == records()
    assert files.records.read_bytes() == b"".join(map(json_line, records()))
    assert names(files) == [".own [v1].lock", "own [v1].manifest.json", "own [v1].records.jsonl"]


def test_a_complete_run_is_found_complete(files):
    write(files, IDS)
    merge(files, IDS)
    assert write(files, []) == records()
    assert merge(files, IDS) == records()
    assert read_journal(files.records) == records()


def test_a_run_without_samples_is_complete(files):
    write(files, [])
    assert merge(files, []) == []
    assert read_journal(files.records) == []


def test_an_error_within_the_run_keeps_what_was_written_and_frees_it(files):
    def stops():
        with open_run(files, MANIFEST) as (_, append):
            append(record(IDS[0]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stops()
    assert write(files, []) == records(IDS[:1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"model": {"name": "tiny", "dtype": "bfloat16"}}, "model.dtype 'float32' there, 'bfloat16' now"),
        ({"generation": {"temperature": 0.95}, "seed": None}, "seed 0 there, None now; generation.top_k 50 there, missing now"),
        ({"mix": (1, 2)}, "mix missing there, [1, 2] now"),
    ],
)
def test_another_manifest_is_refused_and_named(files, change, said):
    write(files, IDS[:2])
    with pytest.raises(
        ResultsError, match=rf"other settings: {re.escape(said)}\. Choose another --output, or start .* --force"
    ):
        write(files, [], MANIFEST | change)
    assert write(files, []) == records(IDS[:2])


def test_tuples_in_a_manifest_are_what_they_were(files):
    write(files, IDS[:1], {"phrases": ("a", "b")})
    assert write(files, [], {"phrases": ("a", "b")}) == records(IDS[:1])


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_damaged_manifest_is_named(files, content):
    write(files, IDS[:1])
    files.manifest.write_bytes(content)
    with pytest.raises(ResultsError, match=r"manifest\.json' cannot be read \(.*start over with --force"):
        write(files, [])
    assert write(files, [], force=True) == []


def test_a_manifest_that_is_none_differs(files):
    write(files, [])
    files.manifest.write_text("[]")
    with pytest.raises(ResultsError, match="seed missing there, 0 now"):
        write(files, [])


@pytest.mark.parametrize("stranger", ["own [v1].jsonl", "own [v1].records.jsonl", "own [v1].records.rank-00001-of-00002.jsonl"])
def test_files_without_a_manifest_are_replaced_only_by_force(files, stranger):
    path = files.output.with_name(stranger)
    path.parent.mkdir()
    path.write_bytes(json_line(record(IDS[0])))
    with pytest.raises(ResultsError, match=r"' exists, without a 'own \[v1\]\.manifest\.json' .* or replace it with --force"):
        write(files, [])
    assert path.read_bytes() == json_line(record(IDS[0]))
    assert write(files, [], force=True) == []
    assert not path.exists()


def test_force_removes_the_records_of_every_number_of_processes_and_the_output(files):
    write(files, IDS)
    merge(files, IDS)
    files.output.write_text("{}")
    write(files, [], rank=2, world=4)
    with open_run(files, MANIFEST | {"seed": 1}, force=True) as (finished, _):
        assert finished == []
        assert names(files) == [
            ".own [v1].lock",
            ".own [v1].records.rank-00000-of-00001.lock",
            ".own [v1].records.rank-00002-of-00004.lock",
            "own [v1].manifest.json",
            "own [v1].records.rank-00000-of-00001.jsonl",
        ]


def test_processes_started_with_force_join_the_first_even_when_it_has_ended(files):
    write(files, IDS, MANIFEST | {"seed": 1})
    assert write(files, IDS[1::2], rank=1, world=2, force=True) == []
    assert write(files, IDS[0::2], rank=0, world=2, force=True) == records(IDS[1::2])
    assert merge(files, IDS) == records()
    assert not list(files.output.parent.glob(".*awaited"))


def test_force_again_starts_over_again(files):
    for _ in range(2):
        assert write(files, IDS[1::2], rank=1, world=2, force=True) == []
        assert write(files, IDS[0::2], rank=0, world=2, force=True) == records(IDS[1::2])


def test_a_process_that_joins_must_have_the_same_settings(files):
    write(files, [], rank=1, world=2, force=True)
    with pytest.raises(ResultsError, match="seed 0 there, 1 now"):
        write(files, [], MANIFEST | {"seed": 1}, rank=0, world=2, force=True)
    assert write(files, [], MANIFEST | {"seed": 1}, rank=0, world=2, force=True) == []  # the first time used up the invitation


def kill_while_started_over(files, rank=0, world=3):
    """As when torchrun is killed before its other processes have loaded their models."""
    with process(files, rank, world, "hold force") as one:
        assert one.stdout.readline() == f"{IDS[rank]}\n"
    assert len(list(files.output.parent.glob(".*.awaited"))) == world - 1


@pytest.mark.parametrize("settings", [MANIFEST, MANIFEST | {"seed": 1}], ids=["same", "other"])
def test_starting_over_after_a_start_that_was_killed_starts_over_whoever_comes_first(files, settings):
    kill_while_started_over(files)
    assert write(files, IDS[1::3], settings, rank=1, world=3, force=True) == []
    assert write(files, IDS[0::3], settings, rank=0, world=3, force=True) == records(IDS[1::3])
    assert write(files, IDS[2::3], settings, rank=2, world=3, force=True) == records([*IDS[0::3], *IDS[1::3]])
    assert merge(files, IDS) == records()
    assert names(files) == [".own [v1].lock", "own [v1].manifest.json", "own [v1].records.jsonl"]


def test_who_comes_late_joins_those_at_work_though_the_first_of_them_was_killed(files):
    with process(files, 0, 3, "hold force") as first, process(files, 1, 3, "hold force") as second:
        assert (first.stdout.readline(), second.stdout.readline()) == (f"{IDS[0]}\n", f"{IDS[1]}\n")
        first.kill()
        first.wait()
        assert write(files, [], rank=2, world=3, force=True) == records(IDS[:2])


@pytest.mark.parametrize("world", [1, 3])
def test_going_on_after_a_start_that_was_killed_leaves_nothing_for_a_later_one(files, world):
    kill_while_started_over(files)
    assert write(files, IDS[1:5], world=world) == records(IDS[:1])
    assert not list(files.output.parent.glob(".*.awaited"))
    assert write(files, [], rank=1, world=3, force=True) == []


def test_another_number_of_processes_goes_on_with_the_work_of_all(files):
    for rank in range(4):
        write(files, IDS[rank::4][:2], rank=rank, world=4)
    finished = write(files, IDS[8:10], rank=0, world=2)
    assert sorted(one["row_id"] for one in finished) == IDS[:8]
    write(files, IDS[10:])
    assert merge(files, IDS) == records()
    assert files.shards() == []


def test_a_second_process_is_refused_and_told_who_writes(files):
    with process(files, how="hold") as other:
        assert other.stdout.readline() == f"{IDS[0]}\n"
        with pytest.raises(
            ResultsError, match=rf"own \[v1\]\.jsonl' is being written by process {other.pid} on '.+' since .+ UTC\. Let it end"
        ):
            write(files, [])
        assert merge(files, IDS) is None
        other.kill()
        other.wait()
        assert write(files, []) == records(IDS[:1])  # the lock has ended with its process


def test_another_number_of_processes_is_refused_while_one_writes(files):
    with process(files, 0, 2, "hold") as other:
        assert other.stdout.readline() == f"{IDS[0]}\n"
        with pytest.raises(
            ResultsError, match=rf"written by process {other.pid} on .* by another number of processes, 1\. Let"
        ):
            write(files, [])
        assert write(files, IDS[1:2], rank=1, world=2) == records(IDS[:1])  # its companion may come


def test_force_is_refused_while_another_process_writes(files):
    with process(files, 0, 2, "hold") as other:
        assert other.stdout.readline() == f"{IDS[0]}\n"
        for layout in ({"rank": 1, "world": 2}, {}):
            with pytest.raises(ResultsError, match=rf"process {other.pid} on .*, so that it cannot be started over"):
                write(files, [], force=True, **layout)
        assert files.shard(0, 2).read_bytes() == json_line(record(IDS[0]))


def test_a_run_is_not_opened_twice_in_one_process(files):
    with open_run(files, MANIFEST), pytest.raises(ResultsError, match=f"is being written by process {os.getpid()}"):
        write(files, [])


def test_a_process_that_hangs_while_it_looks_is_not_waited_for_without_end(files, monkeypatch):
    monkeypatch.setattr(run_files, "_LONGEST_LOOK", 0.0)
    files.output.parent.mkdir()
    with FileLock(files.output.parent / ".own [v1].lock"), pytest.raises(ResultsError, match="written by another process"):
        merge(files, IDS)


@pytest.mark.filterwarnings("ignore:flock not supported:UserWarning")
def test_a_file_system_without_locks_still_keeps_a_second_writer_out(files, monkeypatch):
    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)  # such a file system cannot be mounted here
    with open_run(files, MANIFEST), pytest.raises(ResultsError, match=f"is being written by {os.getpid()} "):
        write(files, [])
    assert write(files, IDS) == []
    leave_marker(files.output.parent / ".own [v1].records.rank-00001-of-00002.lock")
    assert merge(files, IDS) == records()


def leave_marker(path):
    """As a process leaves it that is killed where there are no locks."""
    program = (
        "import sys, filelock; lock = filelock.SoftFileLock(sys.argv[1]); lock.acquire(); print(flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=pipe, stdout=pipe) as holder:
        holder.stdout.readline()
        holder.kill()
    assert path.exists()


def test_a_folder_as_the_output_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="is a folder. Name a file in it as the output"):
        write(RunFiles(tmp_path), [])


def test_a_lock_that_cannot_be_made_is_named(files):
    (files.output.parent / ".own [v1].lock").mkdir(parents=True)
    with pytest.raises(ResultsError, match=r"cannot write to '.*\.lock': Is a directory"):
        write(files, [])


def test_what_cannot_be_removed_is_named(files):
    files.shard(0, 3).mkdir(parents=True)
    with pytest.raises(ResultsError, match=r"cannot write to '.*rank-00000-of-00003\.jsonl': "):
        write(files, [], force=True)


def test_a_line_without_a_row_is_named(files):
    write(files, IDS[:1])
    with Journal(files.shard(0, 1)) as journal:
        journal.append({"text": "no row"})
    with pytest.raises(ResultsError, match=r"rank-00000-of-00001\.jsonl', line 2: no record of a run, it has no 'row_id'"):
        write(files, [])


def test_a_full_disk_stops_a_run_which_then_goes_on(files):
    with full_disk(1000), pytest.raises(ResultsError, match=r"cannot write to '.*rank-00000-of-00001\.jsonl': File too large"):
        write(files, IDS)
    kept = write(files, [])
    assert kept == records(IDS[: len(kept)])
    write(files, IDS[len(kept) :])
    with full_disk(1000), pytest.raises(ResultsError, match=r"cannot write to '.*records\.jsonl': File too large"):
        merge(files, IDS)
    assert merge(files, IDS) == records()


def test_a_full_disk_stops_the_beginning(files):
    with full_disk(0), pytest.raises(ResultsError, match=r"cannot write to '.*manifest\.json': File too large"):
        write(files, [])
    assert write(files, []) == []


def test_a_merge_that_was_killed_is_done_again(files):
    write(files, IDS)
    shard = files.shard(0, 1).read_bytes()
    merge(files, IDS)
    files.shard(0, 1).write_bytes(shard)  # killed before it could remove this,
    files.records.with_name(f".{files.records.name}.1234.tmp").write_bytes(shard[:50])  # and another time while it wrote
    assert merge(files, IDS) == records()
    assert names(files) == [".own [v1].lock", "own [v1].manifest.json", "own [v1].records.jsonl"]


@pytest.mark.slow
def test_processes_that_merge_at_once_all_get_the_whole(files):
    with process(files, 0, 3) as first, process(files, 1, 3) as second, process(files, 2, 3) as third:
        together = (first, second, third)
        for one in together:
            assert [one.stdout.readline() for _ in range(5)][-1] == "closed\n"
        for one in together:
            one.stdin.write("\n")
            one.stdin.flush()
        assert [one.stdout.readline() for one in together] == ["True\n"] * 3
    assert files.records.read_bytes() == b"".join(map(json_line, records()))
    assert files.shards() == []


@pytest.mark.slow
def test_a_run_whose_processes_are_killed_again_and_again_ends_as_if_they_were_not(files):
    size = len(json_line(record(IDS[0])))
    for kill in range(12):  # while the lock, the manifest, or one record after the other is written
        with process(files, kill % 2, 2, limit=kill // 2 * size + 1 + kill * (size - 2) // 11) as one:
            assert one.wait() == -signal.SIGXFSZ
        assert merge(files, IDS) is None
    for rank in (0, 1):
        with process(files, rank, 2) as one:
            while one.stdout.readline() != "closed\n":
                pass
    assert merge(files, IDS) == records()
    assert files.records.read_bytes() == b"".join(map(json_line, records()))
    assert names(files) == [".own [v1].lock", "own [v1].manifest.json", "own [v1].records.jsonl"]


def test_a_process_knows_its_rank_from_its_launcher(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert process_rank() == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert process_rank() == (3, 4)


@pytest.mark.parametrize(("rank", "world"), [("4", "4"), ("-1", "4"), ("one", "4"), ("0", "0"), ("", "")])
def test_a_rank_that_cannot_be_is_refused(monkeypatch, rank, world):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(InputError, match=f"environment: RANK='{rank}' of WORLD_SIZE='{world}' is no process of several"):
        process_rank()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder that nothing can be made in")
def test_a_folder_that_cannot_hold_a_lock_is_not_waited_for():
    with pytest.raises(ResultsError), open_run(RunFiles(Path("/proc/own.jsonl")), {}):
        pass
