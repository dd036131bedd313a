"""The flags that commands share, and what they say when memory is short."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spectra.cli.fisher import fisher
from spectra.cli.model_and_data import ModelAndData, memory_in_words
from spectra.cli.surface import surface
from spectra.errors import InputError
from spectra.training.pretrained import TEXT_TASKS
from tests.cli.flags import FLAGS

COMMANDS = {"fisher": fisher, "surface": surface}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_there_under_its_name_and_with_its_default(command):
    needed = {"fisher": [], "surface": ["--fisher", "f.safetensors", "-o", "s.npz"]}[command]
    context = COMMANDS[command].make_context(command, ["model", "--data", "texts.txt", *needed])
    given = {field.name: context.params[field.name] for field in dataclasses.fields(ModelAndData)}
    assert given == {**FLAGS, "data": Path("texts.txt")}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_task_and_begins_no_heavy_import(command):
    program = f"""
import sys
from spectra.cli.{command} import {command}
{command}.main(["--help"], standalone_mode=False)
print(*sys.modules, sep="\\n", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "peft", "numpy", "pandas", "scipy", "matplotlib", "safetensors", "rich"}
    assert set(done.stderr.splitlines()) & heavy == set()
    words = " ".join(done.stdout.split())
    assert all(task in words for task in TEXT_TASKS)
    headings = ["Model:", "Data:", {"fisher": "Fisher information:", "surface": "Surface:"}[command], "Examples:"]
    assert all(f"\n{heading}" in done.stdout.replace("  Examples", "Examples") for heading in headings)


def test_too_little_memory_comes_with_a_remedy():
    message = r"CUDA out of memory\. Try a smaller --batch-size or --max-length, --dtype bfloat16, or --device cpu\."
    with pytest.raises(InputError, match=message), memory_in_words():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ...")
