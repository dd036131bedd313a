"""Make the gallery of docs/figures.md: ``python docs/make_figures.py``, from a checkout; ``--figures`` draws its images anew.

The gallery stands between markers; its entries are those of the table in ``spectra/cli/plot_figures.py``, and a test keeps it
up to date. Images that other pages or studies keep of real runs are shown as they are. The others are drawn by
``spectra plot``: of the demo model, or, where it would take training, of the invented records that the tests keep goldens of.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from analysis.readme_tables import remade
from spectra.cli.main import main
from spectra.cli.plot_figures import FIGURES

FOLDER = Path(__file__).parent
PAGE = FOLDER / "figures.md"
IMAGES = Path("images") / "figures"
_COLORS = 256  # of a thumbnail, so that it is a few kilobytes


@dataclass(frozen=True)
class Entry:
    """What the gallery shows of a figure.

    Attributes:
        command: What stands behind ``spectra plot``.
        image: One that is kept elsewhere, from the folder of the page; empty for one drawn here.
        of: What the image shows.
    """

    command: str
    image: str = ""
    of: str = "invented numbers"


_DEMO = "the demo model, all-MiniLM-L6-v2"
ENTRIES = {
    "esd": Entry("demo-report esd --layer encoder.layer.0.attention.self.query", of=_DEMO),
    "esd-grid": Entry("demo-report esd-grid", of=_DEMO),
    "mp-overlay": Entry("demo-report mp-overlay --layer encoder.layer.5.attention.self.value", of=_DEMO),
    "alpha-by-depth": Entry("demo-report alpha-by-depth --wide", "images/alpha-by-depth.png", _DEMO),
    "alpha-histogram": Entry("demo-report alpha-histogram", of=_DEMO),
    "metric-scatter": Entry(
        "models.csv metric-scatter --metric alpha_weighted",
        "../analysis/cifar_resnets/cifar-resnets-alpha_weighted.png",
        "three ResNets, [analysis/cifar_resnets](../analysis/cifar_resnets)",
    ),
    "fisher-by-layer": Entry(
        "fisher.safetensors fisher-by-layer --wide", "images/fisher-by-layer.png", "a classifier, [fisher.md](fisher.md)"
    ),
    "fisher-vs-alpha": Entry(
        "report fisher-vs-alpha --fisher fisher.safetensors",
        "../analysis/fisher_sst2/fisher-vs-alpha.png",
        "a classifier, [analysis/fisher_sst2](../analysis/fisher_sst2)",
    ),
    "loss-surface": Entry(
        "surface.npz loss-surface --wide",
        "../analysis/fisher_sst2/loss-surface-matched.png",
        "a classifier, [analysis/fisher_sst2](../analysis/fisher_sst2)",
    ),
    "plan": Entry("plan.yaml plan --wide", "images/plan.png", f"{_DEMO}, [plans.md](plans.md)"),
    "losses": Entry("runs/first losses"),
    "metrics": Entry("runs/first metrics"),
    "alpha-trajectory": Entry("runs/first alpha-trajectory"),
    "tempbalance-trajectory": Entry(
        "tempbalance.jsonl tempbalance-trajectory --wide",
        "images/tempbalance-trajectory.png",
        "a small language model, [tempbalance.md](tempbalance.md)",
    ),
    "sample-weights": Entry(
        "sample_weights.safetensors sample-weights --wide", "images/sample-weights.png", "ten digits, [dcs.md](dcs.md)"
    ),
    "selection": Entry("own-words.jsonl selection"),
    "data-shift": Entry("own-words.shift.json data-shift"),
    "model-shift": Entry("own-words.model-shift.json model-shift"),
    "base-shift": Entry("bases base-shift"),
    "compare": Entry("changes compare --wide", "images/compare.png", "a pruned model, [compare.md](compare.md)"),
    "trajectory": Entry("changes trajectory"),
}


def text(page: str) -> str:
    """Return the page with its gallery made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    return remade(page, {"gallery": gallery})


def gallery() -> str:
    """Return a section for each figure: its command, what it is drawn from, and an image."""
    sections = []
    for name, figure in FIGURES.items():
        entry = ENTRIES[name]
        image = entry.image or str(IMAGES / f"{name}.png")
        sections.append(
            f"### {name}\n\n{figure.shows[0].upper()}{figure.shows[1:]}. From {figure.source.origin}.\n\n"
            f"    spectra plot {entry.command}\n\n"
            f'<img src="{image}" width="{660 if "--wide" in entry.command else 330}" alt="{name} of {_plain(entry.of)}">\n\n'
            f"Shown: {entry.of}.\n"
        )
    return "\n" + "\n".join(sections) + "\n"


def draw() -> None:
    """Draw the images that no other page or study keeps."""
    from tests.report.golden_sources import write_sources

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        report = str(folder / "demo-report")
        main(["analyze", "demo", "--output", report, "--mp-fit", "--randomize"])
        invented = write_sources(folder)
        for name, entry in ENTRIES.items():
            if not entry.image:
                arguments = [report, *shlex.split(entry.command)[1:]] if entry.of == _DEMO else invented[name]
                main(["plot", *arguments, "-o", str(folder / f"{name}.png")])
                _shrink(folder / f"{name}.png", FOLDER / IMAGES / f"{name}.png")


def _shrink(drawn: Path, file: Path) -> None:
    """Keep a picture at 200 dots per inch and in few colours."""
    from PIL import Image

    with Image.open(drawn) as picture:
        size = (picture.width * 2 // 3, picture.height * 2 // 3)
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    file.parent.mkdir(parents=True, exist_ok=True)
    small.quantize(_COLORS).save(file, optimize=True)


def _plain(words: str) -> str:
    return words.split(", [", 1)[0]


if __name__ == "__main__":
    if "--figures" in sys.argv:
        draw()
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
