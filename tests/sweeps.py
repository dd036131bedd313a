"""Records of sweeps with numbers of our choice."""

from spectra.results.sweep_record import FAILED, FINISHED, SweepCell, SweepRecord, SweepRun


def run_of(options, seed, **metrics):
    """A finished run, or without metrics one that failed."""
    words = ",".join(f"{name}={value}" for name, value in options.items())
    error = None if metrics else "no luck today."
    cell = SweepCell(name=f"{words}-seed-{seed}", options=options, seed=seed, error=error)
    state = FINISHED if metrics else FAILED
    return SweepRun(cell=cell, state=state, metrics=metrics, num_steps=3 if metrics else None, seconds=2.5 if metrics else None)


def sweep_of(values, option="method"):
    """A sweep of one option: for each of its values metrics by seed, lists of numbers by name."""
    runs = [
        run_of({option: value}, seed, **{name: numbers[seed] for name, numbers in metrics.items() if numbers[seed] is not None})
        for value, metrics in values.items()
        for seed in range(len(next(iter(metrics.values()))))
    ]
    return SweepRecord(recipe="recipe.yaml", runs=tuple(runs))


PLAIN = [0.80, 0.78, 0.83, 0.79]
DCS = [0.84, 0.80, 0.86, 0.85]
WORSE = [0.70, 0.69, 0.71, 0.70]


def three_methods():
    """Plain, better and worse, on eval and on test."""
    return sweep_of({
        name: {"eval_accuracy": numbers, "test_accuracy": [value - 0.1 for value in numbers]}
        for name, numbers in {"plain": PLAIN, "dcs": DCS, "sdft": WORSE}.items()
    })  # fmt: skip
