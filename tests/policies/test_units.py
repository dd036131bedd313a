"""From rows to scores: blocks by name, which layers count, and what is left out with its reason."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.esd.hill import alpha_hill
from spectra.esd.power_law import fit_power_law
from spectra.policies.units import HEADS, UnitPolicy, block_of, scores_of, unit_scores
from spectra.results.records import LayerStatus
from tests.layer_rows import row
from tests.strategies import spectra

# A BERT in small: two blocks, embeddings and a head.
ROWS = [
    row("embeddings.word_embeddings", 9.0, kind="embedding"),
    row("encoder.layer.0.attention.self.query", 2.0),
    row("encoder.layer.0.output.dense", 4.0),
    row("encoder.layer.1.attention.self.query", 5.0),
    row("encoder.layer.1.output.dense"),
    row("pooler.dense", 3.0),
    row("classifier"),
]


@pytest.mark.parametrize(
    ("layer_name", "block"),
    [
        ("encoder.layer.0.attention.self.query", "encoder.layer.0"),
        ("bert.encoder.layer.11.output.dense", "bert.encoder.layer.11"),
        ("encoder.block.0.layer.0.SelfAttention.q", "encoder.block.0"),
        ("decoder.block.3.layer.2.DenseReluDense.wo", "decoder.block.3"),
        ("model.layers.3.mlp.experts.7.up_proj", "model.layers.3"),
        ("model.layers.3.mlp.experts.down_proj", "model.layers.3"),
        ("encoder.layers.1.local_experts.7.wi", "encoder.layers.1"),
        ("h.5.attn.c_attn", "h.5"),
        ("layer4.1.conv2", "layer4.1"),
        ("layer4.0.downsample.0", "layer4.0"),
        ("blocks.1.fc2", "blocks.1"),
        ("0.fc", "0"),
        ("lm_head", None),
        ("net.0", None),
        ("experts.3.w1", None),
        ("layer1x.fc", None),
        ("", None),
    ],
)
def test_the_block_is_the_last_number_that_is_no_layer_and_no_expert(layer_name, block):
    assert block_of(layer_name) == block


def test_a_block_has_the_mean_of_its_layers_and_the_rest_is_left_out_with_its_reason():
    found = unit_scores(ROWS)
    assert found.scores == {"encoder.layer.0": 3.0, "encoder.layer.1": 5.0}
    assert found.members == {
        "encoder.layer.0": ("encoder.layer.0.attention.self.query", "encoder.layer.0.output.dense"),
        "encoder.layer.1": ("encoder.layer.1.attention.self.query", "encoder.layer.1.output.dense"),
    }
    assert found.left_out == {
        "embeddings.word_embeddings": "embedding",
        "encoder.layer.1.output.dense": "too_few_evals",
        "pooler.dense": "in no block",
        "classifier": "in no block",
    }
    assert list(found.left_out) == [r.layer_name for r in ROWS if r.layer_name in found.left_out]


def test_a_layer_is_its_own_unit_with_or_without_a_score():
    found = unit_scores(ROWS, unit="layer")
    assert list(found.scores.values()) == [2.0, 4.0, 5.0, 3.0]
    assert found.members["classifier"] == ("classifier",)
    assert "classifier" not in found.scores


def test_units_may_come_from_a_function():
    found = unit_scores(ROWS, unit=lambda name: "body" if "encoder" in name else None)
    assert found.scores == {"body": pytest.approx(11.0 / 3.0, rel=1e-15)}
    assert found.left_out["pooler.dense"] == "in no block"


def test_kinds_and_globs_choose_and_a_glob_may_match_nothing():
    found = unit_scores(ROWS, unit="layer", kinds=("linear", "embedding"), exclude=("*classifier*", "nothing", "pooler.dense"))
    assert found.scores["embeddings.word_embeddings"] == 9.0
    assert found.left_out == {
        "encoder.layer.1.output.dense": "too_few_evals",
        "pooler.dense": "excluded: pooler.dense",
        "classifier": "excluded: *classifier*",
    }


def test_the_first_and_last_layers_that_count_are_removed_whatever_their_status():
    found = unit_scores(ROWS, unit="layer", remove_first=True, remove_last=True)
    assert found.left_out["encoder.layer.0.attention.self.query"] == "first layer"
    assert found.left_out["classifier"] == "last layer"
    assert set(found.scores) == {"encoder.layer.0.output.dense", "encoder.layer.1.attention.self.query", "pooler.dense"}
    without_head = unit_scores(ROWS, unit="layer", exclude=HEADS, remove_last=True)
    assert without_head.left_out["pooler.dense"] == "last layer"


def test_a_single_layer_that_is_first_and_last_leaves_nothing():
    found = unit_scores([row("fc1", 2.0)], unit="layer", remove_first=True, remove_last=True)
    assert (found.scores, found.members, found.left_out) == ({}, {}, {"fc1": "first layer"})
    assert unit_scores([], remove_first=True, remove_last=True).scores == {}


def test_a_fused_projection_counts_as_the_matrices_in_it():
    parts = [row("h.0.qkv", alpha, part=part) for part, alpha in (("q", 2.0), ("k", 3.0), ("v", 4.0))]
    fused = unit_scores([*parts, row("h.0.proj", 7.0)])
    apart = unit_scores([row(f"h.0.{r.part}", r.alpha) for r in parts] + [row("h.0.proj", 7.0)])
    assert fused.scores == apart.scores == {"h.0": 4.0}
    assert fused.members == {"h.0": ("h.0.qkv", "h.0.proj")}
    with_one_missing = unit_scores([parts[0], row("h.0.qkv", part="k")])
    assert with_one_missing.scores == {"h.0": 2.0}
    assert with_one_missing.left_out == {}


def test_separate_experts_count_one_each_and_belong_to_the_block():
    names = [f"layers.0.experts.{number}.w1" for number in range(3)]
    found = unit_scores([row(name, alpha, kind="expert") for name, alpha in zip(names, (2.0, 3.0, 7.0), strict=True)])
    assert found.scores == {"layers.0": 4.0}
    assert found.members == {"layers.0": tuple(names)}


def test_other_metrics_count_where_they_are_finite_with_or_without_a_fit():
    rows = [row("h.0.a", 2.0, stable_rank=3.0), row("h.0.b", stable_rank=5.0), row("h.0.c", 2.0, stable_rank=math.inf)]
    found = unit_scores(rows, metric="stable_rank")
    assert found.scores == {"h.0": 4.0}
    assert found.left_out == {"h.0.c": "no stable_rank"}


@pytest.mark.parametrize("status", [status for status in LayerStatus if status != LayerStatus.OK])
def test_the_status_is_the_reason(status):
    assert unit_scores([row("h.0.a", status=status)]).left_out == {"h.0.a": status.value}


def test_extreme_values_are_clipped_before_the_mean():
    rows = [row("h.0.a", 500.0), row("h.0.b", 2.0)]
    assert unit_scores(rows, winsorize=(1.0, 10.0)).scores == {"h.0": 6.0}


@given(spectra(min_size=4))
def test_the_convention_of_the_paper_is_hills_with_the_next_lower_value_as_threshold(values):
    assume(values[len(values) // 2] < values[-1])  # else there is no tail
    fit = fit_power_law(values, "median")
    expected = alpha_hill(values, fit.num_tail - 1)
    found = unit_scores([row("h.0.a", fit.alpha, num_tail=fit.num_tail)], hill_convention="paper")
    # Two sums of the same logarithms in another order.
    assert found.scores["h.0"] == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(1.0, 1e300), min_size=1, max_size=20), st.sampled_from(["code", "paper"]))
def test_a_score_lies_between_the_values_it_is_the_mean_of(alphas, convention):
    rows = [row(f"h.0.{place}", alpha) for place, alpha in enumerate(alphas)]
    score = unit_scores(rows, hill_convention=convention).scores["h.0"]
    assert min(alphas) * (1.0 - 1e-15) <= score <= max(alphas) * (1.0 + 1e-15)


def test_options_as_a_policy_give_the_same():
    policy = UnitPolicy(unit="layer", exclude=HEADS, winsorize=(2.5, 4.5))
    assert scores_of(ROWS, policy) == unit_scores(ROWS, unit="layer", exclude=HEADS, winsorize=(2.5, 4.5))


@pytest.mark.parametrize(
    "name",
    ["classifier", "classifier.out_proj", "pre_classifier", "score", "lm_head", "lm_head.dense", "language_model.lm_head",
     "cls.predictions.transform.dense", "qa_outputs", "fc", "heads.head", "head"],
)  # fmt: skip
def test_output_layers_are_known_by_name(name):
    assert unit_scores([row(name, 2.0)], unit="layer", exclude=HEADS).scores == {}


@pytest.mark.parametrize(
    "name", ["model.layers.0.fc1", "bert.pooler.dense", "layer4.1.conv1", "encoder.layer.0.attention.head_mixer"]
)
def test_other_layers_are_not_taken_for_output_layers(name):
    assert unit_scores([row(name, 2.0)], unit="layer", exclude=HEADS).scores == {name: 2.0}


def test_an_unknown_metric_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="got 'stable_rnk'. Did you mean 'stable_rank'?"):
        unit_scores(ROWS, metric="stable_rnk")
