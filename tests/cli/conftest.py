"""Running a command in this process: that of the module's ``COMMAND``; of ``test_NAME.py`` without one it is ``NAME``."""

import pytest

from spectra.cli.main import main
from tests.models import write_small


@pytest.fixture
def run(capsys, request):
    """Run the command; return exit code, stdout and stderr."""
    module = request.module
    command = getattr(module, "COMMAND", module.__name__.rsplit(".", 1)[-1].removeprefix("test_"))

    def run(*arguments):
        code = main([command, *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(run):
    """Run a command that must be refused: exit code 2, nothing on stdout, one line on stderr. Return the line."""

    def refused(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("spectra: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err.removeprefix("spectra: ").removesuffix("\n")

    return refused


@pytest.fixture
def model(tmp_path):
    """A small checkpoint."""
    return str(write_small(tmp_path / "tiny.safetensors"))
