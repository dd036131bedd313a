"""What the pages name exists, and what they quote is what was written down. That their code runs: ``test_code_blocks.py``."""

import json
import re
import runpy
import subprocess
import sys

import click
import pytest

from spectra.cli.main import app
from tests.docs.blocks import PAGES, ROOT, blocks, commands

# Of `hf download`, `lm_eval`, `accelerate launch`, `sbatch` and click.
FLAGS_OF_OTHERS = {"--local-dir", "--apply_chat_template", "--num_fewshot", "--multi_gpu", "--array", "--dependency", "--help"}
MADE = {"make_columns": "columns.md", "make_fisher_columns": "fisher-columns.md"}


def flags(command):
    return {flag for option in command.params for flag in (*option.opts, *option.secondary_opts) if flag.startswith("--")}


def all_flags(command):
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return flags(command).union(*map(all_flags, inner))


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))])
def test_options_shown_exist(page):
    for words, _ in commands(page):
        command = app
        for word in words:
            command = command.commands.get(word, command) if isinstance(command, click.Group) else command
        assert command is not app, words
        if isinstance(command, click.Group):  # 'spectra distill DATA'
            command = command.commands["rewrite"]
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= flags(command), words


@pytest.mark.parametrize("page", PAGES)
def test_flags_named_in_the_text_exist(page):
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`[^`\n]*?(--[a-z][\w-]+)", prose)) <= all_flags(app) | FLAGS_OF_OTHERS


def study():
    """Return what analysis/fisher_sst2 wrote down."""
    return json.loads((ROOT / "analysis" / "fisher_sst2" / "results.json").read_text(encoding="utf-8"))


def words_of(page):
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


def test_the_real_run_is_quoted_as_the_study_wrote_it_down():
    results, page = study(), words_of("docs/fisher.md")
    agreements = [
        found[level]["mean"]
        for part in ("two halves", "two kinds")
        for by_aggregate in results[part].values()
        for found in by_aggregate.values()
        for level in ("layer", "site")
    ]
    assert len(agreements) == 60
    assert (min(agreements) >= 0.99, "(Spearman 0.99 or more, with every aggregate and kind)" in page) == (True, True)
    traces = {kind: results["traces"][kind]["trace"]["values"][0] for kind in ("empirical", "exact")}
    assert f"the empirical trace is {traces['empirical'] / traces['exact']:.2f} times the exact one" in page
    own, foreign = (results["stories260K"][texts] for texts in ("its own texts", "dolly"))
    ratios = [texts["trace, empirical over sampled"]["mean"] for texts in (own, foreign)]
    order = foreign["layers, empirical and sampled"]["param_mean"]
    assert f"is {ratios[1]:.1f} times the sampled one, and layers come in another order ({order:.2f})" in page
    assert f"on text that the model wrote itself it is {ratios[0]:.2f} times" in page


def test_the_surfaces_of_the_real_run_are_quoted_as_the_study_wrote_them_down():
    near = study()["surfaces"]["matched and near"]
    rings = {half: near[half]["mean loss by radius"]["0.093 to 0.15"]["mean"] for half in ("top", "bottom")}
    top, bottom = (rings[half] - near["center"]["mean"] for half in ("top", "bottom"))
    page = words_of("docs/fisher.md")
    assert f"top half adds {top:.2f} to the loss at radii of 0.09 to 0.15, and the bottom half {bottom:.2f}" in page


def test_the_types_of_sites_come_in_the_orders_that_the_page_tells():
    results, page = study(), words_of("docs/guided-dropout.md")
    orders = {aggregate: tuple(found["order"]) for aggregate, found in results["site types"]["empirical"].items()}
    assert orders["mean_of_means"] == ("attention_probs", "attention_output", "mlp_output", "embeddings")
    assert (len(set(orders.values())), "and the other four aggregates in four other orders" in page) == (5, True)
    blocks_only = {
        role: found for role, found in results["shares of mean_of_means"]["empirical"].items() if role != "embeddings"
    }
    shares = [100 * found["vectors"] for found in blocks_only.values()]
    assert f"Biases and norms are {min(shares):.0f} to {max(shares):.0f} % of what it ranks in the blocks" in page


@pytest.mark.parametrize("maker", MADE)
def test_a_page_that_is_made_is_up_to_date(maker):
    program = f"import runpy, sys; sys.stdout.write(runpy.run_path('docs/{maker}.py')['text']())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == (ROOT / "docs" / MADE[maker]).read_text(encoding="utf-8"), f"run: python docs/{maker}.py"


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_links_between_pages_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / page).read_text(encoding="utf-8")):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), (page, target)
        assert not anchor or anchor in anchors(path), (page, target, anchor)


@pytest.mark.parametrize("name", ["tempbalance", "dcs", "meta_peft", "recipes", "file_formats"])
def test_tables_that_are_made_are_up_to_date(name):
    maker = runpy.run_path(str(ROOT / "docs" / f"make_{name}.py"))
    page = maker["PAGE"].read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- table (\w+) -->", page)) == {*maker["TABLES"], *maker.get("MEASURED", ())}
    assert maker["text"](page) == page, f"run: python docs/make_{name}.py"


def test_the_plan_on_its_page_is_the_one_that_is_written(demo_folder, tmp_path):
    import spectra

    spectra.plan("demo").save(tmp_path / "rates.yaml")
    written = (tmp_path / "rates.yaml").read_text(encoding="utf-8").splitlines()
    (shown,) = blocks("docs/plans.md", "yaml")
    rounded = re.compile(r"(\.\d{4})\d+$", re.MULTILINE)  # further digits are those of a machine's float32
    beginning = shown.splitlines()
    assert [rounded.sub(r"\1", line) for line in beginning] == [rounded.sub(r"\1", line) for line in written[: len(beginning)]]


def anchors(path):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
