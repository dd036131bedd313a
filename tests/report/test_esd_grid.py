import numpy as np
import pytest

from spectra.errors import InputError
from spectra.report.figures import esd_grid
from tests.drawn_reports import fitted_row, report_of, transformer_report


def panels_of(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def words_of(axes):
    return [text.get_text() for text in axes.texts]


def test_rows_are_kinds_and_columns_are_blocks_from_the_first_to_the_last():
    panels = panels_of(esd_grid(transformer_report(num_blocks=7)))
    assert len(panels) == 9
    assert [words_of(axes)[1:] for axes in panels] == [
        [f"block {block}", *[role] * (block == 0)] for role in ("attn.query", "attn.value", "mlp.up") for block in (0, 3, 6)
    ]


def test_what_there_is_no_room_for_is_counted():
    text = esd_grid(transformer_report(num_blocks=7)).get_suptitle()
    assert text == "toy\n9 of 23 fitted matrices; left out: 4 blocks, 2 outside of blocks"


def test_text_width_has_room_for_six_blocks():
    assert len(panels_of(esd_grid(transformer_report(num_blocks=7), wide=True))) == 18


def test_kinds_beyond_a_page_are_counted():
    report = report_of([fitted_row(f"layers.{block}.part{n}", 3.0) for block in range(2) for n in range(11)])
    figure = esd_grid(report)
    assert len(panels_of(figure)) == 16
    assert figure.get_suptitle().endswith("16 of 22 fitted matrices; left out: 3 kinds")


def test_experts_of_a_weight_have_one_panel_and_are_counted():
    rows = [
        fitted_row(f"layers.{block}.experts.{n}.up", 3.0, expert=n, stack=f"layers.{block}.experts.*.up")
        for block in range(2)
        for n in range(4)
    ]
    figure = esd_grid(report_of(rows))
    assert len(panels_of(figure)) == 2
    assert figure.get_suptitle().endswith("2 of 8 fitted matrices; left out: 6 experts or heads")


def test_a_glob_takes_every_layer_that_it_names_in_the_order_of_the_model():
    figure = esd_grid(transformer_report(num_blocks=7), ["*.query", "head"])
    panels = panels_of(figure)
    assert len(panels) == 8
    assert [words_of(axes)[1:] for axes in panels[:2]] == [["block 0", "attn.query"], ["block 1", "attn.query"]]
    assert words_of(panels[-1])[1:] == ["head"]
    assert figure.get_suptitle() == "toy"


def test_of_more_layers_than_fit_those_at_equal_distances_are_drawn():
    rows = [fitted_row(f"conv{n}", 3.0) for n in range(49)]
    figure = esd_grid(report_of(rows))
    drawn = [words_of(axes)[1] for axes in panels_of(figure)]
    assert (len(drawn), drawn[0], drawn[-1]) == (24, "conv0", "conv48")
    assert figure.get_suptitle().endswith("24 of 49 fitted matrices; left out: 25 between them")


def test_panels_share_their_axes_where_spectra_are_of_like_size():
    panels = panels_of(esd_grid(transformer_report()))
    assert len({axes.get_xlim() for axes in panels}) == len({axes.get_ylim() for axes in panels}) == 1


def test_panels_of_a_row_share_their_axes_where_kinds_differ_by_decades():
    report = transformer_report()
    far = {name: (1e9 if "up" in name else 1.0) * report.eigenvalues(name) for name in report.spectra}
    rows = [
        fitted_row(layer.matrix_name, layer.alpha, xmin=1e9, xmax=float(far[layer.matrix_name][-1]))
        if "up" in layer.matrix_name
        else layer
        for layer in report.layers
    ]
    moved = report_of(rows)
    moved.spectra.update(far)
    limits = [axes.get_xlim() for axes in panels_of(esd_grid(moved))]
    assert [len(set(limits[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]
    assert len(set(limits)) == 3


def test_a_doubtful_fit_is_dashed_and_the_legend_says_so():
    figure = esd_grid(transformer_report())
    dashed = [axes.get_lines()[0].get_linestyle() != "-" for axes in panels_of(figure)]
    assert dashed == [False] * 5 + [True] + [False] * 3
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["eigenvalues", "power law", "doubtful power law", r"$x_{\min}$"]


def test_encoder_and_decoder_blocks_are_told_apart():
    parts = {"encoder": ("q", "up"), "decoder": ("q", "cross", "up")}
    names = [f"{stack}.layers.{block}.{part}" for stack in parts for block in range(2) for part in parts[stack]]
    panels = panels_of(esd_grid(report_of([fitted_row(name, 3.0) for name in names]), wide=True))
    assert [words_of(axes)[1] for axes in panels[:4]] == ["encoder 0", "encoder 1", "decoder 0", "decoder 1"]


def test_each_panel_shows_the_law_of_its_layer():
    report = transformer_report()
    for axes, name in zip(panels_of(esd_grid(report))[:3], ("0", "1", "2"), strict=True):
        layer = next(row for row in report.layers if row.matrix_name == f"layers.{name}.attn.query")
        x, y = axes.get_lines()[0].get_data()
        np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(np.log(x)), -layer.alpha, rtol=1e-9)
        assert words_of(axes)[0] == rf"$\alpha = {layer.alpha:.2f}$"


def test_nothing_to_draw_is_refused():
    with pytest.raises(InputError, match="no layer of 'toy' was fitted, so there is no tail to draw"):
        esd_grid(report_of([fitted_row("a", np.nan)]))
    with pytest.raises(InputError, match=r"no fitted layer of 'toy' is called '\*.quer', 'x'. Its first is 'embed'; a glob"):
        esd_grid(transformer_report(), ["*.quer", "x"])
