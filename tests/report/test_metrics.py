import pytest

from spectra.errors import InputError
from spectra.report.figures.metrics import metrics
from spectra.results.run_metrics import LogLine
from tests.run_folders import log_lines, run_record


def lines_of(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def words(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_metrics_of_shares_stand_together_and_others_by_themselves():
    shares, perplexity = metrics(log_lines(), run_record()).axes
    assert lines_of(shares) == {"accuracy (test 0.78)": ([20, 40], [0.5, 0.76]), "_test": ([40], [0.78])}
    assert lines_of(perplexity) == {"perplexity (test 22)": ([20, 40], [30.0, 20.0]), "_test": ([40], [22.0])}
    assert (shares.get_ylabel(), perplexity.get_ylabel()) == ("accuracy", "perplexity")
    assert words(shares) == ["accuracy (test 0.78)", "test"]


def test_the_test_is_of_the_weights_that_were_kept():
    shares = metrics(log_lines(), run_record(best_step=20)).axes[0]
    assert lines_of(shares)["_test"] == ([20], [0.78])


def test_a_run_under_way_has_no_test():
    assert words(metrics(log_lines()).axes[0]) == ["accuracy"]


def test_several_metrics_have_colors_of_their_own():
    numbers = {"eval_accuracy": 0.5, "eval_f1": 0.4, "eval_matthews": -0.1, "eval_loss": 0.7, "eval_a_loss": 0.6}
    (axes,) = metrics([LogLine(step=5, epoch=1.0, seconds=1.0, numbers=numbers)]).axes
    assert words(axes) == ["accuracy", "f1", "matthews"]
    assert axes.get_ylabel() == "metric"
    assert len({line.get_color() for line in axes.get_lines() if line.get_label() in words(axes)}) == 3


def test_metrics_of_many_tasks_have_a_panel_each_with_its_legend_beside_it():
    names = ["", "books_", "cafes_", "films_", "headphones_"]
    numbers = {f"eval_{name}{metric}": 0.5 for name in names for metric in ("accuracy", "f1", "matthews")}
    figure = metrics([LogLine(step=step, epoch=1.0, seconds=1.0, numbers=numbers) for step in (5, 10)])
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "f1", "matthews"]
    assert words(figure.axes[1]) == [f"{name}f1" for name in names]
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    for axes in figure.axes:
        colors = {line.get_color() for line in axes.get_lines()}
        legend = axes.get_legend().get_window_extent()
        assert len(colors) == 5
        assert axes.bbox.x1 <= legend.x0 < legend.x1 <= width
        assert 0 <= legend.y0 < legend.y1 <= height


def test_a_test_alone_is_a_star():
    (axes,) = metrics([], run_record(test_metrics={"test_accuracy": 0.5})).axes
    assert lines_of(axes)["_test"] == ([40], [0.5])
    assert words(axes) == ["accuracy (test 0.5)", "test"]


def test_dollars_in_the_names_of_tasks_are_no_formulas():
    numbers = {"eval_$a$_accuracy": 0.5, "eval_$b_accuracy": 0.5}
    metrics([LogLine(step=5, epoch=1.0, seconds=1.0, numbers=numbers)]).canvas.draw()


@pytest.mark.parametrize("numbers", [{}, {"loss": 1.0, "eval_loss": 1.0, "eval_runtime": 2.0}])
def test_a_log_without_metrics_has_nothing_to_draw(numbers):
    with pytest.raises(InputError, match="this log holds no metric of an evaluation yet"):
        metrics([LogLine(step=1, epoch=0.1, seconds=1.0, numbers=numbers)])
