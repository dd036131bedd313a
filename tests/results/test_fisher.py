import csv
import dataclasses
import io
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError
from spectra.errors import MissingPackageError
from spectra.results.fisher import Aggregate, Fisher, FisherTensor, SiteBlock, aggregate_scores
from tests.fishers import SITES, fisher_of, info_of, squared_gradients


def tensor(name="w", shape=(2, 3), trace=1.0, relative=1.0, layer="layer"):
    return FisherTensor(name, layer, "linear", shape, math.prod(shape), trace, 0.0, relative, "batched")


# Sizes of real parameters; totals over the range of gradients squared. Sums of a few such float64 agree to far below 1e-12.
TENSORS = st.lists(
    st.builds(
        tensor,
        shape=st.lists(st.integers(1, 50), min_size=1, max_size=3).map(tuple),
        trace=st.floats(1e-20, 1e6),
        relative=st.floats(1e-20, 1e6),
    ),
    min_size=1,
    max_size=8,
)
RULES = [member.value for member in Aggregate]


def literal_score(tensors, how):
    """The table of rules, as loops."""
    traces = entries = relative = 0.0
    means, means_of_matrices = [], []
    for t in tensors:
        traces += t.trace
        relative += t.relative
        size = 1
        for side in t.shape:
            size *= side
        entries += size
        means.append(t.trace / size)
        if len(t.shape) > 1:
            means_of_matrices.append(t.trace / size)
    if how == "matrices_mean":
        return sum(means_of_matrices) / len(means_of_matrices) if means_of_matrices else math.nan
    return {"param_mean": traces / entries, "mean_of_means": sum(means) / len(means), "trace": traces, "relative": relative}[
        how
    ]


@given(tensors=TENSORS, how=st.sampled_from(RULES))
def test_every_aggregate_is_what_its_definition_says(tensors, how):
    expected = literal_score(tensors, how)
    assert aggregate_scores(tensors, how) == pytest.approx(expected, rel=1e-12, nan_ok=True)


@given(tensors=TENSORS, how=st.sampled_from(RULES), data=st.data())
def test_no_aggregate_depends_on_the_order_of_the_parameters(tensors, how, data):
    shuffled = data.draw(st.permutations(tensors))
    assert repr(aggregate_scores(shuffled, how)) == repr(aggregate_scores(tensors, how))


@given(tensors=TENSORS, how=st.sampled_from(RULES))
def test_every_aggregate_scales_with_the_fisher(tensors, how):
    eightfold = [dataclasses.replace(t, trace=8 * t.trace, relative=8 * t.relative) for t in tensors]
    # powers of two do not round
    assert aggregate_scores(eightfold, how) == pytest.approx(8 * aggregate_scores(tensors, how), rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("how", ["param_mean", "mean_of_means", "matrices_mean"])
def test_of_one_matrix_every_mean_is_its_trace_by_its_entries(how):
    assert aggregate_scores([tensor(shape=(4, 5), trace=3.0)], how) == 3.0 / 20


def test_the_published_rule_gives_a_vector_the_weight_of_a_matrix_and_ours_does_not():
    block = [tensor(shape=(100, 100), trace=1e4), tensor(shape=(100,), trace=300.0)]
    assert aggregate_scores(block, "mean_of_means") == 2.0  # (1 + 3) / 2
    assert aggregate_scores(block, "param_mean") == pytest.approx(10_300 / 10_100)


@pytest.mark.parametrize("how", RULES)
def test_nothing_has_no_score(how):
    assert math.isnan(aggregate_scores([], how))


def test_vectors_alone_have_no_mean_of_matrices():
    assert math.isnan(aggregate_scores([tensor(shape=(3,))], "matrices_mean"))


def test_a_parameter_without_entries_has_no_mean():
    assert math.isnan(tensor(shape=(0, 3), trace=0.0).mean)


def test_relative_scores_without_values_are_refused():
    with pytest.raises(InputError, match=r"'w' has no relative score: .* Measure with keep=\"values\", or choose"):
        aggregate_scores([tensor(relative=math.nan)], "relative")


def test_an_unknown_aggregate_is_refused_with_a_suggestion():
    with pytest.raises(
        InputError, match=r"unknown aggregate 'parammean'. Did you mean 'param_mean'\? Known: param_mean, mean_"
    ):
        aggregate_scores([tensor()], "parammean")


def test_layers_are_the_parameters_of_one_module():
    fisher = fisher_of(squared_gradients())
    by_name = {t.name: t for t in fisher.tensors}
    weight, bias = by_name["block.fc.weight"], by_name["block.fc.bias"]
    assert list(fisher.scores("layer")) == ["embed", "block.fc", "block.proj", "block.norm", ""]
    assert fisher.scores("layer")["block.fc"] == pytest.approx((weight.trace + bias.trace) / 25, rel=1e-14)
    assert fisher.scores("layer", "mean_of_means")["block.fc"] == pytest.approx((weight.mean + bias.mean) / 2, rel=1e-14)


def test_sites_are_the_parameters_behind_them_under_any_of_their_names_once():
    fisher = fisher_of(squared_gradients())
    traces = {t.name: t.trace for t in fisher.tensors}
    scores = fisher.scores("site", "trace")
    assert list(scores) == [site.name for site in SITES]
    behind = traces["block.fc.weight"] + traces["block.fc.bias"] + traces["block.norm.weight"]
    assert scores["block.dropout"] == pytest.approx(behind, rel=1e-14)
    assert scores["head.dropout"] == traces["embed.weight"]  # named twice: by its alias, too
    assert math.isnan(scores["block.attention.drop_prob"])


def test_scores_of_single_parameters_follow_the_aggregate():
    fisher = fisher_of(squared_gradients(), aggregate="trace")
    assert fisher.scores() == {t.name: t.trace for t in fisher.tensors}
    assert fisher.scores("tensor", "param_mean") == {t.name: t.mean for t in fisher.tensors}


def test_the_table_of_parameters_has_every_field_and_the_mean_in_plain_values():
    fisher = fisher_of(squared_gradients(1), keep="traces")
    row = fisher.table()[0]
    assert list(row) == [f.name for f in dataclasses.fields(FisherTensor)] + ["mean"]
    assert row["shape"] == "7x4"
    assert row["aliases"] == "head.weight"
    assert row["trace_std_error"] is None  # one sample
    assert row["relative"] is None  # no values
    assert row["mean"] == fisher.tensors[0].trace / 28


def test_ranks_ascend_with_scores_and_equal_scores_rank_in_order():
    tensors = tuple(tensor(f"{i}.w", (2,), trace, layer=f"{i}") for i, trace in enumerate([3.0, 1.0, 3.0, 1.0, 2.0]))
    rows = Fisher(info_of(1), tensors).table("layer")
    assert [row["rank"] for row in rows] == [3, 0, 4, 1, 2]


def test_the_table_of_sites_says_what_stands_behind_them_and_ranks_only_those_with_a_score():
    rows = fisher_of(squared_gradients()).table("site")
    assert list(rows[0]) == ["name", "kind", "role", "drop_prob", "num_tensors", "num_params", "score", "trace", "rank"]
    assert [(row["num_tensors"], row["num_params"]) for row in rows] == [(1, 28), (3, 29), (0, 0), (1, 28)]
    assert rows[2]["score"] is rows[2]["trace"] is rows[2]["rank"] is None
    assert sorted(row["rank"] for row in rows if row["rank"] is not None) == [0, 1, 2]


def test_a_parameter_that_was_not_measured_is_left_out_of_its_site_and_not_counted():
    fisher = dataclasses.replace(
        fisher_of(squared_gradients()), sites=(SiteBlock("s", "module", "other", 0.1, ("gone", "scale")),)
    )
    assert fisher.table("site")[0]["num_tensors"] == 1


@pytest.mark.parametrize("keep", ["values", "neurons"])
def test_neuron_sums_are_over_inputs_and_over_outputs_however_the_weight_is_stored(keep):
    squares = squared_gradients()
    fisher = fisher_of(squares, keep)
    table = {}
    for row in fisher.table("neuron"):
        table.setdefault((row["name"], row["side"]), []).append(row["score"])
        assert row["index"] == len(table[row["name"], row["side"]]) - 1
    assert {key: len(sums) for key, sums in table.items()} == {
        ("block.fc.weight", "output"): 5, ("block.fc.weight", "input"): 4,
        ("block.proj.weight", "output"): 4, ("block.proj.weight", "input"): 5,
    }  # fmt: skip
    plain, transposed = squares["block.fc.weight"].mean(axis=0), squares["block.proj.weight"].mean(axis=0)
    for o in range(5):
        # float32 values, and for keep="neurons" float32 sums of at most five: some units of 6e-8
        assert table["block.fc.weight", "output"][o] == pytest.approx(sum(plain[o, i] for i in range(4)), rel=1e-6)
        assert table["block.proj.weight", "input"][o] == pytest.approx(sum(transposed[o, i] for i in range(4)), rel=1e-6)
    for i in range(4):
        assert table["block.fc.weight", "input"][i] == pytest.approx(sum(plain[o, i] for o in range(5)), rel=1e-6)
        assert table["block.proj.weight", "output"][i] == pytest.approx(sum(transposed[o, i] for o in range(5)), rel=1e-6)


def test_neuron_sums_of_kept_values_are_computed_only_when_asked_for():
    class Counted(dict):
        reads = 0

        def __getitem__(self, name):
            Counted.reads += 1
            return super().__getitem__(name)

    full = fisher_of(squared_gradients())
    fisher = dataclasses.replace(full, values=Counted(full.values))
    assert "block.fc.weight" in fisher.row_sums
    assert "embed.weight" not in fisher.row_sums
    assert list(fisher.col_sums) == ["block.fc.weight", "block.proj.weight"]
    assert len(fisher.row_sums) == 2
    assert Counted.reads == 0
    assert fisher.row_sums["block.fc.weight"].dtype == np.float64
    assert Counted.reads == 1


def test_neurons_of_traces_are_refused():
    fisher = fisher_of(squared_gradients(), keep="traces")
    assert dict(fisher.row_sums) == {}
    with pytest.raises(InputError, match=r'no sums by neuron: keep="traces". Measure with keep="neurons" or "values"'):
        fisher.table("neuron")


def test_unknown_levels_are_refused_with_a_suggestion():
    fisher = fisher_of(squared_gradients())
    with pytest.raises(InputError, match=r"unknown level 'layers'. Did you mean 'layer'\? Known: tensor, layer, site, neuron"):
        fisher.table("layers")
    with pytest.raises(InputError, match=r"unknown level 'neuron'.* Known: tensor, layer, site\."):
        fisher.scores("neuron")


@pytest.mark.parametrize("level", ["tensor", "layer", "site", "neuron"])
def test_csv_and_data_frames_are_the_table(level):
    fisher = fisher_of(squared_gradients())
    rows = fisher.table(level)
    read = list(csv.DictReader(io.StringIO(fisher.to_csv(level))))
    frame = fisher.to_pandas(level)
    assert list(read[0]) == list(frame.columns) == list(rows[0])
    number = {"tensor": "trace_std_error"}.get(level, "score")
    assert [float(row[number] or "nan") for row in read] == pytest.approx(frame[number].tolist(), rel=0, nan_ok=True)
    assert frame[number].dtype == "float64"
    if "rank" in frame:
        assert frame["rank"].dtype == "Int64"
        assert [None if row["rank"] == "" else int(row["rank"]) for row in read] == [row["rank"] for row in rows]


def test_a_table_without_rows_keeps_its_columns():
    empty = Fisher(info_of(1), ())
    assert empty.to_csv("layer") == "name,num_tensors,num_params,score,trace,rank\n"
    assert list(empty.to_pandas("layer").columns) == ["name", "num_tensors", "num_params", "score", "trace", "rank"]


def test_data_frames_without_pandas_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # how Python marks a package that cannot be imported
    with pytest.raises(MissingPackageError, match=r"pip install \"spectra-nn\[frames\]\""):
        fisher_of(squared_gradients()).to_pandas()


def test_print_says_what_was_measured_and_where_it_is_highest_and_lowest():
    tensors = (tensor("a.w", trace=6.0, layer="a"), tensor("b.w", trace=0.6, layer="b"))
    assert str(Fisher(info_of(200), tensors)) == (
        "Empirical Fisher of 'tiny' (causal-lm, token_mean): 200 samples, 2000 targets, 1 skipped\n"
        "param_mean by layer: highest 1.00e+00 in a, lowest 1.00e-01 in b"
    )


def test_print_without_any_score_says_so():
    assert str(Fisher(info_of(1, num_skipped=0), ())) == (
        "Empirical Fisher of 'tiny' (causal-lm, token_mean): 1 sample, 10 targets\nparam_mean: no layer has a score"
    )
