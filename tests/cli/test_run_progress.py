"""The lines about a run: one that moves on a terminal, and those that stay."""

import pytest

from spectra.cli.run_progress import run_progress

EVALUATION = {"eval_loss": 0.43214, "eval_accuracy": 0.9, "eval_runtime": 3.0, "eval_samples_per_second": 30.0, "epoch": 1.0}
STEP = {"loss": 0.6931471, "learning_rate": 3.333e-5, "grad_norm": 1.0, "epoch": 0.5}


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for: this is a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")


def test_nothing_is_shown_where_it_is_hidden(capsys):
    with run_progress(hidden=True) as progress:
        assert progress is None
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_each_evaluation_is_a_line(capsys):
    with run_progress(hidden=False) as progress:
        progress.phase("loading the model")
        progress.logged(EVALUATION)
        progress.step(1000, 3000)
        progress.logged(STEP)
        progress.logged(EVALUATION)
    assert capsys.readouterr() == ("", "eval loss 0.4321, accuracy 0.9\n1,000/3,000 steps: eval loss 0.4321, accuracy 0.9\n")


def test_the_same_evaluation_is_one_line(capsys):
    with run_progress(hidden=False) as progress:
        progress.step(3, 3)
        progress.logged(EVALUATION)
        progress.logged(EVALUATION)
    assert capsys.readouterr().err.count("\n") == 1


def test_on_a_terminal_a_line_has_step_loss_and_rate(capsys, terminal):
    with run_progress(hidden=False) as progress:
        progress.phase("loading the model [1]")
        progress.step(1000, 3000)
        progress.logged(STEP)
    out, err = capsys.readouterr()
    assert out == ""
    assert "1,000/3,000 steps" in err
    assert "loss 0.6931, rate 3.33e-05" in err


def test_a_phase_takes_the_place_of_steps_until_the_next(capsys, terminal):
    with run_progress(hidden=False) as progress:
        progress.step(1, 3)
        capsys.readouterr()
        progress.phase("spectra [epoch 1]")
        progress.logged(EVALUATION)  # a line above draws the line that moves again
        shown = capsys.readouterr().err
        assert "1/3 steps: eval loss 0.4321, accuracy 0.9" in shown
        progress.step(2, 3)
    rest = shown + capsys.readouterr().err
    assert "spectra [epoch 1]" in rest
    assert "2/3 steps" in rest
