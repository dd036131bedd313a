"""The choice of each next token, in place of the one that ``generate`` of transformers makes.

Every row draws by a seed of its own, so that what it says depends neither on its neighbours, apart from rounding, nor on the
generators of torch, which stay as they are. A logit that is not finite is noticed; ``generate`` would go on with any token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spectra.training.sdft.generation import GenerationSpec


class TokenChoice:
    """A processor of logits that leaves no choice: greedy decoding takes the token that it has drawn.

    Args:
        spec: How to choose.
        seeds: One for each row.
        start: Tokens of the padded prompts.
        device: Where the logits are.

    Attributes:
        num_sound: How many tokens of each row were chosen before its logits were not finite for the first time.
    """

    def __init__(self, spec: GenerationSpec, seeds: Sequence[int], start: int, device: torch.device) -> None:
        self._spec = spec
        self._start = start
        self._draws = _draws(seeds, spec.max_new_tokens).to(device) if spec.sampled else None
        self.num_sound = torch.zeros(len(seeds), dtype=torch.long, device=device)

    def __call__(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """Choose.

        Args:
            tokens: Prompts and what was generated so far, ``(rows, length)``.
            logits: Of the next token, ``(rows, words)``.

        Returns:
            Logits with their maximum at the token that is chosen.
        """
        step = tokens.shape[1] - self._start
        is_sound = logits.amax(dim=-1).isfinite()  # the maximum with a NaN is NaN
        self.num_sound += is_sound & (self.num_sound == step)
        if self._draws is None:
            return logits
        chosen = drawn(logits, self._spec, self._draws[:, step])
        return torch.full_like(logits, -torch.inf).scatter_(1, chosen[:, None], 0.0)


def drawn(logits: Tensor, spec: GenerationSpec, uniform: Tensor) -> Tensor:
    """Draw from the probabilities after temperature, top-k and top-p, in this order, by inverting their sums.

    One ``topk`` gives what top-p needs too. The processors of transformers sort the whole vocabulary: thirteen times slower on
    a CPU, for 32 rows of 128,000 words.

    Args:
        logits: ``(rows, words)``.
        spec: How to draw.
        uniform: In [0, 1), one for each row.

    Returns:
        A token for each row; any where the logits are NaN.
    """
    num_words = logits.shape[-1]
    highest, tokens = logits.topk(min(spec.top_k or num_words, num_words))
    probabilities = ((highest - highest[:, :1]) / spec.temperature).softmax(dim=-1)
    is_kept = probabilities.cumsum(dim=-1) - probabilities < spec.top_p  # those that more probable ones leave something to
    sums = (probabilities * is_kept).cumsum(dim=-1)
    place = (sums <= uniform[:, None] * sums[:, -1:]).sum(dim=-1)
    last = is_kept.sum(dim=-1) - 1  # rounding may make the draw as large as the whole sum
    return tokens.gather(1, torch.minimum(place, last).clamp(min=0)[:, None])[:, 0]


def _draws(seeds: Sequence[int], number: int) -> Tensor:
    # NumPy's generators take all 63 bits of a seed; torch's on a CPU takes 32.
    return torch.from_numpy(np.stack([np.random.default_rng(seed).random(number, dtype=np.float32) for seed in seeds]))
