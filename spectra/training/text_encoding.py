"""How each task turns texts into tokens and labels; padding comes later.

========================== =============================================================================================
task                       labels
========================== =============================================================================================
``causal-lm``              every token of the text; with targets, the target's tokens and the end, after the text and a
                           line break
``masked-lm``              the hidden tokens, drawn per example: they depend on the seed and the row, not on the batch
``seq2seq``                the tokens of the target
``sequence-classification`` the number of the class
``token-classification``   the number of a word's class at the word's first token
``regression``             the number itself
========================== =============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectra.errors import InputError
from spectra.fisher.outputs import NO_TARGET
from spectra.training.text_data import Examples
from spectra.training.text_labels import class_indices, values

# Of the tokens chosen: share replaced by the mask, share left as they are; the rest becomes a random word. Source: Devlin et
# al. (2019), arXiv 1810.04805, section 3.1, as in the collator of transformers.
_MASKED, _KEPT = 0.8, 0.1


@dataclass(frozen=True)
class Encoded:
    """Some examples before padding.

    Attributes:
        inputs: A row of numbers per example, by the model's argument; the lengths differ.
        labels: A row per example, or one number each.
    """

    inputs: Mapping[str, list[list[int]]]
    labels: Sequence[Sequence[int]] | Sequence[float]


@dataclass(frozen=True)
class TextCoder:
    """Everything that decides what becomes of an example.

    Attributes:
        tokenizer: Of the model.
        examples: All of them.
        length: Most tokens of a text, and of a target.
        mask_share: Share of the tokens a masked language model has to predict.
        num_words: Tokens that the model knows, to draw random ones from.
        seed: Of the masks.
        numbers: The labels as the model numbers them, a row per example; empty for language models.
    """

    tokenizer: Any
    examples: Examples
    length: int
    mask_share: float
    num_words: int
    seed: int
    numbers: tuple[tuple[float, ...], ...]

    def tokenised(self, texts: Sequence[Any], pairs: Sequence[str] | None = None, **options: Any) -> Any:
        """Tokenise without padding."""
        return self.tokenizer(list(texts), pairs, truncation=True, max_length=self.length, padding=False, **options)

    def texts(self, indices: Sequence[int]) -> list[Any]:
        """Take the texts of some examples."""
        return [self.examples.texts[index] for index in indices]

    def pairs(self, indices: Sequence[int]) -> list[str] | None:
        """Take their second texts, if there are any."""
        return [self.examples.pairs[index] for index in indices] if self.examples.pairs else None

    def targets(self, indices: Sequence[int]) -> list[str]:
        """Take their targets."""
        return [self.examples.targets[index] for index in indices]


def encoder(
    tokenizer: Any, examples: Examples, task: str, config: Any, *, length: int, mask_share: float, seed: int
) -> Callable[[Sequence[int]], Encoded]:
    """Choose how a task encodes its examples, and number their labels.

    Args:
        tokenizer: Of the model.
        examples: All of them.
        task: One of :data:`spectra.training.pretrained.TEXT_TASKS`.
        config: Of the model, with its classes.
        length: Most tokens of a text, and of a target.
        mask_share: Share of the tokens a masked language model has to predict.
        seed: Of the masks.

    Returns:
        The function from examples, by their place, to tokens and labels.

    Raises:
        InputError: Labels or texts that do not fit the task or the model; a tokenizer without the means for the task.
    """
    if task == "masked-lm" and tokenizer.mask_token_id is None:
        raise InputError(
            "the tokenizer has no mask token, which task 'masked-lm' needs. Choose another task (--task) or model."
        )
    if task == "token-classification":
        _check_words(tokenizer, examples)
    else:
        _check_texts(examples, task)
    numbers: tuple[tuple[float, ...], ...] = ()
    if task == "regression":
        numbers = tuple((value,) for value in values(examples))
    elif examples.labels:
        numbers = class_indices(examples, config)
    num_words = min(len(tokenizer), getattr(config.get_text_config(), "vocab_size", len(tokenizer)))
    coder = TextCoder(tokenizer, examples, length, mask_share, num_words, seed, numbers)
    encode = _ENCODERS[task]
    return lambda indices: encode(coder, indices)


def mask_tokens(
    tokens: Sequence[int], is_special: Sequence[int], *, mask_token: int, num_words: int, share: float, seed: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Hide some tokens of a text: 80 % of them by the mask, 10 % by a random word, 10 % not at all.

    Args:
        tokens: Of the text, without padding.
        is_special: 1 for each that begins, ends or separates; those stay.
        mask_token: The mask.
        num_words: Of the vocabulary.
        share: Probability that a token is to be predicted.
        seed: Of all the draws.

    Returns:
        The tokens as the model sees them, and the labels: the token itself where it is to be predicted, else -100.
    """
    original = np.asarray(tokens, dtype=np.int64)
    rng = np.random.default_rng(seed)
    chosen = (rng.random(len(original)) < share) & (np.asarray(is_special) == 0)
    fate, words = rng.random(len(original)), rng.integers(num_words, size=len(original))
    seen = np.where(fate < _MASKED, mask_token, np.where(fate < _MASKED + _KEPT, original, words))
    return np.where(chosen, seen, original).tolist(), np.where(chosen, original, NO_TARGET).tolist()


def _masked(coder: TextCoder, indices: Sequence[int]) -> Encoded:
    encoded = coder.tokenised(coder.texts(indices), coder.pairs(indices), return_special_tokens_mask=True)
    texts = zip(indices, encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    hidden = [
        mask_tokens(
            tokens,
            is_special,
            mask_token=coder.tokenizer.mask_token_id,
            num_words=coder.num_words,
            share=coder.mask_share,
            seed=(coder.seed, coder.examples.rows[index]),
        )
        for index, tokens, is_special in texts
    ]
    return Encoded({**_inputs(encoded), "input_ids": [seen for seen, _ in hidden]}, [labels for _, labels in hidden])


def _causal(coder: TextCoder, indices: Sequence[int]) -> Encoded:
    if not coder.examples.targets:
        tokens = coder.tokenised(coder.texts(indices))["input_ids"]
        return Encoded({"input_ids": tokens}, tokens)
    prompts = coder.tokenised([f"{text}\n" for text in coder.texts(indices)])["input_ids"]
    answers = coder.tokenised(coder.targets(indices), add_special_tokens=False)["input_ids"]
    end = [] if coder.tokenizer.eos_token_id is None else [coder.tokenizer.eos_token_id]
    parts = list(zip(prompts, answers, strict=True))
    return Encoded(
        {"input_ids": [[*prompt, *answer, *end][: coder.length] for prompt, answer in parts]},
        [[*[NO_TARGET] * len(prompt), *answer, *end][: coder.length] for prompt, answer in parts],
    )


def _seq2seq(coder: TextCoder, indices: Sequence[int]) -> Encoded:
    encoded = coder.tokenised(coder.texts(indices))
    targets = coder.tokenizer(text_target=coder.targets(indices), truncation=True, max_length=coder.length, padding=False)
    return Encoded(_inputs(encoded), targets["input_ids"])


def _classified(coder: TextCoder, indices: Sequence[int]) -> Encoded:
    encoded = coder.tokenised(coder.texts(indices), coder.pairs(indices))
    return Encoded(_inputs(encoded), [coder.numbers[index][0] for index in indices])


def _classified_words(coder: TextCoder, indices: Sequence[int]) -> Encoded:
    encoded = coder.tokenised(coder.texts(indices), is_split_into_words=True)
    labels = []
    for place, index in enumerate(indices):
        words = encoded.word_ids(place)  # of every token its word, None for special ones
        is_first = [word is not None and word not in words[:token] for token, word in enumerate(words)]
        classes = [int(number) for number in coder.numbers[index]]
        labels.append([classes[word] if first else NO_TARGET for word, first in zip(words, is_first, strict=True)])
    return Encoded(_inputs(encoded), labels)


def _inputs(encoded: Any) -> dict[str, list[list[int]]]:
    """Keep what the model is given; its attention mask is that of the padding."""
    return {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}


def _check_texts(examples: Examples, task: str) -> None:
    words = next((row for row, text in zip(examples.rows, examples.texts, strict=True) if not isinstance(text, str)), None)
    if words is not None:
        raise InputError(f"row {words}: the text is a list of words, and task '{task}' needs a text. Choose another column.")


def _check_words(tokenizer: Any, examples: Examples) -> None:
    if not tokenizer.is_fast:
        raise InputError("the tokenizer does not tell which token is of which word. Use a model with a fast tokenizer.")
    for row, words, labels in zip(examples.rows, examples.texts, examples.labels, strict=True):
        num_labels = len(labels) if isinstance(labels, tuple) else 1
        if isinstance(words, str) or len(words) != num_labels:
            found = f"a text with {num_labels}" if isinstance(words, str) else f"{len(words)} words with {num_labels}"
            raise InputError(
                f"row {row}: {found} labels, and task 'token-classification' needs a list of words with one label each, "
                "as .json and .jsonl files can hold them."
            )


_ENCODERS: Mapping[str, Callable[[TextCoder, Sequence[int]], Encoded]] = {
    "causal-lm": _causal,
    "masked-lm": _masked,
    "seq2seq": _seq2seq,
    "sequence-classification": _classified,
    "token-classification": _classified_words,
    "regression": _classified,
}
