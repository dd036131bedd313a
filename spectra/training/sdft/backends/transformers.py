"""Candidates written by a model of transformers on this machine, many at a time.

Of the time that ``generate`` takes, nine tenths are the model's own passes, even for one of 260,000 parameters, and a static
cache is no faster. Only the choice of the token is therefore ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import BackendError, InputError, SourceError
from spectra.fisher.tasks import without_peft
from spectra.training.dcs.teacher_logits import teacher_fingerprint
from spectra.training.pretrained import Checkpoint, Pretrained, find_checkpoint, load_model
from spectra.training.sdft.backends.prompts import DIGITS, encoded, rendered, template_digest
from spectra.training.sdft.backends.token_choice import TokenChoice
from spectra.training.sdft.generation import LENGTH, STOP, TOO_LONG, Completion, GenerationSpec, Request, fits
from spectra.training.sdft.seed_model import as_seed
from spectra.training.text_batches import padding_id


class TransformersBackend:
    """Writes with a causal language model as it was before fine-tuning, and leaves it as it was.

    The model stays where it is and in its dtype. Greedy text is the same for the same device, dtype and batches. For other
    batches it is nearly always, and so is sampled text, as every request draws by its own seed: only rounding, which differs
    between batches, may decide between tokens that are about equally good.

    Args:
        model: Of transformers. With an adapter its base writes.
        tokenizer: Of the model. With a chat template, requests are rendered by it.
        batch_size: Requests at a time; fewer once the memory has not sufficed.

    Raises:
        InputError: A model that does not continue texts, or a batch of nothing.
    """

    name = "transformers"
    has_own_seeds = False  # but for rounding, which differs between batches

    def __init__(self, model: nn.Module, tokenizer: Any, *, batch_size: int = 32) -> None:
        base: Any = without_peft(model)
        if not hasattr(base, "generate") or base.config.is_encoder_decoder:
            raise InputError(f"a {type(base).__name__} does not continue texts. Give a causal language model of transformers.")
        if batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {batch_size}.")
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self._most = batch_size

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and answer: the model's positions; ``None``: it has no such number."""
        config: Any = without_peft(self.model).config
        return getattr(config.get_text_config(), "max_position_embeddings", None)

    def identity(self) -> dict[str, str]:
        """Say which model writes, by a digest of the weights that count, its dtype and its chat template."""
        with as_seed(self.model) as model:
            weights = teacher_fingerprint(self.model, "", None)["weights"]
        return {
            "model": _name(model),
            "weights": weights[:DIGITS],
            "dtype": _dtype(model),
            "chat_template": template_digest(self.tokenizer),
        }

    def render(self, request: Request) -> str:
        """Write a request down as the model gets it; see :func:`spectra.training.sdft.backends.prompts.rendered`."""
        return rendered(self.tokenizer, request)

    def lengths(self, requests: Sequence[Request]) -> list[int]:
        """Count the tokens of each prompt."""
        return [len(row) for row in encoded(self.tokenizer, requests)]

    def complete(self, requests: Sequence[Request], spec: GenerationSpec, seeds: Sequence[int]) -> list[Completion]:
        """Answer requests.

        Args:
            requests: What is asked; more than a batch are answered batch by batch.
            spec: How is generated.
            seeds: One for each request.

        Returns:
            The answers in the order of the requests.

        Raises:
            BackendError: A single request does not fit into memory, or the logits are not finite.
        """
        rows = encoded(self.tokenizer, requests)
        found = {place: Completion("", 0, TOO_LONG) for place, row in enumerate(rows) if not fits(len(row), spec, self.context)}
        waiting = [place for place in range(len(rows)) if place not in found]
        try:
            with as_seed(self.model) as model:
                while waiting:
                    batch = waiting[: self._most]
                    answers = self._attempt(model, [rows[place] for place in batch], spec, [seeds[place] for place in batch])
                    if answers is not None:
                        found |= zip(batch, answers, strict=True)
                        waiting = waiting[len(batch) :]
        except BackendError as error:
            error.completions = found
            raise
        return [found[place] for place in range(len(rows))]

    def _attempt(
        self, model: Any, rows: Sequence[Sequence[int]], spec: GenerationSpec, seeds: Sequence[int]
    ) -> list[Completion] | None:
        """Answer a batch; nothing, and fewer rows from now on, if the memory does not suffice."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        try:
            return self._answers(model, rows, spec, seeds)
        except RuntimeError as error:
            if not isinstance(error, torch.cuda.OutOfMemoryError) and not should_reduce_batch_size(error):
                raise
        clear_device_cache(garbage_collection=True)  # here, where no error holds on to what the pass had allocated
        if len(rows) == 1:
            raise BackendError(
                f"{_name(model)}: the memory of {model.device} does not suffice for one prompt of {len(rows[0])} tokens and "
                f"{spec.max_new_tokens} new ones. Lower max_length or max_new_tokens, or load the model in bfloat16."
            )
        self._most = len(rows) // 2
        return None

    def _answers(
        self, model: Any, rows: Sequence[Sequence[int]], spec: GenerationSpec, seeds: Sequence[int]
    ) -> list[Completion]:
        filler, ends = padding_id(self.tokenizer), self._ends(model)
        tokens, mask = (tensor.to(model.device) for tensor in _padded(rows, filler))
        choice = TokenChoice(spec, seeds, tokens.shape[1], model.device)
        options = {"max_new_tokens": spec.max_new_tokens, "eos_token_id": ends or None, "pad_token_id": filler}
        written = _generated(model, tokens, mask, choice, options)[:, tokens.shape[1] :].tolist()
        answers = [self._completion(row, ends) for row in written]
        if any(sound < answer.n_tokens for sound, answer in zip(choice.num_sound.tolist(), answers, strict=True)):
            raise BackendError(
                f"{_name(model)}: its logits in {_dtype(model)} are not finite. Load it in bfloat16 or float32 (--dtype); if "
                "it is so already, its weights are damaged."
            )
        return answers

    def _ends(self, model: Any) -> list[int]:
        """Find the tokens that end an answer: those of the checkpoint, which may be several, else the tokenizer's."""
        ends = model.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)

    def _completion(self, row: Sequence[int], ends: Sequence[int]) -> Completion:
        """Read an answer up to the token that ends it; without one, all of it."""
        end = next((place for place, token in enumerate(row) if token in ends), None)
        text = self.tokenizer.decode(row[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text, len(row), LENGTH) if end is None else Completion(text, end + 1, STOP)


def load_backend(
    model: str, *, dtype: str = "auto", device: str = "auto", batch_size: int = 32, trust_remote_code: bool = False
) -> TransformersBackend:
    """Load a model that writes.

    Args:
        model: A folder that transformers or peft (LoRA) saved, or a hub id. Of an adapter only the base is loaded.
        dtype: One of :data:`spectra.training.pretrained.DTYPES`; ``"auto"``: as stored.
        device: A device of torch's, or ``"auto"``: a GPU where there is one.
        batch_size: Requests at a time.
        trust_remote_code: Run code that comes with the model.

    Returns:
        The backend.

    Raises:
        InputError: A model that does not continue texts, an unknown dtype, or a device that is not there.
        SourceError: The model is not there, damaged, or incomplete.
        MissingPackageError: transformers is not installed.
    """
    checkpoint = find_checkpoint(model, "causal-lm", trust_remote_code=trust_remote_code)
    loaded = load_writer(dataclasses.replace(checkpoint, adapter=None), dtype=dtype, device=device)
    return TransformersBackend(loaded.model, loaded.tokenizer, batch_size=batch_size)


def load_writer(checkpoint: Checkpoint, *, dtype: str, device: str) -> Pretrained:
    """Load a model that has all it needs to write.

    Args:
        checkpoint: Of a causal language model.
        dtype: As of :func:`spectra.training.pretrained.load_model`.
        device: Likewise.

    Returns:
        The model.

    Raises:
        SourceError: Damaged, or incomplete.
    """
    loaded = load_model(checkpoint, dtype=dtype, device=device)
    if loaded.notes:
        raise SourceError(
            f"'{checkpoint.name}' lacks weights that a causal language model needs. Give one that was trained to write."
        )
    return loaded


def _padded(rows: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor]:
    """Fill rows up on the left, so that all answers begin in one column; also say where tokens are."""
    missing = [max(map(len, rows)) - len(row) for row in rows]
    tokens = [[filler] * number + list(row) for number, row in zip(missing, rows, strict=True)]
    mask = [[0] * number + [1] * len(row) for number, row in zip(missing, rows, strict=True)]
    return torch.tensor(tokens), torch.tensor(mask)


def _generated(model: Any, tokens: Tensor, mask: Tensor, choice: TokenChoice, options: dict[str, Any]) -> Tensor:
    """Generate, and take nothing over from the checkpoint's own settings, such as a penalty on repetitions."""
    from transformers import GenerationConfig

    make: Callable[..., Any] = GenerationConfig
    own, model.generation_config = model.generation_config, make()
    try:
        # Greedy for transformers: the choice has been made in the logits.
        config = make(do_sample=False, num_beams=1, use_cache=True, **options)
        found: Tensor = model.generate(tokens, attention_mask=mask, generation_config=config, logits_processor=[choice])
        return found
    finally:
        model.generation_config = own


def _name(model: Any) -> str:
    """Name a model by the last part of its folder, by its hub id, or by its class if it was made here."""
    origin = str(getattr(model.config, "name_or_path", ""))
    return Path(origin).resolve().name if origin and Path(origin).is_dir() else origin or type(model).__name__


def _dtype(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")
