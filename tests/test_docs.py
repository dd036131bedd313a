"""What the documentation shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/weightwatcher.md"]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page, demo_folder, tmp_path):
    program = "\n".join(blocks(page, "python"))
    assert program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_output_shown_in_the_readme_is_the_real_one(demo_folder, capsys):
    from spectra.cli.main import main

    block = next(block for block in blocks("README.md", "console") if block.startswith("$ spectra analyze demo"))
    command, *shown = block.splitlines()
    assert main(command.removeprefix("$ spectra ").split()) == 0
    real = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    missing = [line for line in shown if line != "…" and line not in real]
    assert missing == []


def test_options_shown_in_the_readme_exist(capsys):
    from spectra.cli.main import main

    for command in ("analyze", "plot"):
        main([command, "--help"])
        known = capsys.readouterr().out
        for block in blocks("README.md", "console"):
            for line in block.splitlines():
                if line.startswith(f"$ spectra {command}"):
                    assert all(option in known for option in re.findall(r"--[\w-]+", line)), line


def test_the_page_of_columns_is_up_to_date():
    program = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/make_columns.py')['text']())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == (ROOT / "docs" / "columns.md").read_text(encoding="utf-8"), "run: python docs/make_columns.py"


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, "CONTRIBUTING.md"]:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert ((ROOT / page).parent / target).exists(), (page, target)
