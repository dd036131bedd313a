"""Choosing the true reply with a classifier that judges one candidate at a time.

Every candidate is a row of its own: the history, then the candidate. The classes are "another reply" and "the true reply".
Source: the released code of Block et al. (2025), arXiv 2410.22264, for ConvAI2: what the rows are, the loss and the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from spectra.errors import InputError
from spectra.fisher.as_found import as_found
from spectra.training.meta_peft.personas import Turn
from spectra.training.meta_peft.tasks import check_length
from spectra.training.text_batches import padding_id

# The tokens of a turn's candidates, each after the history, under "input_ids"; the place of the true one under "labels".
RankingRow = Mapping[str, Any]


def ranking_rows(turns: Sequence[Turn], tokenizer: Any, *, max_length: int) -> list[RankingRow]:
    """Tokenise history and candidates, each on its own with the tokenizer's tokens around it, and put them one after the other.

    What was said is joined by spaces: our choice; the released code joins it by nothing, so that words run together.

    Args:
        turns: With candidates.
        tokenizer: Of the model.
        max_length: Most tokens of history and candidate together. A history that is too long loses its oldest tokens, as many
            as its longest candidate asks for, so that all candidates of a turn are judged after the same history.

    Returns:
        A row per turn: ``"input_ids"``, a list of tokens for each candidate, and ``"labels"``, the place of the true one.

    Raises:
        InputError: A length above that of the tokenizer, or one that leaves no room for the history.
    """
    num_special = tokenizer.num_special_tokens_to_add(pair=False)
    check_length(max_length, tokenizer, 2 * num_special)
    encode = partial(tokenizer, verbose=False, return_attention_mask=False)  # not verbose: longer texts are cut below
    histories = encode([" ".join(turn.history) for turn in turns], return_special_tokens_mask=True)
    rows: list[RankingRow] = []
    for number, turn in enumerate(turns):
        candidates = encode(list(turn.candidates))["input_ids"]
        room = max_length - max(map(len, candidates))
        if room <= num_special:
            raise InputError(
                f"max_length: turn {number + 1} has a candidate of {max_length - room} tokens, which leaves no room for its "
                f"history in {max_length}. Raise max_length, or take the turn out."
            )
        history = _newest(histories["input_ids"][number], histories["special_tokens_mask"][number], room)
        rows.append({"input_ids": [[*history, *candidate] for candidate in candidates], "labels": turn.answer})
    return rows


def ranking_collator(tokenizer: Any) -> Callable[[Sequence[RankingRow]], dict[str, Tensor]]:
    """Return the function that makes a batch of rows.

    Args:
        tokenizer: Tells what to pad with.

    Returns:
        A function from rows with equally many candidates to ``"input_ids"`` and ``"attention_mask"``, shape ``(turns,
        candidates, tokens)``, padded on the right, and ``"labels"``, shape ``(turns,)``.
    """
    return partial(_padded, padding=padding_id(tokenizer))


def ranking_loss(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Compute the mean negative log-likelihood of "is this the true reply?" over all candidates of all turns.

    Args:
        model: A sequence classifier with two classes, of which the second means the true reply; or with one logit for it.
        batch: From the collator of :func:`ranking_collator`.

    Returns:
        The loss, a scalar.

    Raises:
        InputError: A model with another number of classes.
    """
    logits = _logits(model, batch)
    is_true = functional.one_hot(batch["labels"], logits.shape[1])
    if logits.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[..., 0], is_true.to(logits))
    return functional.cross_entropy(logits.flatten(0, 1), is_true.flatten())


def ranking_accuracy(
    model: nn.Module,
    rows: Sequence[RankingRow],
    collate: Callable[[Sequence[RankingRow]], Mapping[str, Tensor]],
    *,
    batch_size: int = 8,
) -> float:
    """Compute the share of turns whose true reply has the largest logit of all candidates.

    Args:
        model: As for :func:`ranking_loss`; it is borrowed in eval mode.
        rows: Of the turns to judge on.
        collate: From :func:`ranking_collator`.
        batch_size: Turns at a time. Default 8: the released code.

    Returns:
        The share; by chance one over the number of candidates.

    Raises:
        InputError: No rows, or a model with another number of classes.
    """
    if not len(rows):
        raise InputError("rows: expected at least one to judge on.")
    device = next(model.parameters()).device
    num_right = 0
    with as_found(model), torch.no_grad():
        for start in range(0, len(rows), batch_size):
            chosen = [rows[place] for place in range(start, min(start + batch_size, len(rows)))]
            batch = {name: tensor.to(device) for name, tensor in collate(chosen).items()}
            num_right += int((_logits(model, batch)[..., -1].argmax(dim=1) == batch["labels"]).sum())
    return num_right / len(rows)


def _newest(tokens: Sequence[int], is_special: Sequence[int], room: int) -> list[int]:
    """Take the oldest tokens out of a text that is too long, but none that the tokenizer put around it."""
    words = [place for place, special in enumerate(is_special) if not special]
    old = set(words[: max(0, len(tokens) - room)])
    return [token for place, token in enumerate(tokens) if place not in old]


def _padded(rows: Sequence[RankingRow], padding: int) -> dict[str, Tensor]:
    numbers = {len(row["input_ids"]) for row in rows}
    if len(numbers) > 1:
        raise InputError(f"turns of one batch have {min(numbers)} to {max(numbers)} candidates. Give all of them as many.")
    flat = [torch.tensor(tokens) for row in rows for tokens in row["input_ids"]]
    lengths = torch.tensor([len(tokens) for tokens in flat])
    tokens = pad_sequence(flat, batch_first=True, padding_value=padding)
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    shape = (len(rows), *numbers, tokens.shape[1])
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": tokens.reshape(shape), "attention_mask": mask.reshape(shape), "labels": labels}


def _logits(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Judge every candidate on its own; shape ``(turns, candidates, classes)``, in float32 at least."""
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    logits: Tensor = model(input_ids=tokens.flatten(0, 1), attention_mask=mask.flatten(0, 1)).logits
    if logits.ndim != 2 or logits.shape[-1] not in (1, 2):
        raise InputError(
            f"the model returned logits of shape {tuple(logits.shape)}: expected 2 classes, or 1. Set num_labels=2."
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.reshape(*tokens.shape[:2], -1)
