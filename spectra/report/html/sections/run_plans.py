"""The plans that a run made of diagnostics: drop probabilities of guided dropout, ranks of an adapter."""

from __future__ import annotations

from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan_record import Plan
from spectra.report.html.run_state import RunState
from spectra.report.html.section import Section
from spectra.report.html.sections.plan import plans_section
from spectra.report.run_content import DROPOUT_PLAN, RANK_PLAN


def section(run: RunState) -> Section | None:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        ``None`` without a plan.
    """
    found: list[tuple[str, Plan | DropoutPlan | None]] = [(DROPOUT_PLAN, run.files.drop_rates), (RANK_PLAN, run.files.ranks)]
    return plans_section([(file, plan) for file, plan in found if plan is not None])
