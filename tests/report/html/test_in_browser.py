"""The page in a real browser, opened from disk with networking off."""

import numpy as np
import pytest

from spectra.esd.marchenko_pastur import bulk_cdf, bulk_density
from spectra.report.html import write_page
from tests.browser import opened
from tests.reports import HOSTILE, report_of

NAMES = [f"layers.{block}.{role}" for block in range(6) for role in ("query", "dense")]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "result"
    report_of(NAMES, with_bulk=True).save(folder)
    return write_page(folder)


def names_shown(page):
    return page.locator("#layer-table tbody tr:visible a").all_inner_texts()


def drawn_layer(page, name):
    page.wait_for_function("name => document.getElementById('spectrum').dataset.layer === name", arg=name)
    return page.locator("#layer-name").inner_text()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_charts_are_drawn_and_nothing_is_wider_than_the_window(browser, file, width, theme):
    with opened(browser, file, width=width, theme=theme) as page:
        page.locator("#chart-alpha-by-depth .scatterlayer").wait_for()
        page.locator(".layers").scroll_into_view_if_needed()
        page.locator("#spectrum .scatterlayer").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_draws_the_layer_and_the_address_names_it(browser, file):
    with opened(browser, file) as page:
        page.get_by_role("link", name="layers.3.dense", exact=True).click()
        assert drawn_layer(page, "layers.3.dense") == "layers.3.dense"
        assert page.url.endswith("#layer=layers.3.dense")
        assert page.locator("tr.chosen a").inner_text() == "layers.3.dense"
        page.go_back()


def test_the_address_chooses_the_layer_and_one_of_none_is_ignored(browser, file):
    with opened(browser, file, "#layer=%zz") as page:
        page.locator(".layers").scroll_into_view_if_needed()
        page.locator("#spectrum .scatterlayer").wait_for()
        page.evaluate("location.hash = '#layer=layers.2.query'")
        assert drawn_layer(page, "layers.2.query") == "layers.2.query"


def test_a_heading_sorts_both_ways(browser, file):
    with opened(browser, file) as page:
        heading = page.get_by_role("columnheader", name="Alpha")
        ascending = [f"layers.{block}.{role}" for block in range(6) for role in ("query", "dense")]
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        assert names_shown(page) == ascending[::-1]
        heading.get_by_role("button").press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        assert names_shown(page) == ascending


def test_of_many_layers_the_first_are_laid_out_and_all_are_filtered(browser, tmp_path):
    report_of([f"layers.{block}.fc" for block in range(300)], size=16).save(tmp_path / "result")
    with opened(browser, write_page(tmp_path / "result")) as page:
        assert page.locator("#layer-table tbody tr:visible").count() == 250
        page.get_by_role("columnheader", name="Layer").get_by_role("button").click()
        assert names_shown(page)[8:12] == [f"layers.{number}.fc" for number in (8, 9, 10, 11)]  # not 8, 80, 81
        page.get_by_role("searchbox").fill("layers.0.")
        assert names_shown(page) == ["layers.0.fc"]
        assert not page.locator("#show-all").is_visible()
        page.get_by_role("searchbox").fill("")
        page.get_by_role("button", name="Show all 300 layers").click()
        assert page.locator("#layer-table tbody tr:visible").count() == 300


def test_filters_leave_what_matches_and_count_it(browser, file):
    with opened(browser, file) as page:
        page.get_by_role("searchbox").fill("QUERY 5")
        assert names_shown(page) == ["layers.5.query"]
        assert page.locator("#filter-count").inner_text() == "1 of 12 layers"
        page.get_by_role("searchbox").fill("")
        page.locator("#filter-verdict").select_option("doubtful")
        shown = names_shown(page)
        assert len(shown) == 1
        assert page.locator("#layer-table tbody tr:visible .col-alpha").inner_text().startswith("(4.")


def test_the_table_is_reached_and_walked_by_keys(browser, file):
    with opened(browser, file) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.locator("#filter-verdict").focus()
        in_table = "document.activeElement.closest('#layer-table tbody') !== null"
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate(in_table):
                break
        assert page.evaluate(in_table)
        order = names_shown(page)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        assert page.evaluate("document.activeElement.textContent") == order[1]
        page.keyboard.press("End")
        assert page.evaluate("document.activeElement.textContent") == order[-1]
        page.keyboard.press("Enter")
        assert drawn_layer(page, order[-1]) == order[-1]
        page.keyboard.press("Tab")
        assert not page.evaluate(in_table)


def test_hostile_names_stay_text(browser, tmp_path):
    report_of(list(HOSTILE)).save(tmp_path / "result")
    with opened(browser, write_page(tmp_path / "result")) as page:
        page.locator("#chart-alpha-by-depth .scatterlayer").wait_for()
        for name in HOSTILE:
            page.evaluate("row => page.chooseLayer(row)", list(HOSTILE).index(name))
            drawn_layer(page, name)
            assert page.locator("#layer-name").evaluate("it => it.textContent") == name
        point = page.locator("#chart-alpha-by-depth .point").first
        point.hover(force=True)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_charts_follow_the_theme_and_the_legend(browser, file):
    with opened(browser, file) as page:
        page.locator("#chart-alpha-by-depth .scatterlayer").wait_for()
        ink = "getComputedStyle(document.querySelector('#chart-alpha-by-depth .xtick text')).fill"
        light = page.evaluate(ink)
        page.locator("#theme").click()
        assert page.locator("#theme").get_attribute("aria-pressed") == "true"
        page.wait_for_function(f"light => {ink} !== light", arg=light)
        before = page.locator("#chart-alpha-by-depth .point").count()
        entry = page.get_by_role("group", name="Series shown").get_by_role("button").first
        entry.click()
        page.wait_for_function("n => document.querySelectorAll('#chart-alpha-by-depth .point').length < n", arg=before)
        assert entry.get_attribute("aria-pressed") == "false"


def test_the_bulk_is_the_marchenko_pastur_law(browser, file):
    """The curve of the script against our own density and distribution function, for a square and a tall matrix."""
    with opened(browser, file) as page:
        for rows, cols, sigma in ((64, 64, 0.5), (200, 64, 2.0)):
            gamma, scale = cols / rows, rows * sigma**2
            edges = [scale * (1.0 - gamma**0.5) ** 2, scale * (1.0 + gamma**0.5) ** 2]
            curve = page.evaluate("([a, b]) => page.bulk(a, b)", edges)
            x, density, above = (np.array(curve[name]) for name in ("x", "density", "above"))
            np.testing.assert_allclose(density[1:-1], bulk_density(x[1:-1] / scale, gamma) / scale, rtol=1e-9)
            np.testing.assert_allclose(above, 1.0 - bulk_cdf(x / scale, gamma), atol=2e-5)


def test_the_fitted_law_has_the_slope_of_alpha_and_the_mass_of_its_tail(browser, file):
    row = report_of(NAMES, with_bulk=True).layers[4]
    share = row.num_tail / row.num_eigenvalues
    with opened(browser, file, f"#layer={row.matrix_name}") as page:
        drawn_layer(page, row.matrix_name)
        for view, exponent, first in (
            ("ccdf", 1.0 - row.alpha, share),
            ("linear", -row.alpha, share * (row.alpha - 1.0) / row.xmin),
            ("log", -row.alpha, share * (row.alpha - 1.0) / row.xmin),
        ):
            page.locator(f"input[value={view}]").check(force=True)
            page.wait_for_function("view => document.getElementById('spectrum').dataset.view === view", arg=view)
            traces = page.evaluate("document.getElementById('spectrum').data.map(({name, x, y}) => ({name, x, y}))")
            law = next(trace for trace in traces if trace["name"] == "power law")
            x, y = np.array(law["x"]), np.array(law["y"])
            np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(np.log(x)), exponent, rtol=1e-4)
            assert y[0] == pytest.approx(first, rel=1e-4)
            assert {"Marchenko–Pastur", "randomised"} <= {trace["name"] for trace in traces}


def test_printing_shows_the_whole_table_and_no_controls(browser, file):
    with opened(browser, file, theme="dark") as page:
        page.emulate_media(media="print")
        assert not page.locator(".filters").is_visible()
        assert not page.locator("#theme").is_visible()
        assert len(names_shown(page)) == len(NAMES)
        assert page.evaluate("getComputedStyle(document.querySelector('.table-scroll')).maxHeight") == "none"
        assert page.pdf()[:4] == b"%PDF"
