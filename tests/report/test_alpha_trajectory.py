import dataclasses

import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures.alpha_trajectory import alpha_trajectory
from spectra.results.run_spectra import load_run_spectra
from tests.run_folders import block_alphas, heavy_tailed, write_run, write_spectra


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    return load_run_spectra(write_run(tmp_path_factory.mktemp("run")))


def lines_of(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_every_layer_has_its_line_and_its_change(spectra):
    levels, changes, _ = alpha_trajectory(spectra).axes
    alphas = np.array([[row.alpha for row in one.report.layers] for one in spectra])
    for axes, expected in ((levels, alphas), (changes, alphas - alphas[0])):
        drawn = axes.get_lines()
        assert all(list(line.get_xdata()) == [0.0, 1.0, 2.0] for line in drawn)
        np.testing.assert_array_equal([line.get_ydata() for line in drawn[:4]], expected.T)
        # Sums in another order.
        np.testing.assert_allclose(drawn[4].get_ydata(), expected.mean(axis=1), rtol=1e-12, atol=1e-12)
        assert drawn[4].get_color() == "black"
    assert levels.get_title(loc="left") == "reliable fits of 4 of 4 layers"


def test_blocks_have_a_color_each_and_the_bar_names_them(spectra):
    levels, _, bar = alpha_trajectory(spectra).axes
    colors = [tuple(line.get_color()) for line in levels.get_lines()[:4]]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "1"]
    assert bar.get_ylabel() == "block"


def with_quality(one, quality, names):
    layers = tuple(
        dataclasses.replace(row, fit_quality=quality) if row.layer_name in names else row for row in one.report.layers
    )
    return dataclasses.replace(one, report=dataclasses.replace(one.report, layers=layers))


def test_doubtful_fits_are_left_out_and_counted(spectra):
    changed = [spectra[0], with_quality(spectra[1], "poor", {"layers.0.query"}), spectra[2]]
    levels = alpha_trajectory(changed).axes[0]
    assert len(levels.get_lines()) == 4
    assert levels.get_title(loc="left") == "reliable fits of 3 of 4 layers"


def test_where_no_fit_is_reliable_all_are_drawn_and_called_doubtful(spectra):
    levels = alpha_trajectory([with_quality(one, "poor", set(block_alphas())) for one in spectra]).axes[0]
    assert len(levels.get_lines()) == 5
    assert levels.get_title(loc="left") == "doubtful fits of 4 of 4 layers"


def test_a_run_of_less_than_an_epoch_can_be_drawn(spectra):
    short = [dataclasses.replace(one, epoch=one.epoch / 10) for one in spectra]
    assert alpha_trajectory(short, wide=True).axes[1].get_xlabel() == "epoch"


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_analyses_are_no_trajectory(spectra, number):
    with pytest.raises(InputError, match="a trajectory needs two analyses of a run"):
        alpha_trajectory(spectra[:number])


def test_layers_without_fits_are_no_trajectory(tmp_path):
    for name, step in (("before", 0), ("after", 1)):
        write_spectra(tmp_path, name, {"a.weight": np.zeros((20, 20))}, step=step, epoch=float(step))
    with pytest.raises(InputError, match="a layer that was fitted in both"):
        alpha_trajectory(load_run_spectra(tmp_path))


def test_a_layer_that_one_analysis_lacks_is_left_out(tmp_path):
    alphas = block_alphas()
    write_spectra(tmp_path, "before", heavy_tailed(alphas), step=0, epoch=0.0)
    write_spectra(tmp_path, "after", heavy_tailed(dict(list(alphas.items())[1:])), step=1, epoch=1.0)
    assert len(alpha_trajectory(load_run_spectra(tmp_path)).axes[0].get_lines()) == 4


@pytest.mark.parametrize("wide", [False, True])
def test_the_legend_stands_beside_the_title_and_hides_neither_it_nor_a_line(spectra, wide):
    figure = alpha_trajectory(spectra, wide=wide)
    figure.draw_without_rendering()
    levels = figure.axes[0]
    legend, axes = levels.get_legend().get_window_extent(), levels.get_window_extent()
    assert legend.y0 >= axes.y1
    assert legend.x1 <= axes.x1 + 1.0
