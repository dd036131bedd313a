import dataclasses
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from spectra.errors import InputError
from spectra.report.figures.style import write
from spectra.report.figures.tempbalance_trajectory import tempbalance_trajectory
from spectra.results.scale_log import ScaleLogContent, ScaleLogHeader, ScaleRecord

ROLES = ("attention.query", "output.dense")


def block_units(blocks):
    return {f"encoder.layer.{n}": tuple(f"encoder.layer.{n}.{role}" for role in ROLES) for n in range(blocks)}


def log_of(units, steps=(0, 10, 20, 40), *, reach=10.0, targets=("learning_rate",), seed=0):
    """A run whose multipliers lie between 1/sqrt(reach) and sqrt(reach)."""
    rng = np.random.default_rng(seed)
    records = []
    for step in steps:
        for target in targets:
            scores = 3.0 + rng.random(len(units))
            ranks = np.argsort(np.argsort(scores)) / max(len(units) - 1, 1)
            scales = dict(zip(units, (reach ** (ranks - 0.5)).tolist(), strict=True))
            found = dict(zip(units, scores.tolist(), strict=True))
            about = {"step": step, "seconds": 1.0, "share": 0.05, "num_measured": 2 * len(units), "target": target}
            records.append(ScaleRecord(scores=found, scales=scales, **about))
    header = ScaleLogHeader(policy={"metric": "alpha", "name": "recommended"}, units=units, model="BertModel", version="0.1.0")
    return ScaleLogContent(header, tuple(records))


@pytest.mark.parametrize("number", [1, 6, 40])
def test_every_unit_has_its_line_in_both_panels(number):
    log = log_of(block_units(number))
    scores, scales, _ = tempbalance_trajectory(log).axes
    for axes, values in ((scores, "scores"), (scales, "scales")):
        drawn = axes.get_lines()[:number]
        for line, unit in zip(drawn, log.header.units, strict=True):
            assert list(line.get_xdata()) == [0, 10, 20, 40]
            assert list(line.get_ydata()) == [getattr(record, values)[unit] for record in log.records]
        mean = axes.get_lines()[number]
        expected = [sum(getattr(record, values).values()) / number for record in log.records]
        np.testing.assert_allclose(mean.get_ydata(), expected, rtol=1e-12)  # sums in another order
        assert mean.get_label() == "mean"
        assert mean.get_color() == "black"


def test_multipliers_hold_until_the_next_update():
    scores, scales, _ = tempbalance_trajectory(log_of(block_units(3))).axes
    assert {line.get_drawstyle() for line in scores.get_lines()} == {"default"}
    assert {line.get_drawstyle() for line in scales.get_lines()[:4]} == {"steps-post"}


def test_colors_grow_lighter_with_depth_and_none_vanishes_on_white():
    axes = tempbalance_trajectory(log_of(block_units(32))).axes[0]
    lightness = [float(np.dot(to_rgb(line.get_color()), (0.2126, 0.7152, 0.0722))) for line in axes.get_lines()[:32]]
    assert lightness == sorted(lightness)
    assert lightness[-1] < 0.85


def test_the_axis_of_multipliers_is_logarithmic_where_they_differ_by_factors():
    units = block_units(4)
    assert tempbalance_trajectory(log_of(units, reach=10.0)).axes[1].get_yscale() == "log"
    assert tempbalance_trajectory(log_of(units, reach=3.0)).axes[1].get_yscale() == "linear"
    stopped = log_of(units)
    stopped.records[0].scales["encoder.layer.0"] = 0.0
    assert tempbalance_trajectory(stopped).axes[1].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("units", "label", "ticks"),
    [
        (block_units(6), "block", ["0", "1", "2", "3", "4", "5"]),
        (block_units(32), "block", ["0", "4", "8", "12", "16", "20", "24", "28"]),
        ({f"layers.{n}.fc": (f"layers.{n}.fc",) for n in range(3)}, "layer", ["0", "1", "2"]),
        ({name: (name,) for name in ("conv1", "layer1.conv", "layer2.conv")}, "layer", ["1", "2", "3"]),
        (
            {
                f"{side}.layers.{n}": tuple(f"{side}.layers.{n}.{role}" for role in roles)
                for side, roles in (("encoder", "ab"), ("decoder", "abc"))
                for n in range(2)
            },
            "block (encoder | decoder)",
            ["0", "1", "0", "1"],
        ),
    ],
    ids=["blocks", "many blocks", "a layer a block", "convolutions", "two stacks"],
)
def test_the_bar_names_the_units(units, label, ticks):
    bar = tempbalance_trajectory(log_of(units)).axes[-1]
    assert bar.get_ylabel() == label
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ticks


def layer_units(blocks, ends=()):
    return {layer: (layer,) for layers in (*block_units(blocks).values(), ends) for layer in layers}


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_layers_that_share_a_block_are_thin_lines_in_the_colour_of_their_kind_under_its_mean(wide):
    log = log_of(layer_units(4, ends=("head",)))
    figure = tempbalance_trajectory(log, wide=wide)
    assert len(figure.axes) == 2  # no bar
    [legend] = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*ROLES, "head", "one layer", "mean of all layers"]
    for axes, values in zip(figure.axes, ("scores", "scales"), strict=True):
        lines = {line.get_label(): line for line in axes.get_lines()}
        for role in (*ROLES, "head"):
            inside = [unit for unit in log.header.units if unit.endswith(role)]
            expected = [[getattr(record, values)[unit] for record in log.records] for unit in inside]
            mean = lines[role]
            np.testing.assert_allclose(mean.get_ydata(), np.mean(expected, axis=0), rtol=1e-12)  # sums in another order
            thin = [line for line in axes.get_lines() if line.get_color() == mean.get_color() and line is not mean]
            assert [list(line.get_ydata()) for line in thin] == expected
            assert all(line.get_linewidth() < mean.get_linewidth() for line in thin)
        everything = [np.mean(list(getattr(record, values).values())) for record in log.records]
        np.testing.assert_allclose(lines["mean of all layers"].get_ydata(), everything, rtol=1e-12)


def test_more_kinds_than_colours_differ_in_their_lines():
    kinds = [f"part{n}.weight{n}" for n in range(16)]
    names = [f"layers.{block}.{kind}" for block in range(2) for kind in kinds]
    lines = tempbalance_trajectory(log_of({name: (name,) for name in names})).axes[0].get_lines()
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines if line.get_label() in kinds}
    assert len(looks) == 16


def test_parts_of_blocks_are_no_layers():
    units = {f"layers.{n}.{part}": tuple(f"layers.{n}.{part}.{role}" for role in "qk") for n in range(2) for part in ("a", "b")}
    [legend] = tempbalance_trajectory(log_of(units)).legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "one unit", "mean of all units"]


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_names_of_layers_and_policies_are_no_formulas(wide):
    log = log_of({f"layers.{n}.$x_{role}$": (f"layers.{n}.$x_{role}$",) for n in range(2) for role in "ab"})
    figure = tempbalance_trajectory(log, wide=wide)
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())


def test_the_mean_is_named_beside_the_axes_at_its_end():
    log = log_of(block_units(3))
    log.records[-1].scores.clear()
    figure = tempbalance_trajectory(log)
    assert not figure.legends
    for axes, record, values in ((figure.axes[0], log.records[-2], "scores"), (figure.axes[1], log.records[-1], "scales")):
        [text] = axes.texts
        assert text.get_text() == "mean"
        assert text.xy == pytest.approx((1.0, np.mean(list(getattr(record, values).values()))))
        figure.draw_without_rendering()
        assert text.get_window_extent().x0 >= axes.bbox.x1
        assert text.get_window_extent().x1 <= figure.axes[-1].bbox.x0


def test_without_any_score_the_end_of_the_mean_has_no_name():
    log = log_of(block_units(2), steps=(0,))
    log.records[0].scores.clear()
    assert not tempbalance_trajectory(log).axes[0].texts


@pytest.mark.parametrize(
    ("metric", "label"),
    [("alpha_hill", r"Hill exponent $\alpha$"), ("fisher_trace", "Fisher trace"), ("stable_rank", "stable rank")],
)
def test_the_axis_of_scores_names_the_metric(metric, label):
    log = log_of(block_units(2))
    log.header.policy["metric"] = metric
    assert tempbalance_trajectory(log).axes[0].get_ylabel() == label


@pytest.mark.parametrize(("policy", "title"), [({"name": "mine"}, "BertModel, mine"), ({}, "BertModel")])
def test_the_title_names_the_model_and_the_policy(policy, title):
    log = log_of(block_units(2))
    header = dataclasses.replace(log.header, policy=policy)
    assert tempbalance_trajectory(dataclasses.replace(log, header=header)).axes[0].get_title(loc="left") == title


def test_a_score_that_is_missing_leaves_a_gap_and_the_mean_is_of_the_others():
    log = log_of(block_units(3))
    log.records[1].scores["encoder.layer.0"] = math.nan
    del log.records[1].scores["encoder.layer.1"]
    first, second, third, mean = (line.get_ydata() for line in tempbalance_trajectory(log).axes[0].get_lines())
    assert np.isnan([first[1], second[1]]).all()
    assert mean[1] == third[1]
    log.records[2].scores.clear()
    assert np.isnan(tempbalance_trajectory(log).axes[0].get_lines()[-1].get_ydata()[2])


def test_two_targets_have_a_panel_each():
    log = log_of(block_units(3), targets=("learning_rate", "weight_decay"))
    scores, rates, decays, _ = tempbalance_trajectory(log).axes
    assert scores.get_ylabel() == r"power-law exponent $\alpha$"
    assert [axes.get_ylabel() for axes in (rates, decays)] == ["learning-rate multiplier", "weight-decay multiplier"]
    assert list(decays.get_lines()[0].get_ydata()) == [record.scales["encoder.layer.0"] for record in log.records[1::2]]
    assert list(scores.get_lines()[0].get_ydata()) == [record.scores["encoder.layer.0"] for record in log.records[::2]]


def test_the_first_update_of_a_run_can_be_seen():
    figure = tempbalance_trajectory(log_of(block_units(3), steps=(7,)))
    assert all(line.get_marker() == "." for line in figure.axes[0].get_lines())
    assert figure.axes[1].get_xlim() == (6.0, 8.0)


def test_a_log_without_an_update_is_refused():
    with pytest.raises(InputError, match=r"this log holds no update yet, .* Try again after the first one"):
        tempbalance_trajectory(log_of(block_units(3), steps=()))


@pytest.mark.parametrize("wide", [False, True], ids=["column", "wide"])
def test_equal_logs_give_equal_bytes_of_the_width_that_was_asked_for(tmp_path, wide):
    figure = tempbalance_trajectory(log_of(block_units(6)), wide=wide)
    assert figure.get_size_inches()[0] == (6.75 if wide else 3.25)
    again = tempbalance_trajectory(log_of(block_units(6)), wide=wide)
    first, second = (write(each, tmp_path / name, "f", ["png", "svg"]) for name, each in (("a", figure), ("b", again)))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_users_matplotlib_settings_stay_as_they_were():
    import matplotlib

    before = dict(matplotlib.rcParams)
    tempbalance_trajectory(log_of(block_units(2)))
    assert dict(matplotlib.rcParams) == before
