"""What ``spectra plot`` draws from: one entry for each kind of source, found by its name and judged by its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spectra.errors import InputError

_LOGS = ("tempbalance.jsonl", "alphadecay.jsonl")  # of a run
_DATA_SHIFT, _MODEL_SHIFT = ".shift.json", ".model-shift.json"


def _given(source: Path) -> Path:
    return source


@dataclass(frozen=True)
class SourceKind:
    """A kind of file or folder that figures are drawn from.

    Attributes:
        word: What stands for it in the help.
        what: What a message calls it.
        origin: What the help says it is.
        made_by: The command that makes one.
        suffixes: Of its files; none if it is a folder only.
        is_folder: Whether it may be a folder.
        find: Which path is meant by the given one, such as the log in the folder of a run.
    """

    word: str
    what: str
    origin: str
    made_by: str
    suffixes: tuple[str, ...] = ()
    is_folder: bool = False
    find: Callable[[Path], Path] = _given

    def check(self, figure: str, source: Path) -> None:
        """Refuse a source of another kind by its name; what is in it the reader judges.

        Args:
            figure: To draw, for the message.
            source: As ``find`` returned it.

        Raises:
            InputError: A folder where a file is wanted, a suffix of other kinds, or a file where a folder is wanted.
        """
        if source.is_dir():
            possible = self.is_folder
        elif any(source.suffix in kind.suffixes for kind in SOURCES):
            possible = source.suffix in self.suffixes
        else:  # the reader of result folders says what is wrong with a name that tells nothing
            possible = self is REPORT
        if not possible:
            raise InputError(f"'{figure}' is drawn from {self.what}, and '{source}' is none. Make one: {self.made_by}")


def _log_of(source: Path) -> Path:
    """Return the log in the folder of a run."""
    return next((log for name in _LOGS if (log := source / name).is_file()), source) if source.is_dir() else source


def _beside(ending: str) -> Callable[[Path], Path]:
    """Make a search for the shift beside a data set, or beside its other shift."""

    def find(source: Path) -> Path:
        if source.name.endswith(ending):
            return source
        endings = (_DATA_SHIFT, _MODEL_SHIFT)
        stem = next((source.name.removesuffix(end) for end in endings if source.name.endswith(end)), source.stem)
        shift = source.with_name(stem + ending)
        return shift if shift.exists() else source

    return find


REPORT = SourceKind(
    "DIR",
    "a result folder",
    "the result folder of 'spectra analyze MODEL --output DIR'",
    "spectra analyze MODEL --output DIR",
    is_folder=True,
)
FISHER = SourceKind(
    "FILE",
    "a Fisher file (.safetensors)",
    "the .safetensors or .json file of 'spectra fisher'",
    "spectra fisher MODEL --data FILE -o fisher.safetensors",
    (".safetensors", ".json"),
)
SURFACE = SourceKind(
    "NPZ",
    "a loss surface (.npz)",
    "the file of 'spectra surface'",
    "spectra surface MODEL --data FILE --fisher fisher.safetensors -o surface.npz",
    (".npz",),
)
PLAN = SourceKind(
    "YAML",
    "a plan (.yaml)",
    "the .yaml, .yml or .json file of 'spectra plan'",
    "spectra plan MODEL -o plan.yaml",
    (".yaml", ".yml", ".json"),
)
RUN = SourceKind(
    "RUN", "the folder of a training run", "the folder of 'spectra finetune'", "spectra finetune RECIPE.yaml", is_folder=True
)
LOG = SourceKind(
    "JSONL",
    "a log of TempBalance (.jsonl)",
    "the log of TempBalance, or RUN",
    "train with TempBalance(model, optimizer, log='tempbalance.jsonl')",
    (".jsonl",),
    find=_log_of,
)
HISTORY = SourceKind(
    "DCS",
    "a sample history (.safetensors)",
    "the .safetensors file of DCSTrainer",
    "train with DCSTrainer, which writes sample_weights.safetensors",
    (".safetensors",),
)
REWRITTEN = SourceKind(
    "OUT",
    "the output of 'spectra distill' (.jsonl)",
    "the data set that 'spectra distill' wrote",
    "spectra distill DATA --model MODEL --task TASK -o OUT.jsonl",
    (".jsonl", ".json", ".csv"),
)
DATA_SHIFT = SourceKind(
    "SHIFT",
    "a shift of data (.shift.json)",
    "the .shift.json file of 'spectra distill shift', or OUT",
    "spectra distill shift OUT.jsonl --model MODEL",
    (".json",),
    find=_beside(_DATA_SHIFT),
)
MODEL_SHIFT = SourceKind(
    "MOVED",
    "a shift of a model (.model-shift.json)",
    "the .model-shift.json file of 'spectra distill shift --tuned', or OUT",
    "spectra distill shift OUT.jsonl --model MODEL --tuned MODEL",
    (".json",),
    find=_beside(_MODEL_SHIFT),
)
BASE_SHIFT = SourceKind(
    "BASE",
    "a shift of a base (.base-shift.json), or a folder of them",
    "a .base-shift.json file, or a folder with several, drawn together",
    "in Python, spectra.base_shift(PRETRAINED, RETRAINED).save('NAME.base-shift.json')",
    (".json",),
    is_folder=True,
)
MODELS = SourceKind(
    "CSV",
    "a table of models (.csv)",
    "a table with columns report (a DIR, relative to it), test_error and, if you like, name and group",
    "a CSV with the columns report and test_error",
    (".csv",),
)
COMPARISON = SourceKind(
    "CMP",
    "the result folder of a comparison",
    "the result folder of 'spectra compare BASE MODEL... --output DIR'",
    "spectra compare BASE MODEL --output DIR",
    is_folder=True,
)
SOURCES = (REPORT, COMPARISON, MODELS, FISHER, SURFACE, PLAN, RUN, LOG, HISTORY, REWRITTEN, DATA_SHIFT, MODEL_SHIFT, BASE_SHIFT)
