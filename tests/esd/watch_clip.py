"""Run WeightWatcher's clipped fit (``fix_fingers="clip_xmax"``) on spectra and print its columns as JSON.

A process of its own, because importing WeightWatcher changes global warning filters and logging.

    python watch_clip.py FILE      an .npz file with one ascending spectrum per name
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")

COLUMNS = ("alpha", "Lambda", "xmin", "xmax", "D", "sigma", "num_pl_spikes", "num_fingers", "raw_alpha", "status", "warning")


def main() -> None:
    """Fit and print."""
    import numpy as np
    import weightwatcher

    watcher = weightwatcher.WeightWatcher()
    found = {}
    with np.load(sys.argv[1]) as spectra:
        for name, values in spectra.items():
            fit = watcher.fit_powerlaw(values, fix_fingers="clip_xmax", plot=False)
            found[name] = {c: v if isinstance(v, str) else float(v) for c, v in zip(COLUMNS, fit, strict=True)}
    print("FITS " + json.dumps(found))


if __name__ == "__main__":
    main()
