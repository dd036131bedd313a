"""Scores to ranks of adapters: budgets, limits, order, and what peft makes of them."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.diagnose.analyze import analyze
from spectra.errors import InputError
from spectra.policies.adapter_rank import (
    FISHER_POWER,
    SPECTRAL_POWER,
    AdapterRanks,
    adapter_ranks,
    adapter_shapes,
    fisher_rank_scores,
    spectral_rank_scores,
)
from spectra.training.libraries import quiet
from tests.fishers import fisher_of, squared_gradients
from tests.layer_rows import row

SHAPES = st.sampled_from([(64, 64), (256, 64), (64, 256), (16, 512), (3, 64)])
LAYERS = st.lists(st.tuples(st.integers(0, 10_000), SHAPES), min_size=1, max_size=30)


@st.composite
def requests(draw):
    """Scores, shapes, and a budget that the limits allow."""
    layers = draw(LAYERS)
    scores = {f"layer.{place}": score / 1000 for place, (score, _) in enumerate(layers)}
    shapes = {f"layer.{place}": shape for place, (_, shape) in enumerate(layers)}
    min_rank, max_rank = sorted(draw(st.tuples(st.integers(0, 4), st.integers(1, 80))))
    highs = [min(max_rank, *shape) for shape in shapes.values()]
    costs = [sum(shape) for shape in shapes.values()]
    least = sum(min(min_rank, high) * cost for high, cost in zip(highs, costs, strict=True))
    most = sum(high * cost for high, cost in zip(highs, costs, strict=True))
    options = {"min_rank": min_rank, "max_rank": max_rank, "power": draw(st.floats(0.0, 3.0))}
    return scores, shapes, draw(st.integers(least, most)), options


@given(requests())
def test_the_budget_is_never_exceeded_and_missed_by_less_than_one_rank_of_one_layer(request):
    scores, shapes, budget, options = request
    found = adapter_ranks(scores, shapes, budget=budget, **options)
    spent = sum(rank * sum(shapes[name]) for name, rank in found.ranks.items())
    assert found.num_params == spent <= budget == found.budget
    assert budget - spent < max(sum(shape) for shape in shapes.values())


@given(requests())
def test_ranks_are_whole_and_within_the_limits_and_the_shorter_side(request):
    scores, shapes, budget, options = request
    for name, rank in adapter_ranks(scores, shapes, budget=budget, **options).ranks.items():
        most = min(options["max_rank"], *shapes[name])
        assert isinstance(rank, int)
        assert min(options["min_rank"], most) <= rank <= most


@given(requests())
def test_of_equal_shapes_the_higher_score_never_has_the_lower_rank(request):
    scores, shapes, budget, options = request
    ranks = adapter_ranks(scores, shapes, budget=budget, **options).ranks
    for shape in set(shapes.values()):
        in_order = sorted((scores[name], ranks[name]) for name in scores if shapes[name] == shape)
        for (score, rank), (next_score, next_rank) in pairwise(in_order):
            assert rank <= next_rank or score == next_score


@given(st.integers(1, 16), st.lists(SHAPES.filter(lambda shape: min(shape) >= 16), min_size=1, max_size=20))
def test_equal_scores_have_the_mean_rank(rank, shapes):
    named = {f"layer.{place}": shape for place, shape in enumerate(shapes)}
    found = adapter_ranks(dict.fromkeys(named, 3.0), named, mean_rank=rank)
    assert set(found.ranks.values()) == {rank}
    assert found.num_params == found.budget == rank * sum(map(sum, shapes))


def test_ranks_are_in_proportion_to_a_power_of_the_score():
    shapes = dict.fromkeys("abc", (100, 100))
    assert adapter_ranks({"a": 1.0, "b": 2.0, "c": 3.0}, shapes, mean_rank=8).ranks == {"a": 4, "b": 8, "c": 12}
    assert adapter_ranks({"a": 1.0, "b": 4.0, "c": 9.0}, shapes, mean_rank=8, power=FISHER_POWER).ranks == {
        "a": 4,
        "b": 8,
        "c": 12,
    }
    assert adapter_ranks({"a": 1.0, "b": 4.0, "c": 9.0}, shapes, mean_rank=8, power=0).ranks == {"a": 8, "b": 8, "c": 8}


def test_what_a_limit_takes_away_goes_to_the_others():
    shapes = {"a": (100, 100), "b": (100, 100), "c": (100, 100)}
    found = adapter_ranks({"a": 1.0, "b": 2.0, "c": 1000.0}, shapes, mean_rank=10, max_rank=15, min_rank=4)
    assert found.ranks == {"a": 5, "b": 10, "c": 15}


def test_layers_of_score_zero_come_last_and_with_no_least_rank_do_without():
    shapes = dict.fromkeys("ab", (100, 100))
    assert adapter_ranks({"a": 0.0, "b": 2.0}, shapes, mean_rank=8, min_rank=0).ranks == {"a": 0, "b": 16}
    assert adapter_ranks({"a": 0.0, "b": 2.0}, shapes, mean_rank=40, min_rank=0).ranks == {"a": 16, "b": 64}
    assert adapter_ranks({"a": 0.0, "b": 0.0}, shapes, mean_rank=8).ranks == {"a": 8, "b": 8}


SQUARE = {"a": (10, 10), "b": (10, 10)}


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ({}, {"budget": 1}, "scores: there is no layer"),
        (
            {"a": -1.0, "b": math.nan},
            {"budget": 40},
            r"scores: 2 of 2 are no finite numbers of at least 0: 'a' \(-1.0\), 'b' \(nan\)",
        ),
        ({"a": 1.0, "z": 1.0}, {"budget": 40}, "shapes: 1 of 2 scored layers have none: 'z'"),
        ({"a": 1.0}, {}, "mean_rank and budget: expected one of the two"),
        ({"a": 1.0}, {"mean_rank": 2, "budget": 40}, "mean_rank and budget: expected one of the two"),
        ({"a": 1.0}, {"budget": 19}, "budget 19: with min_rank and max_rank adapters have 20 to 200 parameters"),
        ({"a": 1.0}, {"budget": "40"}, "budget '40': with min_rank"),
        ({"a": 1.0}, {"mean_rank": 10.5}, "mean_rank 10.5: .* mean ranks of 1 to 10"),
        ({"a": 1.0}, {"budget": 40, "min_rank": 9, "max_rank": 8}, "expected whole numbers with .* got 9 and 8"),
        ({"a": 1.0}, {"budget": 40, "min_rank": 0, "max_rank": 0}, "expected whole numbers with .* got 0 and 0"),
        ({"a": 1.0}, {"budget": 40, "min_rank": 1.5}, "expected whole numbers with .* got 1.5 and 64"),
        ({"a": 1.0}, {"budget": 40, "power": -1}, "power: expected a number of at least 0, got -1"),
    ],
)
def test_what_cannot_be_is_refused(scores, options, message):
    with pytest.raises(InputError, match=message):
        adapter_ranks(scores, SQUARE, **options)


def test_spectral_scores_are_the_mean_alphas_of_blocks_without_heads():
    rows = [
        row("embed", 3.0, kind="embedding"), row("h.0.qkv", 2.0, part="q"), row("h.0.qkv", 4.0, part="k"), row("h.0.up", 50.0),
        row("h.0.gate"), row("h.1.up", 3.0), row("pooler", 7.0), row("lm_head", 5.0),
    ]  # fmt: skip
    # Of 2, 4 and 50, clipped to 10.
    mean = pytest.approx(16.0 / 3.0, rel=1e-15)
    assert spectral_rank_scores(rows) == {"h.0.qkv": mean, "h.0.up": mean, "h.1.up": 3.0}
    assert spectral_rank_scores(rows, unit="layer") == {"h.0.qkv": 3.0, "h.0.up": 10.0, "h.1.up": 3.0, "pooler": 7.0}
    assert spectral_rank_scores(rows, unit="layer", exclude="*.*") == {"pooler": 7.0, "lm_head": 5.0}
    with pytest.raises(InputError, match="no linear layer has an alpha and a block"):
        spectral_rank_scores(rows[-2:])


def test_fisher_scores_are_traces_with_biases_of_linear_layers():
    squares = squared_gradients()
    rows = [row("embed", 3.0, kind="embedding"), row("block.fc", 2.0), row("block.proj", 2.0)]
    found = fisher_rank_scores(fisher_of(squares), rows)
    assert found == {
        "block.fc": pytest.approx(
            sum(squares[f"block.fc.{part}"].mean(axis=0).sum() for part in ("weight", "bias")), rel=1e-12
        ),
        "block.proj": pytest.approx(squares["block.proj.weight"].mean(axis=0).sum(), rel=1e-12),
    }
    with pytest.raises(InputError, match="fisher: 1 of 3 linear layers have no trace, such as 'other'"):
        fisher_rank_scores(fisher_of(squares), [*rows, row("other", 2.0)])
    with pytest.raises(InputError, match="fisher: there is no linear layer"):
        fisher_rank_scores(fisher_of(squares), rows[:1])


def test_shapes_are_those_of_the_whole_weight():
    parts = [{"num_rows": 64, "num_cols": 32, "part": part} for part in "qkv"]
    rows = [row("fused", 2.0, **part) for part in parts]
    rows += [row("conv1d", 2.0, is_transposed=True, **(part | {"num_rows": 32, "num_cols": 64})) for part in parts]
    rows += [row("fc", 2.0), row("conv", 2.0, kind="conv2d")]
    assert adapter_shapes(rows) == {"fused": (192, 32), "conv1d": (32, 192), "fc": (10, 10)}


def test_peft_gives_every_layer_its_rank_and_all_the_same_scale():
    peft = pytest.importorskip("peft")
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 50}
    model = BertForSequenceClassification(BertConfig(**sizes))
    torch.nn.init.orthogonal_(model.bert.encoder.layer[1].attention.self.key.weight)  # no tail: a block with much to learn
    layers = analyze(model, profile="tempbalance").layers
    scores = spectral_rank_scores(layers)
    assert "classifier" not in scores
    found = adapter_ranks(scores, adapter_shapes(layers), mean_rank=6, power=SPECTRAL_POWER)
    with quiet():
        adapted = peft.get_peft_model(model, peft.LoraConfig(**found.lora_arguments(2.0)))
    made = {
        name.removeprefix("base_model.model."): (module.r["default"], module.scaling["default"])
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    }
    assert made == {name: (rank, 2.0) for name, rank in found.ranks.items()}
    assert found.ranks["bert.encoder.layer.1.output.dense"] > found.ranks["bert.encoder.layer.0.output.dense"]
    assert sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name) == found.num_params


def test_patterns_find_their_own_layer_and_the_same_one_below_a_prefix():
    peft_other = pytest.importorskip("peft.utils.other")
    names = ("layers.1.0", "layers.110", "decoder.layers.1.0", "head.fc")
    found = AdapterRanks({name: place + 1 for place, name in enumerate(names)}, {}, 0, 0).rank_pattern()
    for place, name in enumerate(names):
        assert found[peft_other.get_pattern_key(found, name)] == place + 1
    assert found[peft_other.get_pattern_key(found, "bert.head.fc")] == 4
    assert [re.sub(r"\\", "", key) for key in found] == ["decoder.layers.1.0", "layers.1.0", "layers.110", "head.fc"]


def test_layers_of_rank_zero_are_no_targets():
    found = AdapterRanks({"a": 0, "b": 4, "c": 4, "d": 2}, {}, 0, 0).lora_arguments()
    assert found == {
        "r": 4,
        "lora_alpha": 4,
        "rank_pattern": {"b": 4, "c": 4, "d": 2},
        "alpha_pattern": {"b": 4, "c": 4, "d": 2},
        "target_modules": ["b", "c", "d"],
    }
    assert AdapterRanks({"b": 3}, {}, 0, 0).alpha_pattern(0.5) == {"b": 1.5}


def test_nothing_to_adapt_and_no_scale_are_refused():
    with pytest.raises(InputError, match="ranks: all are 0"):
        AdapterRanks({"a": 0}, {}, 0, 0).lora_arguments()
    with pytest.raises(InputError, match="lora_alpha_over_r: expected a positive number, got 0"):
        AdapterRanks({"a": 1}, {}, 0, 0).lora_arguments(0)


def test_plain_rounding_down_would_spend_less():
    rng = np.random.default_rng(0)
    shapes = {f"layer.{place}": (768, 768) for place in range(48)}
    found = adapter_ranks(dict(zip(shapes, rng.uniform(2.0, 6.0, 48).tolist(), strict=True)), shapes, mean_rank=8)
    assert found.num_params == found.budget == 8 * 48 * 1536
