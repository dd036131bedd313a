import pytest

from spectra.errors import InputError
from spectra.report.figures.losses import losses
from spectra.report.figures.style import write
from spectra.results.run_metrics import LogLine
from tests.run_folders import log_lines


def test_losses_stand_at_the_steps_at_which_they_were_logged():
    (axes,) = losses(log_lines()).axes
    trained, evaluated = axes.get_lines()
    assert (list(trained.get_xdata()), list(trained.get_ydata())) == ([10, 20, 30, 40], [0.7, 0.6, 0.5, 0.4])
    assert (list(evaluated.get_xdata()), list(evaluated.get_ydata())) == ([20, 40], [0.65, 0.5])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "evaluation"]


def test_without_an_evaluation_there_is_one_line():
    (axes,) = losses([line for line in log_lines() if "loss" in line.numbers]).axes
    assert [line.get_label() for line in axes.get_lines()] == ["training"]


def test_a_loss_of_one_step_can_be_seen():
    (axes,) = losses(log_lines()[:1]).axes
    assert axes.get_lines()[0].get_marker() == "."
    assert axes.get_xlim() == (9.0, 11.0)


def test_a_long_run_has_a_line_without_marks():
    lines = [LogLine(step=step, epoch=0.0, seconds=0.0, numbers={"loss": 1 / step}) for step in range(1, 101)]
    assert losses(lines).axes[0].get_lines()[0].get_marker() == ""


def test_a_log_without_losses_has_nothing_to_draw():
    with pytest.raises(InputError, match="this log holds no loss yet, so that there is nothing to draw"):
        losses([])


def test_it_is_written_alike_each_time(tmp_path):
    first, second = (write(losses(log_lines(), wide=True), tmp_path / name, "losses", ["png", "pdf"]) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
