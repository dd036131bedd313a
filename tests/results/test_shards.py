import json
import shutil

import numpy as np
import pytest

import spectra
from spectra import InputError, ResultsError
from spectra.results.shards import Shard, numbers, saved_shards
from tests.models import uneven_weights


@pytest.fixture(scope="module")
def first_of_three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "out"
    spectra.analyze(uneven_weights(), output=folder, shard="0/3")
    return folder


def test_a_shard_is_read_as_it_is_written():
    assert Shard.parse("0/8") == Shard(0, 8)
    assert str(Shard.parse("7/8")) == "7/8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8/8", "there is no '8/8': shards are counted from 0, from '0/8' to '7/8'"),
        ("0/0", "expected at least one shard, got '0/0'"),
        ("1", "expected I/N, such as 0/8 for the first of eight, or 'auto', got '1'"),
        ("-1/3", "expected I/N"),
        ("1/3/4", "expected I/N"),
        ("１/３", "expected I/N"),
        ("", "expected I/N"),
    ],
)
def test_what_is_no_shard_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        Shard.parse(text)


def test_numbers_are_written_as_batch_systems_take_them():
    assert numbers([11, 0, 3, 4, 5, 9]) == "0,3-5,9,11"
    assert numbers([]) == ""


def test_a_shard_is_a_result_folder_that_says_what_it_is_a_part_of(first_of_three):
    (shard,) = saved_shards(first_of_three)
    assert shard.folder == first_of_three / "shards" / "0-of-3"
    part = spectra.load(shard.folder)
    whole = [layer.matrix_name for layer in spectra.analyze(uneven_weights()).layers]
    assert shard.is_finished
    assert (shard.record.shard, shard.record.num_layers) == (Shard(0, 3), 6)
    assert shard.record.places == {layer.matrix_name: whole.index(layer.matrix_name) for layer in part.layers}
    assert shard.record.model.notes == ()
    assert part.model.notes == (f"Shard 0/3: {len(part.layers)} of 6 layers.",)


def test_a_folder_of_shards_is_no_result_and_says_how_it_becomes_one(first_of_three):
    with pytest.raises(ResultsError, match="holds shards that are not merged yet. Merge them: spectra merge"):
        spectra.load(first_of_three)
    with pytest.raises(ResultsError, match="holds shards that are not merged yet"):
        spectra.plan(first_of_three)


def test_a_run_of_the_whole_does_not_move_in_with_shards(first_of_three, tmp_path):
    with pytest.raises(ResultsError, match=r"holds shards of an analysis. Run those that are left \(--shard\), and merge them"):
        spectra.analyze(uneven_weights(), output=first_of_three)
    both = shutil.copytree(first_of_three, tmp_path / "both")
    assert len(spectra.analyze(uneven_weights(), output=both, force=True).layers) == 6
    assert (both / "shards" / "0-of-3").is_dir()


def test_a_finished_shard_is_returned_and_not_computed_again(first_of_three):
    seen = []
    report = spectra.analyze(uneven_weights(), output=first_of_three, shard="0/3", progress=seen.append)
    assert (seen, repr(report.layers)) == ([], repr(spectra.load(first_of_three / "shards" / "0-of-3").layers))


def test_what_could_not_be_merged_in_the_end_is_refused_at_once(first_of_three):
    with pytest.raises(ResultsError, match=r"holds shards of another analysis \(xmin 'ks' there, 'median' now\)"):
        spectra.analyze(uneven_weights(), xmin="median", output=first_of_three, shard="1/3")
    with pytest.raises(ResultsError, match="of other weights"):
        spectra.analyze(uneven_weights(seed=7), output=first_of_three, shard="1/3")
    with pytest.raises(ResultsError, match="holds shards of 3, and this is one of 4. Divide by 3"):
        spectra.analyze(uneven_weights(), output=first_of_three, shard="1/4")
    assert [shard.record.shard for shard in saved_shards(first_of_three)] == [Shard(0, 3)]


def test_shards_do_not_move_in_with_others(tmp_path):
    spectra.analyze(uneven_weights(), xmin="median", output=tmp_path / "other")
    with pytest.raises(ResultsError, match=r"holds the result of another analysis \(xmin 'median' there, 'ks' now\)"):
        spectra.analyze(uneven_weights(), output=tmp_path / "other", shard="1/3")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(ResultsError, match="holds other files"):
        spectra.analyze(uneven_weights(), output=tmp_path / "mine", shard="1/3")
    spectra.analyze(uneven_weights(), output=tmp_path / "mine", shard="1/3", force=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"


def test_an_undivided_run_is_not_divided_in_the_middle(tmp_path):
    def stop(progress):
        if progress.num_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectra.analyze(uneven_weights(), output=tmp_path / "out", progress=stop)
    with pytest.raises(ResultsError, match="holds an unfinished run that is not divided. Finish it without --shard"):
        spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="0/2")


def test_an_interrupted_shard_continues(tmp_path):
    def stop(progress):
        if progress.num_done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="1/2", progress=stop, workers=1)
    (shard,) = saved_shards(tmp_path / "out")
    assert not shard.is_finished
    seen = []
    report = spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="1/2", progress=seen.append)
    assert (seen[0].num_done, seen[-1].num_done) == (1, len(report.layers))


def test_two_processes_do_not_write_one_shard_and_others_go_on(tmp_path):
    def meanwhile(progress):
        if progress.num_done == 1:
            with pytest.raises(ResultsError, match="shards/1-of-2' is being written by"):
                spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="1/2")
            spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="0/2")

    spectra.analyze(uneven_weights(), output=tmp_path / "out", shard="1/2", progress=meanwhile)
    assert len(spectra.merge(tmp_path / "out").layers) == 6


def test_more_shards_than_layers_leave_some_empty(tmp_path):
    weights = {"fc.weight": np.eye(20)}
    sizes = [len(spectra.analyze(weights, output=tmp_path / "out", shard=f"{index}/3").layers) for index in range(3)]
    assert sizes == [1, 0, 0]
    assert [row.layer_name for row in spectra.merge(tmp_path / "out").layers] == ["fc"]


def test_a_damaged_record_is_refused(first_of_three, tmp_path):
    record = json.loads((first_of_three / "shards" / "0-of-3" / "shard.json").read_text())
    (tmp_path / "shards" / "0-of-3").mkdir(parents=True)
    file = tmp_path / "shards" / "0-of-3" / "shard.json"
    for content, message in (
        ("{", "is no record of a shard, or a damaged one"),
        (json.dumps({**record, "schema_version": 9}), "has schema version 9, this Spectra reads 1"),
        (json.dumps({key: value for key, value in record.items() if key != "places"}), "damaged one .'places'."),
    ):
        file.write_text(content)
        with pytest.raises(ResultsError, match=message):
            saved_shards(tmp_path)
