"""What holds the site together: the reference is complete, links between pages survive, formulas can be shown."""

import importlib
import re
import sys

import pytest

from tests.docs.blocks import ROOT

EXTENSIONS = ROOT / "docs" / "extensions"
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
PACKAGES = [
    "spectra",
    "spectra.policies",
    "spectra.report.figures",
    "spectra.training",
    "spectra.training.dcs",
    "spectra.training.meta_peft",
    "spectra.training.pruning",
    "spectra.training.recipe",
    "spectra.training.sdft",
    "spectra.training.sweep",
]


@pytest.fixture
def extension(monkeypatch):
    """Import an extension of the site's, which lie beside its conf.py."""
    pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    yield importlib.import_module
    for path in EXTENSIONS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def found(name):
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:  # of a class
        return None


def documented():
    text = "".join(path.read_text(encoding="utf-8") for path in REFERENCE)
    return re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.MULTILINE)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package):
    module, names = importlib.import_module(package), documented()
    objects = [found(name) for name in names]
    for name in module.__all__:
        one = getattr(module, name)
        page = ROOT / "docs" / "reference" / f"{name}.md"  # of a module
        assert name == "__version__" or f"{package}.{name}" in names or any(one is other for other in objects) or page.exists()


def test_everything_in_the_reference_stands_there_once():
    names = documented()
    assert sorted(names) == sorted(set(names))


def test_links_to_studies_become_links_to_their_pages(extension):
    pages = extension("repository_pages")
    docs = ROOT / "docs"
    assert pages.with_links("[a](../analysis/fit_quality)", docs, docs) == "[a](studies/fit_quality.md)"
    assert pages.with_links("[a](../analysis/fit_quality/README.md#noise)", docs, docs) == "[a](studies/fit_quality.md#noise)"
    assert pages.with_links("[a](../../docs/fisher.md)", ROOT / "analysis" / "x", docs / "studies") == "[a](../fisher.md)"
    assert pages.with_links("[a](https://x.y) [b](#c)", docs, docs) == "[a](https://x.y) [b](#c)"


def test_code_keeps_its_brackets(extension):
    pages, docs = extension("repository_pages"), ROOT / "docs"
    text = "`f[0](../analysis/fit_quality)`\n\n```python\nf[0](../analysis/fit_quality)\n```\n[a](../analysis/fit_quality)\n"
    assert pages.with_links(text, docs, docs) == f"{text.rpartition('../')[0]}studies/fit_quality.md)\n"


def test_a_figure_that_is_not_drawn_is_words(extension, tmp_path):
    (tmp_path / "README.md").write_text("![what](figure.png)", encoding="utf-8")
    assert extension("repository_pages").without_lost_images(tmp_path / "README.md") == "*Not drawn yet: what*"


def test_sections_of_what_comes_back_are_fields_without_types(extension):
    lines = ["Do it.", "", "Returns:", "    The sum: of all.", "    More.", "", "Raises:", "    E: Why."]
    plain = extension("docstrings").plain_returns(lines)
    assert plain == ["Do it.", "", ":returns: The sum: of all.", "    More.", "", "Raises:", "    E: Why."]


def test_formulas_become_mathml(extension):
    assert "<mfrac>" in extension("mathml").mathml(r"n \Big/ \frac{a}{b}")


def test_a_name_of_a_home_is_found_under_its_public_name(extension):
    import spectra

    assert extension("public_names")._exists("spectra.esd.power_law.PowerLawFit") is spectra.PowerLawFit
    assert extension("public_names")._exists("spectra.nothing") is None


def test_lines_of_a_help_text_that_are_set_by_hand_stay_as_they_are(extension):
    lines = ["A *star*, eval_ and a_b.", "", "| one   two", "| *", ".. option:: --x_"]
    extension("docstrings")._process_help(None, None, lines)
    shown = [r"A \*star\*, eval\_ and a_b.", "", "", "::", "", "    one   two", "    *", "", ".. option:: --x_"]
    assert lines == shown
