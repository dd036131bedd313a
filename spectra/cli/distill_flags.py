"""The flags of ``spectra distill`` and its subcommands, and the way from these to a generation and a backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.distill_checks import check_computing
from spectra.cli.flag_words import flags_of, in_flags, warnings_in_flags
from spectra.cli.interrupted import ended
from spectra.cli.setting_flags import GroupedCommand
from spectra.errors import InputError, SpectraError, did_you_mean

if TYPE_CHECKING:
    from spectra.training.sdft.generation import Backend, GenerationSpec

# Which flags each backend takes.
_OWN = {
    "transformers": ("batch_size", "device", "dtype", "trust_remote_code"),
    "vllm": ("dtype",),
    "openai": ("base_url", "concurrency", "timeout"),
}

TASK = "What a rewritten response must agree with the original in: math, call, code, choice, json, exact, or text (nothing)."
COLUMN_FLAGS = (
    click.option("--prompt-column", metavar="NAME", help="Column of prompts, in data of no known form."),
    click.option("--response-column", metavar="NAME", help="Column of responses."),
)
DATA_FLAGS = (
    *COLUMN_FLAGS,
    click.option("--turns", default="last", metavar="W", show_default=True, help="Of a conversation: the last answer, or all."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Rows taken, from the start.  [default: all]"),
)
MODEL_FLAGS = (
    click.option(
        "--backend", default="transformers", metavar="B", show_default=True, help="transformers, vllm, or openai: a server."
    ),
    click.option("--base-url", metavar="URL", help="Of an OpenAI-compatible server; keys come from OPENAI_API_KEY."),
    click.option(
        "--concurrency", type=click.IntRange(min=1), metavar="N", help="Requests to the server at once.  [default: 16]"
    ),
    click.option("--timeout", type=float, metavar="S", help="Seconds until a request has failed.  [default: 120]"),
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Responses at once.  [default: 32]"),
    click.option("--device", metavar="D", help="cpu, cuda, cuda:1, ...  [default: a GPU if any]"),
    click.option("--dtype", metavar="T", help="float32, bfloat16, ...  [default: as stored]"),
    click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
)
GENERATION_FLAGS = (
    click.option(
        "--generation", metavar="G",
        help="reference (sampled, as in the reference code) or greedy.  [default: reference; of evaluate: greedy]",
    ),
    click.option("--temperature", type=float, metavar="X", help="Of the sampling.  [default: 0.95]"),
    click.option("--top-p", type=float, metavar="X", help="Of the sampling.  [default: 0.7]"),
    click.option("--top-k", type=int, metavar="N", help="Of the sampling; 0: off.  [default: 50]"),
    click.option("--max-new-tokens", type=int, metavar="N", help="Where a response is cut off.  [default: 512]"),
    click.option("--max-length", type=int, metavar="N", help="Tokens of prompt and response at most.  [default: 1024]"),
    click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", show_default=True, help="Of the sampling."),
)  # fmt: skip
COMPAT = click.option("--compat", metavar="C", help="reference: the rules of the reference code.")
OUTPUT_FLAGS = (
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", "-q", is_flag=True, help="No progress, no hints."),
    click.option("--debug", is_flag=True, help="Show the traceback of an internal error."),
)


class DistillCommand(GroupedCommand):
    """A command with these flags, in groups. What goes wrong in it is said in their words."""

    option_groups: dict[str, str] = {}  # noqa: RUF012 - set once, when the options are made

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Args:
            ctx: Its flags.

        Returns:
            What it returns.

        Raises:
            SpectraError: Its own, in other words.
            Exit: Ctrl-C.
        """
        flags = flags_of(ctx)
        try:
            with warnings_in_flags(flags):
                return super().invoke(ctx)
        except SpectraError as error:
            error.args = (in_flags(str(error), flags), *error.args[1:])
            raise
        except KeyboardInterrupt as interrupt:
            raise ended(interrupt, _afterwards(ctx.params)) from None


def with_flags(groups: Mapping[str, Sequence[Callable[..., Any]]]) -> Callable[[Any], Any]:
    """Add flags to a command.

    Args:
        groups: Of the flags above, by heading.

    Returns:
        A decorator of what click makes a :class:`DistillCommand`.
    """

    def decorate(command: Any) -> Any:
        for heading, flags in reversed(list(groups.items())):
            for flag in reversed(flags):
                command = flag(command)
                DistillCommand.option_groups[command.__click_params__[-1].name] = heading
        return command

    return decorate


def generation(flags: Mapping[str, Any], *, default: str) -> GenerationSpec:
    """Return how the model answers.

    Args:
        flags: By the names click gives them.
        default: Where the flag is not given.

    Returns:
        The specification.

    Raises:
        InputError: Values that cannot be, or that do nothing.
    """
    from spectra.training.sdft.generation import generation_spec

    kind, drawing = flags["generation"] or default, ("temperature", "top_p", "top_k")
    given = {name: flags[name] for name in (*drawing, "max_new_tokens", "max_length") if flags[name] is not None}
    useless = next((name for name in drawing if name in given), None)
    if kind == "greedy" and useless is not None:
        raise InputError(f"--{useless.replace('_', '-')}: nothing is drawn greedily. Leave it out, or sample.")
    return generation_spec(kind, **given)


def check_backend(flags: Mapping[str, Any]) -> None:
    """Refuse what writes, or its flags, before anything is imported for it.

    Args:
        flags: By the names click gives them.

    Raises:
        InputError: An unknown backend, a flag of another one, an unknown dtype, or a device that is not there.
    """
    kind = flags["backend"]
    if kind not in _OWN:
        raise InputError(f"unknown backend '{kind}'.{did_you_mean(kind, _OWN)} Known: {', '.join(_OWN)}.")
    useless = next((name for name in _given(flags) if name not in _OWN[kind]), None)
    if useless is not None:
        raise InputError(f"--backend {kind} has no --{useless.replace('_', '-')}. Leave it out.")
    if kind == "transformers":
        check_computing(flags["device"], flags["dtype"])


def backend(flags: Mapping[str, Any], *, is_tuned: bool = False) -> Backend:
    """Return what writes.

    Args:
        flags: By the names click gives them; :func:`check_backend` has seen them.
        is_tuned: Switch an adapter on.

    Returns:
        The backend that ``--backend`` names.
    """
    kind, model, given = flags["backend"], flags["model"], _given(flags)
    if kind == "openai":
        from spectra.training.sdft.backends.server import OpenAIBackend

        return OpenAIBackend(model, **given)
    if kind == "vllm":
        from spectra.training.sdft.backends.vllm_engine import VllmBackend

        return VllmBackend(model, **given)
    if is_tuned:
        from spectra.training.sdft.backends.tuned import load_tuned_backend

        return load_tuned_backend(model, **given)
    from spectra.training.sdft.backends.transformers import load_backend

    return load_backend(model, **given)


def template_note(writer: Backend) -> list[str]:
    """Return what is doubtful of asking this model.

    Args:
        writer: Of any kind.

    Returns:
        A sentence where it runs here and has no chat template.
    """
    tokenizer = getattr(writer, "tokenizer", None)
    if tokenizer is None or tokenizer.chat_template is not None:
        return []
    return ["the model has no chat template: requests are plain text, which a base model goes on with rather than answers"]


def print_notes(notes: Iterable[str]) -> None:
    """Print what is doubtful of a result on stderr, in the words of the command line.

    Args:
        notes: Of the result.
    """
    flags = flags_of(click.get_current_context())
    for note in notes:
        print(in_flags(note, flags), file=sys.stderr)


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: flags[name] for names in _OWN.values() for name in names if flags[name] not in (None, False)}


def _afterwards(flags: Mapping[str, Any]) -> str:
    """Say how a run goes on; those that write nothing, or have no ``--force`` to begin again, do not."""
    if flags.get("output") is None or "force" not in flags or flags.get("dry_run"):
        return ""
    without = " without --force" if flags["force"] else ""
    return f". What is written so far is kept; the same command{without} continues there."
