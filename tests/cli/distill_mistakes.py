"""Commands of ``spectra distill`` with a mistake each, and what a process has imported by the time it has refused them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_REWRITE = "distill {data} --model {model} --task text"
WITHOUT_TORCH = (
    f"{_REWRITE} -o {{folder}}/own.xlsx",
    f"{_REWRITE} -o {{folder}}",
    f"{_REWRITE} -o {{data}}/own.jsonl",  # below a file
    f"{_REWRITE} -o {{data}}",
    f"{_REWRITE} -o {{folder}}/own.jsonl --dtype float31",
    f"{_REWRITE} -o {{folder}}/own.jsonl --mix-ratio 2",
    f"{_REWRITE} -o {{folder}}/own.jsonl --n-candidates 0",
    f"{_REWRITE} -o {{folder}}/own.jsonl --turns some",
    f"{_REWRITE} -o {{folder}}/own.jsonl --template missing.toml",
    f"{_REWRITE} -o {{folder}}/own.jsonl --max-length 3",
    f"{_REWRITE} -o {{folder}}/own.jsonl --prompt-column prompt",
    f"{_REWRITE} -o {{folder}}/own.jsonl --backend vlm",
    f"{_REWRITE} -o {{folder}}/own.jsonl --timeout 3",
    f"{_REWRITE} -o {{folder}}/own.jsonl --resume",
    f"{_REWRITE} -o {{folder}}/own.jsonl --backend openai --base-url nowhere",
    "distill {folder}/missing.jsonl --model {model} --task text -o {folder}/own.jsonl",
)
WITHOUT_TRANSFORMERS = (f"{_REWRITE} -o {{folder}}/own.jsonl --device no-such-device",)

_EVALUATE = "distill evaluate {data} --model {model} --task text"
_SHIFT = "distill shift {folder}/own.jsonl --model {model}"
MEASURES_WITHOUT_TORCH = (
    f"{_EVALUATE} -o {{folder}}/scores.jsonl",
    f"{_EVALUATE} -o {{data}}/scores.json",
    f"{_EVALUATE} -o {{folder}}/scores.json --dtype float31",
    f"{_EVALUATE} -o {{folder}}/scores.json --compat mine",
    f"{_EVALUATE} -o {{folder}}/scores.json --limit 0",
    "distill evaluate {folder}/missing.jsonl --model {model} --task text",
    "distill shift {data} --model {model}",
    f"{_SHIFT} --dtype float31",
    f"{_SHIFT} --probe {{data}}",
    f"{_SHIFT} --tuned {{folder}}/missing",
    f"{_SHIFT} --tuned {{model}} --probe {{folder}}/missing.jsonl",
)
_PROGRAM = """
import json, sys
from spectra.cli.main import main
codes = [main(command) for command in json.loads(sys.argv[1])]
print(json.dumps([codes, sorted(sys.modules)]))
"""


def modules_after(commands: tuple[str, ...], model: Path, data: Path, folder: Path) -> set[str]:
    """Run the commands in one process; each must be refused, by one line. Return the names of what was imported."""
    given = [[word.format(model=model, data=data, folder=folder) for word in command.split()] for command in commands]
    arguments = [sys.executable, "-c", _PROGRAM, json.dumps(given)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stdout)
    assert codes == [2] * len(commands), done.stderr
    assert done.stderr.count("\n") == len(commands), done.stderr
    return set(modules)
