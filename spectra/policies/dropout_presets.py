"""Drop probabilities that were published, under the names of a model's own dropout sites."""

from __future__ import annotations

import re
from collections.abc import Iterable

from spectra.errors import InputError
from spectra.policies.drop_prob import DropRule, guided_rates
from spectra.policies.dropout_plan import DropoutPlan
from spectra.results.fisher import Aggregate, SiteBlock

_LAYERS, _EMBEDDINGS = 12, "embeddings.dropout"
# Lowest Fisher score first. Read from the code of arXiv 2406.14005; its scores are those of masked-language-model BERT-base on
# simple-English Wikipedia.
_ORDER = (
    ("attention.self.dropout", (7, 10, 9, 8, 1, 6, 11, 2, 0, 5, 3, 4)),
    ("attention.output.dropout", (11, 0, 9, 10, 7, 1, 6, 8, 2, 5, 4, 3)),
    ("output.dropout", (11, 9, 6, 5, 2, 0, 10, 8, 7, 1, 4, 3)),
)
_P_UPPER = 0.099  # the code's top: 36 steps of 0.00275


def published_bert_base(site_names: Iterable[str]) -> dict[str, float]:
    """Give the sites of a BERT-base model the published drop probabilities.

    37 sites in 36 steps of 0.00275, from 0.099 for the attention probabilities of layer 7 down to 0 for the embeddings; mean
    0.0495. The classifier's dropout, and any other site, is left alone, as published.

    Source: the code of arXiv 2406.14005 (Mandar-Sharma/Guided-Dropout).

    Args:
        site_names: Names of the model's dropout sites, such as ``"bert.encoder.layer.0.output.dropout"``; before
            ``"embeddings"`` and ``"encoder"`` anything may stand. Only names are compared: a model that is built like
            BERT-base but was trained otherwise has other scores.

    Returns:
        Drop probability by site, in the order of the names.

    Raises:
        InputError: The names are not those of one BERT-base; the message says what is missing, or what is too much.
    """
    names = list(site_names)
    prefix = _prefix(names)
    ranked = [f"{prefix}encoder.layer.{layer}.{site}" for site, layers in _ORDER for layer in layers]
    ranked.append(prefix + _EMBEDDINGS)
    missing = [name for name in ranked if name not in names]
    if missing:
        raise InputError(
            f"no BERT-base: {len(missing)} of its {len(ranked)} dropout sites are missing, {_some(missing)}. Measure the "
            "model's own Fisher and make a plan from it."
        )
    rates = guided_rates({name: float(rank) for rank, name in enumerate(ranked)}, p_upper=_P_UPPER)
    return {name: rates[name] for name in names if name in rates}


def published_plan(sites: Iterable[SiteBlock], *, model: str = "") -> DropoutPlan:
    """Make a plan of the published drop probabilities, from which its controls can be made.

    Args:
        sites: Of a BERT-base model, as ``find_sites`` gives them.
        model: Its name, for the record.

    Returns:
        The plan of :func:`published_bert_base`; it has no scores.

    Raises:
        InputError: The sites are not those of one BERT-base.
    """
    by_name = {site.name: site for site in sites}
    rates = published_bert_base(by_name)
    return DropoutPlan(
        rates=rates,
        scores={},
        roles={name: str(by_name[name].role) for name in rates},
        kinds={name: str(by_name[name].kind) for name in rates},
        rule=DropRule.RANK.value,
        p_upper=_P_UPPER,
        p_lower=0.0,
        aggregate=Aggregate.MEAN_OF_MEANS.value,
        model=model,
    )


def _prefix(names: list[str]) -> str:
    """Find what stands before ``embeddings`` and ``encoder``, and refuse deeper models and pairs of models."""
    found = [name for name in names if name == _EMBEDDINGS or name.endswith(f".{_EMBEDDINGS}")]
    if len(found) != 1:
        number = f"{len(found)} sites ({_some(found)}) are" if found else "no site is"
        raise InputError(f"no BERT-base: {number} of name '{_EMBEDDINGS}', expected 1. Give the dropout sites of one model.")
    prefix = found[0].removesuffix(_EMBEDDINGS)
    layer = re.compile(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\.")
    deeper = [name for name in names if (match := layer.match(name)) and int(match[1]) >= _LAYERS]
    if deeper:
        raise InputError(
            f"no BERT-base: it has {_LAYERS} layers, and there is {_some(deeper)}. Measure the model's own Fisher and make a "
            "plan from it."
        )
    return prefix


def _some(names: list[str]) -> str:
    named = ", ".join(f"'{name}'" for name in names[:3])
    return f"{named} and {len(names) - 3} more" if len(names) > 3 else named
