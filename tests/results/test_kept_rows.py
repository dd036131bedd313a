"""A folder of rows by key: what goes in comes out, and nothing else does."""

import dataclasses
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spectra import ResultsError
from spectra.results.kept_rows import open_rows, read_row, write_row
from spectra.results.records import LayerStatus
from tests.layer_rows import row

KEY, OTHER = "ab" * 32, "cd" * 32
VALUES = np.array([0.25, 1.0, 2.5])

columns = {
    "alpha": st.floats(width=64),
    "xmin": st.floats(allow_nan=False),
    "num_tail": st.none() | st.integers(0, 2**40),
    "notes": st.text(),
    "expert": st.none() | st.integers(0, 500),
    "is_transposed": st.booleans(),
    "status": st.sampled_from(LayerStatus),
}


def file_of(folder, key=KEY):
    return folder / key[:2] / f"{key}.safetensors"


@given(st.fixed_dictionaries(columns), st.lists(st.floats(width=64), min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_a_row_comes_back_bit_for_bit(tmp_path_factory, changes, values):
    folder = open_rows(tmp_path_factory.mktemp("rows"))
    kept = dataclasses.replace(row("a.layer"), **changes)
    write_row(folder, KEY, kept, np.array(values))
    found, spectrum = read_row(folder, KEY)
    assert repr(found) == repr(kept)  # NaN is not equal to itself
    assert (spectrum.dtype, spectrum.tobytes()) == (np.float64, np.array(values).tobytes())
    assert spectrum.flags.writeable


def test_what_was_never_kept_is_not_found(tmp_path):
    assert read_row(open_rows(tmp_path / "rows"), KEY) is None


def test_a_later_row_takes_the_place_of_an_earlier_one(tmp_path):
    folder = open_rows(tmp_path)
    for alpha in (2.0, 3.0):
        write_row(folder, KEY, row("a", alpha), VALUES)
    assert read_row(folder, KEY)[0].alpha == 3.0


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_torn_file_is_no_entry(tmp_path, share):
    folder = open_rows(tmp_path)
    write_row(folder, KEY, row("a", 2.0), VALUES)
    content = file_of(folder).read_bytes()
    file_of(folder).write_bytes(content[: math.floor(share * len(content))])
    assert read_row(folder, KEY) is None


def test_a_file_with_any_byte_changed_is_no_entry_or_the_same_one(tmp_path):
    folder = open_rows(tmp_path)
    write_row(folder, KEY, row("a", 2.0), VALUES)
    content, (kept, _) = file_of(folder).read_bytes(), read_row(folder, KEY)
    for place in range(0, len(content), 7):  # coprime to the eight bytes of a number
        file_of(folder).write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        found = read_row(folder, KEY)
        # A byte of padding, or the name of the dtype of bytes, tells nothing.
        assert found is None or (repr(found[0]) == repr(kept) and np.array_equal(found[1], VALUES)), place


def test_a_file_under_the_name_of_another_is_no_entry(tmp_path):
    folder = open_rows(tmp_path)
    write_row(folder, KEY, row("a", 2.0), VALUES)
    file_of(folder, OTHER).parent.mkdir()
    file_of(folder).rename(file_of(folder, OTHER))
    assert read_row(folder, OTHER) is None


def test_a_folder_in_the_place_of_an_entry_is_none_and_cannot_be_replaced(tmp_path):
    folder = open_rows(tmp_path)
    file_of(folder).mkdir(parents=True)
    assert read_row(folder, KEY) is None
    with pytest.raises(ResultsError, match="cannot write to .*Choose another folder|cannot write to .*choose another folder"):
        write_row(folder, KEY, row("a", 2.0), VALUES)


def test_the_folder_says_what_it_is_to_tools_for_backups(tmp_path):
    folder = open_rows(tmp_path / "new" / "rows")
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    write_row(folder, KEY, row("a", 2.0), VALUES)
    assert open_rows(folder) == folder


def test_a_folder_that_another_process_is_just_making_is_one(tmp_path):
    (tmp_path / ".CACHEDIR.TAG.0123.tmp").write_text("Sig")
    assert open_rows(tmp_path) == tmp_path


def test_a_folder_with_files_of_others_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        ResultsError, match=r"is no cache: it holds other files \('thesis.tex'\). Choose a new or an empty folder"
    ):
        open_rows(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "rows").write_text("")
    with pytest.raises(ResultsError, match="is a file. Choose a folder"):
        open_rows(tmp_path / "rows")
