"""Analyse models one after the other with a cache, and print a line for each: the content of its rows and spectra.

A process of its own, so that several can share a folder, and one can be killed.

    python cache_writer.py FOLDER ROUNDS     0 rounds: until it is killed
"""

import hashlib
import itertools
import json
import sys

import numpy as np

import spectra


def model(number):
    """Small random weights."""
    rng = np.random.default_rng(number)
    return {f"layers.{layer}.fc.weight": rng.standard_normal((30 + layer, 20)) for layer in range(6)}


def line(report):
    """What the rows and spectra are, in a line."""
    digest = hashlib.sha256(json.dumps([row.to_dict() for row in report.layers]).encode())
    for values in report.spectra.values():
        digest.update(values.tobytes())
    return digest.hexdigest()


def main():
    """Analyse and print."""
    folder, rounds = sys.argv[1], int(sys.argv[2])
    for number in range(rounds) if rounds else itertools.count():
        print(line(spectra.analyze(model(number), cache=folder)), flush=True)


if __name__ == "__main__":
    main()
