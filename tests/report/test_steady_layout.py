import numpy as np
import pytest
from matplotlib.figure import Figure

from spectra.report.figures.steady_layout import SteadyLayout


def laid_out(layout):
    """A figure with two parts, one of them with a bar of colours, and where its layout puts everything."""
    figure = Figure(figsize=(3.3, 4.7), layout=layout)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.0, 1.7))
    upper.subplots(1, 2)[0].set_ylabel("density")
    axes = lower.add_subplot()
    lower.colorbar(axes.imshow(np.arange(6.0).reshape(2, 3)), ax=axes, location="bottom", label="discordance")
    figure.draw_without_rendering()
    corners = np.array([axes.get_position(original=True).get_points() for axes in figure.axes])
    return figure, corners, np.array([part.bbox_relative.get_points() for part in figure.subfigs])


def test_places_are_those_of_the_constrained_layout_without_their_last_bits():
    _, axes, parts = laid_out("constrained")
    _, steady_axes, steady_parts = laid_out(SteadyLayout())
    for steady, plain in ((steady_axes, axes), (steady_parts, parts)):
        assert np.array_equal(steady, np.round(steady, 7))
        # The second of the two rounds of a layout starts from rounded places: a few units of the last digit.
        assert steady == pytest.approx(plain, abs=1e-6)
    assert not np.array_equal(axes, np.round(axes, 7))


def test_axes_still_take_part_in_the_next_layout():
    figure, first, _ = laid_out(SteadyLayout())
    assert all(axes.get_in_layout() for axes in figure.axes)
    figure.axes[0].set_ylabel("density\nin two lines")
    figure.draw_without_rendering()
    assert figure.axes[0].get_position(original=True).x0 > first[0, 0, 0] + 0.01
