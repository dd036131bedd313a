import dataclasses
import math

import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures.loss_surface import loss_surface
from spectra.report.figures.style import write
from tests.results.test_surface import surface_of


def parts(figure):
    """Axes in perspective, maps, and the colour bar."""
    perspectives = [axes for axes in figure.axes if axes.name == "3d"]
    flat = [axes for axes in figure.axes if axes.name != "3d"]
    return perspectives, flat[:-1], flat[-1]


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
@pytest.mark.parametrize("regions", [("whole", "top", "bottom"), ("top",)], ids=["three", "one"])
def test_every_region_is_drawn_twice_on_one_scale(wide, regions):
    surface = surface_of(regions=regions)
    perspectives, maps, bar = parts(loss_surface(surface, wide=wide))
    assert len(perspectives) == len(maps) == len(regions)
    limits = {axes.get_zlim() for axes in perspectives}
    colors = {axes.collections[0].get_clim() for axes in (*perspectives, *maps)}
    assert len(limits) == len(colors) == 1
    heights = np.concatenate([losses.ravel() for losses in surface.losses.values()])
    low, high = limits.pop()
    assert low <= heights.min() < heights.max() <= high
    assert (bar.get_xlabel() or bar.get_ylabel()) == "loss"


def test_the_first_direction_runs_to_the_right():
    surface = surface_of(regions=("top",))
    surface.losses["top"][:] = surface.grid[:, None]  # rises along the first direction only
    perspectives, maps, _ = parts(loss_surface(surface, wide=True))
    assert maps[0].get_xlabel() == "first direction"
    lines = maps[0].collections[1]  # contour lines
    inside = [path.vertices for path in lines.get_paths() if len(path.vertices)]
    assert all(np.ptp(vertices[:, 0]) < 1e-9 < np.ptp(vertices[:, 1]) for vertices in inside)
    assert perspectives[0].get_xlabel() == "first"


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_titles_tell_how_much_moves_and_how_far(wide):
    texts = [text.get_text() for text in loss_surface(surface_of(), wide=wide).texts]
    assert [text.split(":")[0] for text in texts] == ["Whole model", "Top half", "Bottom half"]
    assert "10% of parameters" in texts[1]
    assert r"$\|\Delta\theta\| = 1\,\|\theta\|$ at radius 1" in texts[1]


@pytest.mark.parametrize("radius", [1.5, 0.2, 0.0125], ids="radius {}".format)  # numbers on the axes of one to five letters
@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_nothing_leaves_the_page(wide, radius):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    surface = surface_of(num_params=8_130_081)  # long numbers in the titles
    regions = tuple(dataclasses.replace(region, relative_norm=0.00354) for region in surface.regions)
    grid = radius * surface.grid / surface.grid[-1]
    figure = loss_surface(dataclasses.replace(surface, regions=regions, grid=grid), wide=wide)
    assert figure.get_size_inches()[0] == (6.75 if wide else 3.25)
    page = figure.bbox
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    words = [*figure.texts, *(label for axes in figure.axes for label in (axes.xaxis.label, axes.yaxis.label))]
    for box in (text.get_window_extent(renderer) for text in words if text.get_text()):
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1


def test_points_that_are_not_finite_are_left_out():
    surface = surface_of(regions=("top",))
    surface.losses["top"][0, 0] = math.inf
    perspectives, maps, _ = parts(loss_surface(surface))
    assert perspectives[0].get_zlim()[1] < 10.0
    assert np.isfinite(maps[0].collections[0].get_clim()).all()


def test_a_flat_surface_can_be_drawn(tmp_path):
    surface = surface_of(regions=("top",))
    surface.losses["top"][:] = 2.0
    write(loss_surface(surface), tmp_path, "flat", ["png"])


def test_what_cannot_be_drawn_is_refused():
    surface = surface_of()
    surface.losses["top"][0, 0] = math.nan
    with pytest.raises(InputError, match="this loss surface is not finished. Run the same 'spectra surface' command again"):
        loss_surface(surface)
    for losses in surface.losses.values():
        losses[:] = math.inf
    with pytest.raises(InputError, match=r"no point of this loss surface is finite.* Choose a smaller radius"):
        loss_surface(surface)


def test_equal_surfaces_give_equal_bytes(tmp_path):
    formats = ["png", "pdf", "svg"]
    first, second = (write(loss_surface(surface_of(), wide=True), tmp_path / name, "f", formats) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_users_matplotlib_settings_stay_as_they_were():
    import matplotlib

    before = dict(matplotlib.rcParams)
    loss_surface(surface_of())
    assert dict(matplotlib.rcParams) == before
