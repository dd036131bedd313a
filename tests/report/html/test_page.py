import json
import re
import sys

import pytest

import spectra
from spectra.errors import MissingPackageError, ResultsError
from spectra.report.html import write_page
from tests.models import small_weights
from tests.reports import HOSTILE, report_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "result"
    spectra.analyze(small_weights(), mp_fit=True, randomize=True).save(path)
    return path


def data_of(text, name):
    """The JSON in a script element, found as a browser finds its end."""
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script', text, re.S)[1])


def test_the_page_says_what_the_report_says(folder):
    text = write_page(folder).read_text(encoding="utf-8")
    report = spectra.load(folder)
    for line in str(report).splitlines():
        assert re.sub("'", "&#39;", line[1:]) in text
    for layer in report.layers:
        assert f'href="#layer={layer.matrix_name}"' in text


def test_the_same_folder_gives_the_same_bytes(folder, tmp_path):
    assert write_page(folder, tmp_path / "a.html").read_bytes() == write_page(folder, tmp_path / "b.html").read_bytes()


def test_the_page_needs_nothing_from_elsewhere(folder):
    text = write_page(folder).read_text(encoding="utf-8")
    assert not re.search(r'<(script|link|img|iframe)[^>]*(src|href)="(?!data:)', text)
    assert "@import" not in text
    assert "url(" not in text.split("</style>")[0]


def test_numbers_of_all_layers_are_in_the_data(folder):
    text = write_page(folder).read_text(encoding="utf-8")
    data, rows = data_of(text, "layers-data"), data_of(text, "rows-data")
    report = spectra.load(folder)
    assert data["names"] == [layer.matrix_name for layer in report.layers]
    column = data["columns"].index("alpha")
    assert [row[column] for row in rows] == pytest.approx([layer.alpha for layer in report.layers], rel=1e-5)
    assert len(data_of(text, "spectra-data")["spectra"]) == len(report.layers)


def test_hostile_names_end_no_element(tmp_path):
    report_of(list(HOSTILE)).save(tmp_path / "result")
    text = write_page(tmp_path / "result").read_text(encoding="utf-8")
    assert data_of(text, "layers-data")["names"] == list(HOSTILE)
    for markup in ("<script>window", "<img", "</script><!--", "<b>$"):
        assert markup not in text.split('id="plotly-source"')[0]


def test_a_report_without_fits_has_a_page(tmp_path):
    spectra.analyze({"tiny.weight": small_weights()["head.weight"][:3, :3]}).save(tmp_path / "result")
    text = write_page(tmp_path / "result").read_text(encoding="utf-8")
    assert "too few evals" in text
    assert 'id="depth"' not in text


def contrast(first, second):
    """WCAG 2.2: ratio of relative luminances."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    darker, lighter = sorted((luminance(first), luminance(second)))
    return lighter / darker


@pytest.mark.parametrize("theme", [":root {", ':root[data-theme="dark"] {'], ids=["light", "dark"])
def test_text_and_marks_have_the_contrast_of_wcag_aa(folder, theme):
    style = write_page(folder).read_text(encoding="utf-8").split("</style>")[0]
    colors = dict(re.findall(r"(--[\w-]+): (#[0-9a-fA-F]{6})", style.split(theme)[1].split("}")[0]))
    grounds = [colors[ground] for ground in ("--paper", "--raised", "--sunken", "--chosen")]
    for ground in grounds:
        for text in ("--ink", "--muted", "--accent"):
            assert contrast(colors[text], ground) >= 4.5, text
    for mark in ("--low", "--failed", "--good", "--color-1"):
        assert contrast(colors[mark], colors["--paper"]) >= 3.0, mark


def test_a_folder_without_result_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="is no result folder: it has no report.json"):
        write_page(tmp_path)


def test_a_missing_library_is_named_with_the_extra_that_brings_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "plotly" else object())
    with pytest.raises(MissingPackageError, match=r'needs plotly: pip install "spectra-nn\[report\]"'):
        write_page(folder)


@pytest.mark.slow
def test_two_thousand_layers_fit_in_a_page(tmp_path):
    names = [f"layers.{block}.{role}" for block in range(250) for role in "abcdefgh"]
    report_of(names, size=1024, with_bulk=True).save(tmp_path / "result")
    assert write_page(tmp_path / "result").stat().st_size < 15e6
