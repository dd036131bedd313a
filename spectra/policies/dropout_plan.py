"""A plan of drop probabilities: made from a Fisher, saved as JSON or YAML next to checkpoints, read, edited and applied.

Rates are configuration and never part of a model's weights. A plan is applied by ``spectra.training``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from spectra._version import __version__
from spectra.errors import InputError, ResultsError, did_you_mean
from spectra.policies.drop_controls import DropControl, control_rates
from spectra.policies.drop_prob import DropRule, guided_rates
from spectra.policies.dropout_plan_checks import plan_faults
from spectra.policies.plan_file import PlanFile, is_yaml, read_plan_file, save_plan_file
from spectra.results.fisher import Fisher, SiteBlock
from spectra.results.fisher_store import fisher_fingerprint, load_fisher
from spectra.results.words import counted

PLAN_SCHEMA_VERSION = 1
POLICY = "guided-dropout"  # as a plan in YAML says what it is

_COMMENTS = (
    "Drop probabilities by Spectra: guided dropout sets one at each dropout site of a model.",
    "Edit the numbers under 'rates'; the rest records where they come from.",
)
_APPLY = ("Apply:", "  from spectra.training import GuidedDropout", '  GuidedDropout("{name}").apply(model)')

# Left alone unless included by name: the published instance leaves the classifier's dropout as it is, and adapters are not
# part of the model whose Fisher was measured.
LEFT_ALONE = ("classifier", "adapter")


@dataclass(frozen=True, kw_only=True)
class DropoutPlan:
    """Drop probabilities by site, and everything that says where they come from.

    Attributes:
        rates: Drop probability by name of the dropout site, in ``[0, 1)``.
        scores: Fisher score by site; empty if none were used.
        roles: By site, words of ``spectra.fisher.sites.SiteRole``.
        kinds: By site, words of ``spectra.fisher.sites.SiteKind``: how the probability is set.
        rule: How scores became probabilities, a word of :class:`~spectra.policies.drop_prob.DropRule`.
        p_upper: Probability of the lowest score.
        p_lower: Probability of the highest score.
        mean_p: Mean that was asked for, or ``None``.
        p_cap: Largest probability beside ``mean_p``.
        control: What became of the guided probabilities, one of ``CONTROLS``.
        seed: Of the control ``shuffled``.
        aggregate: How parameters became site scores, a word of :class:`~spectra.results.fisher.Aggregate`.
        model: Which model the scores belong to.
        fisher: SHA-256 of the Fisher's file, in hex; empty if there was no file.
        version: Of Spectra.
    """

    rates: Mapping[str, float]
    scores: Mapping[str, float]
    roles: Mapping[str, str]
    kinds: Mapping[str, str]
    rule: str
    p_upper: float
    p_lower: float
    mean_p: float | None = None
    p_cap: float = 0.5
    control: str = DropControl.GUIDED.value
    seed: int = 0
    aggregate: str
    model: str
    fisher: str = ""
    version: str = __version__

    @property
    def mean(self) -> float:
        """Mean drop probability over the sites."""
        return math.fsum(self.rates.values()) / len(self.rates)

    def with_control(self, control: DropControl | str, *, seed: int = 0) -> DropoutPlan:
        """Return the plan of a control, with the same sites.

        Args:
            control: One of ``CONTROLS``.
            seed: Of ``shuffled``; three draws at least belong to a comparison.

        Returns:
            A plan that differs in ``rates``, ``control`` and ``seed``.

        Raises:
            InputError: An unknown control, this plan is one already, or ``per-type`` without roles.
        """
        if self.control != DropControl.GUIDED:
            raise InputError(
                f"control: this plan is the control '{self.control}', whose rates are no longer the guided ones. Start from "
                "the guided plan."
            )
        rates = control_rates(self.rates, control, roles=self.roles, seed=seed)
        return dataclasses.replace(self, rates=rates, control=str(control), seed=int(seed))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file: plain values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
        return {"schema_version": PLAN_SCHEMA_VERSION, **plain}

    def how_to_apply(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Return the lines with which a file of a plan is applied, those of Python indented.

        Args:
            path: As it is to stand in them.

        Returns:
            The lines.
        """
        return tuple(line.replace("{name}", os.fspath(path)) for line in _APPLY)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the plan, atomically.

        Args:
            path: The file: YAML (``.yaml``, ``.yml``) or JSON (``.json``). Its folder is made if it is missing.
            force: Replace an existing file.

        Raises:
            ResultsError: Another ending, the file exists, or it cannot be written.
        """
        content = {"policy": POLICY, **self.to_dict()} if is_yaml(path) else self.to_dict()
        save_plan_file(content, path, force=force, comments=(*_COMMENTS, *self.how_to_apply(os.path.basename(path))))

    def __str__(self) -> str:
        lowest, highest = min(self.rates, key=self.rates.__getitem__), max(self.rates, key=self.rates.__getitem__)
        of_model = f" of '{self.model}'" if self.model else ""
        return (
            f"Drop probabilities at {counted(len(self.rates), 'site')}{of_model} ({self.control}, rule {self.rule}): "
            f"mean {self.mean:.4f}\n"
            f"from {self.rates[lowest]:.4f} at '{lowest}' to {self.rates[highest]:.4f} at '{highest}'"
        )


def dropout_plan(
    fisher: Fisher | str | os.PathLike[str],
    *,
    p_upper: float = 0.1,
    p_lower: float = 0.0,
    rule: DropRule | str = DropRule.RANK,
    mean_p: float | None = None,
    p_cap: float = 0.5,
    control: DropControl | str = DropControl.GUIDED,
    seed: int = 0,
    aggregate: str | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
) -> DropoutPlan:
    """Make drop probabilities for the dropout sites of a model from its Fisher.

    Args:
        fisher: The Fisher, or its file; of a file the plan keeps the SHA-256.
        p_upper: Probability of the lowest score; see :func:`~spectra.policies.drop_prob.guided_rates`, as for the next four.
        p_lower: Probability of the highest score.
        rule: ``rank``, ``linear`` or ``log``.
        mean_p: Mean that the probabilities shall have, or ``None``.
        p_cap: Largest probability beside ``mean_p``.
        control: What becomes of the guided probabilities, one of ``CONTROLS``. Default ``guided``: they stay.
        seed: Of the control ``shuffled``.
        aggregate: How parameters become site scores. Default: the Fisher's own. The published order is that of
            ``mean_of_means``.
        include: Globs on site names: these sites take part. Default: all but those of the roles ``classifier``, as published,
            and ``adapter``.
        exclude: Globs on site names that take no part, included or not.

    Returns:
        The plan.

    Raises:
        InputError: No site, a pattern that matches none, or as in ``guided_rates`` and ``control_rates``.
        ResultsError: The file cannot be read.
    """
    measured = fisher if isinstance(fisher, Fisher) else load_fisher(fisher)
    sites = _chosen_sites(measured.sites, include, exclude)
    all_scores = measured.scores("site", aggregate)
    scores = {site.name: all_scores[site.name] for site in sites}
    plan = DropoutPlan(
        rates=guided_rates(scores, p_upper=p_upper, p_lower=p_lower, rule=rule, mean_p=mean_p, p_cap=p_cap),
        scores=scores,
        roles={site.name: str(site.role) for site in sites},
        kinds={site.name: str(site.kind) for site in sites},
        rule=str(rule),
        p_upper=float(p_upper),
        p_lower=float(p_lower),
        mean_p=None if mean_p is None else float(mean_p),
        p_cap=float(p_cap),
        aggregate=str(aggregate or measured.info.aggregate),
        model=measured.info.model,
        fisher="" if isinstance(fisher, Fisher) else fisher_fingerprint(fisher),
    )
    return plan.with_control(control, seed=seed)


def load_dropout_plan(path: str | os.PathLike[str]) -> DropoutPlan:
    """Read a plan, and refuse what is not one: a typo in a file edited by hand must not pass for a default.

    Args:
        path: What ``plan.save`` wrote.

    Returns:
        The plan.

    Raises:
        ResultsError: The file is missing, no JSON or YAML, a Fisher, or of another schema version; it has a key too much or too
            few, or a value that cannot be. All faults are named.
    """
    return dropout_plan_of(read_plan_file(path, "a dropout plan", "Make one with dropout_plan."))


def dropout_plan_of(file: PlanFile) -> DropoutPlan:
    """Check the content of a file, and make it a plan.

    Args:
        file: As it was read.

    Returns:
        The plan.

    Raises:
        ResultsError: As in :func:`load_dropout_plan`.
    """
    content = dict(file.content) if isinstance(file.content, dict) else {}
    if {"info", "tensors", "sites"} <= content.keys():
        raise ResultsError(f"'{file.path}' is a Fisher. Make a plan of it with spectra.dropout_plan.")
    policy = content.pop("policy", POLICY)
    if policy != POLICY:
        raise ResultsError(f"'{file.path}' is a plan of '{policy}', not of drop probabilities. Read it with load_plan.")
    version = content.pop("schema_version", None)
    if version != PLAN_SCHEMA_VERSION:
        raise ResultsError(
            f"'{file.path}' has schema_version {version}, a dropout plan has {PLAN_SCHEMA_VERSION}. Make it again with "
            "dropout_plan."
        )
    faults = [*file.doubled, *plan_faults(content, file.lines)]
    if faults:
        raise ResultsError(f"'{file.path}' is no dropout plan: {'; '.join(faults)}. Correct the file, or make it again.")
    return DropoutPlan(**content)


def _chosen_sites(sites: Sequence[SiteBlock], include: str | Sequence[str], exclude: str | Sequence[str]) -> list[SiteBlock]:
    if not sites:
        raise InputError(
            "fisher: it has no dropout sites, and a plan is one of sites. Measure a model that has dropout, or insert sites."
        )
    included, excluded = _globs(include), _globs(exclude)
    names = [site.name for site in sites]
    for pattern in (*included, *excluded):
        if not any(_matches(name, (pattern,)) for name in names):
            raise InputError(f"no dropout site matches '{pattern}'.{did_you_mean(pattern, names)} fisher.sites lists them.")
    chosen = [
        site
        for site in sites
        if (_matches(site.name, included) if included else site.role not in LEFT_ALONE) and not _matches(site.name, excluded)
    ]
    if not chosen:
        roles = "" if included else f" beside those of the roles {' and '.join(LEFT_ALONE)}, which take part only if included"
        raise InputError(f"include and exclude leave no dropout site{roles}. Loosen them; fisher.sites lists the sites.")
    return chosen


def _globs(patterns: str | Sequence[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
