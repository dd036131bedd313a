"""One run of ``spectra sweep`` in a process of its own, with its figures: ``python -m spectra.cli.sweep_run``."""

from __future__ import annotations

import sys
from pathlib import Path

from spectra.training.sweep.worker import main


def draw(folder: Path) -> None:
    """Make figures and summary of a finished run."""
    from spectra.report.run_figures import draw_run

    draw_run(folder)


if __name__ == "__main__":
    sys.exit(main(draw))
