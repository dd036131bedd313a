"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.readme_tables import table, write_tables
from analysis.sdft_forgetting.protocol import ARMS, TRIED
from analysis.sdft_forgetting.summary import MEASURES, SHARES

RETAINED = ("known", "skill", "skill loss", "shift")
LOST_OR_LEARNED = ("target", "known", "skill", "skill loss")
BETTER_BELOW = ("skill loss", "shift")
PAIR = "sdft - vanilla"

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _models(results: Results) -> str:
    rows = [["before tuning", "", *(_value(results["base"], name) for name in MEASURES), ""]]
    rows += [
        [adapter, arm, *(_value(of["mean"][arm], name) for name in (*MEASURES, "shift"))]
        for adapter, of in results["adapters"].items()
        for arm in ARMS
    ]
    return table(["adapter", "responses", *MEASURES, "shift"], rows)


def _differences(results: Results) -> str:
    rows = (
        [adapter, pair, *(_versus(found[name], name) for name in (*MEASURES, "shift"))]
        for adapter, of in results["adapters"].items()
        for pair, found in of["difference"].items()
    )
    return table(["adapter", "difference", *MEASURES, "shift"], rows)


def _forgetting(results: Results) -> str:
    """The paper's claim, measure by measure."""
    rows = (
        [adapter, name, _versus(found := of["difference"][PAIR][name], name), _word(found, name, "less", "more")]
        for adapter, of in results["adapters"].items()
        for name in RETAINED
    )
    return table(["adapter", "measure", PAIR, "is less lost?"], rows)


def _gain(results: Results) -> str:
    """The question of users: whether the gain on the target is still there with a stronger adapter."""
    rows = (
        [
            adapter,
            name,
            *(_versus(of["change"][arm][name], name) for arm in ("vanilla", "sdft")),
            _versus(found := of["difference"][PAIR][name], name),
            _word(found, name, "better", "worse"),
        ]
        for adapter, of in results["adapters"].items()
        for name in ("target", "as before")
    )
    return table(["adapter", "measure", "vanilla - before tuning", "sdft - before tuning", PAIR, "is sdft better?"], rows)


def _rewriting(results: Results) -> str:
    of = results["rewriting"]
    rows = [
        ["accepted, and other than the original", _percent(of["accepted"])],
        ["identical to the original", _percent(of["identical"])],
        *([f"rejected: {reason}", _percent(found)] for reason, found in of["rejected"].items()),
        ["nats per token, original responses", _number(of["nll original"])],
        ["nats per token, selected responses", _number(of["nll selected"])],
        ["selected - original", _number(of["nll difference"], "+")],
    ]
    return table(["", "mean ± standard error"], rows)


def _tuning(results: Results) -> str:
    rows = (
        [
            adapter,
            f"{rate}, chosen" if rate == f"{results['chosen'][adapter]:g}" else rate,
            *(
                f"{of[arm][name]:.1%}" if name in SHARES else f"{of[arm][name]:.3f}"
                for name in LOST_OR_LEARNED
                for arm in TRIED
            ),
        ]
        for adapter, rates in results["tuning"].items()
        for rate, of in rates.items()
    )
    return table(["adapter", "learning rate", *(f"{name}, {arm}" for name in LOST_OR_LEARNED for arm in TRIED)], rows)


def _cost(results: Results) -> str:
    rows = [["training the model before tuning", f"{results['base seconds']:.0f}"]]
    rows += [["rewriting the responses, once for each share", f"{results['rewriting']['seconds']:.0f}"]]
    rows += [[f"tuning, {adapter}", f"{of['seconds']:.0f}"] for adapter, of in results["adapters"].items()]
    return table(["", "processor seconds"], rows)


def _word(difference: Mapping[str, Any], name: str, better: str, worse: str) -> str:
    low, high = difference["interval"]
    if name in BETTER_BELOW:
        low, high = -high, -low
    return f"yes, {better}" if low > 0.0 else f"no, {worse}" if high < 0.0 else "not told apart"


def _value(of: Mapping[str, Any], name: str) -> str:
    return _percent(of[name]) if name in SHARES else _number(of[name])


def _versus(difference: Mapping[str, Any], name: str) -> str:
    if name not in SHARES:
        return _number(difference, "+")
    low, high = (100.0 * edge for edge in difference["interval"])
    return f"{100.0 * difference['mean']:+.1f} ± {100.0 * difference['std_error']:.1f} ({low:+.1f} to {high:+.1f})"


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.1%} ± {100.0 * found['std_error']:.1f}"


def _number(found: Mapping[str, Any], sign: str = "") -> str:
    text = f"{found['mean']:{sign}.3f} ± {found['std_error']:.3f}"
    if "interval" in found:
        low, high = found["interval"]
        text += f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return text


_TABLES = {
    "models": _models,
    "differences": _differences,
    "forgetting": _forgetting,
    "gain": _gain,
    "rewriting": _rewriting,
    "tuning": _tuning,
    "cost": _cost,
}
