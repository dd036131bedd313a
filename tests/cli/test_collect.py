import pandas as pd
import pytest

import spectra
from tests.models import small_weights, uneven_weights


@pytest.fixture
def zoo(tmp_path):
    spectra.analyze(small_weights()).save(tmp_path / "zoo" / "first")
    spectra.analyze(uneven_weights()).save(tmp_path / "zoo" / "second")
    return tmp_path / "zoo"


def test_a_zoo_becomes_a_table(zoo, tmp_path, run):
    file = tmp_path / "table.parquet"
    assert run(zoo, "-o", file) == (0, f"12 layers of 2 models in '{file}'\n", "")
    pd.testing.assert_frame_equal(pd.read_parquet(file), spectra.collect(zoo))
    assert run(zoo, "-o", file, "--summary", "--force") == (0, f"2 models in '{file}'\n", "")
    assert list(pd.read_parquet(file)["num_layers"]) == [6, 6]


def test_without_a_file_a_line_for_each_model_is_printed(zoo, run):
    spectra.analyze(small_weights(), xmin="median").save(zoo / "third")
    (zoo / "fourth").mkdir()
    (zoo / "fourth" / "report.json").write_text("{")
    code, out, err = run(zoo)
    lines = [line.split() for line in out.splitlines()]
    assert code == 1
    assert [line[:2] for line in lines] == [["model", "layers"], ["first", "6"], ["second", "6"], ["third", "6"]]
    assert lines[1][2] == f"{spectra.load(zoo / 'first').summary.metrics['alpha'].mean:.3f}"
    told, settings, hint = err.splitlines()
    assert told.startswith("spectra: left out: ")
    assert settings.startswith("The models were analysed with different settings")
    assert hint == "All columns of all layers: -o layers.parquet or -o layers.csv"
    assert run(zoo, "--quiet") == (1, out, f"{told}\n")


def test_a_damaged_member_is_named_and_left_out(zoo, tmp_path, run):
    (zoo / "second" / "report.json").write_text("{")
    code, out, err = run(zoo, "-o", tmp_path / "table.csv")
    assert (code, out) == (1, f"6 layers of 1 model in '{tmp_path / 'table.csv'}'\n")
    assert err.startswith(f"spectra: left out: '{zoo / 'second' / 'report.json'}' cannot be read (")
    assert err.count("\n") == 1


def test_other_settings_are_hinted_at(zoo, tmp_path, run):
    spectra.analyze(small_weights(), xmin="median").save(zoo / "third")
    code, _, err = run(zoo, "-o", tmp_path / "table.csv")
    assert code == 0
    assert err == ("The models were analysed with different settings: compare those with equal 'profile' and 'settings'.\n")
    assert run(zoo, "-o", tmp_path / "table.csv", "--force", "--quiet")[2] == ""


def test_what_cannot_be_written_is_refused_before_anything_is_read(zoo, tmp_path, refused):
    (zoo / "second" / "report.json").write_text("{")  # would be told
    assert "has no suffix of a table" in refused(zoo, "-o", tmp_path / "table.txt")
    (tmp_path / "table.csv").touch()
    assert "exists" in refused(zoo, "-o", tmp_path / "table.csv")


def test_nothing_at_all_is_an_error(tmp_path, run):
    code, out, err = run(tmp_path / "nowhere", "-o", tmp_path / "table.csv")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("spectra: no finished result in 1 folder.")
    assert not (tmp_path / "table.csv").exists()
