import copy
import json
import math

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from spectra.errors import InputError, ResultsError
from spectra.fisher import surface as module
from spectra.fisher.directions import filter_normalized, gaussian
from spectra.fisher.estimate import fisher
from spectra.fisher.mean_loss import mean_loss
from spectra.fisher.regions import regions_of
from spectra.fisher.surface import SurfaceProgress, loss_surface
from spectra.results.surface import load_surface
from tests.fisher.by_hand import fisher_by_hand, random_fisher

WORDS = 15


class Quadratic(nn.Module):
    """Its loss is a quadratic form of its weights, plus what the sample says."""

    def __init__(self, *, separable=False):
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def drawn(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.first, self.second, self.bias = (nn.Parameter(drawn(*shape)) for shape in [(3, 2), (2, 4), (5,)])
        root = drawn(19, 19)
        self.form = torch.diag(drawn(19).abs()) if separable else root @ root.T / 19.0
        self.minimum = drawn(19)

    def forward(self, offsets):
        away = torch.cat([parameter.flatten() for parameter in self.parameters()]) - self.minimum
        return offsets + 0.5 * away @ self.form @ away


def quadratic_loss(model, batch):
    return model(batch)


OFFSETS = [torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([6.0], dtype=torch.float64)]  # of mean 3


def quadratic_surface(model, fisher=None, **settings):
    return loss_surface(model, OFFSETS, fisher or random_fisher(model), **{"num_points": 5, "loss": quadratic_loss, **settings})


def flat_directions(model, seed, include_vectors=True):
    """Both directions over all weights of the toy, shape (2, 19)."""
    return np.stack(
        [
            np.concatenate(
                [
                    filter_normalized(
                        gaussian(tuple(weight.shape), seed, number, index), weight.detach(), include_vectors=include_vectors
                    ).numpy().ravel()
                    for index, weight in enumerate(model.parameters())
                ]
            )
            for number in (0, 1)
        ]
    )  # fmt: skip


def flat_mask(model, region):
    parts = []
    for name, parameter in model.named_parameters():
        mask = region.get(name, torch.zeros(parameter.shape, dtype=torch.bool))
        parts.append(np.ones(parameter.numel()) if mask is None else mask.numpy().astype(float).ravel())
    return np.concatenate(parts)


def bits(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_bit_equal(model, before):
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.detach().reshape(-1).view(torch.uint8), before[name].reshape(-1).view(torch.uint8)), name


def bert(**settings):
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(**shape, vocab_size=WORDS, max_position_embeddings=8, **settings)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)  # so that biases are no zeros and predictions not uniform
    return model


def masked_batches(num_batches=2):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, WORDS, (num_batches, 3, 7), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) > 0.4, -100)
    pairs = zip(ids, labels, strict=True)
    return [{"input_ids": some, "attention_mask": torch.ones_like(some), "labels": targets} for some, targets in pairs]


@pytest.mark.parametrize("level", ["tensor", "parameter"])
@pytest.mark.parametrize("norm_matched", [True, False])
@pytest.mark.parametrize("include_vectors", [True, False])
def test_the_surface_of_a_quadratic_form_is_the_closed_form(level, norm_matched, include_vectors):
    model = Quadratic()
    fisher = random_fisher(model)
    settings = {"level": level, "norm_matched": norm_matched, "include_vectors": include_vectors}
    surface = quadratic_surface(model, fisher, seed=4, **settings)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()
    form, away = model.form.numpy(), weights - model.minimum.numpy()
    directions = flat_directions(model, 4, include_vectors)
    lengths = np.linalg.norm(directions, axis=1)
    np.testing.assert_array_equal(surface.grid, [-1.5, -0.75, 0.0, 0.75, 1.5])
    for region in surface.regions:
        moved = directions * flat_mask(model, regions_of(fisher, level)[region.name])
        if norm_matched:
            moved *= (lengths / np.linalg.norm(moved, axis=1))[:, None]
        for i, a in enumerate(surface.grid):
            for j, b in enumerate(surface.grid):
                step = a * moved[0] + b * moved[1]
                expected = 3.0 + 0.5 * away @ form @ away + away @ form @ step + 0.5 * step @ form @ step
                assert surface.losses[region.name][i, j] == pytest.approx(expected, rel=1e-12)  # float64 throughout
        assert region.delta_norm == pytest.approx(np.linalg.norm(moved) / math.sqrt(2.0), rel=1e-12)
        assert region.relative_norm == pytest.approx(region.delta_norm / np.linalg.norm(weights), rel=1e-12)
        assert region.num_params == np.count_nonzero(moved.any(axis=0))


def test_the_center_is_the_unperturbed_loss_exactly():
    model, batches = bert(), masked_batches()
    expected, num_targets = mean_loss(model.eval(), batches, "masked-lm")
    surface = loss_surface(model, batches, random_fisher(model), num_points=3, task="masked-lm")
    assert surface.center_loss == expected
    assert surface.info.num_targets == num_targets
    assert surface.grid[1] == 0.0
    assert [losses[1, 1] for losses in surface.losses.values()] == [expected] * 3


@pytest.mark.parametrize("num_points", [3, 17, 25])
@pytest.mark.parametrize("radius", [1.5, 0.1, 1e-3, 7.3])
def test_every_grid_is_symmetric_and_holds_zero(num_points, radius):
    grid = module._grid(num_points, radius)
    assert (len(grid), grid[num_points // 2], grid[0], grid[-1]) == (num_points, 0.0, -radius, radius)
    np.testing.assert_array_equal(grid, -grid[::-1])
    np.testing.assert_allclose(np.diff(grid), 2.0 * radius / (num_points - 1), rtol=1e-12)


@pytest.mark.parametrize("level", ["tensor", "parameter"])
def test_matched_regions_take_equal_steps(level):
    model = bert()
    surface = loss_surface(model, masked_batches(1), random_fisher(model), num_points=3, level=level, task="masked-lm")
    norms = [(region.delta_norm, region.relative_norm) for region in surface.regions]
    assert norms == [norms[0]] * 3


@pytest.mark.parametrize("level", ["tensor", "parameter"])
def test_unmatched_halves_make_up_the_whole(level):
    model = bert()
    settings = {"num_points": 3, "level": level, "norm_matched": False, "task": "masked-lm"}
    whole, top, bottom = loss_surface(model, masked_batches(1), random_fisher(model), **settings).regions
    assert whole.delta_norm**2 == pytest.approx(top.delta_norm**2 + bottom.delta_norm**2, rel=1e-9)
    assert whole.num_params == top.num_params + bottom.num_params
    assert top.relative_norm < whole.relative_norm
    if level == "tensor":
        assert whole.num_tensors == top.num_tensors + bottom.num_tensors


@pytest.mark.parametrize("level", ["tensor", "parameter"])
def test_regions_share_their_directions(level):
    # If no two weights enter the loss together, what the halves add to it makes up what the whole adds: at the same steps only.
    surface = quadratic_surface(Quadratic(separable=True), norm_matched=False, level=level)
    rises = {name: losses - surface.center_loss for name, losses in surface.losses.items()}
    np.testing.assert_allclose(rises["whole"], rises["top"] + rises["bottom"], rtol=1e-10, atol=1e-12)


def test_one_region_is_the_same_as_among_three():
    model, batches = bert(), masked_batches(1)
    fisher = random_fisher(model)
    three, one = (
        loss_surface(model, batches, fisher, num_points=3, task="masked-lm", regions=regions)
        for regions in [("whole", "top", "bottom"), "bottom"]
    )
    assert list(one.losses) == ["bottom"]
    np.testing.assert_array_equal(one.losses["bottom"], three.losses["bottom"])
    assert one.regions == three.regions[2:]


def test_the_whole_moves_tied_weights_once():
    model, batches = bert(), masked_batches(1)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    surface = loss_surface(model, batches, random_fisher(model), num_points=3, radius=0.5, task="masked-lm", seed=2)
    by_hand = copy.deepcopy(model).eval()
    with torch.no_grad():
        for index, parameter in enumerate(by_hand.parameters()):
            parameter.add_(filter_normalized(gaussian(tuple(parameter.shape), 2, 0, index), parameter), alpha=0.5)
    expected, _ = mean_loss(by_hand, batches, "masked-lm")
    assert surface.losses["whole"][2, 1] == pytest.approx(expected, rel=1e-5)  # embeddings have rows and are linear at once
    assert surface.losses["whole"][2, 1] != pytest.approx(surface.center_loss, rel=1e-3)


def test_the_model_is_left_as_it_was():
    model, batches = bert(), masked_batches(1)
    model.train()
    model.bert.encoder.eval()
    frozen = model.bert.embeddings.LayerNorm.weight.requires_grad_(False)
    kept = model.bert.embeddings.LayerNorm.bias
    kept.grad = torch.ones_like(kept)
    before, modes, state = bits(model), {name: m.training for name, m in model.named_modules()}, torch.random.get_rng_state()
    loss_surface(model, batches, random_fisher(model), num_points=3, task="masked-lm")
    assert_bit_equal(model, before)
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not frozen.requires_grad
    assert [p for p in model.parameters() if p.grad is not None] == [kept]
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_dropout_is_off():
    model, batches = bert(hidden_dropout_prob=0.5).train(), masked_batches(1)
    first, second = (
        loss_surface(model, batches, random_fisher(model), num_points=3, task="masked-lm", regions=["whole"]) for _ in range(2)
    )
    np.testing.assert_array_equal(first.losses["whole"], second.losses["whole"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_weights_come_back_after_an_exception(error):
    model = Quadratic()
    before, calls = bits(model), []

    def failing(model, batch):
        calls.append(batch)
        if len(calls) == 40:
            raise error("stop")
        return model(batch)

    with pytest.raises(error, match="stop"):
        quadratic_surface(model, loss=failing)
    assert_bit_equal(model, before)
    assert model.training


def test_half_precision_weights_come_back():
    model, batches = bert().to(torch.bfloat16), masked_batches(1)
    before = bits(model)
    surface = loss_surface(model, batches, random_fisher(model), num_points=3, task="masked-lm")
    assert_bit_equal(model, before)
    assert surface.is_complete
    assert np.ptp(surface.losses["whole"]) > 0.0


def test_a_real_fisher_of_a_model_brings_its_task():
    model, batches = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), [(torch.randn(6, 3), torch.arange(6) % 2)]
    surface = loss_surface(model, batches, fisher(model, batches), num_points=3)
    assert surface.info.task == "classification"
    assert surface.info.num_params == 26
    numbers = [(torch.randn(6, 3), torch.randn(6, 2))]
    estimate = fisher(model, numbers, task="regression")
    assert loss_surface(model, numbers, estimate, num_points=3).info.task == "regression"


def test_seeds_data_and_fishers_leave_their_mark():
    model = Quadratic()
    first, again, other = (quadratic_surface(model, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.losses["top"], again.losses["top"])
    assert (first.losses["whole"] != other.losses["whole"]).sum() == 24  # all but the center
    assert first.info == again.info
    assert first.info.fisher != quadratic_surface(model, random_fisher(model, seed=1)).info.fisher
    elsewhere = loss_surface(model, OFFSETS[:1], random_fisher(model), num_points=3, loss=quadratic_loss)
    assert elsewhere.info.data != first.info.data


def test_points_without_a_finite_loss_are_infinite():
    model = Quadratic()
    start = float(model.first.detach().sum())

    def limited(model, batch):
        return model(batch) + (math.inf if abs(float(model.first.detach().sum()) - start) > 0.5 else 0.0)

    surface = quadratic_surface(model, loss=limited, regions=["whole"])
    losses = surface.losses["whole"]
    assert surface.is_complete
    assert math.isfinite(losses[2, 2])
    assert 0 < np.isinf(losses).sum() < 25
    np.testing.assert_array_equal(
        losses[np.isfinite(losses)], quadratic_surface(model, regions=["whole"]).losses["whole"][np.isfinite(losses)]
    )


def test_a_center_that_is_not_finite_is_refused():
    model = Quadratic()
    with torch.no_grad():
        model.bias[0] = math.nan
    with pytest.raises(InputError, match="not finite"):
        quadratic_surface(model)


def test_progress_tells_of_every_point():
    seen = []
    quadratic_surface(Quadratic(), num_points=3, regions=["top", "bottom"], progress=seen.append)
    # The center is known before the first step.
    assert seen[0] == SurfaceProgress("top", 3, 18)
    assert seen[-1] == SurfaceProgress("bottom", 18, 18)
    assert [step.num_done for step in seen] == list(range(3, 19))


class Stopping:
    """Interrupts after some points."""

    def __init__(self, after):
        self.left = after

    def __call__(self, step):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_surface_is_continued(tmp_path):
    model, state = Quadratic(), tmp_path / "partial.npz"
    with pytest.raises(KeyboardInterrupt):
        quadratic_surface(model, state=state, progress=Stopping(30))
    partial = load_surface(state)
    assert not partial.is_complete
    assert sum(int(np.isnan(losses).sum()) for losses in partial.losses.values()) == 75 - 3 - 30
    assert partial.losses["whole"][2, 2] == partial.center_loss
    seen = []
    surface = quadratic_surface(model, state=state, progress=seen.append)
    assert len(seen) == 75 - 3 - 30
    expected = quadratic_surface(model)
    assert surface.is_complete
    for name, losses in expected.losses.items():
        np.testing.assert_array_equal(surface.losses[name], losses)


def test_a_finished_surface_stays_in_its_file_and_is_not_measured_again(tmp_path):
    model, state, seen = Quadratic(), tmp_path / "a.npz", []
    first = quadratic_surface(model, state=state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.npz"]
    again = quadratic_surface(model, state=state, progress=seen.append)
    assert seen == []
    for surface in (again, load_surface(state)):
        assert (surface.info, surface.regions) == (first.info, first.regions)
        np.testing.assert_array_equal(surface.losses["top"], first.losses["top"])


def test_ctrl_c_waits_for_the_point(tmp_path):
    import os
    import signal

    model, state = Quadratic(), tmp_path / "partial.npz"
    before, done = bits(model), []

    def interrupting(step):
        done.append(step.num_done)
        if len(done) == 10:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        quadratic_surface(model, state=state, progress=interrupting)
    assert len(done) == 10
    assert_bit_equal(model, before)
    assert not load_surface(state).is_complete


def test_an_unfinished_surface_is_kept_while_it_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_SAVES", 0.0)
    state, kept = tmp_path / "partial.npz", []

    def look(step):
        kept.append(
            sum(int(np.isfinite(losses).sum()) for losses in load_surface(state).losses.values()) if state.exists() else 0
        )

    quadratic_surface(Quadratic(), num_points=3, state=state, progress=look)
    assert kept == [0, *range(4, 27)]  # each point is in the file before the next one is reported


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"radius": 1.0}, "radius 1.5 there, 1.0 now"),
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"level": "parameter"}, "level 'tensor' there, 'parameter' now"),
        ({"num_points": 7}, "num_points 5 there, 7 now"),
        ({"regions": ["top"]}, "regions whole, top, bottom there, top now"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_state_of_another_surface_is_refused(tmp_path, changed, words):
    model, state = Quadratic(), tmp_path / "partial.npz"
    with pytest.raises(KeyboardInterrupt):
        quadratic_surface(model, state=state, progress=Stopping(5))
    before = state.read_bytes()
    with pytest.raises(
        ResultsError, match=f"partial.npz' holds another loss surface \\({words}\\). Choose another file, or remove it"
    ):
        quadratic_surface(model, state=state, **changed)
    assert state.read_bytes() == before


def test_a_state_of_other_weights_is_refused(tmp_path):
    model, state = Quadratic(), tmp_path / "partial.npz"
    with pytest.raises(KeyboardInterrupt):
        quadratic_surface(model, state=state, progress=Stopping(5))
    estimate = random_fisher(model)
    with torch.no_grad():
        model.bias += 0.01
    before = bits(model)
    with pytest.raises(ResultsError, match=r"another loss surface \(weight_norm"):
        quadratic_surface(model, estimate, state=state)
    assert_bit_equal(model, before)


def test_a_state_that_is_something_else_is_left_alone(tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, a=np.ones(3))
    before = other.read_bytes()
    with pytest.raises(ResultsError, match=r"other.npz' is no loss surface"):
        quadratic_surface(Quadratic(), state=other)
    with pytest.raises(ResultsError, match=r"ends in .npz"):
        quadratic_surface(Quadratic(), state=tmp_path / "state")
    assert other.read_bytes() == before


def test_a_wrapped_model_is_measured_inside():
    model, batches = bert(), masked_batches(1)
    estimate = random_fisher(model)
    plain, wrapped = (
        loss_surface(one, batches, estimate, num_points=3, task="masked-lm", regions=["top"])
        for one in (model, nn.DataParallel(model))
    )
    np.testing.assert_array_equal(plain.losses["top"], wrapped.losses["top"])


def test_batches_may_be_read_once_only():
    model, batches = bert(), masked_batches()
    estimate = random_fisher(model)
    listed, streamed = (
        loss_surface(model, some, estimate, num_points=3, task="masked-lm", regions=["top"])
        for some in (batches, iter(batches))
    )
    np.testing.assert_array_equal(listed.losses["top"], streamed.losses["top"])
    assert listed.info == streamed.info


def test_what_cannot_be_measured_is_refused():
    model = Quadratic()
    with pytest.raises(InputError, match="num_points is 16: pass an odd number from 3 on"):
        quadratic_surface(model, num_points=16)
    with pytest.raises(InputError, match="num_points is 1: pass an odd number from 3 on"):
        quadratic_surface(model, num_points=1)
    for number in (5.0, "5", None):
        with pytest.raises(InputError, match=f"num_points is {number!r}: pass an odd number from 3 on"):
            quadratic_surface(model, num_points=number)
    for radius in (None, "1.5"):
        with pytest.raises(InputError, match=f"radius is {radius!r}: pass a positive number"):
            quadratic_surface(model, radius=radius)
    for radius in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match=f"radius is {radius}: pass a positive number"):
            quadratic_surface(model, radius=radius)
    for seed in (-1, 1.5, None):
        with pytest.raises(InputError, match=f"seed is {seed!r}: pass 0 or a positive whole number"):
            quadratic_surface(model, seed=seed)
    with pytest.raises(InputError, match="unknown region 'middle'"):
        quadratic_surface(model, regions=["middle"])
    with pytest.raises(InputError, match="no region is asked for"):
        quadratic_surface(model, regions=[])
    with pytest.raises(InputError, match="unknown level 'row'"):
        quadratic_surface(model, level="row")
    with pytest.raises(InputError, match="there is no target in 0 batches"):
        loss_surface(model, [], random_fisher(model), loss=quadratic_loss)
    vectors_lead = fisher_by_hand(nn.Linear(3, 2), lambda name, shape: float(name == "bias"))
    with pytest.raises(
        InputError, match=r"nothing can move in the region 'top': its tensors are zeros, or vectors .* include_vectors=True"
    ):
        loss_surface(nn.Linear(3, 2), OFFSETS, vectors_lead, include_vectors=False, loss=quadratic_loss)


def test_its_settings_can_be_written_as_json():
    surface = quadratic_surface(Quadratic(), num_points=np.int64(3), seed=np.int64(2), radius=1, regions=["whole"])
    content = json.loads(json.dumps(surface.to_dict(), allow_nan=False))
    assert content["info"]["num_points"] == 3
    assert content["info"]["task"] == "custom"
    assert content["regions"][0]["name"] == "whole"
