import pytest

from spectra.errors import ResultsError
from spectra.results.writing import write_whole


def test_a_folder_in_which_nothing_can_be_removed_either_is_named(tmp_path, monkeypatch):
    from pathlib import Path

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)  # a file system cannot be mounted read-only here
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(ResultsError, match=r"cannot write to '.*a\.json': Read-only file system"):
        write_whole(tmp_path / "a.json", b"{}")
