import re

import pytest
from safetensors.numpy import save_file

import spectra
from spectra.cli.main import main
from tests.models import uneven_weights, write_small


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "out"
    model = write_small(folder.with_name("tiny.safetensors"))
    for index in range(2):
        assert main(["analyze", str(model), "--output", str(folder), "--shard", f"{index}/2", "--quiet"]) == 0
    return folder


def test_merging_prints_the_conclusion_and_leaves_a_result(shards, tmp_path, run):
    code, out, err = run(shards, "--output", tmp_path / "whole")
    report = spectra.load(tmp_path / "whole")
    assert (code, out) == (0, f"{report}\n")
    assert err == f"Results in '{tmp_path / 'whole'}'. Next: spectra report {tmp_path / 'whole'} --open\n"
    assert run(shards, "--output", tmp_path / "whole", "--quiet") == (0, out, "")
    assert f"Next: spectra report '{tmp_path}/with a space' --open" in run(shards, "--output", tmp_path / "with a space")[2]


def test_missing_shards_are_one_line(shards, tmp_path, refused, model, capsys):
    main(["analyze", str(model), "--output", str(tmp_path / "out"), "--shard", "1/2", "--quiet"])
    capsys.readouterr()
    assert "has 1 of 2 shards (not begun: 0)" in refused(tmp_path / "out")
    assert "expected one folder" in refused(tmp_path / "out", shards)


def test_a_layer_that_failed_in_a_shard_is_an_exit_code_of_one(tmp_path, run, capsys):
    import numpy as np

    model = write_small(tmp_path / "tiny.safetensors", nan__weight=np.full((30, 20), np.nan, np.float32))
    codes = [main(["analyze", str(model), "-o", str(tmp_path / "out"), "--shard", f"{index}/2", "-q"]) for index in range(2)]
    capsys.readouterr()
    assert sorted(codes) == [0, 1]
    assert run(tmp_path / "out")[0] == 1


def test_a_shard_says_where_it_is_and_what_comes_next(tmp_path, model, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["analyze", model, "--output", str(tmp_path / "out"), "--shard", "auto", "--rows", "0"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^Shard 1/2: \d of 6 layers\.$", out, re.MULTILINE)
    assert err == f"Shard 1/2 is in '{tmp_path / 'out'}'. When all are there: spectra merge {tmp_path / 'out'}\n"
    assert main(["analyze", model, "--output", str(tmp_path / "whole"), "--rows", "0", "--quiet"]) == 0
    assert len(spectra.load(tmp_path / "whole").layers) == 6  # the environment alone divides nothing


def test_a_dry_run_lists_the_layers_of_a_shard(tmp_path, capsys):
    model = str(tmp_path / "model.safetensors")
    save_file(uneven_weights(), model)
    numbers = []
    for index in range(2):
        assert main(["analyze", model, "--dry-run", "--shard", f"{index}/2"]) == 0
        numbers.append(int(re.match(r"Would analyse (\d) layers? of", capsys.readouterr().out)[1]))
    assert sum(numbers) == 6
    assert min(numbers) >= 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "0/2"], "Give all of them one folder with output (--output DIR)"),
        (["--shard", "2/2", "--output", "out"], "there is no '2/2': shards are counted from 0, from '0/2' to '1/2'"),
        (["--shard", "0/2", "--output", "out", "--report"], "a shard is a part. Merge first"),
    ],
)
def test_shards_that_cannot_be_are_refused(flags, message, model, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", model, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
