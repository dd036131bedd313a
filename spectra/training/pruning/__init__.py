"""Pruning: the smallest weights of each layer set to zero, as many as a plan says, in a checkpoint or in a live model."""

from spectra.training.pruning.checkpoint import preview_pruning, prune_checkpoint
from spectra.training.pruning.inputs import input_norms
from spectra.training.pruning.layers import uniform_sparsities
from spectra.training.pruning.live import prune_module
from spectra.training.pruning.magnitude import magnitude_mask
from spectra.training.pruning.outcome import PrunedLayer, PruneReport
from spectra.training.pruning.wanda import wanda_mask

__all__ = [
    # whole models
    "preview_pruning",
    "prune_checkpoint",
    "prune_module",
    "uniform_sparsities",
    # one weight
    "input_norms",
    "magnitude_mask",
    "wanda_mask",
    # results
    "PruneReport",
    "PrunedLayer",
]
