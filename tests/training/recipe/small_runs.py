"""Runs of a small recipe, whole or ended in the middle: in processes that are forked from one that has imported all it needs.

:func:`main` is a program of its own; :func:`in_process` is the work of one of several processes.
"""

import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
from pathlib import Path

IMPORTED_ONCE = (
    "sklearn.metrics",
    "spectra.training.recipe.checking.checks",
    "spectra.training.recipe.run.session",
    "tests.frozen",
)
OF_TIME = ("seconds", "runtime", "per_second", "preparation_time", "share_of_time", "spectra/")

RECIPE = """
model: {{name: {folder}/bert, device: cpu}}
data:
  {{train: {folder}/train.tsv, eval: {folder}/dev.tsv, test: {folder}/test.tsv, text_column: text, label_column: label,
    max_length: 16}}
training:
  {{max_steps: 10, per_device_train_batch_size: 4, learning_rate: 5.0e-3, lr_scheduler_type: constant, logging_steps: 4,
    save_strategy: steps, save_steps: 3, eval_strategy: epoch, save_total_limit: 2}}
diagnostics: {{spectra: ends}}
output: {folder}/run
"""


def prepare(folder):
    """Save a model and texts, and return the recipe's file."""
    from tests.pretrained import WORDS, save_bert

    folder.mkdir(parents=True, exist_ok=True)
    save_bert(folder / "bert")
    draw = random.Random(0)
    for name, number in {"train": 22, "dev": 9, "test": 7}.items():
        lines = [" ".join(draw.choices(WORDS[:9], k=5)) + "\t" + draw.choice(("bad", "good")) for _ in range(number)]
        (folder / f"{name}.tsv").write_text("\n".join(("text\tlabel", *lines)) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    return folder / "recipe.yaml"


def run(recipe, changes=(), **options):
    """Run a recipe, and draw what is drawn in a moment."""
    from spectra.training.recipe.running import run_recipe

    return run_recipe(recipe, changes, draw=drawn, **options)


def drawn(folder):
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "losses.png").write_bytes(b"")
    (folder / "summary.md").write_text("finished")


def outcome(folder):
    """What is to be the same however often a run was ended: weights, log, metrics and names of files."""
    results = json.loads((folder / "results.json").read_text())
    for name in ("seconds", "diagnostics_share", "output", "name", "spectra_skipped"):
        results.pop(name)
    return {
        "weights": {path.name: path.read_bytes() for path in sorted((folder / "model").rglob("*.safetensors"))},
        "log": [timeless(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "results": results,
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").iterdir()),
        "files": sorted(path.name for path in folder.iterdir()),
    }


def timeless(line):
    return {name: value for name, value in line.items() if not any(word in name for word in OF_TIME)}


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(write, path):
    """Let a file be written, and leave half of it."""
    write()
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    die()


def at_call(number, real, instead):
    """Return a function that does something else at one call."""
    calls = 0

    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        return instead(lambda: real(*arguments, **options), *arguments) if calls == number else real(*arguments, **options)

    return call


def place_death(place):
    """Let this process end at a place: ``step 4`` when that step ends, ``disk 400`` where a file gets longer than that."""
    import torch
    from transformers import TrainerState

    from spectra.training.recipe.run import run_folder, session
    from spectra.training.recipe.run.stopping import Stopping

    what, _, number = place.partition(" ")
    first = int(number or 1)
    homes = {
        "begun": (run_folder, "write_json"),
        "assembled": (session, "last_checkpoint"),
        "step": (Stopping, "on_step_end"),
        "saved": (Stopping, "on_save"),
        "trained": (session.Session, "evaluate"),
        "evaluated": (session.Session, "save"),
        "written": (session.Session, "record"),
        "results": (session.RunRecord, "save"),
    }
    if what in homes:
        home, name = homes[what]
        setattr(home, name, at_call(first, getattr(home, name), die))
    elif what == "optimizer":
        torch.save = at_call(first, torch.save, lambda write, _, path: half_written(write, path))
    elif what == "state":
        real = TrainerState.save_to_json
        TrainerState.save_to_json = at_call(first, real, lambda write, _, path: half_written(write, path))
    elif what == "rotation":
        real = shutil.rmtree
        shutil.rmtree = at_call(first, real, lambda write, path, *_: (os.unlink(Path(path) / "trainer_state.json"), die()))
    elif what == "figures":
        globals()["drawn"] = die
    elif what in ("SIGINT", "SIGTERM", "twice"):
        sent = [signal.SIGINT, signal.SIGINT] if what == "twice" else [signal.Signals[what]]
        Stopping.on_step_end = at_call(
            first, Stopping.on_step_end, lambda go_on, *_: [*map(signal.raise_signal, sent), go_on()][-1]
        )
    elif what == "disk":  # from the second checkpoint on no file may become longer than this
        limits = (first, resource.RLIM_INFINITY)
        fill = lambda go_on, *_: [resource.setrlimit(resource.RLIMIT_FSIZE, limits), go_on()][-1]  # noqa: E731
        Stopping.on_step_end = at_call(4, Stopping.on_step_end, fill)
    else:
        raise ValueError(place)


def forked(work):
    """Do something in a process of its own; return how that ended."""
    from spectra.cli.interrupted import exit_code

    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except KeyboardInterrupt as interrupt:
            os._exit(exit_code(interrupt))
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def until_finished(recipe, output, place):
    """Begin a run that dies at a place, and go on with it; return how each process ended."""

    def dying():
        place_death(place)
        run(recipe, [f"output={output}"])

    codes = [forked(dying)]
    if codes[0] != 0:
        codes.append(forked(lambda: run(recipe, [f"output={output}"])))
    return codes


def main(folder, *places):
    """Run the recipe once for each place, and print how its processes ended."""
    recipe = prepare(Path(folder))
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    codes = {"nowhere": [forked(lambda: run(recipe, [f"output={folder}/nowhere"]))]}
    for place in places:
        codes[place] = until_finished(recipe, Path(folder) / place.replace(" ", "-"), place)
    print(json.dumps(codes))


def in_process(_rank, recipe, *places):
    """Run a recipe in one of several processes, which may die at a place."""
    for place in places:
        place_death(place)
    run(recipe)
