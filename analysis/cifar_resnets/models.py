"""Three ResNets for CIFAR-10 and what was published about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        name: As published.
        pattern: Of its file; the letters after the dash are a part of the file's hash.
        test_error: Of CIFAR-10, in per cent, as the authors of the weights publish it.
    """

    name: str
    pattern: str
    test_error: float


# github.com/akamaster/pytorch_resnet_cifar10, the table of its README.
NETWORKS = (
    Network("ResNet-20", "resnet20-*.th", 8.27),
    Network("ResNet-32", "resnet32-*.th", 7.37),
    Network("ResNet-56", "resnet56-*.th", 6.61),
)


def file_of(network: Network, folder: Path) -> Path:
    """Find the one file of a network.

    Args:
        network: Which.
        folder: Holds the files.

    Returns:
        Its file.

    Raises:
        SystemExit: There is none, or there are several.
    """
    found = sorted(folder.glob(network.pattern))
    if len(found) != 1:
        raise SystemExit(
            f"'{folder}' has {len(found)} files {network.pattern}, expected 1. The README says where they are from."
        )
    return found[0]
