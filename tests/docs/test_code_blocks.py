"""Every block of Python and of a console on every page runs, in order, and prints what the page shows.

A block that cannot run here has ``<!-- not run: REASON -->`` on the line before it; its options are looked at in
``test_pages.py``. Recipes, blocks of YAML whose first line is ``# NAME.yaml``, become files of this name.
"""

import re
import runpy
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, blocks_of

MADE = ("docs/make_classifier.py", "docs/make_writer.py")  # scripts whose work is done before a page begins
# What differs from run to run: metrics too, as it depends on the clock when TempBalance measures.
OF_A_RUN = re.compile(r"\d+:\d\d:\d\d|[\d.]+% of it|(?<=oss |acy | f1 |ews )-?[\d.]+(e-\d+)?")
RUN = ("python", "console")


def runnable(page):
    return [block for block in blocks_of(page) if block.language in RUN and not block.not_run]


@pytest.fixture(scope="session")
def classifier(demo_folder, tmp_path_factory):
    """The model of the pages, as docs/make_classifier.py makes it."""
    folder = tmp_path_factory.mktemp("pages") / "classifier"
    runpy.run_path(str(ROOT / "docs" / "make_classifier.py"))["save_classifier"](folder)
    return folder


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    """The chat model of the pages, as docs/make_writer.py makes it."""
    folder = tmp_path_factory.mktemp("pages") / "writer"
    runpy.run_path(str(ROOT / "docs" / "make_writer.py"))["save_writer"](folder)
    return folder


@pytest.fixture
def checkout(demo_folder, tmp_path, monkeypatch, request):
    """A folder that looks like a checkout in which the models of the pages were made; ``my-model`` is the demo model."""
    text = "".join(block.text for block in runnable(request.getfixturevalue("page")))
    (tmp_path / "demo-report").mkdir()
    for name in ("classifier", "writer"):
        if name in text:
            (tmp_path / "demo-report" / name).symlink_to(request.getfixturevalue(name))
    (tmp_path / "my-model").symlink_to(demo_folder)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "reviews").symlink_to(ROOT / "spectra" / "recipes" / "data" / "reviews")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated:FutureWarning")  # within peft and trl
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)])
def test_a_page_shows_what_happens(page, checkout, capsys):
    names = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language == "yaml" and (name := re.match(r"# (\S+\.yaml)\n", block.text)):
            Path(name[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and not block.not_run:
            run_python(block, names, capsys)
        elif block.language == "console" and not block.not_run:
            run_console(block, capsys)


def run_python(block, names, capsys):
    # Lines are counted as on the page, for tracebacks.
    exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), names)
    shown = re.findall(r"^# → (.*)$", block.text, re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert missing(shown, printed) == [], (f"{block.page}, line {block.line}", printed)


def run_console(block, capsys):
    from spectra.cli.main import main

    for words, shown in block.commands():
        if words[0] == "python" and words[1] in MADE:
            continue
        assert words[0] == "spectra", (
            f"{block.page}, line {block.line}: '{words[0]}' cannot run. Say why: <!-- not run: ... -->"
        )
        code = main(words[1:])
        printed = capsys.readouterr()
        refused = any(line.startswith("spectra: ") for line in shown)
        assert code == (2 if refused else 0), (words, printed.err)
        if words[1] in ("finetune", "sweep"):
            shown, *streams = (map(of_any_run, lines) for lines in (shown, printed.out.splitlines(), printed.err.splitlines()))
        else:
            streams = [printed.out.splitlines(), printed.err.splitlines()]
        for lines in streams:  # in order in each; on a terminal they mix
            shown = missing(list(shown), list(lines))
        assert shown == [], (words, printed)


def of_any_run(line):
    return OF_A_RUN.sub("", line).rstrip()


def missing(shown, printed):
    """Return the lines that are shown and are not printed, in this order; what ends in ``…`` is a beginning."""
    rest = [line.rstrip() for line in printed]
    left = []
    for line in shown:
        if line in ("", "…"):
            continue
        matches = rest.index(line) if line in rest else _beginning(line, rest)
        if matches is None:
            left.append(line)
        else:
            rest = rest[matches + 1 :]
    return left


def _beginning(line, rest):
    if not line.endswith("…"):
        return None
    return next((place for place, real in enumerate(rest) if real.startswith(line.removesuffix("…"))), None)


def test_every_block_that_is_not_run_says_why():
    markers = sum((ROOT / page).read_text(encoding="utf-8").count("<!-- not run:") for page in PAGES)
    reasons = [block.not_run for page in PAGES for block in blocks_of(page) if block.not_run]
    assert len(reasons) == markers, "a marker stands on the line before the fence"
    assert all(len(reason.split()) >= 2 for reason in reasons)


def test_most_pages_show_output():
    shown = {
        page: sum(
            len(re.findall("^# → ", block.text, re.MULTILINE))
            if block.language == "python"
            else sum(len(lines) for _, lines in block.commands())
            for block in runnable(page)
        )
        for page in PAGES
    }
    assert shown["README.md"] > 20
    assert shown["docs/recipes.md"] > 40
    for name in ("fisher", "guided-dropout", "tempbalance", "plans", "dcs", "meta_peft", "pruning"):
        assert shown[f"docs/{name}.md"] > 10, name


def test_output_is_found_in_order_and_beginnings_are_enough():
    assert missing(["a", "…", "b", "c…"], ["x", "a ", "y", "b", "cd"]) == []
    assert missing(["b", "a"], ["a", "b"]) == ["a"]
    assert missing(["c…"], ["abc"]) == ["c…"]


def test_blocks_are_found_with_their_lines_and_markers(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    console = "<!-- not run: hours -->\n```console\n$ a \\\n  b # c\nd\n```\n"
    figure = "```{figure} a.png\n:width: 1em\n```\n"
    (tmp_path / "page.md").write_text(f"# T\n\n```python\n1\n```\n\n{figure}{console}")
    first, _, second = blocks_of("page.md")
    assert first == Block("page.md", 4, "python", "1\n")
    assert (second.not_run, list(second.commands())) == ("hours", [(["a", "b"], ["d"])])
