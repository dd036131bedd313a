import numpy as np
import pytest

import spectra
from spectra import InputError
from spectra.report import figures


def transformer(blocks=4, seed=0):
    rng = np.random.default_rng(seed)

    def weight(rows, cols):
        return rng.standard_normal((rows, cols)) * (1.0 - rng.random(cols)) ** (-1.0 / 3.0)

    model = {"embed.weight": weight(200, 40)}
    for block in range(blocks):
        model |= {f"layers.{block}.{role}.weight": weight(60, 40) for role in ("attn.query", "attn.value", "mlp.up")}
    return {**model, "head.weight": weight(50, 40), "zero.weight": np.zeros((20, 20))}


@pytest.fixture(scope="module")
def report():
    return spectra.analyze(transformer())


def test_esd_shows_the_density_and_the_fit(report):
    row = report.layers[1]
    axes = figures.esd(report, row.layer_name).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    line, mark = axes.get_lines()
    x, law = line.get_data()
    assert (x[0], x[-1]) == pytest.approx((row.xmin, row.xmax))
    # On logarithmic axes the fitted law is a line of slope -alpha, and its area is the share of the tail.
    slope = np.diff(np.log(law)) / np.diff(np.log(x))
    np.testing.assert_allclose(slope, -row.alpha, rtol=1e-10)
    share = row.num_tail / row.num_eigenvalues
    assert law[0] == pytest.approx(share * (row.alpha - 1.0) / row.xmin)
    assert mark.get_xdata()[0] == row.xmin


def test_esd_histogram_counts_every_eigenvalue_on_the_axis(report):
    row = report.layers[0]
    axes = figures.esd(report, row.layer_name).axes[0]
    values, edges, _ = axes.patches[0].get_data()
    shown = np.count_nonzero(report.eigenvalues(row.layer_name) >= edges[0])
    assert (values * np.diff(edges)).sum() * row.num_eigenvalues == pytest.approx(shown, rel=1e-9)


def test_alpha_by_depth_draws_every_fitted_layer_once(report):
    figure = figures.alpha_by_depth(report)
    axes = figure.axes[0]
    scatters = [points for points in axes.collections if points.get_zorder() == 3]
    drawn = np.concatenate([points.get_offsets() for points in scatters])
    fitted = sorted(row.alpha for row in report.layers if row.status == "ok")
    np.testing.assert_allclose(np.sort(drawn[:, 1]), fitted)
    assert axes.get_xlabel() == "block"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["in", "0", "1", "2", "3", "out"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["embedding", "attn.query", "attn.value", "mlp.up", "head"]


def test_alpha_by_depth_of_a_convolutional_net_goes_by_place():
    rng = np.random.default_rng(0)
    model = {f"layer{i}.0.conv{j}.weight": rng.standard_normal((16, 16, 3, 3)) for i in (1, 2, 3) for j in (1, 2)}
    axes = figures.alpha_by_depth(spectra.analyze(model), wide=True).axes[0]
    assert axes.get_xlabel() == "layer"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["conv1", "conv2"]


def test_the_default_layer_is_the_first_of_the_table(report):
    from spectra.report.table import worst_first

    assert figures.default_layer(report) == worst_first(report.layers)[0].matrix_name


def test_what_cannot_be_drawn_is_refused(report):
    zero = spectra.analyze({"zero.weight": np.zeros((20, 20))})
    with pytest.raises(InputError, match="no tail to draw"):
        figures.default_layer(zero)
    with pytest.raises(InputError, match="no alpha to draw"):
        figures.alpha_by_depth(zero)
    with pytest.raises(InputError, match="no positive eigenvalue"):
        figures.esd(zero, "zero")
    with pytest.raises(InputError, match="no layer 'embd' in the report. Did you mean 'embed'"):
        figures.esd(report, "embd")


@pytest.mark.parametrize("model", [np.eye(30), np.diag(np.arange(1.0, 6.0))], ids=["constant", "few"])
def test_a_spectrum_without_fit_is_drawn_without_it(model):
    report = spectra.analyze({"a.weight": model})
    assert len(figures.esd(report, "a").axes[0].get_lines()) == 0


def test_equal_reports_give_equal_bytes(report, tmp_path):
    formats = ["png", "pdf", "svg"]
    first = figures.write(figures.alpha_by_depth(report), tmp_path / "a", "f", formats)
    second = figures.write(figures.alpha_by_depth(report), tmp_path / "b", "f", formats)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["f.pdf", "f.png", "f.svg"]


def test_the_users_matplotlib_settings_stay_as_they_were(report):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.esd(report, "embed")
    assert dict(matplotlib.rcParams) == before


def labels_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_experts_of_a_weight_are_one_series_and_parts_of_a_fused_weight_several():
    rng = np.random.default_rng(0)
    model = {f"h.{b}.experts.{e}.w1.weight": rng.standard_normal((40, 30)) for b in range(2) for e in range(20)}
    model |= {f"h.{b}.in_proj_weight": rng.standard_normal((90, 30)) for b in range(2)}
    figure = figures.alpha_by_depth(spectra.analyze(model))
    assert labels_of(figure) == ["experts.*.w1", "in_proj_weight.q", "in_proj_weight.k", "in_proj_weight.v"]


def test_one_block_has_one_tick():
    model = {name: value for name, value in transformer(blocks=1).items() if name.startswith("layers")}
    axes = figures.alpha_by_depth(spectra.analyze(model)).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0"]


def test_inverse_fits_are_drawn_as_what_they_are():
    report = spectra.analyze(transformer(), inverse=True)
    axes = figures.esd(report, "embed").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"inverse eigenvalue $1/\lambda$", r"density $\rho(1/\lambda)$")
    by_depth = figures.alpha_by_depth(report).axes[0]
    assert by_depth.get_ylabel().endswith(r"of $1/\lambda$")
    assert len(by_depth.patches) == 0  # no band of well-trained layers
    scatters = [points for points in by_depth.collections if points.get_zorder() == 3]
    assert all(points.get_facecolors()[:, :3].min() < 1.0 for points in scatters)  # not hollow: nobody doubts them


def test_null_values_are_left_out_of_the_eigenvalues_and_not_of_their_inverses():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((60, 40)) @ np.diag([1.0] * 30 + [0.0] * 10)
    for settings in ({}, {"inverse": True}):
        report = spectra.analyze({"a.weight": matrix}, **settings)
        label = figures.esd(report, "a").legends[0].get_texts()[0].get_text()
        assert label.startswith("30 eigenvalues")


def test_an_expert_without_a_row_is_refused():
    rng = np.random.default_rng(0)
    report = spectra.analyze(
        {f"experts.{e}.w1.weight": rng.standard_normal((40, 30)) for e in range(3)} | transformer(), moe="summary"
    )
    with pytest.raises(InputError, match="'experts.1.w1' has no row in this report. Analyse with moe='per_expert'"):
        figures.esd(report, "experts.1.w1")


def test_encoder_and_decoder_stand_one_after_the_other():
    rng = np.random.default_rng(0)
    roles = {"encoder": ("attn.q", "mlp.up"), "decoder": ("attn.q", "cross.q", "mlp.up")}
    names = [f"{stack}.layers.{block}.{role}" for stack in roles for block in range(2) for role in roles[stack]]
    model = {f"{name}.weight": rng.standard_normal((40, 30)) for name in ["embed_tokens", *names]}
    figure = figures.alpha_by_depth(spectra.analyze(model))
    axes = figure.axes[0]
    assert labels_of(figure) == ["embedding", "attn.q", "mlp.up", "cross.q"]
    assert axes.get_xlabel() == "block (encoder | decoder)"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["in", "0", "1", "0", "1"]
    lines = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) > 1]
    assert all(np.ptp(line) == 1 for line in lines)  # no line runs from one stack to the other
    assert len(lines) == 5
