r"""How far fine-tuning moved what a model says next: :math:`\mathrm{KL}(p_{seed} \,\|\, p_{tuned})` on texts of one's choice.

It is zero for equal predictions and grows where the tuned model finds unlikely what the seed would say: forgetting, seen from
the seed. Logits are those that the models compute, in their dtype; softmax and sums are taken in float64, as the divergence of
two close models is a small difference of large numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectra.errors import InputError
from spectra.fisher.as_found import as_found
from spectra.fisher.batches import check_batches, mapped
from spectra.results.model_shift import Divergence
from spectra.training.sdft.seed_model import as_seed

_IGNORED = -100
_AT_ONCE = 2**22  # probabilities in float64: 32 MiB, a few times over


def divergence(seed: nn.Module | None, tuned: nn.Module, probe: Iterable[Mapping[str, Any]]) -> Divergence:
    """Measure how far the predictions of a tuned model are from those of its seed.

    Args:
        seed: A causal language model of transformers. ``None``: the tuned one without its adapter, so that there is one copy.
        tuned: Another with the same vocabulary; on the same device or not.
        probe: Batches as the models take them, gone through once. Each token with a label counts, labels being shifted and -100
            meaning none, as in training; without ``labels`` each token that is not padded, but the first of its text.

    Returns:
        The mean over tokens, with the standard error that the choice of texts leaves. The models are left as they were.

    Raises:
        InputError: A single batch, none with a token to predict, another vocabulary, logits that are not finite, or an adapter
            that is merged or missing.
    """
    check_batches(probe)
    if seed is None and not (hasattr(tuned, "disable_adapter") or getattr(tuned, "_hf_peft_config_loaded", False)):
        raise InputError(f"a {type(tuned).__name__} without adapter is no seed of its own. Give the model before training.")
    sums: list[tuple[float, int]] = []
    for batch in probe:
        sums += _of_batch(seed, tuned, batch)
    return _summary([one for one in sums if one[1]])


def _of_batch(seed: nn.Module | None, tuned: nn.Module, batch: Mapping[str, Any]) -> list[tuple[float, int]]:
    """Return for each text the sum over its tokens and their number."""
    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        raise InputError(f"probe: expected batches with 'input_ids', as the model takes them, got {type(batch).__name__}.")
    predicted = _predicted(batch)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with nullcontext(seed) if seed is not None else as_seed(tuned) as model:
        before = _logits(model, inputs, predicted)
    after = _logits(tuned, inputs, predicted).to(before.device)
    if before.shape != after.shape:
        raise InputError(
            f"the seed predicts {before.shape[-1]} tokens, the tuned model {after.shape[-1]}: their vocabularies differ. "
            "Give two states of one model."
        )
    size = max(1, _AT_ONCE // before.shape[-1])
    starts = range(0, max(len(before), 1), size)
    values = torch.cat([_kl(before[start : start + size], after[start : start + size]) for start in starts])
    if not bool(values.isfinite().all()):
        raise InputError(
            "the logits are not finite: load the models in float32 or bfloat16; if they are so already, weights are damaged."
        )
    counts = predicted.sum(dim=1).tolist()
    stops = list(itertools.accumulate(counts, initial=0))
    return [(float(values[start:stop].sum()), stop - start) for start, stop in itertools.pairwise(stops)]


def _predicted(batch: Mapping[str, Any]) -> Tensor:
    """Say after which tokens the next one counts: shape ``(B, T - 1)``."""
    if batch.get("labels") is not None:
        return torch.as_tensor(batch["labels"])[:, 1:] != _IGNORED
    mask = batch.get("attention_mask")
    real = torch.ones_like(batch["input_ids"]) if mask is None else torch.as_tensor(mask)
    return (real[:, 1:] != 0) & (real[:, :-1] != 0)  # padding may stand on the left


def _logits(model: nn.Module, inputs: Mapping[str, Any], predicted: Tensor) -> Tensor:
    """Return the logits that count, shape ``(M, V)``, text by text."""
    device = next(model.parameters()).device
    with as_found(model), torch.no_grad():
        logits: Tensor = model(**mapped(inputs, lambda tensor: tensor.to(device))).logits
    return logits[:, :-1][predicted.to(logits.device)]


def _kl(before: Tensor, after: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    wide = torch.float32 if before.device.type == "mps" else torch.float64
    of_seed, of_tuned = (functional.log_softmax(logits, dim=-1, dtype=wide) for logits in (before, after))
    return functional.kl_div(of_tuned, of_seed, log_target=True, reduction="none").sum(dim=-1).cpu().double()


def _summary(sums: list[tuple[float, int]]) -> Divergence:
    """Average over tokens; texts were drawn, tokens of one text belong together: the error of a ratio of two sums."""
    num_tokens, num_texts = sum(count for _, count in sums), len(sums)
    if not num_tokens:
        raise InputError("probe: no batch has a token to predict. Give texts of two tokens or more.")
    mean = math.fsum(value for value, _ in sums) / num_tokens
    spread = math.fsum((value - mean * count) ** 2 for value, count in sums)
    error = math.sqrt(spread * num_texts / (num_texts - 1)) / num_tokens if num_texts > 1 else math.nan
    return Divergence(mean=mean, std_error=error, num_tokens=num_tokens, num_texts=num_texts)
