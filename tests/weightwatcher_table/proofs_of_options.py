"""What the rows of the table claim about options of `analyze`, checked.

A proof has the name that rows refer to and is called with the row, so that the tolerance on the page is the one used.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spectra
from tests.weightwatcher_table.comparing import (
    DEFAULTS,
    FROZEN,
    Asked,
    assert_same,
    assert_same_fit,
    our_table,
    report,
    values_of,
)
from tests.weightwatcher_table.models import MODELS, Net, tuned
from tests.weightwatcher_table.rows import Row


def same_table(row: Row, asked: Asked) -> None:
    assert_same(our_table(row), asked.value(row.key), row.tolerance)


def same_slices(row: Row, asked: Asked) -> None:
    theirs = asked.value(row.key)
    assert [other["slice_id"] for other in theirs if other["layer_type"] == "conv2d"] == list(range(9))
    assert_same(our_table(row), theirs, row.tolerance, but={"rf", "slice_id"})


def no_effect(row: Row, asked: Asked) -> None:
    assert asked.value(row.key) == asked.value(DEFAULTS)


def raises(row: Row, asked: Asked) -> None:
    assert asked.answers[row.key]["error"].split(":")[0] == row.result.split(":")[0].removeprefix("raises ")


def hyphen_is_taken_as_minus(row: Row, asked: Asked) -> None:
    assert [other["longname"] for other in asked.value(row.key)] == ["to-q", "to-k"]
    assert [mine["longname"] for mine in our_table(row)] == ["to-q"]


def figures(row: Row, asked: Asked) -> None:
    assert asked.value(row.key) == [".png"] * 5


def same_for_the_same_order(row: Row, asked: Asked) -> None:
    from spectra.esd.randomized import compare_randomized

    seeded, first, second = (rows[0] for rows in asked.value(row.key))
    weights = Net().wide.weight.detach().numpy()
    generator = np.random.RandomState(3)  # the generator that WeightWatcher uses
    spectra_in_order = []
    for _ in range(6):  # five replicas, and one more for the distances
        entries = weights.flatten()
        generator.shuffle(entries)
        spectra_in_order.append(spectra.eigenvalues(entries.reshape(weights.shape)))
    values = spectra.eigenvalues(weights)
    compat = {"mp_method": "kde_compat", "tw_level": "ww"}
    bulk, apart = (
        compare_randomized(values, replicas, weights.shape, **compat)
        for replicas in (spectra_in_order[:5], spectra_in_order[5:])
    )
    ours = {
        "max_rand_eval": bulk.rand_lambda_max, "rand_bulk_max": bulk.rand_lambda_plus, "rand_bulk_min": bulk.rand_lambda_minus,
        "rand_sigma_mp": bulk.rand_mp_sigma_rescaled, "rand_W_scale": bulk.rand_mp_scale,
        "rand_mp_softrank": bulk.rand_mp_soft_rank, "num_traps": bulk.num_traps, "rand_num_spikes": bulk.num_traps,
        "rand_distance": apart.rand_distance, "ww_softrank": apart.rand_soft_rank, "ww_maxdist": apart.rand_gap,
    }  # fmt: skip
    assert ours == pytest.approx({name: seeded[name] for name in ours}, rel=row.tolerance)
    assert first["rand_distance"] != second["rand_distance"]
    again, filtered = (spectra.analyze(Net(), **row.settings, include=names).layers for names in ((), "wide"))
    assert again[2].rand_distance == filtered[0].rand_distance
    assert set(ours) <= set(our_table(row)[0])


def same_vectors(row: Row, asked: Asked) -> None:
    from spectra.esd.localization import localization

    for mine, theirs in zip(our_table(row), asked.value(row.key), strict=True):
        columns = [name for name in theirs if name.startswith(("bulk_", "tail_"))]
        expected = pytest.approx({name: theirs[name] for name in columns}, rel=row.tolerance)
        if {name: mine[name] for name in columns} != expected:
            weights = MODELS[row.model]().get_submodule(mine["longname"]).weight.detach().numpy()
            # The eigenvector of xmin among the bulk.
            other = localization(lambda start, stop, w=weights: w[start:stop], weights.shape, mine["xmin"] * (1.0 + 1e-6))
            assert {name: getattr(other, name) for name in columns} == expected, mine["longname"]


def operator_norm(row: Row, asked: Asked) -> None:
    import torch

    ours, theirs = spectra.analyze(Net(), **row.settings).layers[0], asked.value(row.key)[0]
    kernel = Net().conv.weight.detach().double()
    unit_inputs = torch.zeros(12, 12, 32, 32, dtype=torch.float64)
    unit_inputs[range(12), range(12), 0, 0] = 1.0
    # The operator commutes with shifts, so that its norm is the largest over frequencies of the transforms of 12 columns.
    images = torch.nn.functional.conv2d(torch.nn.functional.pad(unit_inputs, (1, 1, 1, 1), mode="circular"), kernel)
    per_frequency = torch.fft.fft2(images).permute(2, 3, 1, 0)
    assert ours.spectral_norm == pytest.approx(float(torch.linalg.svdvals(per_frequency).max()), rel=1e-9)
    assert abs(math.sqrt(theirs["lambda_max"]) / ours.spectral_norm - 1.0) > 0.1


def differs_from_run_to_run(row: Row, asked: Asked) -> None:
    first, second, dense = asked.value(row.key)
    assert first[0]["alpha"] != second[0]["alpha"]
    assert dense[0]["alpha"] > 0.0


def stacked_drops_eigenvalues(row: Row, asked: Asked) -> None:
    (theirs,) = asked.value(row.key)
    assert (theirs["M"], theirs["num_evals"]) == (120, 108)


def max_fingers_is_reset(row: Row, asked: Asked) -> None:
    theirs = asked.value(row.key)
    assert theirs == asked.value('fingers: fix_fingers="clip_xmax", finger_thresh=0.5')
    assert max(other["num_fingers"] for other in theirs) > 3
    assert all(mine["num_fingers"] < 3 for mine in our_table(row))


def frozen(row: Row, asked: Asked) -> list[dict[str, Any]]:
    """What it is with powerlaw 1.5, after a look at what it is with powerlaw 2."""
    assert {(other["alpha"], other["status"]) for other in asked.value(row.key)} == {(-1, "failed")}
    return FROZEN[row.key]["value"]


def powerlaw_frozen(row: Row, asked: Asked) -> None:
    for theirs in frozen(row, asked):
        assert_same_fit(spectra.fit_power_law(values_of(theirs["longname"])), theirs, 1e-10)


def peak_frozen(row: Row, asked: Asked) -> None:
    ours = {mine["longname"]: mine for mine in our_table(row)}
    moved = 0
    for theirs in frozen(row, asked):
        name = theirs["longname"]
        assert_same_fit(spectra.fit_power_law(values_of(name), theirs["xmin"] * (1.0 - 1e-12)), theirs, 1e-10)
        moved += ours[name]["xmin"] != pytest.approx(theirs["xmin"], rel=1e-10)
        values = values_of(name)
        if ours[name]["xmin"] != pytest.approx(theirs["xmin"], rel=1e-10):  # the next candidate is outside the window
            assert ours[name]["xmin"] == pytest.approx(
                values[np.searchsorted(values, theirs["xmin"] * (1.0 + 1e-9))], rel=1e-10
            )
    assert moved == 1


def truncated_frozen(row: Row, asked: Asked) -> None:
    from spectra.esd.truncated_power_law import fit_truncated_power_law
    from tests.esd.test_truncated_power_law import log_likelihood

    has_window = row.options["fit"] == "E_TPL"
    for theirs in frozen(row, asked):
        values = values_of(theirs["longname"])
        start = {"xmin": theirs["xmin"] * (1.0 - 1e-12)} if has_window else {"search_xmin": True}
        ours = fit_truncated_power_law(values, **start)
        assert ours.xmin == pytest.approx(theirs["xmin"], rel=1e-10)
        # powerlaw's optimiser stops early: 2e-5 measured in alpha, 8e-4 in the rate.
        assert ours.alpha == pytest.approx(theirs["alpha"], rel=1e-4)
        assert ours.rate == pytest.approx(theirs["Lambda"], rel=2e-3)
        assert ours.ks_distance == pytest.approx(theirs["D"], abs=2e-4)
        assert ours.log_likelihood >= log_likelihood(values, ours.xmin, theirs["alpha"], theirs["Lambda"]) - 1e-9


def force_frozen(row: Row, asked: Asked) -> None:
    forced, free = (rows[-1]["alpha"] for rows in (frozen(row, asked), FROZEN['net: pl_package="powerlaw"']["value"]))
    assert (f"{forced:.2f}", f"{free:.2f}") == ("5.59", "2.14")


def counts_below(row: Row, asked: Asked) -> None:
    theirs = {other["longname"]: other["weak_rank_loss"] for other in asked.value(row.key)}
    assert {name: (values_of(name) < 0.01).sum() for name in theirs} == theirs
    assert max(theirs.values()) > 0


def start_ids(row: Row, asked: Asked) -> None:
    moved = [{**other, "layer_id": other["layer_id"] - 1} for other in asked.value(row.key)]
    assert moved == asked.value(DEFAULTS)


def without_the_largest(row: Row, asked: Asked) -> None:
    for theirs in asked.value(row.key):
        values = values_of(theirs["longname"])[:-2]
        small = {"min_tail": 8, "bias_correction": True} if len(values) < 20 else {}
        assert_same_fit(spectra.fit_power_law(values, **small), theirs, row.tolerance)


def same_differences(row: Row, asked: Asked) -> None:
    ours, theirs = our_table(row), asked.value(row.key)
    changed = [name for name in (layer["longname"] for layer in ours) if name != "embed"]
    assert_same(*([layer for layer in table if layer["longname"] in changed] for table in (ours, theirs)), row.tolerance)
    (status,) = [layer.status for layer in report(row).layers if layer.layer_name == "embed"]
    (unchanged,) = [layer for layer in theirs if layer["longname"] == "embed"]
    assert (status, unchanged["alpha"]) == ("unchanged", -1)


def base_is_ignored(row: Row, asked: Asked) -> None:
    raw = spectra.analyze(tuned(), profile="weightwatcher").to_weightwatcher().to_dict("records")
    assert_same(raw, asked.value(row.key), 1e-12)
    assert our_table(row)[0]["alpha"] != pytest.approx(raw[0]["alpha"], rel=0.1)


def adapter_without_scale(row: Row, asked: Asked) -> None:
    from safetensors.torch import save_file

    lora, rank, lora_alpha = MODELS[row.model](), 24, 48
    with tempfile.TemporaryDirectory() as folder:
        save_file(
            {f"base_model.model.fc.{name}.weight": getattr(lora, name).weight.detach() for name in ("lora_A", "lora_B")},
            Path(folder) / "adapter_model.safetensors",
        )
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": lora_alpha, "target_modules": ["fc"]}
        (Path(folder) / "adapter_config.json").write_text(json.dumps(config))
        (ours,) = spectra.analyze(folder, profile="weightwatcher", **row.settings).to_weightwatcher().to_dict("records")
    (theirs,) = asked.value(row.key)
    assert ours["lambda_max"] == pytest.approx(theirs["lambda_max"] * (lora_alpha / rank) ** 2, rel=1e-6)
    assert ours["alpha"] == pytest.approx(theirs["alpha"], rel=1e-6)


def inverse(row: Row, asked: Asked) -> None:
    ours = {mine["longname"]: mine for mine in our_table(row)}
    for theirs in asked.value(row.key):
        fit = {name: theirs[name] for name in ("alpha", "xmin", "D", "num_pl_spikes")}
        mine = {name: ours[theirs["longname"]][name] for name in fit}
        assert (mine == pytest.approx(fit, rel=row.tolerance)) == (theirs["layer_type"] != "conv2d"), theirs["longname"]
    assert ours["wide"]["lambda_max"] == pytest.approx(asked.value(DEFAULTS)[2]["lambda_max"], rel=1e-12)
