import math

import pytest

from spectra.errors import InputError, ResultsError
from spectra.results.model_errors import METRICS, load_model_errors
from tests.drawn_reports import fitted_row, report_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two reports."""
    folder = tmp_path_factory.mktemp("models")
    for name, alphas in (("small", (2.0, 4.0, math.nan)), ("large", (3.0,))):
        report_of([fitted_row(f"l{i}", alpha) for i, alpha in enumerate(alphas)], name=name).save(folder / name)
    return folder


def written(folder, text, name="models.csv", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def test_rows_are_models_with_their_reports_and_errors(folder):
    table = written(folder, "report,test_error,name,group,remark\nsmall,8.5,S,net,?\nlarge,7,,,\n")
    first, second = load_model_errors(table)
    assert (first.name, first.group, first.test_error) == ("S", "net", 8.5)
    assert (second.name, second.group, second.test_error) == ("large", "", 7.0)
    assert second.report.model.name == "large"


def test_a_table_from_a_spreadsheet_can_be_read(folder):
    table = written(folder, " report ,test_error\r\n small , 8.5 \r\n", encoding="utf-8-sig")
    assert load_model_errors(table)[0].test_error == 8.5


def test_means_are_over_the_layers_that_have_the_column_as_in_the_summary(folder):
    [model] = load_model_errors(written(folder, "report,test_error\nsmall,1\n"))
    assert model.mean("alpha") == 3.0
    assert math.isnan(model.mean("lambda_plus"))
    for metric in ("alpha_weighted", "ks_distance"):
        assert model.mean(metric) == pytest.approx(model.report.summary.metrics[metric].mean, rel=1e-14)


def test_an_unknown_metric_is_refused_with_the_nearest(folder):
    [model] = load_model_errors(written(folder, "report,test_error\nsmall,1\n"))
    with pytest.raises(InputError, match="unknown metric 'alpha_weigthed'. Did you mean 'alpha_weighted'?"):
        model.mean("alpha_weigthed")
    assert "layer_name" not in METRICS


def test_all_rows_that_cannot_be_read_are_told_at_once(folder):
    table = written(folder, "report,test_error\nsmall,few\n\nnone,2\nlarge,nan\n,3\nsmall,1\nlarge\n", "wrong.csv")
    with pytest.raises(ResultsError) as caught:
        load_model_errors(table)
    assert str(caught.value) == (
        f"'{table}', line 2: test_error 'few' is no number.; line 4: there is no folder '{folder / 'none'}'. "
        "Give one with a result, such as: spectra analyze MODEL --output DIR; line 5: test_error 'nan' is no number.; "
        "line 6: no report is named.; line 8: test_error '' is no number."
    )


def test_missing_columns_are_told_with_the_nearest(folder):
    with pytest.raises(
        ResultsError, match="has no column test_error. Did you mean 'test_errors'\\? It needs report and test_error"
    ):
        load_model_errors(written(folder, "report,test_errors\nsmall,1\n"))
    with pytest.raises(ResultsError, match="has no column report and test_error"):
        load_model_errors(written(folder, ""))


def test_a_table_without_rows_is_refused(folder):
    with pytest.raises(ResultsError, match="has no rows"):
        load_model_errors(written(folder, "report,test_error\n"))


def test_what_is_no_table_is_refused(folder):
    with pytest.raises(ResultsError, match="the table '.*none.csv' cannot be read"):
        load_model_errors(folder / "none.csv")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultsError, match="the table '.*binary.csv' cannot be read"):
        load_model_errors(folder / "binary.csv")
