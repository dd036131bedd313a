"""Ask WeightWatcher for its Marchenko-Pastur fits or eigenvector metrics and print them as JSON.

A process of its own, because importing WeightWatcher changes global warning filters and logging.

    python ask_weightwatcher.py mp FILE         spectra of an .npz named "ROWSxCOLS_anything"
    python ask_weightwatcher.py vectors FILE    matrices of an .npz
"""

import json
import sys
import warnings
from pathlib import Path


def ask(kind, path):
    """Run this file in a process of its own and return its answer by name."""
    from tests.forked import asked_of_weightwatcher

    return json.loads(asked_of_weightwatcher(Path(__file__), kind, path)[-1].removeprefix("ANSWER "))


def _mp_fit(name, values):
    import weightwatcher

    rows, cols = sorted(map(int, name.split("_")[0].split("x")), reverse=True)
    found = weightwatcher.WeightWatcher().mp_fit(
        values, rows, cols, 1, "", "", 0, plot=False, savefig=False, savedir="", color="b", hist_alpha=0.5, rescale=True,
        orig_evals=values,
    )  # fmt: skip
    names = ("num_spikes", "sigma_rescaled", "soft_rank", "lambda_minus", "lambda_plus", "scale")
    return dict(zip(names, map(float, found), strict=True))


def _vectors(name, matrix):
    import numpy as np
    from weightwatcher import RMT_Util

    smaller = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    values, vectors = RMT_Util.eig_full(smaller, method="accurate")
    columns = [vectors[:, i] for i in np.argsort(values)]
    return {
        "eigenvalues": np.sort(values.real).tolist(),
        "vec_entropy": [float(RMT_Util.discrete_entropy(v)) for v in columns],
        "loc_ratio": [float(RMT_Util.localization_ratio(v)) for v in columns],
        "part_ratio": [float(RMT_Util.participation_ratio(v)) for v in columns],
    }


def main():
    """Answer."""
    warnings.simplefilter("ignore")
    import numpy as np

    kind, path = sys.argv[1:]
    answer = {"mp": _mp_fit, "vectors": _vectors}[kind]
    with np.load(path) as arrays:
        print("ANSWER " + json.dumps({name: answer(name, arrays[name]) for name in arrays}))


if __name__ == "__main__":
    main()
