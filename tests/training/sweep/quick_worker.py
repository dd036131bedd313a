"""A worker of a sweep that does not train: what it does instead stands in a file named by a run, in a folder named by QUICK."""

import os
import signal
import sys
import time
from pathlib import Path

from spectra.errors import ResultsError
from spectra.results.run_record import RunRecord
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.reading import parse_recipe
from spectra.training.recipe.run.run_folder import opened_folder
from spectra.training.sweep import worker


def record_of(recipe: Recipe, **metrics: float) -> RunRecord:
    return RunRecord(
        name=str(recipe.name), method=recipe.method.name, adapter="none", model="tiny", task="sequence-classification",
        data={}, seed=recipe.seed, num_train=8, num_eval=4, num_test=None, num_parameters=10, num_trainable=10, num_steps=3,
        num_epochs=1.0, eval_metrics=metrics, test_metrics={}, seconds={"training": 2.0, "spectra": 1.0, "saving": 0.5},
        output=recipe.output, spectra_version="0",
    )  # fmt: skip


def quick(text: str, draw: object) -> None:
    recipe = parse_recipe(text)
    folder, orders = Path(recipe.output), Path(os.environ["QUICK"])
    with opened_folder(recipe):
        pass
    with (orders / "threads").open("a") as file:
        file.write(f"{os.environ.get('OMP_NUM_THREADS')}\n")
    order = orders / str(recipe.name)
    what = order.read_text() if order.exists() else ""
    print("this goes to the log")
    if what == "fail":
        raise ResultsError("no luck today.\nTry again.")
    if what == "bug":
        raise ZeroDivisionError
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(3)
    if what in ("hang", "stubborn"):
        hang(folder, is_stubborn=what == "stubborn")
    record_of(recipe, eval_accuracy=recipe.seed / 10 + recipe.training.learning_rate).save(folder)


def hang(folder: Path, *, is_stubborn: bool) -> None:
    """Wait for Ctrl-C, and count how often it came."""
    (folder / "pid.new").write_text(str(os.getpid()))
    (folder / "pid.new").rename(folder / "pid")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (folder / "stopped").write_text("once")
        if is_stubborn:  # as a run whose step takes long
            time.sleep(600)
        raise


worker._run = quick

if __name__ == "__main__":
    sys.exit(worker.main())
