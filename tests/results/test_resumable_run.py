"""Result folders under way: one writer at a time, and what is kept when a folder, its disk or the room on it is gone."""

import os
import shutil
import subprocess

import pytest

import spectra
from spectra import ResultsError
from tests import killing
from tests.killing import content_of, step
from tests.models import write_layers
from tests.training.dcs.full_disk import full_disk


@pytest.fixture(params=["analysis", "comparison"])
def work(request, tmp_path):
    """An analysis or a comparison of two small models, as a function of its folder and further arguments."""
    base, model = write_layers(tmp_path / "base.safetensors", 6), write_layers(tmp_path / "m.safetensors", 6, change=0.1)
    if request.param == "analysis":
        return lambda output, **more: spectra.analyze(model, output=output, workers=1, **more)
    return lambda output, **more: spectra.compare(base, model, output=output, workers=1, **more)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def at(num_done, act):
    """Return a function of progress that acts when so many layers are finished."""
    return lambda progress: act() if progress.num_done == num_done else None


def test_a_second_run_is_refused_while_the_first_is_at_work_whatever_it_wants(work, tmp_path):
    folder, said = tmp_path / "out", []

    def begin_again():
        for more in ({}, {"xmin": "median"}, {"force": True}):
            with pytest.raises(ResultsError) as caught:
                work(folder, **more)
            said.append(str(caught.value))

    work(folder, progress=at(4, begin_again))
    assert len(set(said)) == 1
    assert said[0].startswith(f"'{folder}' is being written by process {os.getpid()} on '")
    assert " UTC. Let it end, or choose another --output." in said[0]
    assert ".lock" not in names(folder)
    work(tmp_path / "alone")
    assert content_of(folder) == content_of(tmp_path / "alone")


def analyze_and_stop(model, folder):
    spectra.analyze(model, output=folder, workers=1, progress=lambda _: step(folder))


@killing.pytestmark
def test_the_lock_of_a_killed_process_is_in_nobodys_way(tmp_path):
    model, folder = write_layers(tmp_path / "m.safetensors", 6), tmp_path / "out"
    assert killing.is_killed_at(20, folder, analyze_and_stop, model, folder)
    assert {".lock", "progress.jsonl"} <= set(names(folder))
    assert len(spectra.analyze(model, output=folder).layers) == 6
    assert names(folder) == ["layers.csv", "report.json", "spectra.safetensors"]


def test_a_finished_result_is_read_where_nothing_can_be_written(work, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    work(folder)
    (folder / ".lock").touch()  # of a process that was killed in its last moment

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:  # a file system cannot be mounted read-only here
        patch.setattr("spectra.results.run_locks.TemporaryFile", refused)
        work(folder)
        assert ".lock" in names(folder)
    work(folder)
    assert ".lock" not in names(folder)


def test_nothing_of_ours_is_put_into_a_folder_that_is_refused(work, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ResultsError, match="holds other files"):
        work(tmp_path / "mine")
    assert names(tmp_path / "mine") == ["thesis.tex"]


@pytest.mark.parametrize("left", [[".lock"], [".progress.jsonl.0123456789abcdef.tmp"], [".lock", ".progress.jsonl.12.tmp"]])
def test_a_start_that_was_killed_is_begun_again(work, tmp_path, left):
    (tmp_path / "out").mkdir()
    for name in left:
        (tmp_path / "out" / name).touch()
    work(tmp_path / "out")
    assert ".lock" not in names(tmp_path / "out")


@pytest.mark.parametrize("how", ["removed", "replaced", "moved away"])
@pytest.mark.parametrize("when", [0, 3, 6])
def test_a_folder_that_is_lost_under_way_is_an_error_at_the_next_layer_or_at_the_end(work, tmp_path, how, when):
    folder, away = tmp_path / "out", tmp_path / "away"

    def lose():
        folder.rename(away)
        if how == "replaced":
            folder.mkdir()
        if how == "removed":
            shutil.rmtree(away)

    with pytest.raises(ResultsError, match=r"cannot write to '.*out.*Bring its folder or disk back or choose another folder"):
        work(folder, progress=at(when, lose))
    if how != "removed":
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)
    seen = []
    work(folder, progress=seen.append)
    assert seen[0].num_done == (0 if how == "removed" else when)
    work(tmp_path / "whole")
    assert content_of(folder) == content_of(tmp_path / "whole")


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_quota_that_is_used_up_costs_the_layer_at_work(work, tmp_path, share):
    folder = tmp_path / "out"
    sizes = []
    work(tmp_path / "whole", progress=lambda _: sizes.append((tmp_path / "whole" / "progress.jsonl").stat().st_size))
    with full_disk(int(share * sizes[-1])), pytest.raises(ResultsError, match=r"progress.jsonl': File too large\. Free space"):
        work(folder)
    assert names(folder) == ["progress.jsonl"]
    kept = folder.joinpath("progress.jsonl").read_bytes()
    assert kept.endswith(b"\n")
    seen = []
    work(folder, progress=seen.append)
    assert seen[0].num_done == kept.count(b"\n") - 1 > 0
    assert content_of(folder) == content_of(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
    """The place of a file system of its own, gone again afterwards."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def resized(disk, kib):
    subprocess.run(["mount", "-o", f"remount,size={kib}k", disk], check=True)


def test_on_a_full_disk_what_fits_is_kept_and_the_result_follows_when_there_is_room(work, tmp_path, small_disk):
    work(tmp_path / "whole")
    folder, refusals, seen = small_disk / "out", [], []
    for kib in range(8, 1024, 4):
        resized(small_disk, kib)
        try:
            work(folder, progress=seen.append)
        except ResultsError as error:
            refusals.append(str(error))
        else:
            break
    assert content_of(folder) == content_of(tmp_path / "whole")
    assert all(" No space left on device. Free space or choose another folder." in refusal for refusal in refusals)
    places = {refusal.split("'")[1].rsplit("/", 1)[1] for refusal in refusals}
    assert {"progress.jsonl"} < places  # in the middle, and at the end
    layers = [progress.layer_name for progress in seen if progress.layer_name]
    assert len(layers) == len(set(layers)) == 6  # none was finished twice


def test_a_mount_that_is_lost_under_way_is_an_error_and_nothing_is_written_where_it_was(work, tmp_path, small_disk):
    resized(small_disk, 4096)
    folder = small_disk / "out"
    with pytest.raises(ResultsError, match="Bring its folder or disk back"):
        work(folder, progress=at(3, lambda: subprocess.run(["umount", "-l", small_disk], check=True)))
    assert names(small_disk) == []
