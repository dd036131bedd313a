"""``diagnostics``: training by a recipe with all diagnostics at default settings, beside the same training without any.

The recipes are the small ones that come along, for each method, with all weights trained and with LoRA, but for checkpoints and
evaluations, which would only make training longer. At work are spectra after each epoch, TempBalance, AlphaDecay and guided
dropout. The two runs of a pair go side by side, each bound to one core with one thread: the speed of a machine drifts by more
than what is measured, but it does so for both. Which of them has which core changes from pair to pair. Before and after are a
large part of a short run, so ``--repeats`` makes runs longer, not more. ``sdft`` is left out: once its data are written it
trains as ``plain`` does, with a model of chats, and the demo model is none.

What is compared is wall time and CPU time from the start of training to its end; in brackets are the ratios of its quarters.
Beside them stands what the run itself records. That leaves out hooks, split parameter groups and dropout: their cost is the
ratio of steps with the same batch, by its median, which steps with an update do not reach. The Fisher is measured before
training and told apart.

Spectra before and after and the first multipliers are always computed. They fit into their parts of the budget once training
takes as long as the last column says; a shorter run may take more than the budget.

Everything is measured in one child process a run, ``python -m benchmarks.diagnostics_overhead CASE WITH STEPS``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import median, median_interval, run_module, say
from benchmarks.table import Comparison

BAR = 1.05
_STEPS_PER_REPEAT = 25
_PARTS = 4
_BALANCES = ("tempbalance", "alphadecay")
_PLAIN = ("training.save_strategy=no", "training.weight_decay=0.1", "data.eval=null", "data.test=null")
_LORA = ("adapter={name: lora, rank: 8}",)
_DIAGNOSTICS = {
    "with": "diagnostics={spectra: epoch, tempbalance: recommended, alphadecay: true, guided_dropout: {p_upper: 0.1}}",
    "without": "diagnostics={spectra: none}",
}


@dataclass(frozen=True)
class Case:
    """What is trained, and how.

    Attributes:
        recipe: That comes along.
        what: In words.
        changes: To the recipe.
        has_teacher: Whether there are two trainings, of half the steps each.
    """

    recipe: str
    what: str
    changes: tuple[str, ...] = ()
    has_teacher: bool = False


CASES: Mapping[str, Case] = {
    "plain": Case("small-plain", "plain, all weights"),
    "plain-lora": Case("small-plain", "plain, LoRA", _LORA),
    "dcs": Case("small-dcs", "dcs, all weights", has_teacher=True),
    "dcs-lora": Case("small-dcs", "dcs, LoRA", _LORA, has_teacher=True),
    "meta-peft": Case("small-meta-peft", "meta_peft, base and LoRA"),
}

_HEADINGS = (
    "method", "steps", "training", "spectra", "multipliers", "recorded", "wall time", "CPU time", "other steps",
    "Fisher, before", "fits from",
)  # fmt: skip

Run = Mapping[str, Any]


def run(repeats: int) -> tuple[list[Comparison], list[str]]:
    """Measure all cases.

    Args:
        repeats: Training has 25 steps for each of them.

    Returns:
        A row for each case; and a table in Markdown.

    Raises:
        AnswersDifferError: Runs that are not comparable: other numbers of steps, or diagnostics that were not at work.
    """
    rows, lines = [], [_in_markdown(_HEADINGS), _in_markdown("---" for _ in _HEADINGS)]
    for number, (name, case) in enumerate(CASES.items()):
        ours, plain = _pair(name, repeats * _STEPS_PER_REPEAT, core=number % 2)
        walls = (ours["wall"],), (plain["wall"],)
        rows.append(Comparison(f"{case.what}: training", "without diagnostics", "s", *walls, BAR, ratio_of="spectra/peer"))
        lines.append(_in_markdown(_cells(case, ours, plain)))
    return rows, lines


def _pair(name: str, steps: int, *, core: int) -> tuple[Run, Run]:
    """Train with diagnostics, on this core, and without, on the other."""
    case = CASES[name]
    say(f"diagnostics: {case.what}")
    cores = {"with": core, "without": 1 - core}

    def trained(word: str) -> Run:
        arguments = name, word, str(steps // 2 if case.has_teacher else steps)
        output: Run = run_module("benchmarks.diagnostics_overhead", *arguments, core=cores[word]).output
        return output

    with ThreadPoolExecutor(len(cores)) as side_by_side:
        ours, plain = side_by_side.map(trained, cores)
    is_at_work = len(ours["updates"]) == len(_BALANCES) and all(ours["updates"].values()) and len(ours["spectra"]) > 1
    if not is_at_work or plain["updates"] or plain["spectra"] or len(ours["steps"]) != len(plain["steps"]):
        raise AnswersDifferError(
            f"diagnostics: {name}: expected equal steps, with all and without any, got {ours} and {plain}."
        )
    return ours, plain


def _cells(case: Case, ours: Run, plain: Run) -> list[str]:
    """Say what was found."""
    seconds, num_updates, budget = ours["seconds"], sum(ours["updates"].values()), ours["budget"]
    steps, parts = ([mine / other for mine, other in zip(ours[of], plain[of], strict=True)] for of in ("steps", "parts"))
    low, high = median_interval(steps)
    always = {
        "spectra": 2 * seconds["spectra"] / len(ours["spectra"]),
        "multipliers": len(_BALANCES) * seconds["multipliers"] / num_updates,
    }
    return [
        case.what,
        f"{(1 + case.has_teacher) * len(ours['steps'])}",
        f"{ours['wall']:.1f} s",
        f"{seconds['spectra']:.2f} s ({len(ours['spectra'])})",
        f"{seconds['multipliers']:.2f} s ({num_updates})",
        f"{ours['share']:.1%}",
        f"{ours['wall'] / plain['wall']:.3f} ({min(parts):.3f}–{max(parts):.3f})",
        f"{ours['cpu'] / plain['cpu']:.3f}",
        f"{median(steps):.3f} ({low:.3f}–{high:.3f})",
        f"{seconds['fisher']:.1f} s",
        f"{max(seconds / budget[what] for what, seconds in always.items()):.0f} s",
    ]


def _in_markdown(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


class _Watch:
    """Notes when phases begin and steps end, as the progress of a run."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, float, float]] = []
        self.ends: list[float] = []  # and, first, where the first step begins

    def phase(self, words: str) -> None:
        self.phases.append((words, time.perf_counter(), time.process_time()))

    def step(self, done: int, total: int) -> None:
        self.ends.append(time.perf_counter())

    def logged(self, numbers: Mapping[str, float]) -> None:
        """Leave it to the run's own files."""

    def training(self) -> dict[str, Any]:
        """Return wall time, CPU time, and wall time of steps and of parts of the training."""
        place = [words for words, *_ in self.phases].index("training")
        (_, began, cpu_before), (_, ended, cpu_after) = self.phases[place : place + 2]
        marks = [began, *(self.ends[part * len(self.ends) // _PARTS] for part in range(1, _PARTS)), ended]
        steps, parts = ([end - start for start, end in pairwise(times)] for times in (self.ends, marks))
        return {"wall": ended - began, "cpu": cpu_after - cpu_before, "steps": steps, "parts": parts}


def _measure(name: str, word: str, steps: int) -> dict[str, Any]:
    from spectra.recipes import recipe_path
    from spectra.results.scale_log import load_scale_log
    from spectra.training.recipe import read_recipe
    from spectra.training.recipe.running import run_recipe

    case, watch = CASES[name], _Watch()
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        changes = [*_PLAIN, *case.changes, _DIAGNOSTICS[word], f"training.max_steps={steps}", f"output={folder}/run"]
        recipe = read_recipe(recipe_path(case.recipe), changes)
        wanted = recipe.diagnostics
        record = run_recipe(recipe, progress=watch)
        logs = [log for balance in _BALANCES if (log := Path(recipe.output, f"{balance}.jsonl")).exists()]
        updates = {log.stem: len(load_scale_log(log).records) for log in logs}
    return watch.training() | {
        "seconds": dict(record.seconds),
        "share": record.diagnostics_share,
        "spectra": record.spectra,
        "updates": updates,
        "budget": {"spectra": wanted.budget_of_spectra, "multipliers": len(_BALANCES) * wanted.budget_of_each_balance},
    }


def _main() -> None:
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))


if __name__ == "__main__":
    _main()
