"""``distill``: candidates written 32 at a time beside ``generate`` of transformers called for one prompt after the other.

Both write greedily to the same prompts, of several lengths, up to the same number of tokens; from a text to a text, so that
tokenising counts. First, in float64, where rounding decides nothing, the texts must be equal. Then both are timed with the
model as it is stored, each first every other time.

By hand, with the folder of a causal language model: ``python -m benchmarks.distill_throughput MODEL [--repeats N]``. Everything
is measured in one child process, the same command with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import run_module, say, use_few_cores
from benchmarks.table import Comparison, print_table

if TYPE_CHECKING:
    from spectra.training.sdft.backends.transformers import TransformersBackend
    from spectra.training.sdft.generation import Request

BAR = 5.0
_BATCH = 32
_NEW_TOKENS = 64
_WORDS = (
    "once",
    "upon",
    "a",
    "time",
    "there",
    "was",
    "the",
    "little",
    "dog",
    "who",
    "liked",
    "to",
    "play",
    "with",
    "Lily",
    "and",
)


def run(repeats: int, model: Path) -> list[Comparison]:
    """Measure both ways.

    Args:
        repeats: Rounds, of 32 prompts each.
        model: Folder of a causal language model.

    Returns:
        One row: milliseconds a token.

    Raises:
        AnswersDifferError: They write other texts.
    """
    say(f"distill: {_BATCH} prompts at once and one by one, in turns")
    found = run_module("benchmarks.distill_throughput", str(model.resolve()), "--repeats", str(repeats), "--json").output
    if found["different"]:
        raise AnswersDifferError(f"distill: {found['different']} of {_BATCH} texts are not those of plain generate.")
    ours, plain = tuple(found["batched"]), tuple(found["plain"])
    return [
        Comparison(f"{found['model']}: a token of {_BATCH} prompts at once", "generate, one by one", "ms", ours, plain, BAR)
    ]


def _measure(folder: str, repeats: int) -> dict[str, Any]:
    from spectra.training.sdft.backends.transformers import load_backend

    backend = load_backend(folder, dtype="float64", batch_size=_BATCH)
    pairs = list(zip(_batched(backend, _prompts(0))[0], _plain(backend, _prompts(0))[0], strict=True))
    backend = load_backend(folder, batch_size=_BATCH)
    ways: dict[str, Callable[[TransformersBackend, list[Request]], tuple[list[str], int]]] = {
        "batched": _batched,
        "plain": _plain,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + repeats):  # the first round warms up
        for name in sorted(ways, reverse=bool(number % 2)):
            start = time.perf_counter()
            _, tokens = ways[name](backend, _prompts(number))
            times[name].append(1e3 * (time.perf_counter() - start) / tokens)
    found = {name: samples[1:] for name, samples in times.items()}
    return {"model": backend.identity()["model"], "different": sum(ours != theirs for ours, theirs in pairs), **found}


def _prompts(number: int) -> list[Request]:
    from spectra.training.sdft.generation import Request

    generator = random.Random(number)
    texts = (" ".join(generator.choices(_WORDS, k=generator.randint(5, 60))) for _ in range(_BATCH))
    return [Request(({"role": "user", "content": text},)) for text in texts]


def _batched(backend: TransformersBackend, requests: list[Request]) -> tuple[list[str], int]:
    """Return the texts, and how many tokens they are."""
    from spectra.training.sdft.generation import generation_spec

    answers = backend.complete(requests, generation_spec("greedy", max_new_tokens=_NEW_TOKENS), range(_BATCH))
    return [answer.text for answer in answers], sum(answer.n_tokens for answer in answers)


def _plain(backend: TransformersBackend, requests: list[Request]) -> tuple[list[str], int]:
    """Do the same as one would by hand."""
    model: Any = backend.model
    texts, number = [], 0
    for request in requests:
        prompt = backend.tokenizer(backend.render(request), return_tensors="pt", return_token_type_ids=False).to(model.device)
        written = model.generate(**prompt, max_new_tokens=_NEW_TOKENS, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        texts.append(backend.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        number += len(written)
    return texts, number


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distill_throughput")
    parser.add_argument("model", type=Path, help="folder of a causal language model")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds; medians are compared (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the samples only")
    arguments = parser.parse_args()
    if arguments.json:
        print(json.dumps(_measure(str(arguments.model), arguments.repeats)))
        return
    use_few_cores()
    print_table(run(arguments.repeats, arguments.model))


if __name__ == "__main__":
    _main()
