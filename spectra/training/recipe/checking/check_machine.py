"""Checks of the machine that a recipe is to run on: packages that are installed, and a device that is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec

from spectra.errors import did_you_mean
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.parts import Recipe

# Trackers that transformers knows, and packages of which each needs one; a test compares the names.
TRACKERS: Mapping[str, tuple[str, ...]] = {
    "azure_ml": ("azureml",),
    "clearml": ("clearml",),
    "codecarbon": ("codecarbon",),
    "comet_ml": ("comet_ml",),
    "dagshub": ("dagshub",),
    "dvclive": ("dvclive",),
    "flyte": ("flytekit",),
    "kubeflow": (),
    "mlflow": ("mlflow",),
    "neptune": ("neptune",),
    "swanlab": ("swanlab",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
_ALL = "all"
_NUMBERED = re.compile(r"cuda:(\d+)")


def check_machine(recipe: Recipe, found: Findings) -> None:
    """Check packages and the device; torch is asked last, and only where a GPU counts.

    Args:
        recipe: The recipe.
        found: What is wrong is added.
    """
    for package in ("transformers", "accelerate"):
        if find_spec(package) is None:
            found.add(f'running a recipe needs {package}: pip install "spectra-nn[train]"', "training")
    for tracker in recipe.report_to:
        _check_tracker(tracker, found)
    fault = device_fault(recipe.model.device)
    if fault is not None:
        found.add(fault, "model", "device")
    elif recipe.training.bf16 and recipe.model.device == "auto" and not _has_accelerator():
        found.add("there is no GPU that torch can use. On a CPU give model.device: cpu, too.", "training", "bf16")


def device_fault(device: str) -> str | None:
    """Say why a run cannot be on a device.

    Args:
        device: As a recipe has it.

    Returns:
        A sentence; ``None`` for a device that is there.
    """
    if device in ("auto", "cpu"):
        return None
    if numbered := _NUMBERED.fullmatch(device):
        return (
            f"a trainer takes the first GPU that it sees, or all of them. Set CUDA_VISIBLE_DEVICES={numbered[1]} and "
            "give 'cuda'."
        )
    if device != "cuda":
        return f"expected auto, cpu or cuda, got '{device}'."
    import torch

    return None if torch.cuda.is_available() else "there is no GPU that torch can use. Give 'cpu' or 'auto'."


def _check_tracker(tracker: str, found: Findings) -> None:
    if tracker == _ALL:
        return
    if tracker not in TRACKERS:
        found.add(f"unknown tracker '{tracker}'.{did_you_mean(tracker, TRACKERS)} Known: {', '.join(TRACKERS)}.", "report_to")
    elif TRACKERS[tracker] and not any(find_spec(package) for package in TRACKERS[tracker]):
        package = TRACKERS[tracker][0]
        found.add(f"'{tracker}' needs {package}, which is not installed: pip install {package}", "report_to")


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()
