import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectra
from spectra import InputError
from spectra.report import figures
from spectra.report.figures.scored_layers import scored_layers
from spectra.results.fisher import Aggregate, Fisher, FisherInfo, FisherTensor
from tests.models import heavy_tailed, small_weights

EMBEDDINGS = {"word_embeddings": ("embedding", (90, 8)), "position_embeddings": ("embedding", (16, 8))}
BLOCK = {
    "attention.self.query": ("linear", (8, 8)),
    "attention.self.key": ("linear", (8, 8)),
    "attention.self.value": ("linear", (8, 8)),
    "attention.output.dense": ("linear", (8, 8)),
    "attention.output.LayerNorm": ("norm", (8,)),
    "intermediate.dense": ("linear", (16, 8)),
    "output.dense": ("linear", (8, 16)),
    "output.LayerNorm": ("norm", (8,)),
}


def tensor(name, kind="linear", shape=(8, 8), mean=1e-6, std_error=1e-6, aliases=()):
    size = math.prod(shape)
    return FisherTensor(
        name, name.rpartition(".")[0], kind, shape, size, mean * size, std_error, math.nan, "batched", aliases=tuple(aliases)
    )


def fisher_of(tensors, name="toy", kind="empirical", aggregate="param_mean"):
    tensors = tuple(tensors)
    size = sum(t.num_params for t in tensors)
    info = FisherInfo(
        kind, "token_mean", "traces", aggregate, "masked-lm", 1024, 4096, 0, 1, 0, name, size, "float32", "0" * 64, "0"
    )
    return Fisher(info, tensors)


def bert(blocks=3, seed=0):
    """The parameters of a small BERT with its language-model head, under their names in the model."""
    rng = np.random.default_rng(seed)

    def layer(path, kind, shape, bias=True):
        yield tensor(f"{path}.weight", kind, shape, mean=10.0 ** rng.uniform(-9, -5), std_error=1e-8)
        if bias:
            yield tensor(f"{path}.bias", kind, shape[:1], mean=10.0 ** rng.uniform(-9, -5), std_error=1e-8)

    for name, (kind, shape) in EMBEDDINGS.items():
        yield from layer(f"bert.embeddings.{name}", kind, shape, bias=False)
    yield from layer("bert.embeddings.LayerNorm", "norm", (8,))
    for block in range(blocks):
        for role, (kind, shape) in BLOCK.items():
            yield from layer(f"bert.encoder.layer.{block}.{role}", kind, shape)
    yield from layer("cls.predictions.transform.dense", "linear", (8, 8))


def points_of(axes):
    return np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections if c.get_zorder() == 3])


def legend_of(figure):
    legend = figure.legends[0] if figure.legends else figure.axes[0].get_legend()
    return [text.get_text() for text in legend.get_texts()]


def ticks_of(axes):
    return [tick.get_text() for tick in axes.get_xticklabels()]


@pytest.fixture(scope="module")
def fisher():
    return fisher_of(bert())


@pytest.fixture(scope="module")
def weights():
    return small_weights()


@pytest.fixture(scope="module")
def report(weights):
    """Its first two fits are called poor, the others good, whatever they are."""
    found = spectra.analyze(weights)
    quality = ["poor"] * 2 + ["good"] * (len(found.layers) - 2)
    rows = [dataclasses.replace(row, fit_quality=q) for row, q in zip(found.layers, quality, strict=True)]
    return dataclasses.replace(found, layers=tuple(rows))


def fisher_like(weights, prefix="model.", means=None):
    """A Fisher of the model that holds these weights under a prefix; its first layers have the highest scores."""
    means = means or [10.0 ** -(5 + i) for i in range(len(weights))]
    return fisher_of(tensor(prefix + name, shape=w.shape, mean=m) for (name, w), m in zip(weights.items(), means, strict=True))


# Fisher by layer


def test_every_layer_is_drawn_once_at_its_score(fisher):
    axes = figures.fisher_by_layer(fisher).axes[0]
    by_layer = {}
    for t in fisher.tensors:
        by_layer.setdefault(t.layer_name, []).append(t)
    expected = [sum(t.trace for t in members) / sum(t.num_params for t in members) for members in by_layer.values()]
    np.testing.assert_allclose(np.sort(points_of(axes)[:, 1]), np.sort(expected))
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize("wide", [False, True])
def test_the_roles_of_a_block_are_series_and_what_many_modules_share_stands_last(fisher, wide):
    figure = figures.fisher_by_layer(fisher, wide=wide)
    linear = [role for role, (kind, _) in BLOCK.items() if kind == "linear"]
    assert legend_of(figure) == [*linear, "norms", "embeddings", "heads"]
    assert ticks_of(figure.axes[0]) == ["in", "0", "1", "2", "out"]


def test_title_and_axes_say_which_fisher_it_is(fisher):
    axes = figures.fisher_by_layer(fisher).axes[0]
    assert axes.get_title(loc="left") == "toy, 1,024 samples"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("block", "empirical Fisher per parameter")


@pytest.mark.parametrize("aggregate", [a for a in Aggregate if a != Aggregate.RELATIVE])
def test_another_aggregate_gives_its_scores_and_its_label(fisher, aggregate):
    axes = figures.fisher_by_layer(fisher, aggregate=aggregate).axes[0]
    scores = [score for score in fisher.scores("layer", aggregate).values() if not math.isnan(score)]
    np.testing.assert_allclose(np.sort(points_of(axes)[:, 1]), np.sort(scores))
    labels = {figures.fisher_by_layer(fisher, aggregate=a).axes[0].get_ylabel() for a in (Aggregate.PARAM_MEAN, aggregate)}
    assert len(labels) == (1 if aggregate == Aggregate.PARAM_MEAN else 2)


def test_bars_reach_two_standard_errors_where_a_layer_is_one_parameter(fisher):
    layers, _ = scored_layers(fisher)
    known = {layer.name: layer for layer in layers if not math.isnan(layer.std_error)}
    assert set(known) == {f"bert.embeddings.{name}" for name in EMBEDDINGS}
    bars = [c for c in figures.fisher_by_layer(fisher).axes[0].collections if c.get_zorder() == 2]
    ends = [segment[:, 1] for c in bars for segment in c.get_segments() if len(segment)]
    expected = [(t.mean - 2.0 * 1e-8 / t.num_params, t.mean + 2.0 * 1e-8 / t.num_params) for t in fisher.tensors[:2]]
    np.testing.assert_allclose(sorted(map(tuple, ends)), sorted(expected))


def test_the_standard_error_scales_like_the_score():
    weight = tensor("a.weight", mean=3e-6, std_error=5e-5)
    [by_mean], [by_trace] = (scored_layers(fisher_of([weight]), how)[0] for how in ("param_mean", "trace"))
    assert by_mean.std_error == pytest.approx(5e-5 / 64)
    assert by_trace.std_error == pytest.approx(5e-5)


def test_a_relative_score_has_no_standard_error():
    weight = FisherTensor("a.weight", "a", "linear", (2, 2), 4, 1.0, 0.1, 0.5, "batched")
    fisher = fisher_of([weight], aggregate="relative")
    assert math.isnan(scored_layers(fisher)[0][0].std_error)
    assert figures.fisher_by_layer(fisher).axes[0].get_ylabel() == r"empirical Fisher $\sum F\,\theta^2$"


def test_a_bar_that_reaches_zero_ends_at_the_axis():
    tensors = [tensor("a.weight", mean=1e-6, std_error=1e-3), tensor("b.weight", mean=2e-6, std_error=1e-9)]
    bottom, top = figures.fisher_by_layer(fisher_of(tensors)).axes[0].get_ylim()
    assert 1e-7 < bottom < 1e-6
    assert top < 1e-2  # not scaled for anything but points and bars


def test_layers_without_a_place_on_the_axis_are_counted_in_its_label(fisher):
    zeroed = [tensor(t.name, t.kind, t.shape, mean=0.0) if ".1.output.dense" in t.name else t for t in fisher.tensors]
    axes = figures.fisher_by_layer(fisher_of(zeroed), aggregate="matrices_mean").axes[0]
    num_norms = sum(layer.role == "norms" for layer in scored_layers(fisher)[0])
    assert axes.get_xlabel() == f"block\n(left out: 1 of score 0, {num_norms} without score)"


def test_a_fisher_without_a_positive_score_is_refused():
    with pytest.raises(InputError, match="no layer to draw of the Fisher of 'toy' has a positive score"):
        figures.fisher_by_layer(fisher_of([tensor("a.weight", mean=0.0)]))


def test_scores_that_cannot_be_made_are_refused(fisher):
    with pytest.raises(InputError, match="unknown aggregate 'mean'"):
        figures.fisher_by_layer(fisher, aggregate="mean")
    with pytest.raises(InputError, match="values were not kept"):
        figures.fisher_by_layer(fisher, aggregate="relative")


def test_encoder_and_decoder_stand_one_after_the_other():
    attention, dense = ("SelfAttention.q", "EncDecAttention.q"), "DenseReluDense.wo"
    names = [f"encoder.block.{b}.layer.{i}.{role}" for b in range(3) for i, role in enumerate((attention[0], dense))]
    names += [f"decoder.block.{b}.layer.{i}.{role}" for b in range(3) for i, role in enumerate((*attention, dense))]
    tensors = [tensor(f"{name}.weight", mean=1e-6 * (i + 1)) for i, name in enumerate(names)]
    figure = figures.fisher_by_layer(fisher_of([tensor("shared.weight", "embedding"), *tensors]))
    axes = figure.axes[0]
    assert axes.get_xlabel() == "block (encoder | decoder)"
    assert ticks_of(axes) == ["in", "0", "1", "2", "0", "1", "2"]
    assert sorted({x for x, _ in points_of(axes)}) == [-1, 0, 1, 2, 4, 5, 6]
    assert legend_of(figure) == ["SelfAttention.q", dense, "EncDecAttention.q", "embeddings"]


def test_a_list_of_single_layers_is_no_stack_of_its_own():
    names = [f"blocks.{b}.{role}" for b in range(4) for role in ("fc1", "fc2")] + ["heads.0.out", "heads.1.out"]
    axes = figures.fisher_by_layer(fisher_of(tensor(f"{name}.weight") for name in names)).axes[0]
    assert (axes.get_xlabel(), ticks_of(axes)) == ("block", ["0", "1", "2", "3", "out"])


def test_a_model_without_blocks_goes_by_place():
    figure = figures.fisher_by_layer(
        fisher_of(tensor(f"{i}.{part}", mean=1e-6) for i in range(3) for part in ("weight", "bias"))
    )
    axes = figure.axes[0]
    assert axes.get_xlabel() == "layer"
    assert legend_of(figure) == ["linear"]
    assert [x for x, _ in points_of(axes)] == [1, 2, 3]


@pytest.mark.parametrize("blocks", [1, 6, 12, 16, 17, 32, 80])
def test_the_names_of_depths_do_not_run_into_each_other(blocks):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = ["embed", *(f"h.{b}.{role}" for b in range(blocks) for role in ("a", "b")), "head"]
    figure = figures.fisher_by_layer(fisher_of(tensor(f"{name}.weight") for name in names))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [tick.get_window_extent(canvas.get_renderer()) for tick in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize("length", [10, 40])
def test_the_legend_stays_within_the_figure(length):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    roles = [f"{letter * length}" for letter in "abcdef"]
    figure = figures.fisher_by_layer(fisher_of(tensor(f"h.{b}.{role}.weight") for b in range(3) for role in roles))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.legends[0].get_window_extent(canvas.get_renderer())
    assert (box.x0, box.y0) >= (0, 0)
    assert box.x1 <= figure.bbox.x1


# pairs of layers


def test_layers_are_paired_by_the_end_of_their_names_in_both_directions(weights, report):
    names = [name.removesuffix(".weight") for name in weights]
    for fisher in (fisher_like(weights), fisher_like({n.removeprefix("layers."): w for n, w in weights.items()}, prefix="")):
        pairs = figures.pair_layers(fisher, report)
        assert [pair.rows[0].layer_name for pair in pairs] == names
        assert [pair.layer_name for pair in pairs] == [t.layer_name for t in fisher.tensors]


@given(
    prefix=st.lists(st.sampled_from(["model", "bert", "base", "0"]), max_size=3).map(
        lambda parts: "".join(f"{p}." for p in parts)
    )
)
def test_a_prefix_changes_no_pair(weights, report, prefix):
    pairs = figures.pair_layers(fisher_like(weights, prefix), report)
    assert [pair.layer_name for pair in pairs] == [prefix + name.removesuffix(".weight") for name in weights]


def test_an_equal_name_comes_before_one_that_ends_alike(report):
    fisher = fisher_of([tensor("head.weight"), tensor("other.head.weight"), tensor("embed.weight")])
    assert [pair.layer_name for pair in figures.pair_layers(fisher, report)] == ["head", "embed"]


def test_a_name_must_begin_after_a_dot(report):
    with pytest.raises(InputError, match="no layer is in both"):
        figures.pair_layers(fisher_of([tensor("bighead.weight")]), report)


def test_a_tied_weight_is_found_under_each_of_its_names(report):
    fisher = fisher_of([tensor("model.wte.weight", "embedding", (150, 40), aliases=["lm.head.weight"])])
    [pair] = figures.pair_layers(fisher, report)
    assert (pair.layer_name, pair.rows[0].layer_name) == ("model.wte", "head")


def test_a_layer_of_several_matrices_has_their_mean_alpha():
    weights = {f"h.{b}.in_proj_weight": heavy_tailed(120, 40, seed=b) for b in range(2)}
    report = spectra.analyze(weights)
    fisher = fisher_of(
        FisherTensor(f"m.{name}", f"m.{name.rpartition('.')[0]}", "other", w.shape, w.size, 1.0, 0.1, math.nan, "loop")
        for name, w in weights.items()
    )
    pairs = figures.pair_layers(fisher, report)
    assert [pair.layer_name for pair in pairs] == ["m.h.0", "m.h.1"]
    for block, pair in enumerate(pairs):
        rows = [row for row in report.layers if row.layer_name == f"h.{block}.in_proj_weight"]
        assert len(rows) == 3
        assert pair.alpha == pytest.approx(np.mean([row.alpha for row in rows]))
        assert pair.is_doubtful == ("poor" in [row.fit_quality for row in rows])


def test_a_name_that_fits_several_layers_is_refused(report):
    with pytest.raises(InputError, match="layer 'head' of the report fits several layers of the Fisher: 'a.head', 'b.head'"):
        figures.pair_layers(fisher_of([tensor("a.head.weight"), tensor("b.head.weight")]), report)
    with pytest.raises(
        InputError, match="layer 'fc' of the Fisher fits several layers of the report: 'layers.0.fc', 'layers.1"
    ):
        figures.pair_layers(fisher_of([tensor("fc.weight")]), report)


def test_names_without_anything_in_common_are_refused_with_examples(report):
    expected = (
        "no layer is in both: the report has 'embed', 'layers.0.fc', 'layers.1.fc' and 3 more, the Fisher has 'x', 'y'. "
        "Analyse the very model that the Fisher was measured on, so that the names agree."
    )
    with pytest.raises(InputError, match=re.escape(expected)):
        figures.pair_layers(fisher_of([tensor("x.weight"), tensor("y.weight"), tensor("y.bias", shape=(8,))]), report)


def test_a_report_without_fits_is_refused(fisher):
    zero = spectra.analyze({"zero.weight": np.zeros((20, 20))})
    with pytest.raises(InputError, match="was fitted, so there is no alpha to draw"):
        figures.pair_layers(fisher, zero)


# Fisher against alpha


def ranks_of(values):
    return np.argsort(np.argsort(values))


def ranks_text(figure):
    [text] = figure.axes[0].texts
    return text.get_text()


def test_every_pair_is_drawn_at_its_alpha_and_score(weights, report):
    figure = figures.fisher_vs_alpha(fisher_like(weights), report)
    axes = figure.axes[0]
    expected = [(row.alpha, 10.0 ** -(5 + i)) for i, row in enumerate(report.layers)]
    np.testing.assert_allclose(np.sort(points_of(axes), axis=0), np.sort(expected, axis=0))
    assert (axes.get_yscale(), axes.get_xlabel()) == ("log", r"power-law exponent $\alpha$")
    assert legend_of(figure)[:3] == ["fc", "embeddings", "heads"]


def test_the_rank_correlation_is_spearmans(weights, report):
    means = np.random.default_rng(3).permutation(len(weights)) + 1.0
    text = ranks_text(figures.fisher_vs_alpha(fisher_like(weights, means=list(means)), report))
    alphas = np.array([row.alpha for row in report.layers])
    good = list(range(2, len(alphas)))
    # Without ties it is Pearson's correlation of the ranks.
    whole, part = (np.corrcoef(ranks_of(alphas[i]), ranks_of(means[i]))[0, 1] for i in (slice(None), good))
    expected = f"Spearman ρ {whole:.2f} (n = {len(alphas)}), good fits {part:.2f} (n = {len(good)})"
    assert text == expected.replace("-", "−")


def test_two_layers_and_equal_scores_have_no_rank_correlation(weights, report):
    two = fisher_like({name: weights[name] for name in ("embed.weight", "head.weight")})
    assert ranks_text(figures.fisher_vs_alpha(two, report)).startswith("Spearman ρ – (n = 2)")
    equal = fisher_like(weights, means=[1e-6] * len(weights))
    assert ranks_text(figures.fisher_vs_alpha(equal, report)).startswith(f"Spearman ρ – (n = {len(weights)})")


def test_doubtful_fits_are_hollow_and_the_legend_says_so(weights, report):
    figure = figures.fisher_vs_alpha(fisher_like(weights), report)
    hollow = [
        tuple(offset)
        for c in figure.axes[0].collections
        for offset, face in zip(np.asarray(c.get_offsets()), c.get_facecolors(), strict=True)
        if face[:3].min() == 1.0
    ]
    assert sorted(alpha for alpha, _ in hollow) == sorted(row.alpha for row in report.layers if row.fit_quality == "poor")
    assert legend_of(figure)[-1] == "hollow: doubtful fit"


def test_what_is_not_drawn_is_counted(weights, report):
    means = [0.0, *[1e-6 * (i + 1) for i in range(len(weights) - 2)]]
    fisher = fisher_like(dict(list(weights.items())[:-1]), means=means)
    assert figures.fisher_vs_alpha(fisher, report).axes[0].get_xlabel().endswith("\n(left out: 1 of score 0, 1 not measured)")


def test_layers_of_score_zero_only_are_refused(weights, report):
    with pytest.raises(InputError, match="has a positive score, as a logarithmic axis needs"):
        figures.fisher_vs_alpha(fisher_like(weights, means=[0.0] * len(weights)), report)


def test_the_band_of_well_trained_layers_is_not_drawn_for_inverse_fits(weights, report):
    assert len(figures.fisher_vs_alpha(fisher_like(weights), report).axes[0].patches) == 1
    inverse = figures.fisher_vs_alpha(fisher_like(weights), spectra.analyze(weights, inverse=True)).axes[0]
    assert len(inverse.patches) == 0
    assert inverse.get_xlabel().endswith(r"of $1/\lambda$")


# files


@pytest.mark.parametrize("figure", ["by_layer", "vs_alpha"])
def test_equal_fishers_give_equal_bytes(figure, fisher, weights, report, tmp_path):
    def draw():
        return (
            figures.fisher_by_layer(fisher) if figure == "by_layer" else figures.fisher_vs_alpha(fisher_like(weights), report)
        )

    formats = ["png", "pdf", "svg"]
    first, second = (figures.write(draw(), tmp_path / name, "f", formats) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_names_are_no_formulas(tmp_path, weights, report):
    name = r"$\price$"
    fisher = fisher_of((tensor(rf"{t.name[:-7]}.{name}.weight", mean=t.mean) for t in bert()), name=name)
    figures.write(figures.fisher_by_layer(fisher), tmp_path, "a", ["svg"])
    like = fisher_like(weights)
    figures.write(figures.fisher_vs_alpha(fisher_of(like.tensors, name=name), report), tmp_path, "b", ["svg"])


def test_the_users_matplotlib_settings_stay_as_they_were(fisher, weights, report):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.fisher_by_layer(fisher)
    figures.fisher_vs_alpha(fisher_like(weights), report)
    assert dict(matplotlib.rcParams) == before
