"""The parts of a recipe: the only definition of each option, with its meaning, its source and what it must be.

Options that another class defines are checked by that class: those of a method by its configuration, those of TempBalance by
``TempBalanceConfig``. Names of ``training`` are those of ``TrainingArguments``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from spectra.training.recipe import method_options
from spectra.training.recipe.diagnostics_part import DiagnosticsPart, GuidedDropoutPart
from spectra.training.recipe.options import (
    COUNT_OR_NONE,
    OPTIONS,
    POSITIVE,
    SEED,
    SHARE,
    SWITCH,
    TEXT,
    TEXT_OR_NONE,
    WORDS,
    Key,
    Part,
    PartError,
    Rule,
    count,
    one_of,
    option,
    options_of,
    or_none,
    part,
    plain,
)
from spectra.training.recipe.training_part import TrainingPart

__all__ = [
    "AdapterPart", "DataPart", "DiagnosticsPart", "GuidedDropoutPart", "MethodPart", "ModelPart", "Recipe", "TrainingPart",
    "PARTS", "TASKS", "DTYPES", "where",
]  # fmt: skip

# Words of a module that imports torch; a test compares them.
TASKS = ("causal-lm", "seq2seq", "masked-lm", "sequence-classification", "token-classification", "regression")
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
NONE = "none"
ALL_LINEAR = "all-linear"  # peft's word
_LORA = "lora"

_OURS = "our choice"


def _read_targets(value: Any) -> tuple[str, ...] | str | None:
    if value is None:
        return None
    if value == ALL_LINEAR:
        return ALL_LINEAR
    if not (names := tuple(WORDS.read(value))):
        raise ValueError
    return names


def _read_trackers(value: Any) -> tuple[str, ...]:
    return () if value in (None, NONE) else tuple(WORDS.read(value))


_TARGETS = Rule(f"names of modules, '{ALL_LINEAR}' or null", _read_targets)
_TRACKERS = Rule("names of trackers, or none", _read_trackers)


@dataclass(frozen=True, kw_only=True)
class ModelPart(Part):
    """The model that is trained; how many labels it has, the data say."""

    name: str = option("a folder, a hub id, or demo", "", TEXT)
    task: str | None = option("what the model predicts; null: what its checkpoint is for", _OURS, or_none(one_of(TASKS)), None)
    dtype: str = option("of the weights; auto: as stored", _OURS, one_of(DTYPES), "auto")
    device: str = option("cpu or cuda; auto: a GPU if there is one", _OURS, TEXT, "auto")
    revision: str | None = option("branch, tag or commit of a hub id", "the hub's main branch", TEXT_OR_NONE, None)
    trust_remote_code: bool = option("run code that comes with the model", "our choice: never unasked", SWITCH, False)


@dataclass(frozen=True, kw_only=True)
class DataPart(Part):
    """What the model is trained and evaluated on: files of records, or a hub id."""

    train: str | None = option("a file of examples to train on, or a hub id", "", TEXT_OR_NONE, None)
    eval: str | None = option("examples to evaluate on while training", "", TEXT_OR_NONE, None)
    test: str | None = option("examples to evaluate on once, at the end", "", TEXT_OR_NONE, None)
    tasks: str | None = option("a folder of tasks, for meta_peft", "", TEXT_OR_NONE, None)
    text_column: str | None = option("column of the texts; a .txt file needs none", "", TEXT_OR_NONE, None)
    pair_column: str | None = option("column of second texts", "", TEXT_OR_NONE, None)
    label_column: str | None = option("column of classes or numbers", "", TEXT_OR_NONE, None)
    target_column: str | None = option("column of answers", "", TEXT_OR_NONE, None)
    prompt_column: str | None = option("column of prompts, for sdft", "", TEXT_OR_NONE, None)
    response_column: str | None = option("column of responses, for sdft", "", TEXT_OR_NONE, None)
    train_size: int | None = option("most examples to train on, drawn at random; null: all", _OURS, COUNT_OR_NONE, None)
    eval_size: int | None = option("most examples to evaluate on; null: all", _OURS, COUNT_OR_NONE, None)
    data_seed: int = option("of the drawing", "our choice: apart from seed, which varies", SEED, 0)
    max_length: int = option("tokens a text is cut to", "our choice, as spectra fisher", count(1), 128)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """Yield options that others exclude, each with a sentence."""
        if self.train is None and self.tasks is None:
            yield "train", "missing: a file of examples to train on, or a hub id; for meta_peft give data.tasks."
        if self.train is not None and self.tasks is not None:
            yield "tasks", "training is on these or on data.train. Leave one out."


@dataclass(frozen=True, kw_only=True)
class MethodPart(Part):
    """How the model is trained. In a recipe the options stand beside the name.

    Attributes:
        name: ``plain``, ``dcs``, ``sdft`` or ``meta_peft``.
        options: Of the method, all of them, as its configuration has them; presets are written out.
    """

    name: str = option("plain, dcs, sdft or meta_peft", _OURS, one_of(method_options.METHODS))
    options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"rule": OPTIONS, "meaning": "of the method", "source": ""}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        resolved, faults = method_options.resolved(self.name, self.options)
        if faults:
            raise PartError(faults)
        object.__setattr__(self, "options", resolved)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Make the part of a name and options beside it.

        Args:
            content: All of them.

        Returns:
            The part.
        """
        name = {"name": content["name"]} if "name" in content else {}
        return super().of({**name, "options": {key: value for key, value in content.items() if key != "name"}})

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, as they stand in YAML."""
        return {"name": self.name, **plain(self.options)}

    def sources(self) -> dict[Key, str]:
        """Return where values come from, of options that have their default."""
        return method_options.sources(self.name, self.options)


@dataclass(frozen=True, kw_only=True)
class AdapterPart(Part):
    """The adapter that is trained in place of all weights."""

    name: str = option("none or lora", "", one_of((NONE, _LORA)))
    rank: int = option("rank of the change of a weight; with ranks their mean", "peft", count(1), 8)
    alpha: float | None = option(
        "the change is multiplied by alpha / rank; null: twice the rank", _OURS, or_none(POSITIVE), None
    )
    dropout: float = option("drop probability before the adapter", "peft", SHARE, 0.0)
    targets: tuple[str, ...] | str | None = option(
        f"names of modules, or {ALL_LINEAR}; null: those that peft adapts", "peft", _TARGETS, None
    )
    ranks: str | None = option("a plan of ranks, or alpha or fisher to make one; null: all alike", _OURS, TEXT_OR_NONE, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == _LORA and self.alpha is None:
            object.__setattr__(self, "alpha", 2.0 * self.rank)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """Yield options that others exclude, each with a sentence."""
        if self.name == NONE:
            for f in options_of(type(self)):
                if f.name != "name" and getattr(self, f.name) != f.default:
                    yield f.name, "it is of an adapter, and there is none. Give adapter.name: lora, or leave it out."
        elif self.ranks is not None and self.targets is not None:
            yield "targets", "the plan of adapter.ranks says which modules are adapted. Leave one out."

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, as they stand in YAML."""
        return {"name": NONE} if self.name == NONE else super().to_dict()


@dataclass(frozen=True, kw_only=True)
class Recipe(Part):
    """A fine-tuning run.

    Attributes:
        output: The run folder; relative to the working directory, as all paths are.
        name: What tables and trackers call the run. Default: the last part of ``output``.
        seed: Of everything drawn at random, except which examples are taken.
        places: Where in its file each option was given, for messages; no part of what a recipe is.
    """

    model: ModelPart = option("the model: its name, or options", "", part(ModelPart))  # noqa: RUF009 - a field
    data: DataPart = option("files and columns", "", part(DataPart))  # noqa: RUF009
    method: MethodPart = option("how it is trained: a name, or options", "", part(MethodPart), MethodPart(name="plain"))  # noqa: RUF009
    adapter: AdapterPart = option("what is trained: a name, or options", "", part(AdapterPart), AdapterPart(name=NONE))  # noqa: RUF009
    diagnostics: DiagnosticsPart = option("what is measured and used", "", part(DiagnosticsPart), DiagnosticsPart())  # noqa: RUF009
    training: TrainingPart = option("options of TrainingArguments", "", part(TrainingPart), TrainingPart())  # noqa: RUF009
    output: str = option("the run folder, such as runs/first", "", TEXT)
    name: str | None = option("what tables call the run; null: the last part of output", "", TEXT_OR_NONE, None)
    seed: int = option("of everything drawn at random", "transformers", SEED, 42)
    report_to: tuple[str, ...] = option("trackers of transformers, such as tensorboard", "our choice: none", _TRACKERS, ())
    places: Mapping[Key, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is None:
            object.__setattr__(self, "name", Path(self.output).name or "run")

    def where(self, *key: str) -> str:
        """Name an option as messages do, with its line: ``where("data", "train")`` is ``data.train (line 2)``."""
        return where(key, self.places)


def where(key: Key, places: Mapping[Key, str]) -> str:
    """Name an option as messages do.

    Args:
        key: Its place in a recipe.
        places: Where options were given.

    Returns:
        Its dotted name, with the line of it, or of the nearest that it is part of.
    """
    nearest = next((places[key[:size]] for size in range(len(key), 0, -1) if key[:size] in places), None)
    return ".".join(key) + (f" ({nearest})" if nearest else "")


PARTS: Mapping[str, type[Part]] = {
    "model": ModelPart,
    "data": DataPart,
    "method": MethodPart,
    "adapter": AdapterPart,
    "diagnostics": DiagnosticsPart,
    "training": TrainingPart,
}
