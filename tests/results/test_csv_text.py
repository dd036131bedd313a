"""Cells that a spreadsheet would run, and what stands in their place."""

import csv
import io

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectra
from spectra.results.csv_text import csv_cell, csv_lines, csv_text, name_from_csv

# OWASP's list, and what people have put behind it.
FORMULAS = [
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-", "=", "'=1", "'",
    '=HYPERLINK("http://example.org","a")', "-layer.0", "+inf+1",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_a_formula_is_marked_as_text_and_read_back(text):
    assert csv_cell(text) == "'" + text
    assert name_from_csv(csv_cell(text)) == text


@pytest.mark.parametrize("value", ["layers.0.fc", "", "a=b", " =1", "-1e-4", "+3", "-inf", -1.5, 3, None, True, "a'b"])
def test_anything_else_stays(value):
    assert csv_cell(value) is value


def test_a_number_with_a_tab_before_it_is_no_number_to_a_spreadsheet():
    assert csv_cell("\t-1") == "'\t-1"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_every_text_is_read_back_and_none_begins_a_formula(texts):
    table = csv_text(["name"], [{"name": text} for text in texts])
    cells = [cell for (cell,) in csv.reader(io.StringIO(table, newline=""))][1:] if all(texts) else None
    if cells is not None:
        numbers = {text for text in texts if csv_cell(text) == text}
        assert [cell if cell in numbers else name_from_csv(cell) for cell in cells] == texts
        assert not [cell for cell in cells if cell[0] in "=@\t\r\n" or (cell[0] in "+-" and cell not in numbers)]


def test_columns_are_cells_too_and_may_have_one_name():
    assert csv_lines([["=a", "seed", "seed"], [1, 2, 3]]) == "'=a,seed,seed\n1,2,3\n"


def test_the_layers_of_a_hostile_checkpoint_are_no_formulas_and_keep_their_names():
    rng = np.random.default_rng(0)
    names = [text for text in FORMULAS if text not in ("", "'")]
    report = spectra.analyze({name: rng.standard_normal((20, 12)).astype(np.float32) for name in names})
    table = pandas.read_csv(io.StringIO(report.to_csv()))
    assert not table["layer_name"].str.startswith(tuple("=+-@\t\r\n＝")).any()
    assert [name_from_csv(cell) for cell in table["layer_name"]] == [layer.layer_name for layer in report.layers]
    assert list(report.to_weightwatcher()["longname"]) == [layer.layer_name for layer in report.layers]
