"""Run WeightWatcher on everything that the table in docs/weightwatcher.md compares, and print its answers as JSON.

A process of its own, because importing WeightWatcher changes logging and warning filters, and in a new folder, because it
writes figures into the current one.

    python ask.py            with the installed packages
    python ask.py frozen     only what needs powerlaw 1.5, which cannot be installed beside powerlaw 2:

    pip install --no-deps --target /tmp/powerlaw15 powerlaw==1.5
    PYTHONPATH=/tmp/powerlaw15 python tests/weightwatcher_table/ask.py frozen > tests/weightwatcher_table/powerlaw_1_5.json
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))
ROOT_LOGGER_BEFORE, FILTERS_BEFORE = len(logging.getLogger().handlers), len(warnings.filters)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import weightwatcher  # noqa: E402
from weightwatcher import RMT_Util  # noqa: E402

import tests.weightwatcher_table.models as made  # noqa: E402
from tests.weightwatcher_table.methods import METHODS  # noqa: E402
from tests.weightwatcher_table.rows import OPTIONS  # noqa: E402

ROOT_LOGGER_AFTER, FILTERS_AFTER = len(logging.getLogger().handlers), len(warnings.filters)
logging.disable(logging.CRITICAL)


def watch(model: Any = None, **keywords: Any) -> Any:
    return weightwatcher.WeightWatcher(model=made.Net() if model is None else model, **keywords)


def analyzed(model: Any = None, **options: Any) -> list[dict[str, Any]]:
    return watch(model).analyze(**options).to_dict("records")


def weights_of(model: torch.nn.Module) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items() if tensor.dim() > 1}


def smoothed(method: str, **options: Any) -> dict[str, Any]:
    model = made.Net()
    watch(model).SVDSmoothing(method=method, **options)
    return weights_of(model)


def sharpened(*, in_constructor: bool) -> bool:
    model = torch.nn.Sequential(torch.nn.Linear(60, 50))  # one layer: its fit of the bulk takes seconds
    result = watch(model).SVDSharpness() if in_constructor else watch(model).SVDSharpness(model=model)
    return result is model


def with_details(model: Any = None) -> Any:
    watcher = watch(model)
    watcher.analyze()
    return watcher


def figures() -> list[str]:
    watch().analyze(plot=True, savefig="figures", layers=["small"])
    return sorted(path.suffix for path in Path("figures").iterdir())


def randomized(seed: int | None = None) -> list[dict[str, Any]]:
    if seed is not None:
        np.random.seed(seed)  # noqa: NPY002 - the generator that WeightWatcher uses
    return analyzed(randomize=True, layers=["wide"])


def fit(values: Any, **options: Any) -> list[Any]:
    return list(weightwatcher.WeightWatcher().fit_powerlaw(np.asarray(values), plot=False, **options))


def mp_fit(values: Any, rows: int, cols: int) -> list[float]:
    watcher = weightwatcher.WeightWatcher()
    found = watcher.mp_fit(
        values, rows, cols, 1, "", "", 0, plot=False, savefig=False, savedir="", color="b", hist_alpha=0.5, rescale=True,
        orig_evals=values,
    )  # fmt: skip
    return [float(number) for number in found]


def side_effects() -> dict[str, Any]:
    model, out = made.Net(), io.StringIO()
    with contextlib.redirect_stdout(out):
        watch(model).analyze()
    return {
        "handlers": ROOT_LOGGER_AFTER - ROOT_LOGGER_BEFORE,
        "level": logging.getLogger().level,
        "filters": FILTERS_AFTER - FILTERS_BEFORE,
        "printed": out.getvalue().splitlines()[0],
        "attribute": getattr(model.wide, "longname", None),
    }


def as_with_cuda() -> list[Any]:
    """What the module that reads weights becomes where torch finds a GPU: the part that needs none to be run."""
    with mock.patch("torch.cuda.is_available", return_value=True):
        reloaded = importlib.reload(RMT_Util)
    return [str(reloaded.torch_T_to_np(torch.ones(2)).dtype), reloaded.EPSILON]


def difference(model: Any, base: Any) -> list[dict[str, Any]]:
    return weightwatcher.WeightWatcher().analyze(model=model, base_model=base).to_dict("records")


UNIT_VECTORS = made.MATRIX / np.linalg.norm(made.MATRIX, axis=1, keepdims=True)

# What a proof of that name is given, where it is not ``analyze`` with the row's options.
BY_PROOF: dict[str, Callable[[], Any]] = {
    "same_differences": lambda: difference(made.tuned(), made.Net()),
    "base_is_ignored": lambda: watch(made.tuned()).analyze(base_model=made.Net()).to_dict("records"),
    "figures": figures,
    "same_for_the_same_order": lambda: [randomized(3), randomized(), randomized()],
    "differs_from_run_to_run": lambda: [analyzed(intra=True), analyzed(intra=True), analyzed(intra=True, sparsify=False)],
    "described": lambda: watch().describe().to_dict("records"),
    "detailed": lambda: with_details().get_details().to_dict("records"),
    "summarized": lambda: with_details().get_summary(),
    "spectrum_of_a_layer": lambda: watch().get_ESD(layer="conv"),
    "weights_of_a_layer": lambda: watch().get_Weights(layer="wide")[0],
    "module_of_a_layer": lambda: list(watch().get_framework_layer(layer="wide").weight.shape),
    "distances_raw": lambda: watch().distances(made.Net(), made.tuned(), method="raw")[2].to_dict("records"),
    "distances_euclidean": lambda: watch().distances(made.Net(), made.tuned(), method="euclidean")[2].to_dict("records"),
    "distances_cka": lambda: watch().distances(made.Net(), made.tuned(), method="cka")[2].to_dict("records"),
    "matrix_distances": lambda: [watch().matrix_distance(made.MATRIX, made.OTHER, method) for method in ("euclidean", "cka")],
    "returns_nothing": lambda: watch().model_deltas(made.Net(), made.tuned()),
    "same_models": lambda: watch().same_models(made.Net(), made.Net()),
    "smoothed_trace_log": lambda: smoothed("detX"),
    "smoothed_power_law": lambda: smoothed("alpha_min"),
    "smoothed_fraction": lambda: smoothed("svd", percent=0.3),
    "smoothed_mp": lambda: smoothed("rmt"),
    "sharpened": lambda: [sharpened(in_constructor=True), sharpened(in_constructor=False)],
    "smooth_matrix": lambda: watch().smooth_W_alt(made.MATRIX, 5, "accurate"),
    "analyze_vectors": lambda: watch().analyze_vectors(plot=False),
    "vector_metrics": lambda: watch().vector_metrics(UNIT_VECTORS).to_dict("records"),
    "fitted": lambda: [fit(made.pareto(n)) for n in (12, 60, 400)],
    "fitted_from_xmin": lambda: fit(made.pareto(400), xmin=2.0),
    "mp_fitted": lambda: mp_fit(np.linalg.svd(made.MATRIX, compute_uv=False)[::-1] ** 2, 30, 20),
    "normalize_evals": lambda: watch().normalize_evals(np.arange(1.0, 5.0), 8, 4),
    "combined": lambda: watch().combined_eigenvalues([made.MATRIX, made.OTHER], 30, 20, 40)[0],
    "w1": lambda: [watch().get_ESD(layer="conv"), analyzed(layers=["conv"]), analyzed(layers=["conv"], pool=False)],
    "w2": lambda: [analyzed(), analyzed(made.scaled(5e-3))],
    "w3": lambda: [fit(made.pareto(n)) for n in (19, 20)],
    "w4": lambda: [with_details(made.scaled(1e-4)).details.to_dict("records"), with_details(made.scaled(1e-4)).get_summary()],
    "w6": lambda: [analyzed(made.volumes()), analyzed(made.vocabulary())],
    "w_groups": lambda: analyzed(made.groups()),
    "w7": lambda: analyzed(made.tied()),
    "w8": lambda: mp_fit(np.linalg.svd(made.NOISE, compute_uv=False)[::-1] ** 2, 200, 200),
    "w9": lambda: [randomized(), randomized()],
    "w10": lambda: int(RMT_Util.detX_constraint(made.quarter_circle(4096))[0]),
    "w11": lambda: difference(made.Pair("a", "b", "c"), made.Pair("b", "c")),
    "w12": lambda: [analyzed(), analyzed(made.even_kernels())],
    "w13": lambda: analyzed(made.codes()),
    "w14": side_effects,
    "w5": as_with_cuda,  # the last one: it makes the module anew
}  # fmt: skip


def signatures() -> dict[str, list[str]]:
    import inspect

    watcher = weightwatcher.WeightWatcher
    methods = [name for name, _ in inspect.getmembers(watcher, callable) if not name.startswith("_")]
    return {"methods": methods, "options": list(inspect.signature(watcher.analyze).parameters)[1:]}


def answer(ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return {"value": ask()}
    except Exception as error:  # the answer is what is raised
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def plain(value: Any) -> Any:
    """JSON of what NumPy and torch return."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(type(value))


def main() -> None:
    """Ask and print."""
    frozen = sys.argv[-1] == "frozen"
    asked: dict[str, Callable[[], Any]] = {}
    for row in OPTIONS + METHODS:
        if row.proof and (not frozen or row.proof.endswith("_frozen")):
            asked[row.key] = BY_PROOF.get(row.proof, lambda row=row: analyzed(made.MODELS[row.model](), **row.options))
    if not frozen:
        asked |= {name: ask for name, ask in BY_PROOF.items() if re.fullmatch(r"w\d+|w_groups", name)}
    answers = {name: answer(ask) for name, ask in asked.items()}
    import powerlaw

    about = {"powerlaw": powerlaw.__version__, "weightwatcher": weightwatcher.__version__}
    if frozen:
        header = "WeightWatcher on the models of models.py beside this file; made by 'ask.py frozen', which says how"
        print(json.dumps({"source": header, "versions": about, "answers": answers}, default=plain, indent=1))
    else:
        print(json.dumps({"versions": about, **signatures(), "answers": answers}, default=plain))


if __name__ == "__main__":
    main()
