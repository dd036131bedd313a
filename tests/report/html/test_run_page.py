"""The page about a run of a recipe: what it says, and the page in a real browser."""

import dataclasses
import re

import pytest

from spectra.errors import InputError, ResultsError
from spectra.report.html import write_page
from spectra.results.run_record import RESULTS
from spectra.results.run_spectra import AFTER, BEFORE
from spectra.results.versioned_json import write_json
from tests.browser import opened
from tests.reports import HOSTILE
from tests.run_folders import block_alphas, heavy_tailed, log_lines, run_record, write_log, write_run, write_spectra

# Where a point of a chart is in the window.
POINT = """([id, trace, point]) => {
  const chart = document.getElementById(id);
  const { xaxis, yaxis } = chart._fullLayout;
  const { left, top } = chart.querySelector(".nsewdrag").getBoundingClientRect();
  return [left + xaxis.c2p(chart.data[trace].x[point]), top + yaxis.c2p(chart.data[trace].y[point])];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def file(folder):
    return write_page(folder)


def text_of(file):
    """What the page says, without its library and style."""
    text = file.read_text(encoding="utf-8").split('id="plotly-source"')[0].split("</style>")[1]
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#39;", "'").split())


def environment(**changes):
    content = {"schema_version": 1, "began_at": "2026-01-02T03:04:05+00:00", "packages": {"spectra": "0.1.0"}, "command": ["x"]}
    return content | changes


def test_the_page_says_what_came_out_what_ran_and_what_it_cost(file):
    text = text_of(file)
    assert "Accuracy on the test data: 0.78 (n = 100, 95 % interval" in text
    assert "demo (sequence-classification) was fine-tuned on 300 examples of train.tsv: 40 steps" in text
    assert "Diagnostics took 4.0% of the 100 s of training, within their budget of 5.0%." in text
    assert "TempBalance: learning-rate multipliers of 2 units between 0.5 and 2 over 2 updates" in text
    assert "learning_rate: 5.0e-05" in text


def test_a_run_that_is_not_finished_says_so(tmp_path):
    write_log(tmp_path, log_lines()[:3])
    (tmp_path / "recipe.yaml").write_text("model: {name: demo}\nmethod: {name: dcs}\n")
    write_json(tmp_path / "environment.json", environment())
    text = text_of(write_page(tmp_path))
    assert "not finished · began 2026-01-02" in text.replace("  ", " ")
    assert "This run is not finished: 20 steps are logged." in text
    assert "It fine-tunes demo with DCS, dynamic corrective self-distillation" in text


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    (tmp_path / "recipe.yaml").write_text("model: {name: demo}\n")
    write_json(tmp_path / "environment.json", environment())
    assert "This run is not finished: no step is logged yet." in text_of(write_page(tmp_path))


def test_a_run_that_was_taken_up_again_says_when(tmp_path):
    run_record(output=str(tmp_path)).save(tmp_path)
    times = ["2026-01-02T04:00:00+00:00", "2026-01-03T05:00:00+00:00"]
    write_json(tmp_path / "environment.json", environment(resumed_at=times))
    text = text_of(write_page(tmp_path))
    assert "The run was stopped and taken up again: 2026-01-02 04:00:00, 2026-01-03 05:00:00 (UTC)." in text


def test_a_run_without_evaluation_says_so(tmp_path):
    run_record(eval_metrics={}, test_metrics={}, output=str(tmp_path)).save(tmp_path)
    assert "The model was not evaluated: the recipe has neither data.eval nor data.test." in text_of(write_page(tmp_path))


def test_the_same_run_gives_the_same_bytes(folder, tmp_path):
    assert write_page(folder, tmp_path / "a.html").read_bytes() == write_page(folder, tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("name", ["fisher", "plan"])
def test_a_fisher_or_a_plan_goes_with_an_analysis(folder, name):
    with pytest.raises(InputError, match=rf"{name}: '.*' is the folder of a run.*diagnostics/after"):
        write_page(folder, **{name: "file"})


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_all_charts_are_drawn_and_nothing_is_wider_than_the_window(browser, file, width, theme):
    with opened(browser, file, width=width, theme=theme) as page:
        names = page.locator("[data-chart]").evaluate_all("places => places.map((place) => place.dataset.chart)")
        assert {"losses", "metric-0", "tempbalance-learning_rate", "tempbalance-scores", "alphas", "alpha-changes"} <= set(
            names
        )
        for name in names:
            place = page.locator(f"[data-chart='{name}']")
            place.scroll_into_view_if_needed()
            place.locator(".scatterlayer").wait_for()
            assert place.get_attribute("aria-label")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_line_is_named_and_bold_under_the_pointer(browser, file):
    with opened(browser, file) as page:
        place = page.locator("#chart-alphas")
        place.scroll_into_view_if_needed()
        place.locator(".scatterlayer").wait_for()
        assert place.locator(".bold-line").count() == 0
        page.mouse.move(*page.evaluate(POINT, ["chart-alphas", 0, 1]))
        assert place.locator(".bold-line").get_attribute("d").count("L") == 2
        assert place.locator(".hovertext").text_content().startswith("layers.0.query")
        page.mouse.move(0, 0)
        place.locator(".bold-line").wait_for(state="detached")


def test_the_spectrum_before_training_lies_under_the_one_after(browser, file):
    with opened(browser, file, "#layer=layers.1.dense") as page:
        drawn = "document.getElementById('spectrum').data?.map((trace) => trace.name)"
        page.wait_for_function(f"{drawn}?.includes('before')")
        assert "Alpha before" in page.locator("#layer-facts").inner_text()
        page.locator("input[value=before]").uncheck()
        page.wait_for_function(f"!{drawn}.includes('before')")


def test_alpha_before_and_its_change_stand_in_the_table(browser, file):
    with opened(browser, file) as page:
        row = page.locator("#layer-table tbody tr", has_text="layers.1.dense")
        before, after, change = (
            float(row.locator(f".col-{name}").get_attribute("data-value")) for name in ("before", "alpha", "change")
        )
        assert change == pytest.approx(after - before, abs=1e-5)
        assert change < 0.0


def test_hostile_names_stay_text_in_lines(browser, tmp_path):
    names = {**dict.fromkeys(HOSTILE, 2.5), "layers.9.x": 2.2}
    for when, step in ((BEFORE, 0), (AFTER, 40)):
        write_spectra(tmp_path, when, heavy_tailed(names), step=step, epoch=step / 20)
    run_record(name=HOSTILE[1], notes=HOSTILE, output=str(tmp_path)).save(tmp_path)
    with opened(browser, write_page(tmp_path)) as page:
        assert page.locator("h1").evaluate("it => it.textContent") == HOSTILE[1]
        place = page.locator("#chart-alphas")
        place.scroll_into_view_if_needed()
        place.locator(".scatterlayer").wait_for()
        page.mouse.move(*page.evaluate(POINT, ["chart-alphas", 0, 0]))
        page.locator("#chart-alphas .hovertext").wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_a_damaged_environment_is_named(folder, tmp_path):
    run_record(output=str(tmp_path)).save(tmp_path)
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(ResultsError, match=r"environment.json' is no environment of a run"):
        write_page(tmp_path)


def test_layers_that_were_not_there_before_have_no_alpha_before(tmp_path):
    write_spectra(tmp_path, BEFORE, heavy_tailed(block_alphas()), step=0, epoch=0.0)
    write_spectra(tmp_path, AFTER, heavy_tailed({**block_alphas(), "head": 2.3}), step=40, epoch=2.0)
    dataclasses.replace(run_record(), output=str(tmp_path)).save(tmp_path)
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / RESULTS).is_file()
    row = re.search(r'<tr[^>]*data-row="4".*?</tr>', text, re.S)[0]
    assert re.search(r'class="col-before num">–', row)
