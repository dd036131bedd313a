"""Calling transformers: what it says is silenced and put back, what it raises becomes a line."""

import sys
import warnings

import pytest
from transformers.utils import logging

from spectra.errors import InputError, MissingPackageError, SourceError
from spectra.training.libraries import imported, in_one_line, quiet


@pytest.fixture
def talkative():
    """Verbosity and progress bars as nobody has them by default, so that putting them back can be seen."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.INFO)
    logging.enable_progress_bar()
    yield
    logging.set_verbosity(verbosity)
    if not has_bars:
        logging.disable_progress_bar()


def test_transformers_is_silent_inside_and_as_before_outside(talkative):
    with quiet():
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    assert logging.get_verbosity() == logging.INFO
    assert logging.is_progress_bar_enabled()


def test_transformers_talks_again_after_an_error(talkative):
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert logging.get_verbosity() == logging.INFO
    assert logging.is_progress_bar_enabled()


def test_bars_that_were_off_stay_off(talkative):
    logging.disable_progress_bar()
    with quiet():
        pass
    assert not logging.is_progress_bar_enabled()


def test_what_libraries_deprecate_of_each_other_is_no_warning_of_ours():
    with quiet():
        warnings.warn("use the other", FutureWarning, stacklevel=1)
    with pytest.raises(UserWarning), quiet():
        warnings.warn("this one matters", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no such file.\nSee the manual.\n"), "cannot load 'x' (no such file). Do this."),
        (
            RuntimeError("errors in loading:\n\tsize mismatch for w.\n\tmore"),
            "cannot load 'x' (errors in loading: size mismatch for w). Do this.",
        ),
        (Exception(), "cannot load 'x' (Exception). Do this."),
        (
            ValueError("The repository contains custom code. Pass `trust_remote_code=True`."),
            "cannot load 'x' (it comes with code of its own). Read that code, then pass --trust-remote-code.",
        ),
    ],
    ids=["several lines", "announced", "without words", "code"],
)
def test_what_a_library_raises_is_one_line(error, line):
    with pytest.raises(SourceError) as caught, in_one_line("cannot load 'x'", "Do this."):
        raise error
    assert str(caught.value) == line


@pytest.mark.parametrize("error", [InputError("ours"), MemoryError()], ids=["ours", "memory"])
def test_errors_that_say_enough_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, in_one_line("cannot load 'x'", "Do this."):
        raise error
    assert caught.value is error


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"loading a model needs peft: pip install \"spectra-nn\[train\]\""):
        imported("peft")
