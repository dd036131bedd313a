"""The entry point: commands, exit codes, and errors as one line.

Exit codes: 0 done; 1 done, but a layer could not be analysed; 2 usage or input error; 70 internal error;
130 interrupted (Ctrl-C); 143 terminated (SIGTERM).
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
import warnings
from typing import Any

import click

from spectra._version import __version__
from spectra.cli.analyze import analyze
from spectra.cli.collect import collect
from spectra.cli.compare import compare
from spectra.cli.distill import distill
from spectra.cli.finetune import finetune
from spectra.cli.fisher import fisher
from spectra.cli.interrupted import Interrupted, exit_code, sigterm_like_ctrl_c
from spectra.cli.merge import merge
from spectra.cli.plan import plan
from spectra.cli.plot import plot
from spectra.cli.prune import prune
from spectra.cli.report import report
from spectra.cli.surface import surface
from spectra.cli.sweep import sweep
from spectra.errors import SourceError, SpectraError, SpectraWarning
from spectra.printable import printable

DONE, FAILED, USAGE, INTERNAL = 0, 1, 2, 70


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done; 1 done, but a layer could not be analysed; 2 usage or input error; 70 internal error; "
    "130 interrupted; 143 terminated.",
)
@click.version_option(__version__, message="%(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def app(debug: bool) -> None:
    """Spectral diagnostics of neural networks.

    \b
    Analyse a checkpoint:          spectra analyze ./my-model --output report
    Try it on a small real model:  spectra analyze demo
    See it in the browser:         spectra report report --open
    See what training changed:     spectra compare ./original ./fine-tuned
    Make a figure of a report:     spectra plot report alpha-by-depth
    Measure the Fisher on texts:   spectra fisher ./my-model --data texts.txt -o fisher.safetensors
    Turn either into a plan:       spectra plan ./my-model --policy tempbalance -o plan.yaml
    Rewrite responses for tuning:  spectra distill train.jsonl --model ./my-model --task math -o own-words.jsonl
    Fine-tune as a recipe says:    spectra finetune recipe.yaml
    In several settings, compared: spectra sweep recipe.yaml --grid method=plain,dcs --seeds 0..4 -o methods
    """


app.add_command(analyze)
app.add_command(collect)
app.add_command(compare)
app.add_command(distill)
app.add_command(finetune)
app.add_command(fisher)
app.add_command(merge)
app.add_command(plan)
app.add_command(plot)
app.add_command(prune)
app.add_command(report)
app.add_command(surface)
app.add_command(sweep)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, SpectraWarning):  # ours are for the user, who has no use for the line of code
            _say(str(message))
        else:
            shown(message, category, *where, **more)

    with warnings.catch_warnings(), sigterm_like_ctrl_c():
        warnings.showwarning = show
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks '±' is no reason to fail
    try:
        result = app.main(arguments, prog_name="spectra", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return DONE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "spectra"
        message = error.format_message().replace("\n", " ")
        _say(f"{message}{'' if message.endswith(('.', '?')) else '.'} See '{command} --help'.")
        return USAGE
    except SourceError as error:
        _say(printable(str(error)))  # of files: a line break in a name makes no second line
        return USAGE
    except SpectraError as error:
        _say(str(error))
        return USAGE
    except Interrupted as error:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # after the terminal's ^C, as click does it
        return _leave_now(error.code, str(error))
    except (click.Abort, KeyboardInterrupt) as error:
        return _leave_now(exit_code(error.__cause__ if isinstance(error, click.Abort) else error))
    except (SystemExit, BrokenPipeError):  # click's and rich's answer to a reader that left early: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries to write the rest again
        _say(f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}. Nothing more could be written.")
        return USAGE
    except Exception as error:
        return _internal(error, debug="--debug" in arguments)


def _say(message: str) -> None:
    print(f"spectra: {printable(message, keep_lines=True)}", file=sys.stderr)


def _internal(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    else:
        with tempfile.NamedTemporaryFile("w", prefix="spectra-", suffix=".log", delete=False, encoding="utf-8") as log:
            traceback.print_exception(error, file=log)
        _say(f"internal error: {type(error).__name__}: {str(error)[:200]}. Traceback in {log.name}; --debug shows it here.")
    return INTERNAL


def _leave_now(code: int, words: str = "") -> int:
    """End without waiting for the decompositions still running in worker threads."""
    _say(f"interrupted. {words}" if words else "interrupted")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
