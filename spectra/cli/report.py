"""``spectra report DIR``: one HTML page about a result folder."""

from __future__ import annotations

from pathlib import Path

import click

_EXAMPLES = """\b
Examples:
  spectra report demo-report --open
  spectra report report -o page.html
  spectra report runs/first
  spectra report report --fisher fisher.safetensors --plan plan.yaml"""


@click.command(epilog=_EXAMPLES)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The page.  [default: report.html in DIR]"
)
@click.option(
    "--fisher",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Fisher of the same model, shown beside alpha.  [default: one that lies in DIR]",
)
@click.option(
    "--plan", type=click.Path(path_type=Path), metavar="FILE", help="Plan for the model.  [default: those that lie in DIR]"
)
@click.option("--open", "open_it", is_flag=True, help="Show the page in the browser.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def report(folder: Path, *, output: Path | None, fisher: Path | None, plan: Path | None, open_it: bool, debug: bool) -> int:
    """Write a page about a result: summary, alpha by depth, and every layer with its spectrum.

    DIR is the result folder of 'spectra analyze MODEL --output DIR' or of 'spectra compare ... --output DIR'; or the run folder
    of 'spectra finetune', finished or not, whose page has losses, metrics, multipliers and alpha over training. The page is one
    file that needs no network; it replaces an earlier one.
    """
    from spectra.report.html import write_page

    page = write_page(folder, output, fisher=fisher, plan=plan)
    click.echo(page)
    if open_it:
        import webbrowser

        if not webbrowser.open(page.absolute().as_uri()):
            click.echo("No browser was found; open the file above.", err=True)
    return 0
