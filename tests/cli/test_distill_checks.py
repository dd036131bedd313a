import pytest

from spectra.cli.distill_checks import DTYPES, check_computing, check_place
from spectra.errors import InputError, ResultsError


def test_dtypes_are_those_of_the_models_that_are_loaded():
    from spectra.training import pretrained

    assert DTYPES == pretrained.DTYPES


def test_what_is_not_given_and_what_is_there_passes():
    check_computing(None, None)
    check_computing("auto", "auto")
    check_computing("cpu", "float64")


def test_an_unknown_dtype_and_a_device_that_is_not_there_are_refused():
    with pytest.raises(InputError, match="unknown dtype 'float31'. Did you mean 'float32'"):
        check_computing("cpu", "float31")
    with pytest.raises(InputError, match="device: cannot compute on 'no-such-device'"):
        check_computing("no-such-device", "float32")


def test_a_place_is_made_and_left_empty(tmp_path):
    check_place(tmp_path / "new" / "own.jsonl")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_is_no_place_for_rows(tmp_path):
    with pytest.raises(ResultsError, match=r"is a folder\. Name a file in it"):
        check_place(tmp_path)


def test_a_place_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write to"):
        check_place(tmp_path / "file" / "own.jsonl")


def test_a_run_is_continued_only_where_there_is_one(tmp_path):
    with pytest.raises(InputError, match=r"--resume: there is no '.*own\.manifest\.json', and so no run to continue"):
        check_place(tmp_path / "own.jsonl", resume=True)
    (tmp_path / "own.manifest.json").touch()
    check_place(tmp_path / "own.jsonl", resume=True)
    with pytest.raises(InputError, match="--resume continues a run, and --force starts over"):
        check_place(tmp_path / "own.jsonl", resume=True, force=True)
