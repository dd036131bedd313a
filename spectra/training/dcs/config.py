"""The options of DCS: their only definition, with the baselines that differ by some of them.

Names are those of our description of the method: a reconstruction of DCS (arXiv 2312.07028), whose equations we could not
compare. Everything that the paper may do otherwise is therefore an option.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spectra.errors import InputError, did_you_mean
from spectra.policies.policy_options import is_number
from spectra.training.dcs.boosting import BoostingRule
from spectra.training.diagnostic_flags import plain_option

DISCORDANCES = ("argmax", "tv", "teacher_correct", "label", "r2", "token")
_WORDS = {
    "discordance": (None, *DISCORDANCES),
    "discordance_source": ("eval_pass", "train_forward"),
    "error_form": ("linear", "square", "exponential"),
    "mode": ("weight", "sample"),
    "teacher_select": ("last", "best"),
    "cache": ("auto", "logits", "top_k", "off"),
}

# What other trainers call an option.
_OTHER_WORDS = {"temperature": "tau", "alpha": "lam", "lambda_": "lam", "lmbda": "lam"}


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class DCSConfig:
    """Options of :class:`~spectra.training.dcs.DCSTrainer`.

    Attributes:
        lam: Share of distillation in a sample's loss: 0 = labels only, 1 = the teacher only. Default 0.5: our choice, as are
            all defaults here.
        tau: Temperature of the distillation.
        eta: Factor on AdaBoost's step. 0 never changes a weight: uniform self-distillation.
        alpha_max: Largest step of a round, so that a weight grows by at most ``exp(alpha_max)``.
        rho: Share of each weight that goes back to 1 before a round's step.
        v_min: Smallest weight. The mean of all weights is 1.
        v_max: Largest weight.
        warmup_rounds: Rounds at the start that change no weight: a fresh head agrees with its teacher by chance only.
        eps_min: A round whose weighted discordance is not above this is skipped.
        eps_max: A round whose weighted discordance is not below this is skipped. Default, and most that counts: ``1 - 1 / C``
            for C classes, 0.5 for regressions, where AdaBoost's step would change its sign.
        update_every: ``"epoch"``, or a number of optimizer steps: then only the samples seen since the last update count.
        discordance: How a student's answer is compared: ``argmax``, ``tv`` (total variation), ``teacher_correct``, ``label``
            (needs no teacher), ``r2`` (regressions), ``token`` (language models). Default: the one for the model's task.
        discordance_source: ``"eval_pass"`` asks the student about all samples after each epoch, without dropout;
            ``"train_forward"`` takes what it answered when the sample was last trained on, which costs nothing.
        error_form: For regressions: what an error relative to the largest becomes: ``linear``, ``square`` or ``exponential``.
        error_quantile: For regressions: errors are relative to this quantile, and larger ones count as 1. Default: the largest.
        mode: ``"weight"`` multiplies losses by the weights; ``"sample"`` draws samples with probabilities like the weights.
        batch_norm_weights: Divide the loss of a batch by the sum of its weights and not by their number.
        generations: Above 1, each student is the teacher of the next one, which starts anew with weights of 1.
        teacher_select: Which checkpoint of a teacher that is trained here is used: its ``"last"``, or the ``"best"`` on
            ``eval_dataset``.
        cache: What is kept of the teacher: ``"logits"`` for classifiers and regressions, ``"top_k"`` probabilities for language
            models, or nothing: ``"off"`` keeps the teacher itself in memory. Default ``"auto"``: ``"logits"`` where they fit,
            else ``"off"``.
        top_k: Probabilities that are kept of each token.
        weighted_fisher: ``DCSTrainer.fisher`` weights samples as the loss does.
        tempbalance: Balance learning rates too: what :class:`~spectra.training.TempBalanceCallback` takes, such as
            ``{"policy": "recommended"}``; or the name of a preset.
        guided_dropout: Drop probabilities too: what :class:`~spectra.training.GuidedDropout` takes, such as a plan's file.

    Raises:
        InputError: Values that cannot be; all are named.
    """

    lam: float = _option(0.5, "share of distillation in a sample's loss")
    tau: float = _option(2.0, "temperature of the distillation")
    eta: float = _option(0.5, "factor on AdaBoost's step")
    alpha_max: float = _option(1.0, "largest step of a round")
    rho: float = _option(0.3, "share of each weight that goes back to 1 in each round")
    v_min: float = _option(0.25, "smallest weight")
    v_max: float = _option(4.0, "largest weight")
    warmup_rounds: int = _option(1, "rounds at the start that change no weight")
    eps_min: float = _option(0.0, "weighted discordance up to which a round is skipped")
    eps_max: float | None = _option(None, "weighted discordance from which a round is skipped")
    update_every: int | Literal["epoch"] = _option("epoch", "epoch, or optimizer steps between updates")
    discordance: str | None = _option(None, "how a student's answer is compared")
    discordance_source: str = _option("eval_pass", "a pass over all samples, or what training saw")
    error_form: str = _option("linear", "what becomes of the error of a regression")
    error_quantile: float | None = _option(None, "quantile that errors of a regression are relative to")
    mode: str = _option("weight", "multiply losses, or draw samples")
    batch_norm_weights: bool = _option(False, "divide a batch's loss by the sum of its weights")
    generations: int = _option(1, "students in a row, each the teacher of the next")
    teacher_select: str = _option("last", "checkpoint of a teacher that is trained here")
    cache: str = _option("auto", "what is kept of the teacher")
    top_k: int = _option(32, "probabilities kept of each token")
    weighted_fisher: bool = _option(False, "weight samples in the Fisher as in the loss")
    tempbalance: Any = _option(None, "options of TempBalance")  # noqa: RUF009 - dataclasses.field with words
    guided_dropout: Any = _option(None, "a plan of guided dropout")  # noqa: RUF009 - dataclasses.field with words

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        try:
            self.rule(num_classes=2)
        except InputError as error:
            faults.append(str(error).removesuffix("."))
        if faults:
            raise InputError(f"DCSConfig: {'; '.join(faults)}.")

    def rule(self, num_classes: int | None) -> BoostingRule:
        """Return what changes weights.

        Args:
            num_classes: C; ``None`` for regressions.
        """
        names = ("eta", "alpha_max", "rho", "v_min", "v_max", "eps_min", "eps_max")
        return BoostingRule(num_classes=num_classes, **{name: getattr(self, name) for name in names})

    @property
    def changes_weights(self) -> bool:
        """Whether weights ever differ from 1."""
        return self.eta > 0

    @property
    def looks_while_training(self) -> bool:
        """Whether answers are taken from training itself, rather than from a pass over all samples."""
        return self.update_every != "epoch" or self.discordance_source == "train_forward"

    @property
    def needs_teacher(self) -> bool:
        """Whether anything is compared with a teacher."""
        return self.lam > 0 or (self.changes_weights and self.discordance != "label")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values that YAML and JSON can hold, except infinities in JSON."""
        return {f.name: plain_option(getattr(self, f.name)) for f in dataclasses.fields(self)}


_UNRESTRICTED = {"eta": 1.0, "rho": 0.0, "alpha_max": math.inf, "v_min": 0.0, "v_max": math.inf, "warmup_rounds": 0}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "dcs": {},
    "plain": {"lam": 0.0, "eta": 0.0},
    "uniform": {"eta": 0.0},
    "label-boosting": {"lam": 0.0, "discordance": "label"},
    "literal-adaboost": _UNRESTRICTED,
}
"""The method and its baselines: fine-tuning as usual, self-distillation with equal weights, boosting by labels without a
teacher, and AdaBoost's own step without any limit, which ends on a few samples."""


def dcs_config(config: DCSConfig | str | Mapping[str, Any] | None = None, **changes: Any) -> DCSConfig:
    """Take options and changes to them.

    Args:
        config: Options; the name of one of ``PRESETS``; or options by name, as changes to the preset that ``preset`` says.
            Default: ``"dcs"``.
        **changes: Options by name.

    Returns:
        The options.

    Raises:
        InputError: An unknown preset or option, or values that cannot be.

    Example:
        >>> dcs_config("uniform", tau=4.0).eta
        0.0
    """
    if isinstance(config, DCSConfig):
        return dataclasses.replace(config, **_known(changes))
    if not isinstance(config, str | Mapping | None):
        raise InputError(f"config: expected a DCSConfig, a preset's name or options by name, got {config!r}.")
    given = {"preset": config} if isinstance(config, str) else dict(config or {})
    preset = given.pop("preset", "dcs")
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}.{did_you_mean(str(preset), PRESETS)} Known: {', '.join(PRESETS)}.")
    return DCSConfig(**{**PRESETS[preset], **_known(given), **_known(changes)})


def refuse_arguments(args: Any, options: Mapping[str, Any]) -> None:
    """Refuse what a ``Trainer`` takes and DCS cannot, and DCS's own options beside it.

    Args:
        args: Of the trainer.
        options: By name.

    Raises:
        InputError: As above.
    """
    if options.get("compute_loss_func") is not None:
        raise InputError("compute_loss_func: it is for whole batches. Pass sample_loss=, one loss for each sample.")
    own = next((name for name in options if name in {f.name for f in dataclasses.fields(DCSConfig)}), None)
    if own is not None:
        raise InputError(f"{own}: it is an option of DCS. Pass config={{{own!r}: {options[own]!r}}}.")
    packed = next((name for name in ("packing", "padding_free") if getattr(args, name, False)), None)
    if packed is not None:
        raise InputError(f"{packed}: a row would hold several samples, and each needs a loss of its own. Turn it off.")


def _known(options: Mapping[str, Any]) -> Mapping[str, Any]:
    known = [f.name for f in dataclasses.fields(DCSConfig)]
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        meant = _OTHER_WORDS.get(str(unknown))
        hint = f" Did you mean {meant!r}?" if meant else did_you_mean(str(unknown), known)
        raise InputError(f"unknown option {unknown!r}.{hint} Known: {', '.join(known)}.")
    return options


def _faults(config: DCSConfig) -> list[str]:
    faults = []
    if not (is_number(config.lam) and 0.0 <= config.lam <= 1.0):
        faults.append(f"lam: expected a number in [0, 1], got {config.lam!r}")
    if not (is_number(config.tau) and 0.0 < config.tau < math.inf):
        faults.append(f"tau: expected a number above 0, got {config.tau!r}")
    for name, least in {"warmup_rounds": 0, "generations": 1, "top_k": 1}.items():
        if not _is_count(getattr(config, name), least):
            faults.append(f"{name}: expected a whole number of at least {least}, got {getattr(config, name)!r}")
    if config.update_every != "epoch" and not _is_count(config.update_every, 1):
        faults.append(f"update_every: expected 'epoch' or a number of optimizer steps, got {config.update_every!r}")
    for name, words in _WORDS.items():
        value = getattr(config, name)
        if value not in words:
            known = [word for word in words if word]
            faults.append(f"{name}: unknown {value!r}.{did_you_mean(str(value), known)} Known: {', '.join(known)}")
    quantile = config.error_quantile
    if quantile is not None and not (is_number(quantile) and 0.0 < quantile <= 1.0):
        faults.append(f"error_quantile: expected a number in (0, 1], got {quantile!r}")
    switches = {name: getattr(config, name) for name in ("batch_norm_weights", "weighted_fisher")}
    faults.extend(f"{name}: expected True or False, got {on!r}" for name, on in switches.items() if not isinstance(on, bool))
    return faults or _contradictions(config)


def _contradictions(config: DCSConfig) -> list[str]:
    faults = []
    if config.mode == "sample" and config.update_every != "epoch":
        faults.append("mode: 'sample' draws an epoch at a time. Leave update_every at 'epoch'")
    if config.mode == "sample" and config.batch_norm_weights:
        faults.append("batch_norm_weights: with mode='sample' the loss has no weights. Leave it out")
    return faults


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
