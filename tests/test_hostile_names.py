"""Names of layers that a terminal, a browser or matplotlib would obey, through all that shows them."""

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

import spectra
from spectra.cli.console import console, print_table
from spectra.cli.main import main
from spectra.report.figures.alpha_by_depth import alpha_by_depth
from spectra.report.figures.esd import esd
from spectra.report.figures.esd_grid import esd_grid
from spectra.report.html import write_page

NAMES = [
    "\x1b[2J\x1b[H.0.fc",
    "a\nspectra: all is well",
    "a\x07\x9b31m",
    "[red]a[/red]",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raise %}",
    "\u202egnitupmoc",
    r"$\input{x}$",
    "$",
    r"a$\frac{$",
    "../../x",
    "=1+1",
    "javascript:alert(1)",
    "<!--",
    "${alert(1)}",
]


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    return spectra.analyze({name: (rng.standard_t(3, (40, 30))).astype(np.float32) for name in NAMES})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_sent_no_escape_but_our_own(report, monkeypatch):
    from spectra.report.table import layer_table

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout", Terminal())
    out = console()
    out.file = written = Terminal()
    out.print(layer_table(report.layers, width=out.width, max_rows=99))
    for name in NAMES:
        out.print(name, markup=False)
    text = re.sub(r"\x1b\[[\d;]*m", "", written.getvalue())  # colours
    assert not [letter for letter in text if (ord(letter) < 32 and letter != "\n") or 0x7F <= ord(letter) < 0xA0]
    assert "\u202e" not in text
    assert "␛[2J␛[H.0.fc" in text


def test_a_table_printed_to_a_terminal_is_shown_and_to_a_file_kept(monkeypatch):
    for stream, expected in ((Terminal(), "a␛\n"), (io.StringIO(), "a\x1b\n")):
        monkeypatch.setattr("sys.stdout", stream)
        print_table("a\x1b\n")
        assert stream.getvalue() == expected


def test_an_error_about_a_hostile_file_is_one_line(tmp_path, capsys):
    (tmp_path / "a\nb\x1b[2J.safetensors").write_bytes(b"x")
    assert main(["analyze", str(tmp_path / "a\nb\x1b[2J.safetensors")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "a␊b␛[2J.safetensors" in line


def test_figures_do_not_read_names_as_formulas(report):
    figures = [alpha_by_depth(report), esd_grid(report), *(esd(report, layer.matrix_name) for layer in report.layers[:12])]
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png", dpi=30)
        plt.close(figure)


def test_the_page_keeps_names_text(report, tmp_path):
    report.save(tmp_path / "r")
    page = write_page(tmp_path / "r").read_text(encoding="utf-8")
    body = re.sub(r"(?s)<script[^>]*>.*?</script>", "", page)
    assert "<script>alert" not in page
    assert "onerror=alert" not in re.sub(r"&[a-z#0-9]+;", "", body) or "<img src=x" not in body
    assert "<img src=x" not in page
    assert "{{ 7*7 }}" in page
    assert ">49<" not in body
