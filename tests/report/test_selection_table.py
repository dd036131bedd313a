import io

import pytest
from rich.console import Console

from spectra.report.selection_table import selection_groups_table, selection_table
from spectra.results.selection_report import SelectionReport
from tests.distilled import run_of


def shown(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


RUN = run_of(accepted=[1.5] * 1200, identical=100, rejected={"nothing_extracted": 1, "mismatch": 699})


def test_reasons_stand_under_the_rejected_with_their_meaning():
    assert shown(selection_table(SelectionReport.of(RUN), width=100), 100) == [
        "decision             samples  share  meaning",
        "accepted               1,200  60.0%  the candidate takes the original's place",
        "identical                100   5.0%  the candidate is the original, word for word",
        "rejected                 700  35.0%  the original stays",
        "  mismatch               699  34.9%  another answer than that of the original",
        "  nothing_extracted        1   0.1%  no answer was found in the candidate",
    ]


def test_a_narrow_terminal_shows_numbers_only():
    heading, first, *_ = shown(selection_table(SelectionReport.of(RUN), width=40), 40)
    assert heading.split() == ["decision", "samples", "share"]
    assert first.split() == ["accepted", "1,200", "60.0%"]


def test_decisions_that_were_never_made_are_shown_as_none():
    rows = shown(selection_table(SelectionReport.of(run_of(identical=2)), width=100), 100)
    assert [row.split()[:3] for row in rows[1:]] == [
        ["accepted", "0", "0.0%"], ["identical", "2", "100.0%"], ["rejected", "0", "0.0%"],
    ]  # fmt: skip


def test_groups_have_a_row_each_with_shares_and_length():
    names = ["[red]algebra"] * 1200 + ["geometry"] * 800
    heading, *rows = shown(selection_groups_table(SelectionReport.of(RUN, groups=names), width=100), 100)
    assert heading.split() == ["group", "samples", "accepted", "identical", "rejected", "length"]
    assert [row.split() for row in rows] == [
        ["[red]algebra", "1,200", "100.0%", "0.0%", "0.0%", "×1.50"],
        ["geometry", "800", "0.0%", "12.5%", "87.5%", "–"],
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_long_names_of_groups_are_cut_and_numbers_are_not(width):
    heading, row = shown(selection_groups_table(SelectionReport.of(RUN, groups=["n" * 99] * 2000), width=width), width)
    assert len(row) <= width
    assert "n…" in row
    assert row.split()[1:] == ["2,000", "60.0%", "5.0%", "35.0%", "×1.50"]
    assert "…" not in heading


def test_of_many_groups_the_rest_is_counted():
    report = SelectionReport.of(RUN, groups=[str(n % 25) for n in range(2000)])
    assert shown(selection_groups_table(report, width=100), 100)[-1] == "… 5 more groups"
    assert len(shown(selection_groups_table(report, width=100, max_rows=24), 100)) == 26
    assert len(shown(selection_groups_table(report, width=100, max_rows=25), 100)) == 26
