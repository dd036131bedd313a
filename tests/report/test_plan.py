"""The figure and the table of a plan."""

import math

import numpy as np
import pytest
from rich.console import Console

from spectra.policies.drop_prob import guided_rates
from spectra.policies.dropout_plan import DropoutPlan
from spectra.report import figures
from spectra.report.plan_table import plan_table
from tests.policies.plans import tiny_plan

ROLES = ("attention.query", "mlp.up")


def block_plan(blocks=6, stack="encoder.layer", without=(), **changes):
    """A plan of blocks, some without a score."""
    members = {f"{stack}.{block}": tuple(f"{stack}.{block}.{role}" for role in ROLES) for block in range(blocks)}
    scores = {unit: 2.0 + i / blocks for i, unit in enumerate(members) if i not in without}
    values = {unit: scores.get(unit, 2.5) - 1.5 for unit in members}
    return tiny_plan(**{"values": values, "scores": scores, "members": members} | changes)


def layer_plan(**changes):
    """A plan of the layers of three blocks and of a head."""
    names = [f"layers.{block}.{role}" for block in range(3) for role in ROLES] + ["head"]
    values = dict(zip(names, range(1, 8), strict=True))
    known = {
        "policy": "adapter-rank",
        "target": "adapter_rank",
        "values": values,
        "scores": {name: float(rank) for name, rank in values.items()},
        "members": {name: (name,) for name in names},
        "settings": {"metric": "stable_rank"},
    }
    return tiny_plan(**known | changes)


def dropout(control="guided", with_scores=True):
    roles = {"embeddings.dropout": "embeddings"}
    roles |= {f"layer.{block}.{site}.dropout": f"{site}_probs" for block in range(4) for site in ("attention", "mlp")}
    scores = {name: 10.0**-i for i, name in enumerate(roles)}
    kinds = dict.fromkeys(roles, "module")
    given = {"rates": guided_rates(scores), "scores": scores if with_scores else {}, "roles": roles, "kinds": kinds}
    return DropoutPlan(**given, rule="rank", p_upper=0.1, p_lower=0.0, aggregate="trace", model="tiny", control=control)


def points_of(axes):
    found = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections if points.get_zorder() == 3])
    return found[~np.isnan(found[:, 1])]


def ticks_of(axes):
    return [tick.get_text() for tick in axes.get_xticklabels()]


def labels_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("blocks", [1, 6, 40])
def test_blocks_stand_on_stems_from_what_changes_nothing_under_their_scores(blocks):
    planned = block_plan(blocks)
    above, axes = figures.plan(planned).axes
    np.testing.assert_allclose(points_of(axes), list(enumerate(planned.values.values())))
    np.testing.assert_allclose(points_of(above), list(enumerate(planned.scores.values())))
    [stems] = [lines for lines in axes.collections if lines.get_zorder() == 2]
    assert [segment[0, 1] for segment in stems.get_segments()] == [1.0] * blocks
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("block", "learning-rate multiplier")
    assert above.get_ylabel() == r"power-law exponent $\alpha$"
    assert above.get_title(loc="left") == "tiny, tempbalance"


@pytest.mark.parametrize("target", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize(
    ("numbers", "scale"), [((0.5, 1.0, 1.9), "linear"), ((0.5, 1.0, 2.0), "log"), ((1.0, 1.0, 1.0), "linear")]
)
def test_multipliers_that_differ_by_a_factor_of_four_are_on_a_logarithmic_axis(target, numbers, scale):
    values = dict(zip(block_plan(3).values, numbers, strict=True))
    policy = "tempbalance" if target == "learning_rate" else "alphadecay"
    assert figures.plan(block_plan(3, values=values, target=target, policy=policy)).axes[1].get_yscale() == scale


def test_a_decay_of_zero_keeps_the_axis_linear():
    values = dict(zip(block_plan(2).values, (0.0, 8.0), strict=True))
    planned = block_plan(2, values=values, target="weight_decay", policy="alphadecay")
    assert figures.plan(planned).axes[1].get_yscale() == "linear"


def test_ranks_stay_on_a_linear_axis_and_their_scores_are_named_as_in_other_figures():
    above, axes = figures.plan(layer_plan(settings={"metric": "fisher_trace"})).axes
    assert (axes.get_yscale(), above.get_ylabel()) == ("linear", "Fisher trace")


@pytest.mark.parametrize("wide", [False, True])
def test_the_names_of_the_axes_fit_their_panels(wide):
    figure = figures.plan(block_plan(6), wide=wide)
    figure.draw_without_rendering()
    above, axes = (panel.yaxis.label.get_window_extent() for panel in figure.axes)
    assert above.y0 > axes.y1
    assert above.y1 < figure.axes[0].bbox.y1 + 3  # points beside the panel, not in the line of the title


def test_sparsities_stand_on_stems_from_zero():
    planned = block_plan(4, policy="alphapruning", target="sparsity", values={f"encoder.layer.{i}": 0.2 * i for i in range(4)})
    axes = figures.plan(planned).axes[1]
    [stems] = [lines for lines in axes.collections if lines.get_zorder() == 2]
    assert [segment[0, 1] for segment in stems.get_segments()] == [0.0] * 4
    assert axes.get_ylabel() == "sparsity"


def test_units_without_score_are_hollow_and_that_is_said():
    above, axes = figures.plan(block_plan(5, without=(1, 3))).axes
    [points] = [points for points in axes.collections if points.get_zorder() == 3]
    white = points.get_facecolors()[:, :3].min(axis=1) == 1.0
    assert white.tolist() == [False, True, False, True, False]
    assert axes.get_xlabel() == "block\n(hollow: no score)"
    assert len(points_of(above)) == 3


def test_without_any_score_there_is_one_panel_and_nothing_is_hollow():
    [axes] = figures.plan(block_plan(3, without=(0, 1, 2))).axes
    [points] = [points for points in axes.collections if points.get_zorder() == 3]
    assert points.get_facecolors()[:, :3].min(axis=1).max() < 1.0
    assert axes.get_xlabel() == "block"


@pytest.mark.parametrize("wide", [False, True])
def test_layers_of_one_role_are_a_series(wide):
    figure = figures.plan(layer_plan(), wide=wide)
    above, axes = figure.axes
    legend = figure.legends[0] if figure.legends else axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [*ROLES, "head"]
    assert ticks_of(axes) == ["0", "1", "2", "out"]
    assert sorted(points_of(axes)[:, 1]) == list(range(1, 8))
    assert (axes.get_ylabel(), above.get_ylabel()) == ("adapter rank", "stable rank")
    assert all(tick == round(tick) for tick in axes.get_yticks())


def test_encoder_and_decoder_blocks_stand_one_after_the_other():
    encoder, decoder = (block_plan(2, stack=f"{name}.block") for name in ("encoder", "decoder"))
    both = {name: {**getattr(encoder, name), **getattr(decoder, name)} for name in ("values", "scores", "members")}
    axes = figures.plan(tiny_plan(**both)).axes[1]
    assert len(set(points_of(axes)[:, 0])) == 4


def test_parts_of_a_block_are_units_named_by_what_their_layers_share():
    parts = {
        "encoder.block.{}.layer.0": ("SelfAttention.q", "SelfAttention.k"),
        "encoder.block.{}.layer.1": ("DenseReluDense.wi",),
    }
    members = {
        part.format(block): tuple(f"{part.format(block)}.{role}" for role in roles)
        for block in range(3)
        for part, roles in parts.items()
    }
    values = dict.fromkeys(members, 0.5)
    figure = figures.plan(tiny_plan(values=values, scores={}, members=members))
    assert labels_of(figure) == ["layer.SelfAttention", "layer.DenseReluDense.wi"]
    assert set(points_of(figure.axes[0])[:, 0]) == {0, 1, 2}


def test_drop_probabilities_stand_by_site_under_their_fisher_scores():
    planned = dropout()
    figure = figures.plan(planned)
    above, axes = figure.axes
    assert labels_of(figure) == ["embeddings", "attention_probs", "mlp_probs"]
    assert sorted(points_of(axes)[:, 1]) == sorted(planned.rates.values())
    assert (above.get_yscale(), above.get_ylabel(), axes.get_ylabel()) == ("log", "Fisher score", "drop probability")
    assert above.get_title(loc="left") == "tiny, guided-dropout"
    assert figures.plan(dropout("shuffled")).axes[0].get_title(loc="left") == "tiny, guided-dropout (shuffled)"
    assert len(figures.plan(dropout(with_scores=False)).axes) == 1


def test_scores_with_a_zero_stay_on_a_linear_axis():
    planned = block_plan(3)
    scores = dict(zip(planned.scores, [0.0, 1.0, 1000.0], strict=True))
    assert (
        figures.plan(tiny_plan(values=planned.values, members=planned.members, scores=scores)).axes[0].get_yscale() == "linear"
    )


def test_equal_plans_give_equal_bytes(tmp_path):
    formats = ["png", "pdf", "svg"]
    first, second = (figures.write(figures.plan(dropout()), tmp_path / name, "plan", formats) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def rows_of(planned, **options):
    console = Console(width=options["width"])
    with console.capture() as capture:
        console.print(plan_table(planned, **options))
    return [line.split() for line in capture.get().splitlines()]


def test_the_table_has_a_row_per_unit():
    planned = block_plan(3, without=(1,))
    assert rows_of(planned, width=100) == [
        ["unit", "layers", "score", "learning-rate", "multiplier"],
        ["encoder.layer.0", "2", "2", "0.5"],
        ["encoder.layer.1", "2", "–", "1"],
        ["encoder.layer.2", "2", "2.667", "1.167"],
    ]


def test_a_long_name_is_cut_at_its_start_and_brackets_are_no_markup():
    planned = block_plan(1, stack="[bold]" + "very." * 30 + "long")
    rows = rows_of(planned, width=80)
    assert rows[1][0].startswith("…")
    assert rows[1][0].endswith("very.long.0")
    assert rows_of(block_plan(1, stack="[bold]x"), width=80)[1][0] == "[bold]x.0"


def test_a_table_of_drop_probabilities_has_no_layers():
    assert rows_of(dropout(), width=100, max_rows=3)[0] == ["site", "score", "drop", "probability"]
    assert math.isclose(float(rows_of(dropout(), width=100, max_rows=3)[1][-1]), 0.1)
