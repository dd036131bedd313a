"""Every number on the interpretation page is what the code gives, or what the study it names has written down."""

import json
import re
import runpy
from functools import cache

import numpy as np
import pytest

import spectra
from spectra.diagnose.thresholds import MIN_EVALS_FOR_LABEL, OVER_TRAINED_BELOW, UNDER_TRAINED_ABOVE
from spectra.esd.marchenko_pastur import bulk_cdf
from spectra.esd.reliability import MAX_KS_DISTANCE, MIN_RELIABLE_TAIL, MIN_STANDARD_ERRORS
from spectra.esd.trace_log import trace_log_condition
from spectra.results.records import column_meanings
from tests.docs.blocks import ROOT

PAGE = "docs/interpretation.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
TABLES = dict(re.findall(r"<!-- table (\w+) -->\n(.*?)<!-- end -->", TEXT, re.DOTALL))
WORDS = " ".join(TEXT.split())
SLOW = {"layers", "models", "storage"}


@cache
def maker():
    return runpy.run_path(str(ROOT / "docs" / "make_interpretation.py"))


@cache
def demo(**settings):
    return spectra.analyze("demo", **settings)


def alphas(report):
    return {layer.matrix_name: layer.alpha for layer in report.layers if layer.status == "ok"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in TABLES])
def test_the_table_is_what_the_code_gives(name, demo_folder):
    assert maker()["TABLES"][name]() == TABLES[name], "run: python docs/make_interpretation.py"


def test_every_table_that_can_be_made_is_on_the_page():
    assert sorted(maker()["TABLES"]) == sorted(TABLES)


def test_the_figure_shows_the_two_layers_of_the_example(demo_folder):
    axes = maker()["figure"]().axes
    titles = [one.get_title(loc="left") for one in axes]
    assert titles == ["pooler.dense: poor fit", "encoder.layer.0.attention.self.key: good fit"]
    # The random layer's histogram is a density on the axis of the random law: from each bin on it holds the law's mass,
    # to its distance from that law (0.006) and one eigenvalue.
    drawn = axes[0].patches[0].get_data()
    mass = (drawn.values * np.diff(drawn.edges))[::-1].cumsum()[::-1]
    assert mass == pytest.approx(1.0 - bulk_cdf(drawn.edges[:-1], 1.0), abs=0.009)


def test_the_flags_on_the_page_exist(capsys):
    from spectra.cli.main import main

    for command in ("analyze", "plot"):
        main([command, "--help"])
    known = set(re.findall(r"--[a-z][\w-]+", capsys.readouterr().out))
    assert set(re.findall(r"`[^`\n]*?(--[a-z][\w-]+)", TEXT)) <= known


def test_the_columns_named_in_the_table_of_questions_exist():
    rows = TEXT.split("| question |")[1].split("**If you see")[0].splitlines()[2:]
    named = {name for row in rows if row for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    assert len(named) > 25
    assert named <= set(column_meanings())


def test_the_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert ((ROOT / PAGE).parent / target).exists(), target


def test_the_rule_of_reliability_is_the_one_described():
    assert (
        f"KS distance is at most {MAX_KS_DISTANCE}, its tail has at least {MIN_RELIABLE_TAIL} values, and the tail is longer "
        f"than that of a random square matrix by more than {MIN_STANDARD_ERRORS:.0f} standard errors"
    ) in WORDS
    assert f"Labels also need {MIN_EVALS_FOR_LABEL} eigenvalues" in WORDS
    assert f"under {OVER_TRAINED_BELOW:.0f} and above {UNDER_TRAINED_ABOVE:.0f}, both strict" in WORDS


def test_the_calibration_is_quoted_as_the_study_wrote_it_down():
    results = json.loads((ROOT / "analysis" / "fit_quality" / "results.json").read_text(encoding="utf-8"))
    noise = {name: found["now"] for name, found in results["noise held out"].items()}
    shares = {name: f"{100 * found['hits'] / found['of']:.2f} %" for name, found in noise.items()}
    assert f"over {noise['ks']['of']:,} held-out matrices" in WORDS
    assert f"`ks` {shares['ks']}, `median` {shares['median']}, `hill` {shares['hill']}" in WORDS
    untrained = results["untrained architectures"]["ks"]["now"]
    assert (untrained["hits"], f"of {untrained['of']:,} layers of seven untrained architectures none" in WORDS) == (0, True)
    sparse = results["noise held out"]["ks"]["now, worst cells"]["sparse Gaussian, 10 % (48, 48, 9)"]
    assert f"{sparse['hits']} of {sparse['of']}" in WORDS
    everything, small = (results["trained"]["ks"][name] for name in ("all", "stories260K"))
    assert f"Of {everything['fitted']} trained layers of five models {share(everything)} are good" in WORDS
    assert f"of the {small['fitted']} of stories260K, with 64 eigenvalues and fewer, {share(small)}" in WORDS
    whole = {tuple(map(float, re.findall(r"[\d.]+", key))): v["now"] for key, v in results["planted"]["whole"].items()}
    assert whole[2.5, 512] == 1.0
    assert f"in {100 * whole[3, 512]:.0f} % at 3 (512 eigenvalues)" in WORDS
    steep = max(found for (alpha, _), found in whole.items() if alpha >= 3.5)
    assert f"in {100 * steep:.0f} % at most from 3.5 on" in WORDS


def share(counted):
    return f"{100 * counted['reliable now'] / counted['fitted']:.0f} %"


def test_tails_planted_in_noise_are_fitted_as_the_page_says():
    results = json.loads((ROOT / "analysis" / "fit_quality" / "results.json").read_text(encoding="utf-8"))["planted"]
    fitted = [
        results[f"tail, aspect {aspect}"][f"alpha {alpha:g}, n {size}"]["median alpha"]
        for aspect in (1, 4)
        for alpha in (2, 2.5, 3, 4, 5, 6)
        for size in (64, 128)
    ]
    assert f"fitted with {min(fitted):.1f} to {max(fitted):.1f}" in WORDS


def test_the_demo_models_numbers_in_the_text_are_the_real_ones(demo_folder):
    report = demo()
    found, metrics = alphas(report), report.summary.metrics["alpha"]
    good = [layer.alpha for layer in report.layers if layer.fit_quality == "good"]
    assert f"the mean alpha ({metrics.mean:.2f}) is driven by a random layer ({max(found.values()):.2f})" in WORDS
    assert f"median` ({metrics.median:.2f}), or average good fits ({np.mean(good):.2f})" in WORDS
    clipped = alphas(demo(xmin="clip"))
    assert f"`clip` changes {sum(clipped[name] != alpha for name, alpha in found.items())} of the {len(found)} layers" in WORDS
    positions = next(layer for layer in report.layers if "position" in layer.matrix_name)
    assert f"position embeddings of the demo model: {positions.alpha:.2f}" in WORDS
    assert f"at {positions.num_tail} of {positions.num_eigenvalues} (the demo's position embeddings)" in WORDS
    bulk = [layer.mp_quality for layer in demo(mp_fit=True).layers if layer.status == "ok"]
    assert f"as for {bulk.count('poor')} of the {len(bulk)} demo layers" in WORDS
    single = alphas(demo(precision="float32"))
    # Its digits depend on the BLAS; 6e-6 where the page was written.
    assert max(abs(single[name] / alpha - 1.0) for name, alpha in found.items()) < 2e-5


def test_ideal_noise_has_the_numbers_the_page_gives_it():
    values = maker()["quarter_circle"](384)
    fit = spectra.fit_power_law(values)
    assert f"a gap of {trace_log_condition(values, fit.num_tail).gap} of 384" in WORDS
    assert f"({values.sum() / values.max():.0f} of 384)" in WORDS
    for size, distance in ((64, 0.02), (512, 0.003)):
        weight = np.random.default_rng(0).standard_normal((size, size))
        row = spectra.analyze({"noise.weight": weight}, randomize=True, num_replicas=5).layers[0]
        assert row.rand_distance == pytest.approx(distance, rel=0.25)  # "about"


def test_the_three_spectra_of_a_convolution_have_the_alphas_the_page_gives_them(shared_models):
    model = next((shared_models / "cifar10_resnets").glob("resnet20-*.th"))
    rows = {
        mode: spectra.analyze(str(model), include="*layer3.2.conv2", conv_mode=mode).layers
        for mode in ("pooled", "slices", "operator")
    }
    slices = [row.alpha for row in rows["slices"]]
    pooled, operator = rows["pooled"][0], rows["operator"][0]
    assert (
        f"{pooled.alpha:.2f} ({pooled.num_eigenvalues} eigenvalues), {min(slices):.2f} to {max(slices):.2f} "
        f"({rows['slices'][0].num_eigenvalues} each) and {operator.alpha:.2f} ({operator.num_eigenvalues:,}, nearly all"
    ) in WORDS
