"""Write the page: sections, style, script and plotly's library in one file that opens from disk, without a network."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

from spectra.errors import MissingPackageError
from spectra.report.html.chart import Chart
from spectra.report.html.kinds import page_of
from spectra.report.html.section import Page, Section
from spectra.results.writing import made, write_whole

PAGE = "report.html"

# In this order one script; each file is about one idea.
_SCRIPTS = ("page.js", "charts.js", "spectrum.js", "table.js", "chosen.js", "layer.js", "matrix.js")


def write_page(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    fisher: str | os.PathLike[str] | None = None,
    plan: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the page about a result folder: one file with everything in it, which opens without a network.

    Args:
        folder: What ``spectra analyze --output`` or ``report.save`` wrote, a folder of ``spectra compare``, or the
            run folder of ``spectra finetune``.
        output: The file; replaced if it exists. ``None``: ``report.html`` in the folder.
        fisher: Either file of a Fisher of the same model. ``None``: one that lies in the folder.
        plan: A plan for the same model. ``None``: those that lie in the folder.

    Returns:
        The file. The same results give the same bytes.

    Raises:
        MissingPackageError: plotly or jinja2 is not installed.
        InputError: A Fisher or a plan for a folder that is no analysis.
        ResultsError: No result folder, a damaged file, or the page cannot be written.
    """
    check_packages()
    page = page_of(folder, fisher=fisher, plan=plan)
    path = Path(output).expanduser() if output is not None else Path(folder).expanduser() / PAGE
    made(path.parent)
    write_whole(path, page_text(page).encode())
    return path


def check_packages() -> None:
    """Make sure that the page can be written, before something long is begun.

    Raises:
        MissingPackageError: plotly or jinja2 is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("jinja2", "plotly") if find_spec(name) is None]
    if missing:
        raise MissingPackageError(f'the HTML report needs {" and ".join(missing)}: pip install "spectra-nn[report]"')


def page_text(page: Page) -> str:
    """Put the page together.

    Args:
        page: What it shows.

    Returns:
        HTML.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    charts: list[Chart] = [chart for section in page.sections for chart in section.charts]
    parts = [_part(name) for name in _SCRIPTS]
    environment = _environment()

    def body(section: Section) -> Markup:
        partial = environment.get_template(f"sections/{section.name}.html.j2")
        return Markup(partial.render(section=section, **section.values))  # noqa: S704 - autoescaped where it was rendered

    return str(
        environment.get_template("page.html.j2").render(
            page=page,
            body=body,
            charts={chart.name: chart.figure() for chart in charts},
            data={name: value for section in page.sections for name, value in section.data.items()},
            style=Markup(_part("page.css")),  # noqa: S704 - our own files, not input
            script=Markup("\n".join(parts)),  # noqa: S704
            plotly=Markup(get_plotlyjs().replace("</script", "<\\/script").replace("<!--", "<\\!--")),  # noqa: S704
        )
    )


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("spectra.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The filter 'tojson' escapes <, >, & and ', so that no name can end the element that the data stand in.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return environment


def _part(name: str) -> str:
    return resources.files("spectra.report.html").joinpath("templates", name).read_text(encoding="utf-8")
