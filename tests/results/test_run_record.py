import json
import math

import pytest

from spectra.errors import ResultsError
from spectra.results.run_record import RESULTS, load_run
from tests.run_folders import run_record


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    record = run_record(spectra_skipped=("after epoch 1: no time",), notes=("The head is new.",), best_metric=0.8, best_step=20)
    record.save(tmp_path)
    assert load_run(tmp_path) == load_run(tmp_path / RESULTS) == record


def test_numbers_that_json_has_no_word_for_survive(tmp_path):
    run_record(eval_metrics={"eval_loss": math.nan, "eval_perplexity": math.inf}, num_eval=None).save(tmp_path)
    found = load_run(tmp_path)
    assert math.isnan(found.eval_metrics["eval_loss"])
    assert found.eval_metrics["eval_perplexity"] == math.inf
    assert found.num_eval is None


def test_a_run_that_is_not_finished_is_told_how_to_finish(tmp_path):
    with pytest.raises(ResultsError, match="there is no record of a finished run at .* the same command goes on"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"seed": ...}, {"colour": 1}, {"seconds": 3}, {"notes": None}],
    ids=["missing", "unknown", "no mapping", "no list"],
)
def test_a_damaged_record_is_refused(tmp_path, change):
    run_record().save(tmp_path)
    content = json.loads((tmp_path / RESULTS).read_text()) | change
    (tmp_path / RESULTS).write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    with pytest.raises(ResultsError, match="is no record of a finished run, or a damaged one"):
        load_run(tmp_path)


def test_another_schema_version_is_refused(tmp_path):
    (tmp_path / RESULTS).write_text('{"schema_version": 99}')
    with pytest.raises(ResultsError, match="has schema version 99, this Spectra reads 1"):
        load_run(tmp_path)
