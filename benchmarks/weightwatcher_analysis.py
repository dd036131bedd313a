"""Child process: what a WeightWatcher user writes — import, load the model, analyse, print: ``FOLDER [OPTIONS]``.

OPTIONS are keyword arguments of ``analyze`` as JSON.

The time of the ``analyze`` call alone is printed beside the table; the model is loaded by then.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time


def main() -> None:
    """Analyse, print seconds and rows."""
    options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints remarks
        import weightwatcher
        from transformers import AutoModel

        model = AutoModel.from_pretrained(sys.argv[1])
        watcher = weightwatcher.WeightWatcher(model=model)
        start = time.perf_counter()
        details = watcher.analyze(**options)
        seconds = time.perf_counter() - start
    print(json.dumps({"analysis_seconds": seconds, "layers": details.to_dict("records")}, default=lambda value: value.item()))


if __name__ == "__main__":
    main()
