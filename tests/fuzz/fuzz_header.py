"""Fuzz the reader of safetensors headers with atheris, guided by coverage: ``make fuzz``.

Run by hand with other arguments of libFuzzer: ``python -m tests.fuzz.fuzz_header CORPUS -max_total_time=600``. What ends it
lies in ``crash-…``; it becomes a case of ``tests/malformed``.
"""

import sys
from pathlib import Path


def main() -> None:
    """Fuzz, from the seeds and the corpus that is named."""
    import atheris  # the extra 'fuzz'

    with atheris.instrument_imports(include=["spectra.sources", "json"]):
        from tests.fuzz.header_property import SEEDS, check
    corpus = next((Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, lambda content: check(content) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
