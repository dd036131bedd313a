"""Every figure of ``spectra plot`` from fixed records, byte for byte; ``golden_sources.py`` says how goldens are refreshed."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from spectra.cli.plot_figures import FIGURES
from tests.report.golden_sources import GOLDENS, PINNED, drawn, write_sources

REFRESH = "If that is meant: python -m tests.report.golden_sources, and look at what changed."


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


def test_every_figure_has_a_golden_and_no_other_file_is_kept(sources):
    assert set(sources) == set(FIGURES), "a figure lacks a source of fixed numbers in golden_sources.py"
    assert {path.stem for path in GOLDENS.iterdir()} == set(FIGURES), REFRESH


def test_goldens_are_small():
    assert {path.name: size for path in GOLDENS.iterdir() if (size := path.stat().st_size) > 60_000} == {}


@pytest.mark.skipif(importlib.metadata.version("matplotlib") != PINNED, reason=f"goldens are drawn under matplotlib {PINNED}")
@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_drawn_as_it_always_was(sources, tmp_path, figure):
    new = drawn(sources[figure], tmp_path / f"{figure}.svg")
    assert new == (GOLDENS / f"{figure}.svg").read_text(encoding="utf-8"), REFRESH


def test_settings_and_fonts_of_the_machine_change_nothing(sources, tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.family: serif\nfont.size: 20\naxes.grid: True\nmathtext.fontset: cm\n")
    drawn(sources["esd"], tmp_path / "here.svg")
    code = (
        f"from tests.report.golden_sources import drawn; from pathlib import Path; drawn({sources['esd']}, Path('there.svg'))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH", "")]))}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "there.svg").read_text() == (tmp_path / "here.svg").read_text()
