import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures import alpha_histogram
from tests.drawn_reports import fitted_row, report_of, transformer_report


def names_and_counts(figure):
    return [tuple(text.get_text() for text in axes.texts) for axes in figure.axes]


def heights_of(axes):
    """Heights of the filled bars, and of the hatched ones on them, by where they begin."""
    return [{bar.get_x(): bar.get_height() for bar in container} for container in axes.containers]


def test_there_is_a_row_for_all_and_one_for_each_kind_single_layers_last():
    assert names_and_counts(alpha_histogram(transformer_report())) == [
        ("all", "n = 11, 1 doubtful"),
        ("attn.query", "n = 3"),
        ("attn.value", "n = 3, 1 doubtful"),
        ("mlp.up", "n = 3"),
        ("embedding", "n = 1"),
        ("head", "n = 1"),
    ]


def test_bars_count_reliable_and_doubtful_fits_apart():
    report = transformer_report()
    for quality, heights in zip(("good", "poor"), heights_of(alpha_histogram(report).axes[0]), strict=True):
        alphas = [row.alpha for row in report.layers if row.fit_quality == quality]
        counts, edges = np.histogram(alphas, np.arange(1.0, 8.1, 0.25))
        assert heights == {x: count for x, count in zip(edges[:-1].tolist(), counts.tolist(), strict=True) if count}


def test_doubtful_bars_are_hatched_and_stand_on_the_others():
    axes = alpha_histogram(transformer_report()).axes[0]
    good, poor = axes.containers
    assert {bar.get_hatch() for bar in good} == {None}
    assert None not in {bar.get_hatch() for bar in poor}
    heights = {bar.get_x(): bar.get_height() for bar in good}
    assert [bar.get_y() for bar in poor] == [heights.get(bar.get_x(), 0) for bar in poor]


def test_every_layer_has_a_mark():
    report = transformer_report()
    marked = np.concatenate(
        [line.get_xdata() for line in alpha_histogram(report).axes[0].get_lines() if line.get_marker() == "|"]
    )
    np.testing.assert_array_equal(np.sort(marked), sorted(row.alpha for row in report.layers if row.status == "ok"))


def test_the_band_is_where_well_trained_layers_are_and_inverses_have_none():
    [band] = [patch for patch in alpha_histogram(transformer_report()).axes[0].patches if patch.get_zorder() == 0]
    assert (band.get_x(), band.get_x() + band.get_width()) == (2.0, 6.0)
    figure = alpha_histogram(transformer_report(inverse=True))
    assert [patch for patch in figure.axes[0].patches if patch.get_zorder() == 0] == []
    assert figure.axes[-1].get_xlabel().endswith(r"of $1/\lambda$")


def test_alphas_beyond_the_axis_are_counted():
    figure = alpha_histogram(report_of([fitted_row("a", 3.0), fitted_row("b", 31.0, is_poor=True)]))
    assert figure.axes[-1].get_xlim() == (1.0, 7.0)
    assert names_and_counts(figure) == [("linear", "n = 2, 1 doubtful, 1 beyond →")]


def test_many_kinds_share_the_last_row():
    figure = alpha_histogram(report_of([fitted_row(f"layers.{b}.part{n}", 3.0) for b in range(2) for n in range(14)]))
    assert len(figure.axes) == 11
    assert names_and_counts(figure)[-1] == ("5 other kinds", "n = 10")


def test_nothing_to_draw_is_refused():
    with pytest.raises(InputError, match="no layer of 'toy' was fitted, so there is no alpha to draw"):
        alpha_histogram(report_of([fitted_row("a", np.nan)]))
