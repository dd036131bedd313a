import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from spectra import InputError, ResultsError
from tests.models import heavy_tailed, uneven_weights

FILES = ("layers.csv", "spectra.safetensors")


def experts():
    """Experts, whose rows a summary leaves out, a weight that fails, and one that is skipped."""
    stacks = {f"model.layers.0.mlp.experts.{i}.up_proj.weight": heavy_tailed(40, 30, seed=i) for i in range(5)}
    return {
        **stacks,
        **uneven_weights(3),
        "nan.weight": np.full((30, 20), np.nan, np.float32),
        "ids": np.arange(6).reshape(2, 3),
    }


def sharded(folder, count=3, model=None, **settings):
    for index in range(count):
        spectra.analyze(uneven_weights() if model is None else model, output=folder, shard=f"{index}/{count}", **settings)
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return sharded(tmp_path_factory.mktemp("merge") / "three")


@pytest.fixture
def shards(three, tmp_path):
    return shutil.copytree(three, tmp_path / "out")


def content_of(folder):
    content = json.loads((folder / "report.json").read_text())
    del content["environment"]
    return content, [(folder / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize(
    "settings",
    [{}, {"moe": "summary"}, {"subsample": "farms"}, {"randomize": True, "num_replicas": 1, "exclude": "*.0.fc"}],
    ids=["default", "summary", "farms", "randomized"],
)
def test_merged_shards_are_the_whole_run(tmp_path, count, settings):
    whole = spectra.analyze(experts(), output=tmp_path / "whole", **settings)
    merged = spectra.merge(sharded(tmp_path / "out", count, experts(), **settings))
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")
    assert repr(merged.layers) == repr(whole.layers)
    assert repr(spectra.load(tmp_path / "out").layers) == repr(whole.layers)
    assert list(merged.spectra) == list(whole.spectra)


def test_the_environment_tells_of_all_shards(shards):
    parts = [spectra.load(folder).environment for folder in sorted((shards / "shards").iterdir())]
    changed = shards / "shards" / "1-of-3" / "report.json"
    content = json.loads(changed.read_text())
    content["environment"]["platform"] = "Plan9 mips"
    changed.write_text(json.dumps(content))
    found = spectra.merge(shards).environment
    assert found["spectra"] == spectra.__version__
    assert found["platform"] == f"{parts[0]['platform']}, Plan9 mips"
    assert found["started_at"] == min(part["started_at"] for part in parts)
    assert found["seconds"] == pytest.approx(sum(part["seconds"] for part in parts))
    assert found["shards"] == 3


def test_shards_that_used_a_cache_add_up_what_they_found(tmp_path):
    for part in ("0/2", "1/2"):
        spectra.analyze(uneven_weights(), output=tmp_path / "out", shard=part, cache=tmp_path / "rows")
    report = spectra.merge(tmp_path / "out")
    found, computed = report.environment["layers_from_cache"], report.environment["layers_computed"]
    assert (found + computed, computed) == (len(report.layers), len(list(tmp_path.glob("rows/*/*.safetensors"))))


def test_what_only_some_shards_say_is_kept_and_counted(shards):
    files = [shards / "shards" / f"{index}-of-3" / "report.json" for index in range(3)]
    said = [{}, {"layers_from_cache": 1, "layers_computed": 2, "cache_trouble": "disk full"}, {"repeated_tasks": 4}]
    for file, more in zip(files, said, strict=True):
        content = json.loads(file.read_text())
        content["environment"] |= more
        file.write_text(json.dumps(content))
    found = spectra.merge(shards).environment
    assert {name: found[name] for more in said for name in more} == said[1] | said[2]


def test_merging_twice_gives_the_same_and_the_same_command_of_one_run_is_done(shards):
    spectra.merge(shards)
    before = {name: (shards / name).read_bytes() for name in ("report.json", *FILES)}
    spectra.merge(shards)
    assert {name: (shards / name).read_bytes() for name in before} == before
    seen = []
    spectra.analyze(uneven_weights(), output=shards, progress=seen.append)
    spectra.analyze(uneven_weights(), output=shards, shard="2/3", progress=seen.append)
    assert seen == []
    assert sorted(os.listdir(shards)) == ["layers.csv", "report.json", "shards", "spectra.safetensors"]


def test_shards_from_several_folders_are_merged_into_another(shards, tmp_path):
    (tmp_path / "far" / "shards").mkdir(parents=True)
    shutil.move(shards / "shards" / "1-of-3", tmp_path / "far" / "shards")
    with pytest.raises(InputError, match="expected one folder, or an output for 2 of them"):
        spectra.merge([shards, tmp_path / "far"])
    merged = spectra.merge([shards, tmp_path / "far"], output=tmp_path / "whole")
    assert repr(merged.layers) == repr(spectra.analyze(uneven_weights()).layers)
    assert not (shards / "report.json").exists()


def test_missing_and_unfinished_shards_are_named(shards, tmp_path):
    shutil.rmtree(shards / "shards" / "2-of-3")
    (shards / "shards" / "0-of-3" / "report.json").unlink()
    with pytest.raises(ResultsError) as caught:
        spectra.merge(shards)
    assert str(caught.value) == (
        f"'{shards}' has 1 of 3 shards (unfinished: 0; not begun: 2). Run the same command for each of them "
        "(spectra analyze 'mapping of 6 tensors' ... --shard 0/3), then merge again."
    )
    assert os.listdir(shards) == ["shards"]
    with pytest.raises(ResultsError, match="holds no shards. Make them: spectra analyze MODEL --output DIR --shard 0/8"):
        spectra.merge(tmp_path)
    with pytest.raises(ResultsError, match="there is no folder '.*nowhere'. Make them: spectra analyze"):
        spectra.merge(tmp_path / "nowhere")


def test_a_division_that_was_given_up_does_not_matter_once_another_is_whole(shards):
    spectra.analyze(uneven_weights(), output=shards, shard="0/2", force=True)
    (shards / "shards" / "1-of-3" / "report.json").rename(shards / "aside.json")
    with pytest.raises(ResultsError, match=r"has 2 of 3 shards \(unfinished: 1\)"):
        spectra.merge(shards)
    (shards / "aside.json").rename(shards / "shards" / "1-of-3" / "report.json")
    assert len(spectra.merge(shards).layers) == 6


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"xmin": "median"}, "xmin 'ks' there, 'median' now"),
        ({"model": uneven_weights(seed=7)}, "of other weights"),
    ],
)
def test_shards_of_different_analyses_are_refused(shards, tmp_path, arguments, reason):
    other = sharded(tmp_path / "other", **arguments)
    shutil.rmtree(shards / "shards" / "1-of-3")
    shutil.move(other / "shards" / "1-of-3", shards / "shards")
    with pytest.raises(ResultsError, match=f"1-of-3' are shards of different analyses: {reason}. Merge those of one"):
        spectra.merge(shards)


def test_shards_of_different_versions_are_refused(shards):
    file = shards / "shards" / "1-of-3" / "shard.json"
    file.write_text(file.read_text().replace(f'"spectra": "{spectra.__version__}"', '"spectra": "0.0.1"'))
    with pytest.raises(ResultsError, match="different analyses: made by Spectra"):
        spectra.merge(shards)


def test_shards_of_copies_are_merged_when_they_are_said_to_be_copies(tmp_path):
    for index in range(2):
        (tmp_path / str(index)).mkdir()
        save_file(uneven_weights(), tmp_path / str(index) / "model.safetensors")
        os.utime(tmp_path / str(index) / "model.safetensors", (index, index))
        spectra.analyze(tmp_path / str(index) / "model.safetensors", output=tmp_path / f"out-{index}", shard=f"{index}/2")
    folders = [tmp_path / "out-0", tmp_path / "out-1"]
    with pytest.raises(ResultsError, match=r"or of a copy of them. If they are copies, say so with copies=True \(--copies\)"):
        spectra.merge(folders, output=tmp_path / "whole")
    merged = spectra.merge(folders, output=tmp_path / "whole", copies=True)
    assert repr(merged.layers) == repr(spectra.analyze(tmp_path / "0" / "model.safetensors").layers)
    with pytest.raises(ResultsError, match=r"xmin 'ks' there, 'hill' now"):
        spectra.merge([folders[0], sharded(tmp_path / "hill", 2, xmin="hill")], output=tmp_path / "w", copies=True)


def test_shards_that_divide_the_model_differently_are_refused(shards):
    file = shards / "shards" / "1-of-3" / "shard.json"
    content = json.loads(file.read_text())
    content["places"].popitem()
    file.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"have \d of 6 layers, or some of them twice"):
        spectra.merge(shards)


def test_a_result_of_something_else_is_replaced_only_by_force(shards, tmp_path):
    spectra.analyze(uneven_weights(), xmin="median", output=tmp_path / "whole")
    with pytest.raises(ResultsError, match=r"holds the result of another analysis \(xmin 'median' there, 'ks' now\)"):
        spectra.merge(shards, output=tmp_path / "whole")
    spectra.merge(shards, output=tmp_path / "whole", force=True)
    assert spectra.load(tmp_path / "whole").settings.xmin == "ks"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(ResultsError, match="holds other files"):
        spectra.merge(shards, output=tmp_path / "mine")
