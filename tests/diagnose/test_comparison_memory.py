"""The bound on the memory of a comparison: what it counts, that processes keep it, and that what does not fit is refused."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spectra
from spectra import InputError
from spectra.diagnose.compared_models import open_models
from spectra.diagnose.comparison_memory import bytes_of_comparison
from spectra.diagnose.layer import batches
from spectra.diagnose.memory_need import bytes_of
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.within_memory import split_to_fit
from tests.diagnose.peaks import needs_peak, peak_of

# What changes: 8 directions that the base does not have, for which all of its singular vectors are computed; or everything.
LOW, FULL = "low rank", "full"


def change_of(kind, shape, generator):
    if kind == FULL:
        return 0.01 * torch.randn(shape, generator=generator)
    left, right = torch.randn(shape[0], 8, generator=generator), torch.randn(8, shape[1], generator=generator)
    return 0.3 * left @ right


def models_in(folder, shape, *, dtype=torch.float32, kind=FULL, number=1):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(shape, generator=generator)
    weights = {"base": base} | {f"other-{n}": base + change_of(kind, shape, generator) for n in range(number)}
    for name, weight in weights.items():
        (folder / name).mkdir()
        save_file({"fc.weight": weight.to(dtype)}, folder / name / "model.safetensors")
    return [str(folder / name) for name in weights]


def adapter_in(folder, shape, rank=8):
    """A base, and an adapter over it."""
    base, _ = models_in(folder, shape)
    adapter = folder / "adapter"
    adapter.mkdir()
    factors = {"A": torch.randn(rank, shape[1]), "B": torch.randn(shape[0], rank)}
    save_file(
        {f"base_model.model.fc.lora_{name}.weight": factor for name, factor in factors.items()},
        adapter / "adapter_model.safetensors",
    )
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["fc"], "base_model_name_or_path": base}
    (adapter / "adapter_config.json").write_text(json.dumps(about))
    return [base, str(adapter)]


def opened(base, *others):
    return open_models(base, others, resolve_settings("default"), revision=False)


def needs(base, *others, num_directions=10):
    models = opened(base, *others)
    options = {"others": models.others, "settings": models.plan.settings, "num_directions": num_directions}
    return {job.matrix_name: bytes_of_comparison([job], **options) for job in models.plan.jobs}


def need(shape, **options):
    weights = {"fc.weight": np.broadcast_to(np.float32(1.0), shape)}
    return needs(weights, weights, **options)["fc"]


# 12.6 million numbers, 50 MB as float32 and 101 MB as float64. With norms taken of a wide matrix as a whole, and both operands
# of its change in float64, the first case took 715 MB.
@needs_peak
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "options", "intruders"),
    [
        ((768, 16384), {}, 0),
        ((768, 16384), {"dtype": torch.float64, "number": 2}, 0),
        ((768, 16384), {"kind": LOW, "number": 2}, 8),
        ((16384, 768), {"kind": LOW}, 8),
        ((1536, 1536), {"kind": LOW, "dtype": torch.float64}, 8),
        ((300, 40000), {"kind": LOW}, 8),
    ],
    ids=["wide", "wide, float64", "wide, low rank", "tall, low rank", "square, float64", "narrow"],
)
def test_the_peak_of_a_process_stays_under_the_bound(shape, options, intruders, tmp_path):
    models = models_in(tmp_path, shape, **options)
    found = peak_of("compare", *models)
    assert len(found["found"]) == len(models) - 1
    assert all((f"{intruders} intruders" in verdict) == bool(intruders) for verdict in found["found"])
    assert 0.3 * found["bound"] < found["peak"] <= found["bound"]


@needs_peak
@pytest.mark.slow
def test_the_peak_with_an_adapter_stays_under_the_bound(tmp_path):
    found = peak_of("compare", *adapter_in(tmp_path, (768, 16384)))
    assert found["peak"] <= found["bound"]


def test_gram_matrices_of_all_models_count_as_long_as_they_are_kept(tmp_path):
    base, *others = models_in(tmp_path, (900, 900), number=3)
    one, three = (needs(base, *some)["fc"] for some in (others[:1], others))
    assert three - one == 4 * 8 * 900**2


@needs_peak
@pytest.mark.slow
def test_factors_of_a_tall_weight_count(tmp_path):
    found = peak_of("compare", *adapter_in(tmp_path, (60_000, 128), rank=64))
    assert 4 * 8 * 60_000 * 64 < found["peak"] <= found["bound"]


@needs_peak
@pytest.mark.slow
def test_all_positions_of_a_kernel_are_read_at_once(tmp_path):
    found = peak_of("compare", *models_in(tmp_path, (200, 200, 7, 7), dtype=torch.float64))
    assert 2.5 * 8 * 200 * 200 * 49 < found["peak"] <= found["bound"]


def test_of_a_wide_base_all_numbers_stay():
    assert need((300, 100_000)) - need((100_000, 300)) >= 8 * 300 * 100_000


def test_directions_that_are_asked_for_count():
    assert need((30_000, 800), num_directions=800) - need((30_000, 800)) == 8 * 5 * 30_800 * 700


def test_a_kernel_counts_by_the_matrix_that_directions_are_taken_of():
    flat, kernel = need((512, 512 * 9)), need((512, 512, 3, 3))
    base = 16 * 512**2 + 8 * 512 * 512 * 9
    change = 16 * 512 * 512 * 9  # in float64, beside the numbers of both models
    assert base + change < kernel < flat + base


def test_what_is_analysed_together_is_bounded_whichever_weights_change():
    rng = np.random.default_rng(0)
    weights = {f"l{n}.weight": rng.standard_normal((20, 20 + 2000 * (n % 2))) for n in range(26)}
    models = opened(weights, weights, weights)
    settings = models.plan.settings
    (batch,) = batches(models.plan.jobs)
    changes = [other.changes[job.matrix_name] for other in models.others for job in batch]
    largest = [job for job in changes if job.num_cols > 20]
    assert len(largest) == len(batch) == 26
    bound = bytes_of_comparison(batch, others=models.others, settings=settings, num_directions=10)
    assert bound > bytes_of(largest, settings) > bytes_of(changes[:26], settings)


def weights_and_changed():
    rng = np.random.default_rng(0)
    before = {f"l{n}.weight": rng.standard_normal((40, 400 + n)) for n in range(5)}
    return before, {name: weight + 0.1 * rng.standard_normal(weight.shape) for name, weight in before.items()}


def test_numbers_do_not_depend_on_the_memory():
    before, after = weights_and_changed()
    least = max(needs(before, after).values())
    models = opened(before, after)
    together = partial(bytes_of_comparison, others=models.others, settings=models.plan.settings, num_directions=10)
    whole = batches(models.plan.jobs)
    assert len(split_to_fit(whole, together, least)) == 5 > len(whole)
    free, tight = (spectra.compare(before, after, workers=3, max_memory=size) for size in (None, least))
    assert {**free.to_dict(), "environment": 0} == {**tight.to_dict(), "environment": 0}
    assert free.changes.keys() == tight.changes.keys()
    for key, array in free.changes.items():
        np.testing.assert_array_equal(array, tight.changes[key])


def test_what_never_fits_is_refused_before_the_folder_is_touched(tmp_path):
    before, after = weights_and_changed()
    with pytest.raises(InputError) as caught:
        spectra.compare(before, after, max_memory="1MB", output=tmp_path / "out")
    assert str(caught.value).startswith("5 layers may need more memory than the 1.0 MB there are: 'l4' (")
    assert str(caught.value).endswith("Allow more with --max-memory, or leave them out with --exclude or --max-evals 39.")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="5 layers may need more"):
        spectra.compare(before, after, max_memory="1MB")


def test_a_finished_comparison_comes_back_in_any_memory(tmp_path):
    before, after = weights_and_changed()
    first = spectra.compare(before, after, output=tmp_path / "out")
    assert spectra.compare(before, after, max_memory=1, output=tmp_path / "out").to_dict() == first.to_dict()


@pytest.mark.parametrize("max_memory", ["much", -1])
def test_no_size_is_refused(max_memory):
    before, after = weights_and_changed()
    with pytest.raises(InputError, match="max_memory"):
        spectra.compare(before, after, max_memory=max_memory)
