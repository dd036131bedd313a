"""The study on tiny networks of the same form, without the files of the real ones."""

import json

import numpy as np
import pytest
import torch

from analysis.cifar_resnets import study
from analysis.cifar_resnets.measuring import METRICS, PROFILES, agreement, analysed
from analysis.cifar_resnets.models import NETWORKS, file_of
from tests.models import heavy_tailed

SIZES = {"resnet20-00.th": 1, "resnet32-11.th": 2, "resnet56-22.th": 3}


def tiny_resnet(num_blocks, seed):
    """Convolutions of a stem and blocks, and a classifier, with heavy tails."""

    def convolution(out, into, number):
        matrix = heavy_tailed(9 * out, into, seed=100 * seed + number)
        return torch.from_numpy(np.ascontiguousarray(matrix.reshape(3, 3, out, into).transpose(2, 3, 0, 1)))

    weights = {"conv1.weight": convolution(16, 3, 0)}
    for block in range(num_blocks):
        for part in (1, 2):
            weights[f"layer1.{block}.conv{part}.weight"] = convolution(16, 16, 2 * block + part)
            weights[f"layer1.{block}.bn{part}.weight"] = torch.ones(16)
    return weights | {"linear.weight": torch.from_numpy(heavy_tailed(10, 64, seed=seed)), "linear.bias": torch.zeros(10)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files in the form of the published ones."""
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, num_blocks) in enumerate(SIZES.items()):
        weights = {f"module.{key}": value for key, value in tiny_resnet(num_blocks, seed).items()}
        torch.save({"state_dict": weights, "best_prec1": 91.7}, folder / name)
    return folder


def test_the_study_leaves_results_and_figures_of_all_networks(folder, tmp_path):
    assert study.main(["--models-dir", str(folder), "--output", str(tmp_path), "--no-weightwatcher"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cifar-resnets-alpha.png", "cifar-resnets-alpha_weighted.png", "results.json",
    ]  # fmt: skip
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["metrics"]) == list(PROFILES)
    for found in results["metrics"].values():
        assert list(found)[: len(METRICS)] == list(METRICS)
        assert found["alpha"]["smallest p-value"] == pytest.approx(1 / 3, abs=1e-4)


def test_means_are_those_of_the_reports(folder, tmp_path):
    study.main(["--models-dir", str(folder), "--output", str(tmp_path), "--no-weightwatcher"])
    found = json.loads((tmp_path / "results.json").read_text())["metrics"]["default"]
    for model in analysed(folder, "default"):
        for metric in METRICS:
            of = found[metric][model.name]
            assert of["mean"] == pytest.approx(model.report.summary.metrics[metric].mean, abs=1e-4)
            assert of["layers"] == model.report.summary.metrics[metric].count


def test_agreement_is_the_largest_relative_difference_of_any_layer(folder):
    [ours, *_] = analysed(folder, "weightwatcher")
    rows = ours.report.to_weightwatcher().to_dict("records")
    theirs = [{**row, "longname": f"module.{row['longname']}"} for row in rows]
    theirs[1]["alpha"] *= 1.25
    found = agreement(ours, lambda file: theirs[:-1], file_of(NETWORKS[0], folder))
    assert (found["layers"], found["in one table only"]) == (len(rows) - 1, 1)
    largest = found["largest relative difference"]
    assert largest.pop("alpha") == 0.2
    assert set(largest.values()) == {0.0}


def test_a_missing_or_doubled_file_is_told(folder, tmp_path):
    with pytest.raises(SystemExit, match=r"has 0 files resnet20-\*.th, expected 1"):
        study.main(["--models-dir", str(tmp_path)])
    for name in ("resnet20-a.th", "resnet20-b.th"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=r"has 2 files resnet20-\*.th, expected 1"):
        file_of(NETWORKS[0], tmp_path)
