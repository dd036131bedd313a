"""Set alpha and its kin of three trained ResNets beside their test errors.

    python -m analysis.cifar_resnets.study --models-dir MODELS

``MODELS`` holds ``resnet20-*.th``, ``resnet32-*.th`` and ``resnet56-*.th`` of github.com/akamaster/pytorch_resnet_cifar10,
which are read without executing code. Writes ``results.json``, the figures and the tables of ``README.md`` in this folder;
with ``--output`` results and figures elsewhere. Nothing is random.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from analysis.cifar_resnets.measuring import PROFILES, agreement, analysed, measured
from analysis.cifar_resnets.models import NETWORKS, file_of
from analysis.cifar_resnets.second_opinion import weightwatcher_table
from analysis.cifar_resnets.tables import update
from spectra.report.figures import metric_scatter, write

HERE = Path(__file__).parent
DRAWN = ("alpha", "alpha_weighted")


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", type=Path, required=True, help="folder with the three files")
    parser.add_argument("--output", type=Path, help="folder of results and figures  [default: this one, with the README]")
    parser.add_argument("--no-weightwatcher", action="store_true", help="without the second opinion")
    given = parser.parse_args(argv)
    folder = given.output or HERE
    folder.mkdir(parents=True, exist_ok=True)
    by_profile = {profile: analysed(given.models_dir, profile) for profile in PROFILES}
    results: dict[str, Any] = {
        "test_error": {network.name: network.test_error for network in NETWORKS},
        "metrics": {profile: measured(models) for profile, models in by_profile.items()},
    }
    if not given.no_weightwatcher:
        theirs = zip(by_profile["weightwatcher"], NETWORKS, strict=True)
        results["agreement"] = {
            model.name: agreement(model, weightwatcher_table, file_of(network, given.models_dir)) for model, network in theirs
        }
    (folder / "results.json").write_text(_compact(results) + "\n", encoding="utf-8")
    for metric in DRAWN:
        write(metric_scatter(by_profile["default"], metric), folder, f"cifar-resnets-{metric}", ["png"])
    if folder == HERE and "agreement" in results:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done: {folder}\n")
    return 0


def _compact(content: Any) -> str:
    """Write JSON with the innermost objects on one line each."""
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r"\{[^{}]*\}", lambda match: re.sub(r"\s+", " ", match.group()), text)


if __name__ == "__main__":
    raise SystemExit(main())
