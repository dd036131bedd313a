"""How likely responses are to a model under the prompts it is trained with, and whether rewriting has made them likelier."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from spectra.errors import InputError
from spectra.fisher.as_found import as_found
from spectra.fisher.tasks import without_peft
from spectra.results.data_shift import DataShift
from spectra.results.distill_records import DistillRecord
from spectra.results.shift_summary import SampleShift
from spectra.training.dcs.teacher_logits import teacher_fingerprint
from spectra.training.sdft.backends.prompts import DIGITS, template_digest
from spectra.training.sdft.backends.transformers import TransformersBackend
from spectra.training.sdft.batching import plan_batches
from spectra.training.sdft.samples import Sample, read_training_data
from spectra.training.sdft.similarity import bleu, rouge_l
from spectra.training.sdft.training_text import encoded_sample
from spectra.training.text_batches import padding_id

Progress = Callable[[int, int], None]  # responses that are done, and all
Example = tuple[list[int], int]  # its tokens, and how many of them are the prompt's


def data_shift(
    model: nn.Module,
    tokenizer: Any,
    records: Sequence[DistillRecord],
    samples: Sequence[Sample],
    *,
    batch_size: int = 16,
    max_length: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DataShift:
    """Measure how much likelier the selected responses are to a model than the originals, under the training prompt.

    Args:
        model: The seed model, which wrote the candidates; any other causal language model can be asked as well.
        tokenizer: Of the model.
        records: What rewriting did, such as :func:`spectra.results.distill_records.load_records` returns.
        samples: With the prompts: of the data that were rewritten, or of what they were rewritten to.
        batch_size: Responses at a time; fewer where the memory does not suffice.
        max_length: Most tokens of prompt and response; what goes beyond is not counted. ``None``: what the model takes.
        seed: Of the intervals.
        progress: Called with the number of responses that are done, and of all.

    Returns:
        The shift. An accepted response counts whether or not ``mix_ratio`` let it into the data.

    Raises:
        InputError: A record whose sample is not there or another one, no response that has room, or as in
            :func:`response_nll`.
    """
    prompts = _of_records(records, samples)
    changed = [place for place, record in enumerate(records) if record.decision == "accepted"]
    found = response_nll(
        model,
        tokenizer,
        [*prompts, *(prompts[place] for place in changed)],
        [*(record.original for record in records), *(records[place].response for place in changed)],
        batch_size=batch_size,
        max_length=max_length,
        progress=progress,
    )
    originals, responses = found[: len(records)], found[: len(records)]
    for place, one in zip(changed, found[len(records) :], strict=True):
        responses[place] = one
    measured = [
        _sample_shift(record, original, response)
        for record, original, response in zip(records, originals, responses, strict=True)
        if original[1] and response[1]
    ]
    if not measured:
        raise InputError(f"max_length: none of the {len(records):,} prompts leaves room for a response. Raise it.")
    left_out = len(records) - len(measured)
    return DataShift.of(measured, model=_identity(model, tokenizer), num_left_out=left_out, max_length=max_length, seed=seed)


def samples_of(
    data: Any, records: Sequence[DistillRecord], *, prompt_column: str | None = None, response_column: str | None = None
) -> tuple[Sample, ...]:
    """Read the samples that records are of, from what rewriting wrote.

    Args:
        data: The data set with the selected responses, as a file or rows.
        records: Of the run that wrote it.
        prompt_column: Where prompts are, in data of no known form.
        response_column: Where responses are.

    Returns:
        Samples with the original history: where several turns of a conversation were rewritten, each was on the originals.

    Raises:
        InputError: The data cannot be read, or are of another run.
    """
    turns = "all" if any(record.turn >= 0 for record in records) else "last"
    columns: dict[str, Any] = {"prompt_column": prompt_column, "response_column": response_column}
    found = read_training_data(data, **columns, turns=turns)
    originals = {(record.row, record.turn): record.original for record in records}
    back = {one.row_id: originals[one.row, one.turn] for one in found.samples if (one.row, one.turn) in originals}
    return found.answered(back).samples


def response_nll(
    model: nn.Module,
    tokenizer: Any,
    samples: Sequence[Sample],
    responses: Sequence[str],
    *,
    batch_size: int = 16,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[float, int]]:
    r"""Compute the negative log-likelihood of responses, :math:`-\sum_t \log p(y_t \mid x, y_{<t})`.

    Responses of about the same length are computed together. Only what comes after the prompts goes through the output layer,
    where the model allows it, and through the softmax, one response at a time: nothing there is as large as a batch of logits
    in float32.

    Args:
        model: A causal language model of transformers, as it is: an adapter counts if it is switched on. It is left as it was.
        tokenizer: Of the model.
        samples: With the prompts; what they were answered with makes no difference.
        responses: One for each sample.
        batch_size: Responses at a time; fewer where the memory does not suffice.
        max_length: Most tokens of prompt and response; what goes beyond is cut off. ``None``: what the model takes.
        progress: Called with the number of responses that are done, and of all.

    Returns:
        Of each response its nats (float32 logarithms, summed in float64) and its tokens, with what ends it; ``(0.0, 0)`` if the
        prompt leaves no room.

    Raises:
        InputError: A model that does not continue texts, another number of responses than of samples, more tokens than the
            model takes, or likelihoods that are not finite.
    """
    if len(samples) != len(responses):
        raise InputError(f"responses: got {len(responses)} for {len(samples)} samples. Give one for each.")
    context = TransformersBackend(model, tokenizer, batch_size=batch_size).context  # refuses what does not continue texts
    most = _most(max_length, context)
    examples = [
        encoded_sample(tokenizer, sample, response, max_length=most)
        for sample, response in zip(samples, responses, strict=True)
    ]
    found = [(0.0, 0)] * len(examples)
    answered = [place for place, (tokens, num_prompt) in enumerate(examples) if len(tokens) > num_prompt]
    plan = plan_batches([len(examples[place][0]) for place in answered], batch_size)
    waiting = [[answered[index] for index in batch] for batch in reversed(plan)]
    num_done = len(examples) - len(answered)
    with as_found(model), torch.no_grad():
        while waiting:
            batch = waiting.pop()
            sums = _attempt(model, [examples[place] for place in batch], padding_id(tokenizer))
            if sums is None:
                half = len(batch) // 2
                waiting += [batch[half:], batch[:half]]
                continue
            for place, nll in zip(batch, sums, strict=True):
                _check_finite(nll, samples[place], model)
                found[place] = (nll, len(examples[place][0]) - examples[place][1])
            num_done += len(batch)
            if progress is not None:
                progress(num_done, len(examples))
    return found


def _attempt(model: nn.Module, examples: Sequence[Example], filler: int) -> list[float] | None:
    """Measure a batch; nothing if there are several and the memory does not suffice."""
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    try:
        return _sums(model, examples, filler)
    except RuntimeError as error:
        is_full = isinstance(error, torch.cuda.OutOfMemoryError) or should_reduce_batch_size(error)
        if not is_full or len(examples) == 1:
            raise
    clear_device_cache(garbage_collection=True)  # here, where no error holds on to what the pass had allocated
    return None


def _sums(model: Any, examples: Sequence[Example], filler: int) -> list[float]:
    """Sum the negative log-likelihoods of the responses of a batch."""
    device = next(model.parameters()).device
    tokens = pad_sequence([torch.tensor(row) for row, _ in examples], batch_first=True, padding_value=filler).to(device)
    lengths = torch.tensor([len(row) for row, _ in examples], device=device)
    mask = (torch.arange(tokens.shape[1], device=device) < lengths[:, None]).long()
    first = min(num_prompt for _, num_prompt in examples) - 1  # the token that the first of all responses is predicted from
    kept = tokens.shape[1] - first
    options = {"logits_to_keep": kept} if _keeps_logits(model) else {}
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False, **options).logits[:, -kept:]  # (B, kept, V)
    return [
        _nll(logits[index, num_prompt - 1 - first : len(row) - 1 - first], tokens[index, num_prompt : len(row)])
        for index, (row, num_prompt) in enumerate(examples)
    ]


def _nll(logits: Tensor, targets: Tensor) -> float:
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = cross_entropy(exact, targets.to(exact.device), reduction="none")
    return float(losses.cpu().sum(dtype=torch.float64))  # some accelerators have no float64


def _keeps_logits(model: nn.Module) -> bool:
    return "logits_to_keep" in inspect.signature(without_peft(model).forward).parameters


def _most(max_length: int | None, context: int | None) -> int | None:
    if max_length is None:
        return context
    if max_length < 2 or (context is not None and max_length > context):
        raise InputError(
            f"max_length: expected 2 to {context or 'any number of'} tokens, as the model takes, got {max_length}."
        )
    return max_length


def _check_finite(nll: float, sample: Sample, model: Any) -> None:
    if not math.isfinite(nll):
        dtype = str(model.dtype).removeprefix("torch.")
        raise InputError(
            f"the response of row {sample.row + 1} has a likelihood of {nll:g} nats in {dtype}. Load the model in bfloat16 or "
            "float32 (--dtype); if it is so already, its weights are damaged."
        )


def _of_records(records: Sequence[DistillRecord], samples: Sequence[Sample]) -> list[Sample]:
    """Find the sample of every record by its place: a ``row_id`` changes with the response."""
    by_place = {(sample.row, sample.turn): sample for sample in samples}
    found = []
    for record in records:
        sample = by_place.get((record.row, record.turn))
        known = (record.original.strip(), record.response.strip())  # rows keep white space around the original
        if sample is None or sample.response.strip() not in known:
            raise InputError(
                f"samples: row {record.row + 1} is not the one that sample '{record.row_id}' was. Give the data that were "
                "rewritten, or what they were rewritten to, read with the same options."
            )
        found.append(sample)
    return found


def _sample_shift(record: DistillRecord, original: tuple[float, int], response: tuple[float, int]) -> SampleShift:
    written = record.candidate
    return SampleShift(
        row_id=record.row_id,
        decision=record.decision,
        nll_original=original[0],
        tokens_original=original[1],
        nll_response=response[0],
        tokens_response=response[1],
        rouge_l=math.nan if written is None else rouge_l(record.original, written),
        bleu=math.nan if written is None else bleu(record.original, written),
    )


def _identity(model: nn.Module, tokenizer: Any) -> dict[str, str]:
    base: Any = without_peft(model)
    return {
        "model": Path(str(getattr(base.config, "name_or_path", ""))).name or type(base).__name__,
        "weights": teacher_fingerprint(model, "", None)["weights"][:DIGITS],
        "dtype": str(base.dtype).removeprefix("torch."),
        "chat_template": template_digest(tokenizer),
    }
