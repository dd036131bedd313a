"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.meta_peft_linear.measuring import ARMS, LORA, STANDARD, SYMMETRIC
from analysis.meta_peft_linear.protocol import BASE, LONG, OVERSPECIFIED, PANELS, RELEASED_NOISE, SCHEDULES, Setting
from analysis.meta_peft_linear.summary import result
from analysis.readme_tables import table, write_tables

Results = Sequence[Mapping[str, Any]]
RETRAINED = (STANDARD, SYMMETRIC, LORA)
RETRAINED_BY = (SYMMETRIC, LORA)


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _risk(results: Results) -> str:
    rows = []
    for setting, label in _varied():
        arms, rank = result(results, setting), str(setting.paper_rank)
        of_noise = f"{_expected(setting):.2g}" if setting.paper_rank == setting.k else ""
        rows.append([label, rank, *(_with_band(arms[arm]["risk"][rank]) for arm in ARMS), of_noise])
    return table(["setting", "adapter's rank", *ARMS, "σ² k (2d − k) / n"], rows)


def _base_error(results: Results) -> str:
    """With samples, and without their noise."""
    rows = []
    for setting, label in _varied():
        if setting.n != BASE.n:
            continue
        sampled, whole = result(results, setting), result(results, replace(setting, N=None, noise=BASE.noise))
        cells = [
            f"{_short(arms[arm]['error']['median'])} (to {_short(arms[arm]['error']['max'])})"
            for arm in RETRAINED
            for arms in (sampled, whole)
        ]
        rows.append([label, *cells])
    return table(["setting", *(f"{arm}, {which}" for arm in RETRAINED for which in ("N samples", "N = ∞"))], rows)


def _recovered(results: Results) -> str:
    rows = []
    for setting, label in _varied():
        if setting.N == BASE.N and setting.n == BASE.n:
            sampled, whole = result(results, setting), result(results, replace(setting, N=None))
            rows.append([label, *(_of_seeds(arms[arm]) for arm in RETRAINED_BY for arms in (sampled, whole))])
    for setting in LONG:
        if setting.N is not None:
            sampled, whole = result(results, setting), result(results, replace(setting, N=None))
            cells = (_of_seeds(arms[arm]) for arm in RETRAINED_BY for arms in (sampled, whole))
            rows.append([f"{_label(setting)}, {setting.length} times as many steps", *cells])
    return table(["setting", *(f"{arm}, {which}" for arm in RETRAINED_BY for which in ("N = 5000", "N = ∞"))], rows)


def _reachable(results: Results) -> str:
    """By rank, with infinitely many samples."""
    rows = []
    for setting in _population():
        arms = result(results, setting)
        most = setting.separating_rank
        ranks = sorted({setting.k, 2 * setting.k, 3 * setting.k, most - 1, most} & set(range(1, most + 1)))
        for arm in RETRAINED:
            cells = "; ".join(f"{rank}: {_mean(arms[arm]['reachable'][rank])}" for rank in ranks)
            rows.append([_label(setting), arm, cells, _range(arms[arm]["needed rank"])])
    return table(["setting", "base", "rank: best excess risk", "rank needed"], rows)


def _fine_tuning_ranks(results: Results) -> str:
    rows = []
    for setting in (*(replace(BASE, T=T) for T in (2, 3, 5, 10)), replace(BASE, k=2), replace(BASE, n=10_000)):
        arms = result(results, setting)
        rows += [[_label(setting), str(rank), *(_mean(arms[arm]["risk"][str(rank)]) for arm in ARMS)] for rank in setting.ranks]
    return table(["setting", "adapter's rank", *ARMS], rows)


def _overspecified(results: Results) -> str:
    rows = []
    settings = [*(replace(BASE, T=T, N=N) for T in (3, 5, 10) for N in (BASE.N, None)), *OVERSPECIFIED]
    for setting in sorted(settings, key=lambda one: (one.T, one.retraining_rank, one.N is None)):
        for arm in RETRAINED_BY:
            of, q = result(results, setting)[arm], setting.retraining_rank
            rows.append(
                [
                    str(setting.T),
                    str(q),
                    _count(setting.N),
                    arm,
                    f"{setting.T * (q - setting.k) / (setting.T - 2):.3g}",
                    _short(of["retraining risk"]["max"]),
                    _counts(of["wrong directions"]),
                    ", ".join(f"{value:.2g}" for value in of["singular values"][:4]),
                    _counts(of["needed rank"]),
                    _mean(of["risk"][str(setting.k)]),
                    _mean(of["risk"][str(q)]),
                ]
            )
    head = ["T", "q", "N", "adapters", "bound on the rank", "risk left on the tasks, most", "wrong directions: seeds"]
    return table(
        [*head, "singular values of A − A*, mean", "rank needed: seeds", "fine-tuned, rank k", "fine-tuned, rank q"], rows
    )


def _schedules(results: Results) -> str:
    rows = []
    for setting in (BASE, replace(BASE, N=None), *SCHEDULES, RELEASED_NOISE):
        arms = result(results, setting)
        for arm in RETRAINED_BY:
            of = arms[arm]
            error = f"{_short(of['error']['median'])} (to {_short(of['error']['max'])})"
            rows.append(
                [setting.schedule, _count(setting.N), f"{setting.noise:g}", arm, error, _of_seeds(of), _mean(of["risk"]["1"])]
            )
    return table(["schedule", "N", "noise", "adapters", "error of the base", "recovered", "risk on the new task"], rows)


def _varied() -> Iterable[tuple[Setting, str]]:
    """List the base setting, then the others, each with the one parameter that differs."""
    yield BASE, "base"
    for name, settings in PANELS.items():
        for setting in settings:
            if setting != BASE:
                yield setting, f"{name} = {_count(getattr(setting, name))}"


def _population() -> list[Setting]:
    return [replace(setting, N=None) for setting, _ in _varied() if setting.N == BASE.N and setting.n == BASE.n]


def _expected(setting: Setting) -> float:
    """Return the excess risk of an efficient estimate of a matrix of rank k, by its free parameters."""
    return setting.noise**2 * setting.k * (2 * setting.d - setting.k) / setting.n


def _label(setting: Setting) -> str:
    differing = (
        f"{name} = {_count(getattr(setting, name))}" for name in "dTkn" if getattr(setting, name) != getattr(BASE, name)
    )
    return ", ".join(differing) or "base"


def _mean(found: Mapping[str, float]) -> str:
    return f"{_short(found['mean'])} ± {_short(found['std_error'])}"


def _with_band(found: Mapping[str, float]) -> str:
    return f"{_mean(found)} ({_short(found['min'])} to {_short(found['max'])})"


def _short(value: float) -> str:
    return "0" if value < 1e-12 else f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _count(value: int | None) -> str:
    return "∞" if value is None else f"{value:,}"


def _of_seeds(of: Mapping[str, Any]) -> str:
    return f"{of['recovered']} of {of['seeds']}"


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def _counts(values: Sequence[int]) -> str:
    return ", ".join(f"{value}: {values.count(value)}" for value in sorted(set(values)))


_TABLES = {
    "risk": _risk,
    "base error": _base_error,
    "recovered": _recovered,
    "reachable": _reachable,
    "fine-tuning ranks": _fine_tuning_ranks,
    "overspecified": _overspecified,
    "schedules": _schedules,
}
