"""Analyse all layers of a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Literal, Unpack

from spectra.diagnose.crew import crew_for
from spectra.diagnose.model_run import ModelRun
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.shard_of_process import resolve_shard
from spectra.diagnose.work import Progress, work_through
from spectra.results.report import Report
from spectra.results.settings import SettingsChanges

if TYPE_CHECKING:
    from spectra.sources.open import Model


def analyze(
    model: Model,
    *,
    base: Model | None = None,
    profile: str = "default",
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    max_memory: int | str | None = None,
    engine: str = "local",
    address: str | None = None,
    output: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    force: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[SettingsChanges],
) -> Report:
    """Fit the heavy tail of every weight matrix of a model, and describe its spectrum.

    Args:
        model: Path of a checkpoint folder or file, a hub id, ``"demo"``, a live ``nn.Module`` (which is not changed), or
            a mapping of names to arrays or tensors; or a folder with a PEFT adapter.
        base: Analyse the difference to this model, weight by weight, matched by name. For an adapter: its base model.
        profile: ``"default"``, ``"weightwatcher"`` for the numbers of WeightWatcher 0.7.7, or ``"tempbalance"``.
        device: Where spectra are computed: ``"cpu"`` (NumPy), a device of torch's such as ``"cuda:1"``, several
            (``"cuda:0,cuda:1"``), or ``"cuda"``: every GPU. ``"auto"``: the device of a live module, the CPU for files.
        workers: Worker threads. Default: the cores this process may use; on GPUs three for each. Numbers do not depend on it;
            on GPUs their last digits may.
        max_memory: How much the layers in flight may take together, on top of the process as it is: bytes, or a size such as
            ``"8G"``. Fewer than ``workers`` layers run at once where more do not fit. Default: 80 % of what is free, or of what
            the limit of a cgroup leaves. Numbers do not depend on it. Not for GPUs and clusters, which go by their own memory.
        engine: Who works: ``"local"``, threads of this process; or ``"ray"``, the processes of a Ray cluster, which open the
            checkpoint themselves. Numbers do not depend on it.
        address: Of the Ray cluster: ``"auto"``, ``"HOST:PORT"`` or ``"ray://HOST:PORT"``; ``workers`` is then how many tasks
            are in flight at most. Default: a cluster of this machine alone, with that many CPUs.
        output: Result folder. Layers are kept there as they are finished; the same call continues an interrupted run and
            returns a finished one.
        shard: Analyse one part of the layers, for :func:`spectra.merge`: ``"i/n"``, the i-th of n from 0, or ``"auto"``, which
            asks the launcher: see :mod:`spectra.diagnose.shard_of_process`. Needs ``output``, the same folder for all shards.
        force: Write into ``output`` whatever it holds; its other files are left alone.
        cache: Folder that keeps rows and spectra by the content of weights, for this and other models: what an earlier
            analysis computed of equal weights, under equal settings, is read and not computed again. May be shared by
            several processes. ``report.environment`` counts what came from it. See :mod:`spectra.diagnose.cache`.
        progress: Called after each layer.
        **settings: Any of the following; ``None`` or nothing keeps the profile's value, which for ``"default"`` is named.

            What is analysed.
            ``include``, ``exclude``: glob patterns on layer names. ``kinds``: only these kinds of layers.
            ``split_fused`` ("auto"): fused projections and gates are split by architecture, or "none".
            ``split_heads`` (False): one matrix per attention head.
            ``max_evals``, ``max_side``: leave out weights with more eigenvalues, or a longer side.
            ``moe`` ("per_expert"): a row per expert, "summary" (``report.experts``, and rows only of experts that failed) or
            "pool" (one spectrum for all).
            ``conv_mode`` ("pooled"): kernel positions in one spectrum, "slices" (a row each) or "operator" (the spectrum of
            the convolution as a linear map, arXiv 1805.10408).
            ``lora`` ("delta"): of an adapter the change, "merged", "factors" or "base".

            Spectra.
            ``precision`` ("float64"): or "float32", arithmetic of Gram products and singular values, on a GPU of the
            eigensolver, too.
            ``method`` ("auto"): "gram" or "svd"; see :mod:`spectra.esd.eigenvalues`.
            ``conv_norm`` (1.0): factor on eigenvalues of convolutions; WeightWatcher and TempBalance: 0.5.
            ``normalize`` ("none"): "1/N" divides eigenvalues by the larger side.
            ``subsample`` ("none"): "farms" fits the pooled spectra of windows of equal shape, with ``window_rows``,
            ``window_aspect`` and ``windows_per_side``; see :mod:`spectra.esd.subsample`.

            Fits.
            ``xmin`` ("ks"), ``xmin_pos``, ``num_tail``, ``max_fingers``, ``finger_threshold``: see
            :func:`spectra.fit_power_law`. ``min_evals`` (8): fewest eigenvalues for a fit, as WeightWatcher. ``min_tail`` (2):
            fewest in its tail. ``evals_threshold``: eigenvalues at or under it stay out of the fit; by default those that are
            numerically null.
            ``inverse`` (False): fit ``1 / eigenvalue``, the tail towards zero; without verdict or label.
            ``truncated`` (False): fit the truncated power law, too.
            ``alternatives`` (False): likelihood ratios against other distributions.
            ``pvalue_samples`` (0): synthetic spectra for a goodness-of-fit p-value; 2500 give it to 0.01 (arXiv 0706.1062).
            ``bootstrap_samples`` (0): resamples for 95 % intervals of alpha and xmin.

            More diagnostics.
            ``mp_fit`` (False), ``mp_method`` ("quantile"), ``tw_level`` (0.99): see :func:`spectra.fit_marchenko_pastur`.
            ``randomize`` (False), ``num_replicas``: compare with the same weights in random order.
            ``vectors`` (False): localization of eigenvectors. ``seed`` (0): of everything random; numbers do not depend on
            the order of layers or on filters.

    Returns:
        The report; of a shard with its layers only. A layer that could not be analysed is a row whose ``status`` says why.

    Raises:
        SourceError: The model cannot be read, or has no weight to analyse.
        InputError: An argument that cannot be used, a pattern that matches nothing, or a layer that needs more memory by
            itself than there is.
        ResultsError: ``output`` or ``cache`` holds something else, or cannot be written; or another process is at work in
            ``output``.
        EngineError: The Ray cluster cannot be reached, or lacks what it needs.

    Warns:
        SpectraWarning: No more rows could be kept in ``cache``, because the disk is full, say. The report is whole.

    Example:
        >>> import numpy as np
        >>> report = analyze({"layer.weight": np.diag(np.arange(1.0, 101.0))})
        >>> report.layers[0].num_eigenvalues, round(report.layers[0].stable_rank, 2)
        (100, 33.84)
    """
    resolved = resolve_settings(profile, **settings)
    part = resolve_shard(shard, has_output=output is not None)
    crew = crew_for(
        model,
        engine=engine,
        address=address,
        workers=workers,
        device=device,
        precision=resolved.precision,
        cache=cache,
        max_memory=max_memory,
    )
    with closing(ModelRun(model, resolved, base=base, output=output, shard=part, force=force, budget=crew.budget)) as run:
        (report,) = [report for _, report in work_through([run], crew, progress=progress)]
    return report
