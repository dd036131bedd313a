"""The migration table of docs/weightwatcher.md: every row is run, WeightWatcher 0.7.7 beside Spectra."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

import spectra
from tests.weightwatcher_table import differences, proofs_of_methods, proofs_of_options
from tests.weightwatcher_table.comparing import Asked
from tests.weightwatcher_table.methods import METHODS
from tests.weightwatcher_table.models import Net, groups
from tests.weightwatcher_table.rows import OPTIONS

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).with_name("weightwatcher_table")
PROOFS = vars(proofs_of_options) | vars(proofs_of_methods)
ROWS = {f"{row.names[0]}: {row.their_text}": row for row in OPTIONS + METHODS if row.proof}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    environment = {**os.environ, "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": "", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(FOLDER / "ask.py")], capture_output=True, text=True, env=environment, check=False,
        cwd=tmp_path_factory.mktemp("weightwatcher"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_row_holds(name, asked):
    row = ROWS[name]
    PROOFS[row.proof](row, Asked(asked["answers"]))


@pytest.mark.slow
@pytest.mark.parametrize("difference", differences.DIFFERENCES, ids=lambda d: d.id)
def test_difference_is_as_measured(difference, asked):
    measured = getattr(differences, difference.id.lower())(Asked(asked["answers"]))
    assert measured is None or measured in difference.weightwatcher


@pytest.mark.slow
def test_groups_are_mixed_by_weightwatcher_and_kept_apart_here(asked):
    grouped, depthwise = asked["answers"]["w_groups"]["value"]
    assert [(grouped[name], depthwise[name]) for name in ("N", "M", "rf")] == [(20, 20), (5, 1), (9, 9)]
    assert depthwise["alpha"] > 1.0
    layers = spectra.analyze(groups(), profile="weightwatcher").layers
    assert [(layer.num_rows, layer.num_cols, layer.num_matrices) for layer in layers] == [(10, 5, 18), (20, 1, 9)]
    assert [layer.status for layer in layers] == ["ok", "depthwise"]


@pytest.mark.slow
def test_every_option_and_method_of_weightwatcher_has_a_row(asked):
    assert asked["versions"]["weightwatcher"] == "0.7.7"
    assert {name for row in OPTIONS for name in row.names} == set(asked["options"])
    named = [name for row in METHODS for name in row.names]
    assert set(named) == set(asked["methods"])


def test_differences_are_numbered():
    assert [difference.id for difference in differences.DIFFERENCES] == [f"W{number}" for number in range(1, 15)]


def test_every_same_number_has_a_proof():
    assert [row.key for row in OPTIONS + METHODS if row.tolerance is not None and not row.proof] == []


def test_flags_of_the_table_exist(capsys):
    from spectra.cli.main import main

    main(["analyze", "--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    for row in OPTIONS + METHODS:
        assert set(re.findall(r"--[\w-]+", row.flag_text)) <= known, row.key


@pytest.mark.parametrize("row", [r for r in OPTIONS if r.settings and not r.flag and r.model == "net"], ids=lambda r: r.key)
def test_flags_do_what_the_settings_do(row, tmp_path, capsys):
    from spectra.cli.main import main

    weights = Net().state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    flags = ["--profile", "weightwatcher", *row.flag_text.split()]
    assert main(["analyze", str(tmp_path / "model.safetensors"), *flags, "--json", "--quiet"]) == 0
    report = spectra.analyze(weights, profile="weightwatcher", **row.settings).to_dict()
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"] == report["settings"]
    rows = {layer["matrix_name"]: layer for layer in report["layers"]}
    assert {layer["matrix_name"]: layer for layer in shown["layers"]} == rows


def test_page_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "make_weightwatcher_table.py"))["text"]()
    assert page == (ROOT / "docs" / "weightwatcher.md").read_text(encoding="utf-8"), (
        "run: python docs/make_weightwatcher_table.py"
    )
