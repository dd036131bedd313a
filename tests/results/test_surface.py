import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError, ResultsError
from spectra.results.surface import LossSurface, SurfaceInfo, SurfaceRegion, load_surface, resumed

FACTS = {"whole": (202, 1000), "top": (101, 100), "bottom": (101, 900)}


def surface_of(num_points=5, regions=("whole", "top", "bottom"), seed=0, **settings):
    """A surface like a bowl, steeper from region to region."""
    grid = 1.5 * np.arange(-(num_points // 2), num_points // 2 + 1) / (num_points // 2)
    squares = grid[:, None] ** 2 + 2.0 * grid**2
    losses = {name: 2.0 + squares * (place + 1) for place, name in enumerate(regions)}
    info = {"level": "tensor", "norm_matched": True, "include_vectors": True, "num_points": num_points, "radius": 1.5} | {
        "seed": seed, "task": "masked-lm", "model": "bert-tiny", "num_tensors": 202, "num_params": 1000, "weight_norm": 7.5,
        "num_targets": 300, "data": "ab" * 32, "fisher": "cd" * 32, "version": "0.1.0",
    }  # fmt: skip
    about = tuple(SurfaceRegion(name, *FACTS[name], 7.5, 1.0) for name in regions)
    return LossSurface(SurfaceInfo(**info | settings), about, 2.0, grid, losses)


def assert_same(first, second):
    assert (first.info, first.regions, first.center_loss) == (second.info, second.regions, second.center_loss)
    np.testing.assert_array_equal(first.grid, second.grid)
    assert list(first.losses) == list(second.losses)
    for name, losses in first.losses.items():
        np.testing.assert_array_equal(losses, second.losses[name])  # NaN equals NaN here
        assert second.losses[name].dtype == np.float64


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=18, max_size=18),
    center=st.floats(allow_nan=False, allow_infinity=False),
    model=st.text(max_size=5),
    radius=st.floats(1e-6, 1e6),
)
def test_saving_and_loading_is_the_identity(tmp_path_factory, values, center, model, radius):
    surface = dataclasses.replace(surface_of(3, ("top", "bottom"), model=model, radius=radius), center_loss=center)
    surface.losses["top"][:], surface.losses["bottom"][:] = np.array(values).reshape(2, 3, 3)
    file = tmp_path_factory.mktemp("surface") / "a.npz"
    surface.save(file)
    assert_same(surface, load_surface(file))


def test_two_files_are_written_and_nothing_else(tmp_path):
    surface = surface_of()
    surface.save(tmp_path / "new" / "a.npz")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.json", "a.npz"]
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == json.loads(json.dumps(surface.to_dict()))


def test_equal_surfaces_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        surface_of().save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_npz_file_is_enough(tmp_path):
    surface_of().save(tmp_path / "a.npz")
    (tmp_path / "a.json").unlink()
    assert_same(load_surface(tmp_path / "a.npz"), surface_of())


def test_the_losses_can_be_read_without_spectra(tmp_path):
    surface_of().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["losses:top"], surface_of().losses["top"])
        np.testing.assert_array_equal(archive["grid"], surface_of().grid)


@pytest.mark.parametrize("taken", ["a.npz", "a.json"])
def test_files_are_replaced_only_when_forced(tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(ResultsError, match=f"{taken}' exists. Choose another name, or pass force=True"):
        surface_of().save(tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    surface_of().save(tmp_path / "a.npz", force=True)
    assert_same(load_surface(tmp_path / "a.npz"), surface_of())


@pytest.mark.parametrize("name", ["a.json", "a", "a.npz.txt"])
def test_other_endings_are_refused(tmp_path, name):
    for use in (surface_of().save, load_surface):
        with pytest.raises(ResultsError, match=r"a loss surface is written to a file that ends in .npz"):
            use(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write to"):
        surface_of().save(tmp_path / "file" / "a.npz")


def broken(tmp_path, change):
    """A file whose arrays were changed after they had been written."""
    surface_of().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def with_settings(change):
    def changed(arrays):
        settings = json.loads(str(arrays["settings"]))
        change(settings)
        arrays["settings"] = np.array(json.dumps(settings))

    return changed


BROKEN = {
    "no settings": (lambda arrays: arrays.pop("settings"), "is no loss surface"),
    "no json": (lambda arrays: arrays.update(settings=np.array("{")), "is no loss surface"),
    "json of something else": (lambda arrays: arrays.update(settings=np.array("[1]")), "is no loss surface"),
    "no version": (with_settings(lambda settings: settings.pop("schema_version")), "is no loss surface"),
    "other version": (with_settings(lambda settings: settings.update(schema_version=7)), "schema version 7, this Spectra"),
    "no info": (with_settings(lambda settings: settings.pop("info")), "is damaged"),
    "unknown info": (with_settings(lambda settings: settings["info"].update(colour="red")), "is damaged"),
    "no grid": (lambda arrays: arrays.pop("grid"), "is damaged"),
    "no losses": (lambda arrays: arrays.pop("losses:top"), "is damaged"),
    "other shape": (lambda arrays: arrays.update({"losses:top": np.ones((5, 4))}), r"expected float64 of shape \(5, 5\)"),
    "other dtype": (lambda arrays: arrays.update(grid=np.ones(5, int)), "'grid' is int64 of shape"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BROKEN.values(), ids=BROKEN)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, words):
    with pytest.raises(ResultsError, match=words) as caught:
        load_surface(broken(tmp_path, change))
    assert "\n" not in str(caught.value)
    assert "Make it again: spectra surface MODEL" in str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    with pytest.raises(ResultsError, match=r"there is no loss surface at '.*a.npz'"):
        load_surface(file)
    for content in (b"", b"text", b"PK\x03\x04 torn"):
        file.write_bytes(content)
        with pytest.raises(ResultsError, match="is no loss surface, or a damaged one"):
            load_surface(file)
    with file.open("wb") as opened:
        np.save(opened, np.ones(3))
    with pytest.raises(ResultsError, match="is no loss surface, or a damaged one"):
        load_surface(file)
    surface_of().save(file, force=True)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ResultsError, match="is no loss surface, or a damaged one"):
        load_surface(file)


def test_pickled_arrays_are_not_loaded(tmp_path):
    file = broken(tmp_path, lambda arrays: arrays.update(grid=np.array([print], dtype=object)))
    with pytest.raises(ResultsError, match="is no loss surface, or a damaged one .*allow_pickle=False"):
        load_surface(file)


def test_an_unfinished_surface_says_so(tmp_path):
    surface = surface_of()
    assert surface.is_complete
    surface.losses["top"][0, 0] = math.inf
    assert surface.is_complete
    surface.losses["top"][0, 1] = math.nan
    assert not surface.is_complete


def test_it_is_continued_only_where_everything_agrees(tmp_path):
    file, earlier = tmp_path / "a.npz", surface_of()
    earlier.save(file)
    assert_same(resumed(surface_of(weight_norm=7.5 * (1.0 + 1e-9)), file), earlier)  # as another number of threads may give
    for begun, words in [
        (surface_of(weight_norm=7.6), "weight_norm 7.5 there, 7.6 now"),
        (surface_of(seed=3), "seed 0 there, 3 now"),
        (surface_of(data="ef" * 32), "data 'abab"),
        (surface_of(regions=("whole",)), "regions whole, top, bottom there, whole now"),
        (dataclasses.replace(surface_of(), center_loss=2.1), "center_loss 2.0 there, 2.1 now"),
    ]:
        with pytest.raises(ResultsError, match=f"holds another loss surface .{words}.*Choose another file, or remove it."):
            resumed(begun, file)


def test_ring_means_are_those_of_a_plain_loop():
    surface, edges = surface_of(num_points=9), (0.0, 0.3, 0.7, 1.1, 1.5, math.inf)
    for name, losses in surface.losses.items():
        expected = []
        for inner, outer in itertools.pairwise(edges):
            inside = [
                losses[i, j]
                for i, a in enumerate(surface.grid)
                for j, b in enumerate(surface.grid)
                if inner <= math.hypot(a, b) < outer
            ]
            expected.append(sum(inside) / len(inside))
        assert surface.ring_means(name, edges) == pytest.approx(expected, rel=1e-12)


def test_rings_without_points_or_with_missing_ones_have_no_mean():
    surface = surface_of()
    surface.losses["top"][0, 0] = math.nan
    means = surface.ring_means("top", (0.0, 0.1, 0.2, 1.0, math.inf))
    assert means[0] == 2.0
    assert [math.isnan(mean) for mean in means] == [False, True, False, True]
    with pytest.raises(InputError, match=r"no region 'tpo' in this surface. Did you mean 'top'\? See surface.regions."):
        surface.ring_means("tpo", (0.0, 1.0))


def test_it_reads_well():
    lines = str(surface_of()).splitlines()
    assert lines[0] == "Loss of bert-tiny around its weights, 5 x 5 points, regions by tensors: 2 at the center"
    assert len(lines) == 4
    assert lines[2].startswith(
        "  top: 10.0% of the parameters move by 1 of all weights' norm; mean loss by radius: 2 (0 to 0.5), "
    )
    unfinished = surface_of(regions=("top",))
    unfinished.losses["top"][:] = math.nan
    assert str(unfinished).endswith("mean loss by radius: not measured yet")
