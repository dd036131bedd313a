import pytest

from spectra.errors import ResultsError
from spectra.training.meta_peft.run_record import check_run, save_run

TASKS = {"books": "a", "dvd": "b"}
OPTIONS = {"method": "peft_ml", "tasks_per_step": None}


def test_the_same_run_goes_on(tmp_path):
    save_run(tmp_path, TASKS, OPTIONS)

    check_run(tmp_path, TASKS, OPTIONS)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ({"books": "a"}, OPTIONS, r"its tasks are books, dvd; here they are books"),
        ({"dvd": "b", "books": "a"}, OPTIONS, r"its tasks are books, dvd; here they are dvd, books"),
        ({"books": "a", "dvd": "c"}, OPTIONS, r"task 'dvd' had other rows"),
        (TASKS, {**OPTIONS, "method": "standard"}, r"began with method = 'peft_ml', and is to go on with 'standard'"),
    ],
)
def test_another_run_is_refused(tmp_path, tasks, options, message):
    save_run(tmp_path, TASKS, OPTIONS)

    with pytest.raises(ResultsError, match=message):
        check_run(tmp_path, tasks, options)


def test_a_folder_without_a_record_is_none_of_ours(tmp_path):
    with pytest.raises(ResultsError, match="there is no checkpoint of meta-PEFT"):
        check_run(tmp_path, TASKS, OPTIONS)
