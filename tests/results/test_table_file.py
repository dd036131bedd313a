import math
import os

import pandas as pd
import pytest

from spectra import InputError, ResultsError
from spectra.results.table_file import check_table_file, write_table

READERS = {".parquet": pd.read_parquet, ".feather": pd.read_feather, ".csv": pd.read_csv}


@pytest.fixture(scope="module")
def frame():
    return pd.DataFrame(
        {
            "name": pd.array(["a", None, "c,\n"], dtype="string"),
            "count": pd.array([1, None, 2**60], dtype="Int64"),
            "alpha": [0.1 + 0.2, math.nan, math.inf],
            "flag": [True, False, True],
        }
    )


@pytest.mark.parametrize("suffix", READERS)
def test_a_table_is_read_as_it_was_written(frame, tmp_path, suffix):
    write_table(frame, tmp_path / f"new/table{suffix}")
    types = {} if suffix != ".csv" else {"dtype": {name: str(kind) for name, kind in frame.dtypes.items()}}
    pd.testing.assert_frame_equal(READERS[suffix](tmp_path / f"new/table{suffix}", **types), frame, check_exact=True)
    assert os.listdir(tmp_path / "new") == [f"table{suffix}"]


def test_names_are_no_formulas_in_a_spreadsheet_and_as_they_are_elsewhere(tmp_path):
    hostile = pd.DataFrame({"name": ["=cmd|' /C calc'!A0", "@x", "plain", "+1+cmd"], "alpha": [-1.5, 2.0, 3.0, 4.0]})
    write_table(hostile, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == ("name,alpha\n'=cmd|' /C calc'!A0,-1.5\n'@x,2.0\nplain,3.0\n'+1+cmd,4.0\n")
    write_table(hostile, tmp_path / "table.parquet")
    assert list(pd.read_parquet(tmp_path / "table.parquet")["name"]) == list(hostile["name"])


def test_a_long_csv_is_whole(tmp_path):
    long = pd.DataFrame({"place": range(20_001)})
    write_table(long, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), long)


def test_a_file_is_replaced_only_by_force(frame, tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("precious")
    with pytest.raises(ResultsError, match=r"table.csv' exists. Choose another name, or replace it with --force"):
        write_table(frame, file)
    assert file.read_text() == "precious"
    write_table(frame, file, force=True)
    assert file.read_text().startswith("name,count,alpha,flag\n")


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"table.xlsx' has no suffix of a table. Name it \*.parquet, \*.feather, \*.csv"):
        check_table_file(tmp_path / "table.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ResultsError, match="is a folder"):
        check_table_file(tmp_path / "folder.csv", force=True)
