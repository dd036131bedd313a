import numpy as np
import pytest

import spectra
from spectra.diagnose.fleet import analyze_fleet
from spectra.errors import InputError, SourceError
from tests.models import heavy_tailed, write_small


@pytest.fixture
def models(tmp_path):
    return [
        write_small(tmp_path / f"{name}.safetensors", extra__weight=heavy_tailed(60, 40, seed))
        for seed, name in enumerate("ab")
    ]


def equal(first, second):
    assert [repr(layer) for layer in first.layers] == [repr(layer) for layer in second.layers]
    assert set(first.spectra) == set(second.spectra)
    assert all(np.array_equal(first.spectra[name], second.spectra[name]) for name in first.spectra)


def test_each_model_is_what_it_is_by_itself(models, tmp_path):
    fleet = analyze_fleet(models, output=tmp_path / "out", workers=2)
    for model, found in zip(models, fleet.models, strict=True):
        equal(spectra.analyze(model), spectra.load(tmp_path / "out" / found.name))
        assert found.summary == spectra.load(tmp_path / "out" / found.name).summary


def test_progress_counts_the_layers_of_all_models_by_their_work(models, tmp_path):
    told = []
    analyze_fleet(models, output=tmp_path / "out", workers=1, progress=told.append)
    assert [progress.num_done for progress in told] == list(range(15))
    assert {(progress.num_layers, progress.num_models) for progress in told} == {(14, 2)}
    shares = [progress.share_done for progress in told]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)


def test_an_interrupted_fleet_goes_on_where_it_was(models, tmp_path):
    def stop(progress):
        if progress.num_done == 7:  # all layers of the first
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze_fleet(models, output=tmp_path / "out", workers=1, progress=stop)
    assert [model.summary is None for model in spectra.load_fleet(tmp_path / "out").models] == [True, True]
    told = []
    fleet = analyze_fleet(models, output=tmp_path / "out", workers=1, progress=told.append)
    assert [progress.num_done for progress in told] == [7, 8, 9, 10, 11, 12, 13, 14]
    assert fleet.num_failed == 0
    analyze_fleet([*models, write_small(tmp_path / "c.safetensors")], output=tmp_path / "out", workers=1, progress=told.append)
    assert told[8].num_done == 14  # what is finished is read, and a model may be added
    assert told[-1].num_done == 20


def test_a_model_that_cannot_be_opened_does_not_stop_the_others(models, tmp_path):
    fleet = analyze_fleet([models[0], tmp_path / "nowhere", models[0]], output=tmp_path / "out")
    done, missing = fleet.models  # named twice, analysed once
    assert done.summary.num_layers == 7
    assert missing.error.startswith(f"no file or folder '{tmp_path / 'nowhere'}'")
    with pytest.raises(SourceError, match="none of 2 models can be analysed. 'x': no file or folder '/x'.* 'y': no file"):
        analyze_fleet(["/x", "/y"], output=tmp_path / "other")
    with pytest.raises(InputError, match="models: none given"):
        analyze_fleet([], output=tmp_path / "other")
    with pytest.raises(InputError, match="models: expected paths or hub ids, got dict"):
        analyze_fleet([{"a": np.eye(3)}], output=tmp_path / "other")


def test_engines_are_checked_before_anything_is_read(tmp_path):
    for analyze in (spectra.analyze, lambda model, **more: analyze_fleet([model], output=tmp_path / "out", **more)):
        with pytest.raises(InputError, match="engine: unknown 'rya'. Did you mean 'ray'\\? Known: local, ray"):
            analyze("/nowhere", engine="rya")
        with pytest.raises(InputError, match="address 'auto': only engine 'ray' works at another place"):
            analyze("/nowhere", address="auto")
        assert not (tmp_path / "out").exists()
