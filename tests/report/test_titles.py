import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.report.figures.tempbalance_trajectory import tempbalance_trajectory
from spectra.report.figures.titles import drawn_name, shortened
from spectra.results.scale_log import ScaleLogContent, ScaleLogHeader, ScaleRecord

LONG = "PeftModelForSequenceClassification"


def test_a_name_that_is_too_long_loses_its_middle():
    assert shortened(LONG, "recommended", room=30) == "PeftMode…fication, recommended"
    assert shortened("BertModel", "recommended", room=30) == "BertModel, recommended"
    assert shortened("BertModel", "", room=30) == "BertModel"


@given(st.text(max_size=80), st.integers(12, 60))
def test_a_shortened_name_fits_and_keeps_its_ends(name, room):
    short = shortened(name, room=room)
    assert len(short) == min(len(name), room)
    if len(name) > room:
        first, last = short[: room // 2], short[room // 2 + 1 :]
        assert drawn_name(name).startswith(first)
        assert drawn_name(name).endswith(last)


@pytest.mark.parametrize("wide", [False, True])
def test_the_title_of_a_long_class_name_stays_on_the_figure(wide):
    header = ScaleLogHeader(policy={"name": "emnlp2024-glue"}, units={"a": ("a",)}, model=LONG, version="0")
    numbers = {"scores": {"a": 2.0}, "scales": {"a": 1.0}, "num_measured": 1, "target": "learning_rate"}
    record = ScaleRecord(step=0, seconds=0.1, share=0.0, **numbers)
    figure = tempbalance_trajectory(ScaleLogContent(header, (record,)), wide=wide)
    figure.draw_without_rendering()
    title = figure.axes[0].get_window_extent(), figure.axes[0]._left_title.get_window_extent()
    assert title[1].x1 <= figure.bbox.x1
