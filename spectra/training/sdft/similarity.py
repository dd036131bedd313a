"""How alike two texts are: in the order of their words, in runs of words, in meaning.

Words are runs of letters, digits and underscores; every other sign that is not white space is a word of its own, so that code
and formulas count as well. Where no blanks are written between words, BLEU over characters says more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNITS, SMOOTHINGS = ("words", "characters"), ("method3", "none")

_WORD = re.compile(r"\w+|[^\w\s]")


def rouge_l(reference: str, candidate: str) -> float:
    r"""Compute ROUGE-L: how much of two texts is in the same order.

    With :math:`l` the length of the longest common subsequence of their words, case-folded,

    .. math:: F_1 = \frac{2 l}{n_{reference} + n_{candidate}}.

    Source: Lin (2004), ROUGE: A Package for Automatic Evaluation of Summaries, section 3.1, with equal weights for precision
    and recall. No stemming; punctuation counts, unlike in the package rouge-score.

    Args:
        reference: A text.
        candidate: Another; which is which makes no difference.

    Returns:
        From 0 to 1; 0 if one has no words, 1 if neither has.

    Example:
        >>> rouge_l("The cat sat down.", "the dog sat down")  # 3 of 5 and 4 words
        0.6666666666666666
    """
    words, others = _WORD.findall(reference.casefold()), _WORD.findall(candidate.casefold())
    if not words and not others:
        return 1.0
    return 2.0 * _common_subsequence(words, others) / (len(words) + len(others))


def bleu(reference: str, candidate: str, *, unit: str = "words", order: int = 4, smoothing: str = "method3") -> float:
    r"""Compute BLEU of one text: the geometric mean of the shares of its n-grams that are in the reference.

    .. math:: e^{\min(0,\, 1 - r / c)} \Big(\prod_{n=1}^{N} p_n\Big)^{1/N}

    Case counts. Of a text shorter than ``order`` the longer n-grams, of which there are none, count as one that does not match.

    Source: Papineni et al. (2002), BLEU: a Method for Automatic Evaluation of Machine Translation, section 2; smoothing: Chen
    and Cherry (2014), A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU, method 3, as NLTK has it.

    Args:
        reference: The text to compare with.
        candidate: The text that is judged.
        unit: Of the n-grams: ``"words"``, or ``"characters"`` as in the reference code (sail-sg/sdft).
        order: N, the longest n-grams. Default 4: the usual one.
        smoothing: ``"method3"``: the k-th order without a match counts as :math:`2^{-k}` matches; ``"none"``: then BLEU is 0.

    Returns:
        From 0 to 1; 0 if no unit matches, 1 if neither text has one.

    Raises:
        InputError: An unknown unit or smoothing, or no order.

    Example:
        >>> round(bleu("the cat sat on the mat", "the cat sat on a mat"), 3)
        0.537
    """
    _check("unit", unit, UNITS)
    _check("smoothing", smoothing, SMOOTHINGS)
    if order < 1:
        raise InputError(f"order: expected at least 1, got {order}.")
    ours, theirs = ([*text] if unit == "characters" else _WORD.findall(text) for text in (candidate, reference))
    if not ours and not theirs:
        return 1.0
    matches = [_shared_grams(ours, theirs, length) for length in range(1, order + 1)]
    if not matches[0] or (smoothing == "none" and not all(matches)):
        return 0.0
    totals = [max(len(ours) - length + 1, 1) for length in range(1, order + 1)]
    brevity = min(0.0, 1.0 - len(theirs) / len(ours))
    return math.exp(brevity + math.fsum(map(math.log, _smoothed(matches, totals))) / order)


def embedding_cosine(
    references: Sequence[str], candidates: Sequence[str], encode: Callable[[list[str]], Any]
) -> NDArray[np.float64]:
    """Compute the cosine of the angle between the embeddings of texts, pair by pair.

    Args:
        references: Texts.
        candidates: As many others.
        encode: Makes embeddings of texts, shape ``(len(texts), dimensions)``, such as ``SentenceTransformer(...).encode``.

    Returns:
        Shape ``(len(references),)``, from -1 to 1; NaN where an embedding is zero.

    Raises:
        InputError: Another number of candidates than of references, or embeddings of another shape.
    """
    import numpy as np

    if len(references) != len(candidates):
        raise InputError(f"references: got {len(references)} for {len(candidates)} candidates. Give one for each.")
    first, second = _embeddings(references, encode), _embeddings(candidates, encode)
    if first.shape != second.shape:
        raise InputError(f"encode: its embeddings have {first.shape[1]} and {second.shape[1]} dimensions. Use one encoder.")
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.sum(first * second, axis=1)
    cosines: NDArray[np.float64] = np.divide(products, norms, out=np.full(len(norms), np.nan), where=norms > 0.0)
    return cosines


def _common_subsequence(words: Sequence[str], others: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    A bit for each word, and one addition of long numbers for each other word: Hyyrö (2004), Bit-parallel LCS-length computation
    revisited, section 3. For a thousand words against a thousand that is hundreds of times as fast as filling the table.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(words)) - 1
    free = everywhere
    for word in others:
        if word in places:
            hits = free & places[word]
            free = (free + hits | free - hits) & everywhere
    return len(words) - free.bit_count()


def _shared_grams(ours: Sequence[str], theirs: Sequence[str], length: int) -> int:
    """Count the n-grams that both have, each as often as both have it."""
    first, second = (Counter(zip(*(units[start:] for start in range(length)), strict=False)) for units in (ours, theirs))
    return (first & second).total()


def _smoothed(matches: Sequence[int], totals: Sequence[int]) -> list[float]:
    share, found = 1.0, []
    for number, total in zip(matches, totals, strict=True):
        if not number:
            share /= 2.0
        found.append((number or share) / total)
    return found


def _embeddings(texts: Sequence[str], encode: Callable[[list[str]], Any]) -> NDArray[np.float64]:
    import numpy as np

    found = np.asarray(encode(list(texts)), dtype=np.float64)
    if found.ndim != 2 or len(found) != len(texts):
        raise InputError(f"encode: expected embeddings of shape ({len(texts)}, dimensions), got {found.shape}.")
    return found


def _check(name: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise InputError(f"{name}: unknown word '{word}'.{did_you_mean(word, known)} Known: {', '.join(known)}.")
