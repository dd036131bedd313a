"""``diagnostics``: training by a recipe with diagnostics at default settings, beside the same training without any.

The recipes are the small ones that come along, for each method, with all weights trained and with LoRA, but for checkpoints and
evaluations, which would only make training longer. By default spectra are recorded after each epoch; with everything on there
are TempBalance, AlphaDecay and guided dropout, too. Two runs have no diagnostics: the others are compared with their mean, and
what tells the two apart is noise. All four take turns of one step, on all cores. Before and after are a large part of a short
run, so ``--repeats`` makes runs longer, not more. ``sdft`` is left out: once its data are written it trains as ``plain`` does,
with a model of chats, and the demo model is none.

What is compared is wall time from the start of training to its end. Beside it stands what the run itself records. That leaves
out hooks, split parameter groups and dropout: their cost is the ratio of steps with the same batch, by its median, which steps
with an update do not reach. What the run takes longer before and after training, for the Fisher and for figures, is told apart.

Spectra before and after and the first multipliers are always computed. They fit into their parts of the budget once training
takes as long as the last column says; a shorter run may take more than the budget.

Each run is a child process, ``python -m benchmarks.diagnostics_overhead CASE DIAGNOSTICS STEPS``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import median, median_interval, say
from benchmarks.table import Comparison
from benchmarks.turns import Turns, in_turns

BAR = 1.05
_STEPS_PER_REPEAT = 25
_BALANCES = ("tempbalance", "alphadecay")
_PLAIN = ("training.save_strategy=no", "training.weight_decay=0.1", "data.eval=null", "data.test=null")
_LORA = ("adapter={name: lora, rank: 8}",)
_NONE, _AGAIN, _DEFAULT, _ALL = "none", "none, again", "default", "everything"
_DIAGNOSTICS: Mapping[str, tuple[str, ...]] = {
    _NONE: ("diagnostics={spectra: none}",),
    _AGAIN: ("diagnostics={spectra: none}",),
    _DEFAULT: (),
    _ALL: ("diagnostics={tempbalance: recommended, alphadecay: true, guided_dropout: {p_upper: 0.1}}",),
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
    "method", "diagnostics", "training", "spectra", "multipliers", "recorded", "wall time", "other steps", "around training",
    "fits from",
)  # fmt: skip

Run = Mapping[str, Any]


def run(repeats: int) -> tuple[list[Comparison], list[str]]:
    """Measure all cases.

    Args:
        repeats: Training has 25 steps for each of them.

    Returns:
        Three rows for each case, of which the first compares the two runs without diagnostics; and a table in Markdown.

    Raises:
        AnswersDifferError: Runs that are not comparable: other numbers of steps, or diagnostics that were not at work.
    """
    rows, lines = [], [_in_markdown(_HEADINGS), _in_markdown("---" for _ in _HEADINGS)]
    for name, case in CASES.items():
        runs = _runs(name, repeats * _STEPS_PER_REPEAT)
        plain = [runs.pop(_NONE)]
        lines.append(_in_markdown((case.what, _NONE, f"{plain[0]['wall']:.1f} s", *[""] * (len(_HEADINGS) - 3))))
        for word, ours in runs.items():
            walls, bar = ((ours["wall"],), tuple(run["wall"] for run in plain)), None if word == _AGAIN else BAR
            rows.append(Comparison(f"{case.what}: {word}", "no diagnostics", "s", *walls, bar, ratio_of="spectra/peer"))
            lines.append(_in_markdown(("", word, *_cells(ours, plain))))
            if word == _AGAIN:
                plain.append(ours)
    return rows, lines


def _runs(name: str, steps: int) -> dict[str, Run]:
    """Train with each of the settings, in turns."""
    case = CASES[name]
    say(f"diagnostics: {case.what}")
    arguments = [(name, word, str(steps // 2 if case.has_teacher else steps)) for word in _DIAGNOSTICS]
    runs: list[Run] = in_turns("benchmarks.diagnostics_overhead", arguments)
    found = [(len(run["steps"]), len(run["spectra"]) > 1, sum(map(bool, run["updates"].values()))) for run in runs]
    num_steps = found[0][0]
    expected = [(False, 0), (False, 0), (True, 0), (True, len(_BALANCES))]
    if found != [(num_steps, *at_work) for at_work in expected]:
        raise AnswersDifferError(f"diagnostics: {name}: expected equal steps, and diagnostics as asked for, got {found}.")
    return dict(zip(_DIAGNOSTICS, runs, strict=True))


def _cells(ours: Run, plain: Sequence[Run]) -> list[str]:
    """Say what was found, beside the mean of runs without diagnostics."""
    seconds, budget = ours["seconds"], ours["budget"]
    num_spectra, num_updates = len(ours["spectra"]), sum(ours["updates"].values())
    wall, around, *others = map(fmean, zip(*((run["wall"], run["around"], *run["steps"]) for run in plain), strict=True))
    low, high = median_interval(steps := [mine / other for mine, other in zip(ours["steps"], others, strict=True)])
    always = {"spectra": (2, num_spectra), "multipliers": (len(_BALANCES), num_updates)}
    fits = [seconds[what] * least / number / budget[what] for what, (least, number) in always.items() if number]
    return [
        f"{ours['wall']:.1f} s",
        f"{seconds['spectra']:.2f} s ({num_spectra})" if num_spectra else "",
        f"{seconds['multipliers']:.2f} s ({num_updates})" if num_updates else "",
        f"{ours['share']:.1%}" if fits else "",
        f"{ours['wall'] / wall:.3f}",
        f"{median(steps):.3f} ({low:.3f}–{high:.3f})",
        f"{ours['around'] - around:+.1f} s",
        f"{max(fits):.0f} s" if fits else "",
    ]


def _in_markdown(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


class _Watch:
    """Notes when phases begin and turns end, as the progress of a run. A turn ends with a step of any optimizer."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._phases: list[tuple[str, float]] = []
        self._ends: list[float] = []

    def phase(self, words: str) -> None:
        self._phases.append((words, self._turns.now()))

    def step(self, done: int, total: int) -> None:
        """Leave it to the optimizer, which a teacher has, too."""

    def logged(self, numbers: Mapping[str, float]) -> None:
        """Leave it to the run's own files."""

    def stepped(self, *_: Any) -> None:
        self._ends.append(self._turns.now())
        self._turns.over()

    def seconds(self) -> dict[str, Any]:
        """Return those of training, of the phases around it, and of all steps but the first."""
        place = [words for words, _ in self._phases].index("training")
        (_, began), (_, ended) = self._phases[place : place + 2]
        around = self._turns.now() - self._phases[0][1] - (ended - began)
        return {"wall": ended - began, "around": around, "steps": [end - start for start, end in pairwise(self._ends)]}


def _measure(turns: Turns, name: str, word: str, steps: int) -> dict[str, Any]:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from spectra.recipes import recipe_path
    from spectra.report.run_figures import draw_run
    from spectra.results.scale_log import load_scale_log
    from spectra.training.recipe import read_recipe
    from spectra.training.recipe.running import run_recipe

    case, watch = CASES[name], _Watch(turns)
    register_optimizer_step_post_hook(watch.stepped)
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        changes = [*_PLAIN, *case.changes, *_DIAGNOSTICS[word], f"training.max_steps={steps}", f"output={folder}/run"]
        recipe = read_recipe(recipe_path(case.recipe), changes)
        wanted = recipe.diagnostics
        record = run_recipe(recipe, progress=watch, draw=draw_run)
        logs = [log for balance in _BALANCES if (log := Path(recipe.output, f"{balance}.jsonl")).exists()]
        updates = {log.stem: len(load_scale_log(log).records) for log in logs}
    return watch.seconds() | {
        "seconds": dict(record.seconds),
        "share": record.diagnostics_share,
        "spectra": record.spectra,
        "updates": updates,
        "budget": {"spectra": wanted.budget_of_spectra, "multipliers": len(_BALANCES) * wanted.budget_of_each_balance},
    }


def _main() -> None:
    turns = Turns()
    time.perf_counter = turns.now  # so that budgets and records are of the turns of this process
    turns.end(_measure(turns, sys.argv[1], sys.argv[2], int(sys.argv[3])))


if __name__ == "__main__":
    _main()
