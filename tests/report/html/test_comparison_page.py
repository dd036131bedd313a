"""The page about a comparison: what it says, and the page in a real browser."""

import numpy as np
import pytest

import spectra
from spectra.report.html import write_page
from tests.browser import opened
from tests.reports import HOSTILE
from tests.run_folders import block_alphas, heavy_tailed


def models():
    """A base, a model with one direction more in a matrix and another that is scaled, and one that is farther away."""
    base = heavy_tailed(block_alphas(), size=60)
    near, far = ({name: weight.copy() for name, weight in base.items()} for _ in range(2))
    near["layers.0.query.weight"] += np.outer(np.ones(60), np.linspace(0.0, 4.0, 60))
    near["layers.1.dense.weight"] *= 1.1
    for name in far:
        far[name] += np.random.default_rng(len(name)).standard_normal((60, 60)) * 0.2
    return base, near, far


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "one"
    base, near, _ = models()
    spectra.compare(base, near, output=path)
    return path


@pytest.fixture(scope="module")
def file(folder):
    return write_page(folder)


def several(path, **options):
    spectra.compare(*models(), output=path, **options)
    return write_page(path)


def names_shown(page):
    return page.locator("#matrix-table tbody tr:visible a").all_inner_texts()


def choose(page, name):
    page.locator("#matrix-table").get_by_role("link", name=name, exact=True).click()
    page.wait_for_function("name => document.getElementById('matrix-plot').dataset.matrix === name", arg=name)


def drawn(page):
    return page.evaluate("document.getElementById('matrix-plot').data.map((trace) => trace.name).filter(Boolean)")


def test_the_page_says_what_the_comparison_says(folder, file):
    from spectra.results.comparison_conclusion import conclusion
    from spectra.results.comparison_store import load_comparison

    comparison = load_comparison(folder)
    text = file.read_text(encoding="utf-8").replace("&#39;", "'")
    assert str(comparison) in text
    assert conclusion(comparison).removesuffix(".") in text


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_the_chosen_matrix_shows_its_spectra_angles_and_intruders(browser, file, width, theme):
    with opened(browser, file, width=width, theme=theme) as page:
        page.locator("#chart-change-by-depth .scatterlayer").wait_for()
        choose(page, "layers.0.query")
        assert len(drawn(page)) == 2
        assert page.locator("#matrix-intruders").is_visible()
        for view, number in (("change", 1), ("angles", 2)):
            page.locator(f"input[value={view}]").check(force=True)
            page.wait_for_function("view => document.getElementById('matrix-plot').dataset.view === view", arg=view)
            assert len(drawn(page)) == number
        choose(page, "layers.1.query")
        assert "No leading subspaces were compared." in page.locator("#matrix-missing").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_table_is_filtered_by_finding_and_sorted(browser, file):
    with opened(browser, file) as page:
        page.locator("select[data-filter=findings]").select_option("rescaled")
        assert names_shown(page) == ["layers.1.dense"]
        assert page.locator(".count").inner_text() == "1 of 4 matrices"
        page.locator("select[data-filter=findings]").select_option("")
        page.get_by_role("columnheader", name="Change").get_by_role("button").click()
        assert names_shown(page)[:2] == ["layers.0.query", "layers.1.dense"]


def test_of_several_models_one_is_chosen(browser, tmp_path):
    with opened(browser, several(tmp_path / "several")) as page:
        assert page.locator(".count").inner_text() == "4 of 8 matrices"
        page.locator("select[data-filter=model]").select_option("")
        assert len(names_shown(page)) == 8


def test_checkpoints_have_a_line_for_each_matrix(browser, tmp_path):
    with opened(browser, several(tmp_path / "over", over_time=True)) as page:
        place = page.locator("#chart-trajectory-relative_change")
        place.locator(".scatterlayer").wait_for()
        lines = "document.getElementById('chart-trajectory-relative_change').data.filter((trace) => trace.meta === 'lines')"
        assert page.evaluate(f"{lines}.flatMap(({{ x }}) => x).filter((x) => x === null).length") == 4


def test_hostile_names_stay_text(browser, tmp_path):
    base = {f"{name}.weight": weight for name, weight in heavy_tailed(dict.fromkeys(HOSTILE, 2.5), size=40).items()}
    base = {name.removesuffix(".weight"): weight for name, weight in base.items()}
    spectra.compare(base, {name: weight + 0.1 for name, weight in base.items()}, output=tmp_path / "hostile")
    with opened(browser, write_page(tmp_path / "hostile")) as page:
        page.locator("#chart-change-by-depth .scatterlayer").wait_for()
        for row, name in enumerate(HOSTILE):
            page.evaluate("row => page.chooseMatrix(row)", row)
            page.wait_for_function("name => document.getElementById('matrix-plot').dataset.matrix === name", arg=name)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0


def test_a_comparison_in_the_folder_of_an_analysis_is_on_its_page(browser, tmp_path):
    base, near, _ = models()
    spectra.analyze(base, output=tmp_path)
    spectra.compare(base, near, output=tmp_path, force=True)
    with opened(browser, write_page(tmp_path)) as page:
        choose(page, "layers.1.dense")
        page.locator("#layer-table").get_by_role("link", name="layers.0.dense", exact=True).click()
        page.wait_for_function("document.getElementById('spectrum').dataset.layer === 'layers.0.dense'")


def test_spectra_before_and_after_are_kept_as_they_are_of_an_analysis(folder):
    from spectra.results.comparison_store import load_comparison
    from spectra.results.matrix_comparison import change_key

    comparison, (base, near, _) = load_comparison(folder), models()
    model = comparison.models[0].name
    for part, weights in (("before", base), ("after", near)):
        expected = np.sort(np.linalg.svd(weights["layers.0.query.weight"], compute_uv=False) ** 2)
        found = comparison.changes[change_key(model, "layers.0.query", part)]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * expected[-1])


def test_the_same_comparison_gives_the_same_bytes(folder, tmp_path):
    assert write_page(folder, tmp_path / "a.html").read_bytes() == write_page(folder, tmp_path / "b.html").read_bytes()
