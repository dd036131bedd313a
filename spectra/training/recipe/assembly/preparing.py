"""What a run prepares before it trains, each in a file of the run folder, from where a run that goes on takes it.

========================================== ===============================================================================
file                                       what
========================================== ===============================================================================
``diagnostics/fisher.safetensors``         Fisher of the model on the training data, before training
``diagnostics/pretraining-fisher...``      the same by what the checkpoint was pretrained for
``dropout-plan.yaml``                      drop probabilities: made of a Fisher, or the given plan
``rank-plan.yaml``                         ranks of the adapter: made of spectra or the Fisher, or the given plan
``responses.jsonl``                        responses in the model's own words, for ``sdft``
========================================== ===============================================================================

Which Fisher: guided dropout is published with that of the *pretraining* task (arXiv 2406.14005: masked tokens, for BERT). So it
is here where the checkpoint has the head for it and the run's own head is new: the texts are those of the training data, and
labels are not looked at. Otherwise, and for ranks, it is that of the run's own task. A new head is random then, and what flows
back through it says less; the notes of the run say so.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectra.errors import InputError
from spectra.fisher.estimate import fisher as estimate
from spectra.policies.dropout_plan import dropout_plan
from spectra.policies.plan import load_plan
from spectra.policies.plan import plan as make_plan
from spectra.policies.plan_record import Plan
from spectra.results.fisher_records import Aggregate, Keep
from spectra.results.writing import made
from spectra.training.guided_dropout import GuidedDropout
from spectra.training.recipe.assembly.subjects import Subject
from spectra.training.recipe.diagnostics_part import GuidedDropoutPart
from spectra.training.recipe.parts import Recipe

FISHER = "diagnostics/fisher.safetensors"
PRETRAINING_FISHER = "diagnostics/pretraining-fisher.safetensors"
DROPOUT_PLAN = "dropout-plan.yaml"
RANK_PLAN = "rank-plan.yaml"

OF_SPECTRA, OF_FISHER = "alpha", "fisher"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Workshop:
    """Where things are prepared.

    Attributes:
        recipe: What is asked for.
        folder: Of the run.
        subject: The model that is trained, before it has an adapter, and its data.
        has_new_head: Whether the model that is trained has a head that was drawn at random.
        pretrained: The same with the head it was pretrained with, loaded when it is needed; ``None`` where there is none.
        say: Called with what is being done.
        seconds: By what was prepared; filled as it goes on.
    """

    recipe: Recipe
    folder: Path
    subject: Subject
    has_new_head: bool
    pretrained: Callable[[], Subject] | None
    say: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the seconds of a preparation."""
        began = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began


def prepare_run(shop: Workshop) -> None:
    """Make what the recipe asks for and is not in the folder yet; in one process of several.

    Args:
        shop: Where.

    Raises:
        InputError: A plan or Fisher that cannot be made, or a plan of something else.
        ResultsError: A file that cannot be read or written.
    """
    guided, adapter = shop.recipe.diagnostics.guided_dropout, shop.recipe.adapter
    if shop.recipe.diagnostics.fisher or adapter.ranks == OF_FISHER:
        _measured(shop, FISHER)
    if guided is not None and not (shop.folder / DROPOUT_PLAN).exists():
        _make_dropout_plan(shop, guided)
    if adapter.ranks is not None and not (shop.folder / RANK_PLAN).exists():
        _make_rank_plan(shop, adapter.ranks)


def preparation_notes(shop: Workshop) -> tuple[str, ...]:
    """Say what is to know of what was prepared, and of what depends on the speed of the machine.

    Args:
        shop: Where it was.

    Returns:
        Sentences.
    """
    diagnostics, adapter = shop.recipe.diagnostics, shop.recipe.adapter
    makes_rates = diagnostics.guided_dropout is not None and diagnostics.guided_dropout.plan is None
    notes = []
    if makes_rates and shop.pretrained is not None:
        notes.append(
            "The drop probabilities are of the Fisher by what the model was pretrained for, as published; the texts are the "
            "training data's."
        )
    of_head = ["drop probabilities"] if makes_rates and shop.pretrained is None else []
    of_head += ["ranks"] if adapter.ranks == OF_FISHER else []
    if of_head and shop.has_new_head:
        what = " and ".join(of_head)
        notes.append(f"The {what} are of the Fisher of the run's own task, measured through a head that is still random.")
    for name in ("tempbalance", "alphadecay"):
        options = getattr(diagnostics, name)
        if options is not None and options["interval"] == "auto":
            notes.append(
                f"When {name} measures depends on the speed of the machine. Give diagnostics.{name}.interval to repeat a run "
                "exactly."
            )
    return tuple(notes)


def prepared_dropout(recipe: Recipe, folder: Path, *, has_prepared: bool) -> GuidedDropout | None:
    """Return the drop probabilities of a run.

    Args:
        recipe: What is asked for.
        folder: Of the run.
        has_prepared: Whether :func:`prepare_run` has run; else only a given plan is known.

    Returns:
        What is applied, or ``None``.

    Raises:
        InputError: A plan without the probabilities that its control needs.
        ResultsError: No plan.
    """
    part = recipe.diagnostics.guided_dropout
    if part is None:
        return None
    if has_prepared:
        return GuidedDropout(folder / DROPOUT_PLAN)
    return None if part.plan is None else _given_dropout(recipe, part)


def prepared_ranks(recipe: Recipe, folder: Path, *, has_prepared: bool) -> Plan | None:
    """Return the ranks of a run's adapter.

    Args:
        recipe: What is asked for.
        folder: Of the run.
        has_prepared: Whether :func:`prepare_run` has run; else only a given plan is known.

    Returns:
        The plan; ``None`` where all ranks are alike, or not known yet.

    Raises:
        InputError: A plan of something else.
        ResultsError: No plan.
    """
    ranks = recipe.adapter.ranks
    if ranks is None or (ranks in (OF_SPECTRA, OF_FISHER) and not has_prepared):
        return None
    return _rank_plan(recipe, folder / RANK_PLAN if has_prepared else Path(ranks).expanduser())


def _make_dropout_plan(shop: Workshop, part: GuidedDropoutPart) -> None:
    if part.plan is not None:
        guided = _given_dropout(shop.recipe, part)
    else:
        name = FISHER if shop.pretrained is None else PRETRAINING_FISHER
        guided = GuidedDropout(dropout_plan(_measured(shop, name, part.samples), **_plan_options(part)))
    guided.save(shop.folder / DROPOUT_PLAN, force=True)


def _plan_options(part: GuidedDropoutPart) -> dict[str, Any]:
    names = ("control", "seed", "p_upper", "p_lower", "rule", "mean_p", "p_cap", "aggregate", "include", "exclude")
    return {name: getattr(part, name) for name in names}


def _given_dropout(recipe: Recipe, part: GuidedDropoutPart) -> GuidedDropout:
    given = GuidedDropout(str(part.plan))
    if part.control == "guided":
        return given
    if given.plan is None:
        where = recipe.where("diagnostics", "guided_dropout", "control")
        raise InputError(f"{where}: '{part.plan}' holds rates alone, and a control is made of a plan. Leave it out.")
    return GuidedDropout(given.plan.with_control(part.control, seed=part.seed))


def _make_rank_plan(shop: Workshop, ranks: str) -> None:
    if ranks not in (OF_SPECTRA, OF_FISHER):
        plan = _rank_plan(shop.recipe, Path(ranks).expanduser())
    else:
        fisher = shop.folder / FISHER if ranks == OF_FISHER else None
        shop.say("planning the ranks of the adapter")
        with shop.timed("ranks"):
            planned = make_plan(shop.subject.model, fisher, policy="adapter-rank", mean_rank=shop.recipe.adapter.rank)
        assert isinstance(planned, Plan), "of ranks"
        plan = planned
    plan.save(shop.folder / RANK_PLAN, force=True)


def _rank_plan(recipe: Recipe, file: Path) -> Plan:
    found = load_plan(file)
    if not isinstance(found, Plan) or found.target != "adapter_rank":
        where = recipe.where("adapter", "ranks")
        raise InputError(f"{where}: '{file}' is a plan of another policy. Make one: spectra plan MODEL --policy adapter-rank")
    return found


def _measured(shop: Workshop, name: str, samples: int | None = None) -> Path:
    """Measure a Fisher, or go on measuring it, unless it is there; return its file."""
    file = shop.folder / name
    if file.exists():
        return file
    state = file.with_suffix(".partial.safetensors")
    made(file.parent)
    guided = shop.recipe.diagnostics.guided_dropout
    needs_values = guided is not None and guided.aggregate == Aggregate.RELATIVE
    with shop.timed("fisher"):
        found = shop.subject if name == FISHER or shop.pretrained is None else shop.pretrained()
        result = estimate(
            found.model,
            found.batches(samples),
            task=found.task,
            keep=Keep.VALUES if needs_values else Keep.TRACES,
            seed=shop.recipe.seed,
            state=state,
            progress=lambda done: shop.say(f"measuring the Fisher: {done.num_samples:,} examples"),
        )
    info = dataclasses.replace(result.info, model=found.name, notes=(*found.notes, *result.info.notes))
    dataclasses.replace(result, info=info).save(file, force=True)
    state.unlink(missing_ok=True)
    return file
