import csv
import io
import json
import math
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from spectra.errors import InputError, MissingPackageError, ResultsError
from spectra.results.fisher_spectrum import (
    FisherSpectrum,
    LayerSpectrum,
    SpectrumInfo,
    load_fisher_spectrum,
    spectrum_file,
)
from tests.fishers import fisher_of, squared_gradients

INFO = SpectrumInfo(
    kind="sampled", reduction="sequence_sum", task="causal-lm", num_samples=3, num_rows=6, num_draws=2, seed=7, model="tiny",
    data="ab" * 32, version="0.1.0", notes=("3 texts of 'ä.txt'", "no gradient reaches: head"),
)  # fmt: skip
HEADER = "spectra_fisher_spectrum"


def spectrum():
    layers = (
        LayerSpectrum("block.fc", 20, np.array([0.0, 0.0, 0.1, 0.5, 1.0, 2.4])),
        LayerSpectrum("block.norm", 2, np.array([0.25, 0.75])),
        LayerSpectrum("head", 30, np.zeros(6)),
        LayerSpectrum("", 0, np.zeros(0)),
    )
    return FisherSpectrum(INFO, layers, np.array([0.0, 0.1, 0.2, 0.5, 1.2, 3.0]))


def saved(tmp_path, name="s.safetensors"):
    spectrum().save(tmp_path / name)
    return tmp_path / name


# Numbers of a layer


def test_trace_and_stable_rank_are_those_of_the_eigenvalues():
    fc, norm, *_ = spectrum().layers
    assert (fc.trace, fc.lambda_max) == (4.0, 2.4)
    assert fc.stable_rank == pytest.approx(4.0 / 2.4, rel=1e-15)
    assert norm.stable_rank == pytest.approx(1.0 / 0.75, rel=1e-15)


@pytest.mark.parametrize("place", [2, 3], ids=["no gradient", "no parameter"])
def test_a_layer_without_gradients_has_no_stable_rank(place):
    layer = spectrum().layers[place]
    assert (layer.trace, layer.lambda_max) == (0.0, 0.0)
    assert math.isnan(layer.stable_rank)


def test_eigenvalues_are_found_by_the_name_of_the_layer():
    np.testing.assert_array_equal(spectrum().eigenvalues("block.norm"), [0.25, 0.75])


def test_an_unknown_layer_comes_with_a_suggestion():
    with pytest.raises(InputError, match=r"no layer 'block\.nrom' in this spectrum\. Did you mean 'block\.norm'\?"):
        spectrum().eigenvalues("block.nrom")


# Tables


def test_the_table_has_a_row_per_layer_with_its_largest_eigenvalues():
    fc, norm, head, empty = spectrum().table(top=3)
    assert list(fc) == [
        "layer_name", "num_params", "trace", "lambda_max", "stable_rank", "eigenvalue_1", "eigenvalue_2", "eigenvalue_3",
    ]  # fmt: skip
    assert fc == {
        "layer_name": "block.fc", "num_params": 20, "trace": 4.0, "lambda_max": 2.4, "stable_rank": 4.0 / 2.4,
        "eigenvalue_1": 2.4, "eigenvalue_2": 1.0, "eigenvalue_3": 0.5,
    }  # fmt: skip
    assert (norm["eigenvalue_2"], norm["eigenvalue_3"]) == (0.25, None)
    assert head["stable_rank"] is empty["stable_rank"] is empty["eigenvalue_1"] is None
    assert json.loads(json.dumps(spectrum().table(), allow_nan=False)) == spectrum().table()


def test_a_table_may_do_without_eigenvalues():
    assert list(spectrum().table(top=0)[0]) == ["layer_name", "num_params", "trace", "lambda_max", "stable_rank"]


@pytest.mark.parametrize("method", ["table", "to_pandas", "to_csv"])
def test_fewer_eigenvalues_than_none_are_refused(method):
    with pytest.raises(InputError, match=r"top is -1: pass how many of the largest eigenvalues to show, 0 or more\."):
        getattr(spectrum(), method)(top=-1)


def test_the_frame_has_numbers_where_the_table_has_nothing():
    frame = spectrum().to_pandas(top=2)
    assert frame.dtypes[2:].eq("float64").all()
    assert frame["num_params"].tolist() == [20, 2, 30, 0]
    assert frame["stable_rank"].isna().tolist() == [False, False, True, True]


def test_a_frame_without_pandas_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # how Python marks a package that cannot be imported
    with pytest.raises(MissingPackageError, match=r"tables need pandas: pip install \"spectra-nn\[frames\]\""):
        spectrum().to_pandas()


def test_csv_reads_back_to_the_same_numbers():
    rows = list(csv.DictReader(io.StringIO(spectrum().to_csv(top=6))))
    assert [float(rows[0][f"eigenvalue_{i}"]) for i in range(1, 7)] == spectrum().eigenvalues("block.fc")[::-1].tolist()
    assert rows[1]["eigenvalue_3"] == rows[2]["stable_rank"] == ""


def test_it_says_which_spectrum_it_is():
    assert str(spectrum()).split("\n") == [
        "Spectrum of the sampled Fisher of 'tiny' (causal-lm, sequence_sum): 3 samples, 6 gradients",
        "largest eigenvalue 3.00e+00, stable rank 1.7",
    ]


# The file


def test_what_is_saved_is_what_is_loaded(tmp_path):
    found, expected = load_fisher_spectrum(saved(tmp_path)), spectrum()
    assert found.info == expected.info
    assert [(one.layer_name, one.num_params) for one in found.layers] == [(o.layer_name, o.num_params) for o in expected.layers]
    for one, other in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(one.eigenvalues, other.eigenvalues)
        assert one.eigenvalues.dtype == np.float64
    np.testing.assert_array_equal(found.whole, expected.whole)


def test_equal_spectra_are_equal_files(tmp_path):
    assert saved(tmp_path, "a.safetensors").read_bytes() == saved(tmp_path, "b.safetensors").read_bytes()


def test_slices_are_saved_as_what_they_hold(tmp_path):
    wide = np.arange(12.0)
    FisherSpectrum(INFO, (LayerSpectrum("fc", 6, wide[::2]),), wide[::3]).save(tmp_path / "s.safetensors")
    found = load_fisher_spectrum(tmp_path / "s.safetensors")
    np.testing.assert_array_equal(found.eigenvalues("fc"), wide[::2])
    np.testing.assert_array_equal(found.whole, wide[::3])


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    file = saved(tmp_path, "new/s.safetensors")
    assert list((tmp_path / "new").iterdir()) == [file]


def test_a_file_is_replaced_only_when_forced(tmp_path):
    file = saved(tmp_path)
    before = file.read_bytes()
    other = FisherSpectrum(INFO, (), np.ones(1))
    for refused in (lambda: other.save(file), lambda: spectrum_file(file)):
        with pytest.raises(ResultsError, match=r"s\.safetensors' exists\. Choose another name, or replace it with force=True"):
            refused()
    assert file.read_bytes() == before
    other.save(file, force=True)
    np.testing.assert_array_equal(load_fisher_spectrum(file).whole, [1.0])


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"s\.npz' must end in \.safetensors\. Choose such a name\."):
        spectrum().save(tmp_path / "s.npz")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot write to '.*file'"):
        spectrum().save(tmp_path / "file" / "s.safetensors")


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(
        ResultsError, match=r"there is no Fisher spectrum at '.*s\.safetensors'\. Make it again: spectra fisher"
    ):
        load_fisher_spectrum(tmp_path / "s.safetensors")


def test_other_files_are_no_spectra(tmp_path):
    (tmp_path / "text").write_text("text")
    save_file({"w": np.ones(2)}, tmp_path / "weights")
    fisher_of(squared_gradients()).save(tmp_path / "fisher.safetensors")
    for name in ("text", "weights", "fisher.safetensors", "."):
        with pytest.raises(ResultsError, match=r"is no Fisher spectrum, or a damaged one"):
            load_fisher_spectrum(tmp_path / name)


def test_a_truncated_file_is_damaged(tmp_path):
    file = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ResultsError, match=r"is no Fisher spectrum, or a damaged one"):
        load_fisher_spectrum(file)


def rewritten(file, change):
    """Change header and arrays of a file."""
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        header = json.loads(opened.metadata()[HEADER])
    arrays = load_file(file)
    change(header, arrays)
    save_file(arrays, file, {HEADER: json.dumps(header)})
    return file


def test_another_schema_version_is_named(tmp_path):
    file = rewritten(saved(tmp_path), lambda header, _: header.update(schema_version=2))
    with pytest.raises(ResultsError, match=r"has schema version 2, this Spectra reads 1\. Make it again"):
        load_fisher_spectrum(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header["info"].pop("kind"),
        lambda header, arrays: header["info"].update(color="red"),
        lambda header, arrays: header.pop("layers"),
        lambda header, arrays: header["layers"][0].pop("num_params"),
        lambda header, arrays: header["layers"][0].update(layer_name="block.fd"),
        lambda header, arrays: arrays.pop("whole"),
        lambda header, arrays: arrays.update(whole=np.ones(2, np.float32)),
        lambda header, arrays: arrays.update(whole=np.ones((2, 2))),
        lambda header, arrays: arrays.update(whole=np.array([2.0, 1.0])),
        lambda header, arrays: arrays.update(whole=np.array([1.0, np.nan])),
    ],
    ids=[
        "no kind", "another setting", "no layers", "no size", "a layer without eigenvalues", "no whole", "float32", "a matrix",
        "not in order", "not a number",
    ],
)  # fmt: skip
def test_a_file_that_does_not_hold_together_is_damaged(tmp_path, change):
    with pytest.raises(ResultsError, match=r"s\.safetensors' is damaged \(.*\)\. Make it again"):
        load_fisher_spectrum(rewritten(saved(tmp_path), change))


def test_a_header_that_is_no_mapping_is_refused(tmp_path):
    save_file({"whole": np.ones(1)}, tmp_path / "s.safetensors", {HEADER: "[1]"})
    with pytest.raises(ResultsError, match=r"is no Fisher spectrum, or a damaged one"):
        load_fisher_spectrum(tmp_path / "s.safetensors")
