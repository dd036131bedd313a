"""What the documentation shows is what happens."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md", "docs/weightwatcher.md", "docs/fisher.md", "docs/guided-dropout.md", "docs/tempbalance.md", "docs/plans.md",
    "docs/compare.md", "docs/pruning.md", "docs/dcs.md", "docs/sdft.md", "docs/meta_peft.md",
]  # fmt: skip
RECIPES = "docs/recipes.md"  # has commands that train
# Of `hf download`, `lm_eval` and `accelerate launch`.
FLAGS_OF_OTHERS = ("--local-dir", "--apply_chat_template", "--num_fewshot", "--multi_gpu")
SUBCOMMANDS = ("report", "shift", "evaluate")  # of distill
# What differs from run to run: metrics too, as it depends on the clock when TempBalance measures.
OF_A_RUN = re.compile(r"\d+:\d\d:\d\d|[\d.]+% of it|(?<=oss |acy | f1 |ews )-?[\d.]+(e-\d+)?")
MADE = {"make_columns": "columns.md", "make_fisher_columns": "fisher-columns.md"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page):
    """Yield the commands of spectra on a page, each with the lines shown below it."""
    for block in blocks(page, "console"):
        lines = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in pairwise([*starts, len(lines)]):
            if lines[start].startswith("$ spectra "):
                yield shlex.split(lines[start], comments=True)[2:], lines[start + 1 : end]


def of_any_run(line):
    return OF_A_RUN.sub("", line).rstrip()


def missing(shown, real):
    """Return what is shown and does not come, in this order."""
    rest = iter(line.rstrip() for line in real.splitlines())
    return [line for line in shown if line not in rest]


@pytest.fixture(scope="session")
def classifier(demo_folder, tmp_path_factory):
    """The model of the pages, as docs/make_classifier.py makes it."""
    folder = tmp_path_factory.mktemp("pages") / "classifier"
    runpy.run_path(str(ROOT / "docs" / "make_classifier.py"))["save_classifier"](folder)
    return folder


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    """The chat model of the pages, as docs/make_writer.py makes it."""
    folder = tmp_path_factory.mktemp("pages") / "writer"
    runpy.run_path(str(ROOT / "docs" / "make_writer.py"))["save_writer"](folder)
    return folder


@pytest.fixture
def checkout(classifier, writer, tmp_path, monkeypatch):
    """A folder that looks like a checkout in which the models of the pages were made."""
    (tmp_path / "demo-report").mkdir()
    (tmp_path / "demo-report" / "classifier").symlink_to(classifier)
    (tmp_path / "demo-report" / "writer").symlink_to(writer)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "reviews").symlink_to(ROOT / "spectra" / "recipes" / "data" / "reviews")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated:FutureWarning")  # within peft and trl
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_happens(page, checkout, capsys):
    from spectra.cli.main import main

    for command, shown in commands(page):
        if any(word.partition("/")[0] in ("demo", "demo-report") for word in command):  # those that need nothing else
            assert main(command) == 0, command
            assert missing(shown, capsys.readouterr().out) == [], command
    program = "\n".join(blocks(page, "python"))
    assert program
    exec(compile(program, page, "exec"), {"__name__": "__main__"})
    assert missing(re.findall(r"^# → (.*)$", program, re.MULTILINE), capsys.readouterr().out) == []


@pytest.mark.slow
def test_the_page_on_recipes_shows_what_happens(checkout, capsys):
    from spectra.cli.main import main

    for recipe in blocks(RECIPES, "yaml"):
        Path(recipe.partition("\n")[0].removeprefix("# ")).write_text(recipe, encoding="utf-8")
    for command, shown in commands(RECIPES):
        if (command[0] == "finetune" and shown) or command[0] == "plot":  # what trains and shows nothing is like the first
            code = main(command)
            real = {of_any_run(line) for part in capsys.readouterr() for line in part.splitlines()}
            assert code == (2 if "bad.yaml" in command else 0), (command, real)
            assert {of_any_run(line) for line in shown if line != "…"} <= real, command
    program = "\n".join(blocks(RECIPES, "python"))
    exec(compile(program, RECIPES, "exec"), {"__name__": "__main__"})
    assert missing(re.findall(r"^# → (.*)$", program, re.MULTILINE), capsys.readouterr().out) == []


def test_something_is_shown():
    counts = {page: sum(len(shown) for _, shown in commands(page)) for page in (*PAGES, RECIPES)}
    assert counts["README.md"] > 20
    assert counts[RECIPES] > 40
    assert counts["docs/fisher.md"] > 10
    for page in ("docs/guided-dropout.md", "docs/tempbalance.md", "docs/plans.md", "docs/dcs.md", "docs/meta_peft.md"):
        assert sum(len(re.findall("^# → ", block, re.MULTILINE)) for block in blocks(page, "python")) > 10, page


@pytest.mark.parametrize("page", [*PAGES, RECIPES])
def test_options_shown_exist(page, capsys):
    from spectra.cli.main import main

    for command, _ in commands(page):
        main([*command[: 2 if command[1] in SUBCOMMANDS else 1], "--help"])
        known = re.findall(r"--[\w-]+", capsys.readouterr().out)
        assert {word for word in command if word.startswith("--")} <= set(known), command


@pytest.mark.parametrize("page", [*(page for page in PAGES if page not in ("README.md", "docs/weightwatcher.md")), RECIPES])
def test_flags_named_in_the_text_exist(page, capsys):
    from spectra.cli.main import main

    names = ["compare", "fisher", "surface", "plan", "prune", "plot", "distill", "finetune", "sweep"]
    for command in (*names, *(f"distill {name}" for name in SUBCOMMANDS)):
        main([*command.split(), "--help"])
    known = {*FLAGS_OF_OTHERS, *re.findall(r"--[a-z][\w-]+", capsys.readouterr().out)}
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`[^`\n]*?(--[a-z][\w-]+)", prose)) <= known


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


@pytest.mark.parametrize("page", [*PAGES, RECIPES, *(f"docs/{page}" for page in MADE.values()), "CONTRIBUTING.md"])
def test_links_between_pages_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / page).read_text(encoding="utf-8")):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), (page, target)
        assert not anchor or anchor in anchors(path), (page, target, anchor)


@pytest.mark.parametrize("name", ["tempbalance", "dcs", "meta_peft", "recipes"])
def test_tables_of_options_and_presets_are_up_to_date(name):
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    maker = runpy.run_path(str(ROOT / "docs" / f"make_{name}.py"))
    assert set(re.findall(r"<!-- table (\w+) -->", page)) == {*maker["TABLES"], *maker.get("MEASURED", ())}
    assert maker["text"](page) == page, f"run: python docs/make_{name}.py"


def test_the_plan_on_its_page_is_the_one_that_is_written(demo_folder, tmp_path):
    import spectra

    spectra.plan("demo").save(tmp_path / "rates.yaml")
    written = (tmp_path / "rates.yaml").read_text(encoding="utf-8").splitlines()
    (shown,) = blocks("docs/plans.md", "yaml")
    rounded = re.compile(r"(\.\d{4})\d+$", re.MULTILINE)  # further digits are those of a machine's float32
    assert missing([rounded.sub(r"\1", line) for line in shown.splitlines()], rounded.sub(r"\1", "\n".join(written))) == []


def anchors(path):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
