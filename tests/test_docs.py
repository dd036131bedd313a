"""What the documentation shows is what happens."""

import re
import runpy
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/weightwatcher.md", "docs/fisher.md", "docs/guided-dropout.md"]
MADE = {"make_columns": "columns.md", "make_fisher_columns": "fisher-columns.md"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page):
    """Yield the commands of spectra on a page, each with the lines shown below it."""
    for block in blocks(page, "console"):
        lines = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in pairwise([*starts, len(lines)]):
            if lines[start].startswith("$ spectra "):
                yield shlex.split(lines[start], comments=True)[2:], lines[start + 1 : end]


def missing(shown, real):
    """Return what is shown and does not come, in this order."""
    rest = iter(line.rstrip() for line in real.splitlines())
    return [line for line in shown if line not in rest]


@pytest.fixture(scope="session")
def classifier(demo_folder, tmp_path_factory):
    """The model of the pages, as docs/make_classifier.py makes it."""
    folder = tmp_path_factory.mktemp("pages") / "classifier"
    runpy.run_path(str(ROOT / "docs" / "make_classifier.py"))["save_classifier"](folder)
    return folder


@pytest.fixture
def checkout(classifier, tmp_path, monkeypatch):
    """A folder that looks like a checkout in which the classifier was made."""
    (tmp_path / "demo-report").mkdir()
    (tmp_path / "demo-report" / "classifier").symlink_to(classifier)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page, checkout, capsys):
    from spectra.cli.main import main

    for command, shown in commands(page):
        if any(word.partition("/")[0] in ("demo", "demo-report") for word in command):  # those that need nothing else
            assert main(command) == 0, command
            assert missing(shown, capsys.readouterr().out) == [], command
    program = "\n".join(blocks(page, "python"))
    assert program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=checkout, check=False)
    assert done.returncode == 0, done.stderr
    assert missing(re.findall(r"^# → (.*)$", program, re.MULTILINE), done.stdout) == []


def test_something_is_shown():
    counts = {page: sum(len(shown) for _, shown in commands(page)) for page in PAGES}
    assert counts["README.md"] > 20
    assert counts["docs/fisher.md"] > 10
    assert sum(len(re.findall("^# → ", block, re.MULTILINE)) for block in blocks("docs/guided-dropout.md", "python")) > 20


@pytest.mark.parametrize("page", PAGES)
def test_options_shown_exist(page, capsys):
    from spectra.cli.main import main

    for command, _ in commands(page):
        main([command[0], "--help"])
        known = re.findall(r"--[\w-]+", capsys.readouterr().out)
        assert {word for word in command if word.startswith("--")} <= set(known), command


@pytest.mark.parametrize("page", ["docs/fisher.md", "docs/guided-dropout.md"])
def test_flags_named_in_the_text_exist(page, capsys):
    from spectra.cli.main import main

    for command in ("fisher", "surface", "plot"):
        main([command, "--help"])
    known = set(re.findall(r"--[a-z][\w-]+", capsys.readouterr().out))
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`[^`\n]*?(--[a-z][\w-]+)", prose)) <= known


@pytest.mark.parametrize("maker", MADE)
def test_a_page_that_is_made_is_up_to_date(maker):
    program = f"import runpy, sys; sys.stdout.write(runpy.run_path('docs/{maker}.py')['text']())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == (ROOT / "docs" / MADE[maker]).read_text(encoding="utf-8"), f"run: python docs/{maker}.py"


@pytest.mark.parametrize("page", [*PAGES, *(f"docs/{page}" for page in MADE.values()), "CONTRIBUTING.md"])
def test_links_between_pages_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / page).read_text(encoding="utf-8")):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), (page, target)
        assert not anchor or anchor in anchors(path), (page, target, anchor)


def anchors(path):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
