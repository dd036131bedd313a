"""Figures for papers: one file per figure, each a function from a result to a matplotlib ``Figure``."""

from spectra.report.figures.alpha_by_depth import alpha_by_depth
from spectra.report.figures.alpha_histogram import alpha_histogram
from spectra.report.figures.alpha_trajectory import alpha_trajectory
from spectra.report.figures.base_shift import base_shift
from spectra.report.figures.compare import compare
from spectra.report.figures.data_shift import data_shift
from spectra.report.figures.esd import default_layer, esd
from spectra.report.figures.esd_grid import esd_grid
from spectra.report.figures.fisher_by_layer import fisher_by_layer
from spectra.report.figures.fisher_vs_alpha import fisher_vs_alpha
from spectra.report.figures.layer_pairs import LayerPair, pair_layers
from spectra.report.figures.loss_surface import loss_surface
from spectra.report.figures.losses import losses
from spectra.report.figures.metric_scatter import metric_scatter
from spectra.report.figures.metrics import metrics
from spectra.report.figures.model_shift import model_shift
from spectra.report.figures.mp_overlay import mp_overlay
from spectra.report.figures.plan import plan
from spectra.report.figures.sample_weights import sample_weights
from spectra.report.figures.selection import selection
from spectra.report.figures.style import write
from spectra.report.figures.sweep import sweep
from spectra.report.figures.tempbalance_trajectory import tempbalance_trajectory
from spectra.report.figures.trajectory import trajectory

__all__ = [
    # of a report
    "alpha_by_depth", "alpha_histogram", "esd", "esd_grid", "mp_overlay", "default_layer",
    # of many models
    "metric_scatter",
    # of a comparison
    "compare", "trajectory",
    # of a Fisher
    "fisher_by_layer", "fisher_vs_alpha", "pair_layers", "LayerPair",
    # of a loss surface
    "loss_surface",
    # of a plan
    "plan",
    # of a training run
    "losses", "metrics", "alpha_trajectory", "sample_weights", "tempbalance_trajectory",
    # of a sweep
    "sweep",
    # of rewritten responses
    "selection", "data_shift", "model_shift",
    # of a retrained base
    "base_shift",
    # files
    "write",
]  # fmt: skip
