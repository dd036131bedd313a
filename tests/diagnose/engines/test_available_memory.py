"""How much memory there is: words, the machine, and cgroups of both versions, in folders as the kernel shows them."""

import psutil
import pytest

from spectra import InputError
from spectra.diagnose.engines.available_memory import SHARE_OF_FREE, cgroups_left, free_memory, machine_left, memory_budget

GIB = 2**30


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (12345, 12345),
        ("12345", 12345),
        ("8G", 8 * GIB),
        ("8g", 8 * GIB),
        ("512MiB", 512 * 2**20),
        (" 1.5 GiB ", 3 * 2**29),
        ("16GB", 16 * 10**9),
        ("100kB", 10**5),
        ("2T", 2**41),
        ("1K", 1024),
    ],
)
def test_sizes_in_words(words, size):
    assert memory_budget(words) == size


@pytest.mark.parametrize("words", ["", "much", "8 X", "-1G", "0", 0, -5, "1e9", "8GG", True, "0.0001", "G"])
def test_what_is_no_size_is_refused(words):
    with pytest.raises(InputError, match="max_memory: expected a size such as '8G', '512MiB' or '16GB', got"):
        memory_budget(words)


def test_the_free_memory_of_a_machine_is_what_psutil_says(tmp_path):
    assert machine_left() == pytest.approx(psutil.virtual_memory().available, rel=0.2)  # other programs come and go
    assert machine_left(tmp_path / "none") == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    (tmp_path / "meminfo").write_text("MemTotal:       131921240 kB\nMemAvailable:   98765432 kB\n")
    assert machine_left(tmp_path / "meminfo") == 98765432 * 1024


def test_the_default_is_a_share_of_what_is_free():
    budget, free = memory_budget(None), free_memory()
    assert 0 < free <= psutil.virtual_memory().total
    assert budget == pytest.approx(SHARE_OF_FREE * free, rel=0.2)  # other programs come and go


def group(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def second(limit, use, unused):
    return {"memory.max": f"{limit}\n", "memory.current": f"{use}\n", "memory.stat": f"anon 1\ninactive_file {unused}\n"}


def first(limit, use, unused):
    stat = f"inactive_file 7\ntotal_inactive_file {unused}\n"
    return {"memory.limit_in_bytes": f"{limit}\n", "memory.usage_in_bytes": f"{use}\n", "memory.stat": stat}


def test_every_level_of_cgroups_of_version_2_counts(tmp_path):
    (tmp_path / "proc").write_text("0::/batch/job\n")
    group(tmp_path / "cgroup" / "batch" / "job", second("max", 100, 0))
    group(tmp_path / "cgroup" / "batch", second(1000, 700, 300))
    group(tmp_path / "cgroup", second(5000, 4500, 0))
    assert cgroups_left(tmp_path / "proc", tmp_path / "cgroup") == [600, 500]


def test_in_a_container_the_limit_is_at_the_root(tmp_path):
    (tmp_path / "proc").write_text("0::/../../outside\n")
    group(tmp_path / "cgroup", second(5000, 4500, 100))
    assert cgroups_left(tmp_path / "proc", tmp_path / "cgroup") == [600]


def test_cgroups_of_version_1_have_other_names(tmp_path):
    (tmp_path / "proc").write_text("9:name=systemd:/\n4:memory,hugetlb:/docker/abc\n1:cpu:/docker/abc\n0::/\n")
    group(tmp_path / "cgroup" / "memory" / "docker" / "abc", first(1000, 1200, 0))
    group(tmp_path / "cgroup" / "memory", first(2**63 - 4096, 10**9, 5))
    left = cgroups_left(tmp_path / "proc", tmp_path / "cgroup")
    assert left[0] == 0  # over its limit
    assert left[1] > 2**60


def test_files_that_are_missing_or_damaged_are_no_limit(tmp_path):
    assert cgroups_left(tmp_path / "proc", tmp_path) == []
    (tmp_path / "proc").write_text("0::/job\nnonsense\n")
    assert cgroups_left(tmp_path / "proc", tmp_path) == []
    group(tmp_path / "job", second(1000, 400, 0) | {"memory.stat": "damaged"})
    assert cgroups_left(tmp_path / "proc", tmp_path) == []
