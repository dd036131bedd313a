"""The part of a recipe that says which diagnostics are at work in training, and which are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spectra.training.recipe import diagnostic_options
from spectra.training.recipe.options import (
    COUNT_OR_NONE,
    SHARE,
    SWITCH,
    TEXT_OR_NONE,
    WORDS,
    Key,
    Part,
    count,
    number,
    one_of,
    option,
    options_of,
    or_none,
    part,
)

# Words of modules that import NumPy; a test compares them.
DROP_RULES = ("rank", "linear", "log")
CONTROLS = ("guided", "uniform", "mean-matched", "per-type", "shuffled", "reversed", "none")
AGGREGATES = ("param_mean", "mean_of_means", "trace", "matrices_mean", "relative")

_OURS = "our choice"

_BUDGET = number("a share of the time in (0, 1]", lambda value: 0.0 < value <= 1.0)


@dataclass(frozen=True, kw_only=True)
class GuidedDropoutPart(Part):
    """Drop probabilities by site: from a plan, or of the Fisher on the training data, measured before training.

    Options are those of :func:`spectra.policies.dropout_plan`.
    """

    plan: str | None = option("a plan's file; null: made of the Fisher", _OURS, TEXT_OR_NONE, None)
    control: str = option("what becomes of the guided probabilities", "arXiv 2406.14005", one_of(CONTROLS), "guided")
    seed: int = option("of the control shuffled", _OURS, count(0), 0)
    p_upper: float = option("probability of the lowest score", "dropout of BERT", SHARE, 0.1)
    p_lower: float = option("probability of the highest score", "arXiv 2406.14005", SHARE, 0.0)
    rule: str = option("how scores become probabilities", "arXiv 2406.14005", one_of(DROP_RULES), "rank")
    mean_p: float | None = option("mean of the probabilities; null: as it comes", "arXiv 2406.14005", or_none(SHARE), None)
    p_cap: float = option("largest probability beside mean_p", _OURS, SHARE, 0.5)
    aggregate: str | None = option("from tensors to the score of a site", "the Fisher's", or_none(one_of(AGGREGATES)), None)
    include: tuple[str, ...] = option("globs of sites that take part; none: all", "arXiv 2406.14005", WORDS, ())
    exclude: tuple[str, ...] = option("globs of sites that do not", "arXiv 2406.14005", WORDS, ())
    samples: int | None = option("training examples that the Fisher is of; null: all", _OURS, COUNT_OR_NONE, None)

    _OF_PLANS = ("plan", "control", "seed")  # no annotation: not an option

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """Yield options that others exclude, each with a sentence."""
        if self.plan is not None:
            for f in options_of(type(self)):
                if f.name not in self._OF_PLANS and getattr(self, f.name) != f.default:
                    yield f.name, "it is for making a plan, and one is given. Leave it out, or guided_dropout.plan."
        elif (fault := diagnostic_options.rates_fault(self.p_upper, self.p_lower, self.mean_p, self.p_cap)) is not None:
            yield fault.key[0], fault.sentence

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, as they stand in YAML."""
        options = super().to_dict()
        return options if self.plan is None else {name: options[name] for name in self._OF_PLANS}


@dataclass(frozen=True, kw_only=True)
class DiagnosticsPart(Part):
    """Diagnostics at work in training, and those that are recorded.

    Attributes:
        tempbalance: All options of ``TempBalanceConfig``, or ``None``.
        alphadecay: The same, of weight decays.
        guided_dropout: The options, or ``None``.
        spectra: When the spectra of all weights are recorded.
        fisher: Whether the Fisher of the training data is recorded before training.
        budget: Share of the time of training that all diagnostics in it may take together: half of it for spectra, half for
            multipliers. Default 0.03. Spectra before and after and the first multipliers are always computed: a short run may
            take more.
    """

    tempbalance: Mapping[str, Any] | None = option(
        "balance learning rates: a preset, or options", "", diagnostic_options.TEMPBALANCE, None
    )
    alphadecay: Mapping[str, Any] | None = option(
        "balance weight decays: a preset, or options", "", diagnostic_options.ALPHADECAY, None
    )
    guided_dropout: GuidedDropoutPart | None = option(  # noqa: RUF009 - a field
        "drop probabilities by site: a plan's file, or options", "", or_none(part(GuidedDropoutPart)), None
    )
    spectra: str = option(
        "spectra are recorded after each epoch, at both ends, or never", _OURS, one_of(("epoch", "ends", "none")), "epoch"
    )
    fisher: bool = option("record the Fisher of the training data before training", _OURS, SWITCH, False)
    # Masks, hooks and logs, which no clock sees, take about 2 % more: about 5 % in all (docs/recipes.md, measured).
    budget: float = option("share of the training time that all diagnostics may take", _OURS, _BUDGET, 0.03)

    @property
    def budget_of_spectra(self) -> float:
        """The share of the time for recorded spectra: half the budget if there are multipliers, else all."""
        return self.budget / 2 if self._num_balances else self.budget

    @property
    def budget_of_each_balance(self) -> float:
        """The share of the time for the updates of TempBalance, and for those of AlphaDecay."""
        rest = self.budget - (self.budget_of_spectra if self.spectra != "none" else 0.0)
        return rest / max(self._num_balances, 1)

    @property
    def _num_balances(self) -> int:
        return (self.tempbalance is not None) + (self.alphadecay is not None)

    def sources(self) -> dict[Key, str]:
        """Return where values come from, of options that have their default."""
        of_policies = {
            (name, *key): source
            for name in ("tempbalance", "alphadecay")
            if (options := getattr(self, name)) is not None
            for key, source in diagnostic_options.sources(options).items()
        }
        return super().sources() | of_policies
