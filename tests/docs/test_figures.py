"""The page on figures shows all of them as they are."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from spectra.cli.main import main
from spectra.cli.plot_figures import FIGURES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "figures.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(DOCS / "make_figures.py"))


def test_the_gallery_is_up_to_date(made):
    assert made["text"](PAGE) == PAGE, "python docs/make_figures.py makes it anew"


def test_every_figure_has_an_entry_of_its_own_and_a_small_image(made):
    assert set(made["ENTRIES"]) == set(FIGURES)
    images = [DOCS / path for path in re.findall(r'<img src="([^"]+)"', PAGE)]
    assert len(set(images)) == len(FIGURES)
    assert [image for image in images if not image.is_file()] == []
    own = set((DOCS / made["IMAGES"]).iterdir())
    assert own <= set(images)
    assert {image.name: image.stat().st_size for image in own if image.stat().st_size > 120_000} == {}


def test_commands_have_options_that_exist(made, capsys):
    main(["plot", "--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    for name, entry in made["ENTRIES"].items():
        words = shlex.split(entry.command)
        assert words[1] == name
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.slow
def test_the_program_of_the_page_runs(demo_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(program, "docs/figures.md", "exec"), {})
    assert (tmp_path / "before.pdf").read_bytes().startswith(b"%PDF")
