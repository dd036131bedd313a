"""The training data of ``sdft``: responses that the model has rewritten in its own words, before it is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spectra.training.data_files import Record
from spectra.training.recipe.parts import Recipe
from spectra.training.sdft.distiller import Distillation, ResponseDistiller

RESPONSES = "responses.jsonl"


def in_own_words(
    recipe: Recipe,
    folder: Path,
    rows: Sequence[Record],
    model: Any,
    tokenizer: Any,
    *,
    wait: Callable[[], None],
    say: Callable[[str], None],
) -> Distillation:
    """Rewrite responses, or take those that are in the folder and go on with the rest.

    Args:
        recipe: What is asked for.
        folder: Of the run.
        rows: Prompts and responses.
        model: That is trained afterwards, as it is before.
        tokenizer: Of the model.
        wait: Returns when all processes have called it: each rewrites its part.
        say: Called with what is being done.

    Returns:
        The rows, with responses that were accepted in place of their own.

    Raises:
        InputError: Rows without a response, or prompts that do not fit.
        ResultsError: Files of another run.
    """
    distiller = ResponseDistiller(
        model, tokenizer, recipe.method.options, batch_size=recipe.training.per_device_eval_batch_size
    )

    def distilled() -> Distillation | None:
        return distiller.distill(
            rows,
            folder / RESPONSES,
            prompt_column=recipe.data.prompt_column,
            response_column=recipe.data.response_column,
            progress=lambda done, total: say(f"rewriting responses: {done:,} of {total:,}"),
        )

    done = distilled()
    wait()
    if done is None:  # others were still at work; now it is but read
        done = distilled()
    assert done is not None, "all are finished"
    return done


def selection_note(done: Distillation) -> str:
    """Say how many responses are the model's own."""
    accepted = int(done.mixed["accepted"])
    return f"{accepted:,} of {len(done.records):,} responses are in the model's own words; the others stay as they were."
