"""The bound on the memory of a comparison: what it counts, that processes keep it, and that what does not fit is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spectra
from spectra import InputError
from spectra.diagnose.compared_models import open_models
from spectra.diagnose.comparison_memory import bytes_of_comparison
from spectra.diagnose.profiles import resolve_settings
from spectra.esd.gram import rows_at_a_time
from tests.diagnose.peaks import needs_peak, peak_of
from tests.models import resnet

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


def adapter_in(folder, shape):
    """A base, and an adapter over it."""
    (base, _) = models_in(folder, shape)
    adapter = folder / "adapter"
    adapter.mkdir()
    factors = {"A": torch.randn(8, shape[1]), "B": torch.randn(shape[0], 8)}
    save_file(
        {f"base_model.model.fc.lora_{name}.weight": factor for name, factor in factors.items()},
        adapter / "adapter_model.safetensors",
    )
    about = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["fc"], "base_model_name_or_path": base}
    (adapter / "adapter_config.json").write_text(json.dumps(about))
    return [base, str(adapter)]


def needs(base, *others):
    opened = open_models(base, others, resolve_settings("default"), revision=False)
    settings = opened.plan.settings
    return {job.matrix_name: bytes_of_comparison([job], others=opened.others, settings=settings) for job in opened.plan.jobs}


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


def test_of_a_wide_base_all_numbers_stay():
    def need(shape):
        weights = {"fc.weight": np.broadcast_to(np.float32(1.0), shape)}
        return needs(weights, weights)["fc"]

    assert need((300, 100_000)) - need((100_000, 300)) >= 8 * 300 * 100_000


def test_a_kernel_counts_by_the_matrix_that_directions_are_taken_of():
    model = resnet()
    found = needs(model, model)
    assert all(10**7 < need < 10**8 for need in found.values())


@pytest.mark.parametrize("cols", [1, 3, 4096, 10**9])
def test_rows_that_are_read_at_a_time_hold_a_bounded_number_of_numbers(cols):
    assert rows_at_a_time(cols) == 1 or rows_at_a_time(cols) * cols <= 2**19


def weights_and_changed():
    rng = np.random.default_rng(0)
    before = {f"l{n}.weight": rng.standard_normal((40 + n, 60)) for n in range(5)}
    return before, {name: weight + 0.1 * rng.standard_normal(weight.shape) for name, weight in before.items()}


def test_numbers_do_not_depend_on_the_memory():
    before, after = weights_and_changed()
    free = spectra.compare(before, after, workers=3)
    tight = spectra.compare(before, after, workers=3, max_memory=max(needs(before, after).values()))
    assert {**free.to_dict(), "environment": 0} == {**tight.to_dict(), "environment": 0}


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
