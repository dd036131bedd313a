import shutil

import pytest

import spectra
from spectra.cli.main import main
from tests.models import small_weights, write_small


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "result"
    spectra.analyze(small_weights()).save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "result")


def test_the_page_is_written_into_the_folder_and_its_place_printed(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_bytes().startswith(b"<!doctype html>")


def test_the_page_goes_where_it_is_asked_to(folder, tmp_path):
    assert main(["report", str(folder), "-o", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (folder / "report.html").exists()


def test_open_shows_the_page_in_a_browser(folder, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda address: shown.append(address) or False)
    assert main(["report", str(folder), "--open"]) == 0
    assert shown == [(folder / "report.html").as_uri()]
    assert capsys.readouterr().err == "No browser was found; open the file above.\n"


def test_a_folder_without_result_is_an_input_error(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "is no result folder" in capsys.readouterr().err


def test_a_missing_fisher_is_an_input_error(folder, tmp_path, capsys):
    assert main(["report", str(folder), "--fisher", str(tmp_path / "none.safetensors")]) == 2
    assert "none.json' is missing" in capsys.readouterr().err


def test_analyze_writes_the_page_when_asked(tmp_path, capsys):
    write_small(tmp_path / "model.safetensors")
    out = tmp_path / "result"
    assert main(["analyze", str(tmp_path / "model.safetensors"), "--output", str(out), "--report"]) == 0
    assert (out / "report.html").is_file()
    assert f"Page in '{out / 'report.html'}'." in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--output", "out", "--dry-run"]], ids=["no folder", "dry run"])
def test_analyze_refuses_a_page_without_a_folder(flags, capsys):
    assert main(["analyze", "demo", "--report", *flags]) == 2
    assert "--report writes a page into the result folder: give one with --output DIR" in capsys.readouterr().err
