"""Whether a plan was made of the model that it is applied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spectra.diagnose.plan import model_info, plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.errors import SpectraError
from spectra.sources.tensors import Source

if TYPE_CHECKING:
    from spectra.policies.plan import Plan


def plan_notes(source: Source, sparsities: Plan | Mapping[str, float]) -> tuple[str, ...]:
    """Say whether a plan was made of other weights, as far as fingerprints tell.

    A fingerprint depends on which layers were analysed: those of the default settings and of the plan's own are compared.

    Args:
        source: The model.
        sparsities: A plan, or a sparsity by layer, of which nothing is known.

    Returns:
        A sentence, or none.
    """
    if isinstance(sparsities, Mapping) or not sparsities.fingerprint:
        return ()
    analysis = sparsities.settings.get("analysis", {})
    if sparsities.fingerprint in (_fingerprint(source, {}), _fingerprint(source, analysis)):
        return ()
    return (f"the plan was made of other weights than these, or of other layers of them: of '{sparsities.model}'",)


def _fingerprint(source: Source, analysis: Mapping[str, Any]) -> str:
    try:
        return model_info(
            source, plan_analysis(source, resolve_settings(**{"profile": "default", **analysis})), revision=False
        ).fingerprint
    except (SpectraError, TypeError):  # settings of a plan that was edited
        return ""
