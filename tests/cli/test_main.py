"""The entry point: help, version, typing errors, and what stays unimported."""

import os
import subprocess
import sys

import pytest

import spectra
from spectra.cli.main import main

HEAVY = {"torch", "transformers", "matplotlib", "numpy", "pandas", "scipy", "safetensors", "huggingface_hub"}


def in_process(*arguments, **options):
    command = [sys.executable, "-m", "spectra", *arguments]
    return subprocess.run(command, check=False, **{"capture_output": True, "text": True, **options})


def loaded_after(code):
    """Run code in a new process; return its exit code, its stdout, and the heavy packages it imported."""
    ending = "\nfinally:\n print(*sys.modules, file=sys.stderr)"
    lines = "\n ".join(code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\ntry:\n {lines}{ending}"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []], ids=["--help", "-h", "nothing"])
def test_help_says_what_for_how_and_with_which_exit_codes(arguments):
    done = in_process(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Spectral diagnostics of neural networks." in done.stdout
    assert "spectra analyze ./my-model --output report" in done.stdout
    assert "Exit codes: 0 done; 1 done, but a layer could not be analysed; 2 usage" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", ["analyze", "plot"])
def test_help_of_a_command_has_examples_and_defaults(command, capsys):
    assert main([command, "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"spectra {command} " in out.split("Arguments:")[0].split("Usage:")[1]
    assert "[default: " in out


@pytest.mark.parametrize(
    "code",
    [
        "import spectra",
        "from spectra.cli.main import main; sys.exit(main(['--help']))",
        "from spectra.cli.main import main; sys.exit(main(['analyze', '--help']))",
        "from spectra.cli.main import main; sys.exit(main(['plot', '--help']))",
        "from spectra.cli.main import main; sys.exit(main(['--version']))",
        "from spectra.cli.main import main; sys.exit(main([]))",
    ],
    ids=["import", "--help", "analyze --help", "plot --help", "--version", "nothing"],
)
def test_asking_for_help_imports_nothing_heavy(code):
    returned, _, heavy = loaded_after(code)
    assert (returned, heavy) == (0, set())


def test_the_version_is_printed_and_nothing_else():
    done = in_process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{spectra.__version__}\n", "")


def refused(capsys, *arguments):
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("spectra: ")
    assert err.count("\n") == 1
    return err.removeprefix("spectra: ").removesuffix("\n")


def test_a_mistyped_command_is_one_line_with_the_nearest(capsys):
    assert refused(capsys, "analyse", "model") == ("No such command 'analyse'. Did you mean 'analyze'? See 'spectra --help'.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["frobnicate"], "frobnicate"),
        (["--frobnicate"], "--frobnicate"),
        (["analyze"], "MODEL"),
        (["report", "a", "b"], "b"),
        (["analyze", "a", "--frobnicate"], "--frobnicate"),
        (["plot"], "SOURCE"),
        (["plot", "a"], "FIGURE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_names_the_argument(capsys, arguments, named):
    assert named in refused(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["analyze"], ["report", "a", "b"], ["analyze", "a", "--frobnicate"]], ids=" ".join
)
def test_wrong_usage_says_what_to_do(capsys, arguments):
    assert "--help" in refused(capsys, *arguments)


@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--help"]], ids=" ".join)
def test_a_reader_of_the_help_may_leave_early(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = in_process(*arguments, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = in_process("analyze", "--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2


def test_the_same_command_is_installed_under_its_name():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="spectra")
    assert entry.load() is main
