import dataclasses

import pytest

from spectra.report.html.content import PageContent, read_content
from spectra.report.html.sections import depth, fisher, layers, plan, settings, summary
from spectra.report.html.verdicts import verdict
from spectra.results.records import LayerStatus
from spectra.results.settings import AnalysisSettings
from tests.fishers import fisher_of, squared_gradients
from tests.layer_rows import row
from tests.reports import report_of

NAMES = [f"layers.{block}.{role}" for block in range(6) for role in ("query", "dense")]


def content_of(names=NAMES, **changes):
    return PageContent(report=report_of(list(names)), **changes)


def points_of(chart):
    return [trace for trace in chart.traces if trace["mode"] == "markers"]


def test_alpha_by_depth_draws_every_fitted_layer_once_and_leads_to_its_row():
    content = content_of()
    [chart] = depth.section(content).charts
    drawn = {number: alpha for trace in points_of(chart) for number, alpha in zip(trace["customdata"], trace["y"], strict=True)}
    assert drawn == pytest.approx({i: layer.alpha for i, layer in enumerate(content.report.layers)}, rel=1e-5)


def test_a_short_axis_of_blocks_has_whole_numbers():
    [chart] = depth.section(content_of()).charts
    assert chart.layout["xaxis"]["dtick"] == 1


def test_doubtful_fits_are_hollow_in_the_chart_and_in_parentheses_in_the_table():
    content = content_of()
    doubtful = [layer.matrix_name for layer in content.report.layers if layer.fit_quality == "poor"]
    [chart] = depth.section(content).charts
    hollow = sum(symbol.endswith("-open") for trace in points_of(chart) for symbol in trace["marker"]["symbol"])
    assert hollow == len(doubtful) == 1
    values = layers.section(content).values
    place = [column.name for column in values["columns"]].index("alpha")
    texts = {shown.layer.matrix_name: shown.cells[place][1] for shown in values["rows"]}
    assert [name for name, text in texts.items() if text.startswith("(")] == doubtful


def test_the_band_of_well_trained_layers_is_not_drawn_for_inverse_eigenvalues():
    report = report_of(NAMES)
    assert depth.section(PageContent(report=report)).charts[0].layout["shapes"]
    inverse = dataclasses.replace(report, settings=AnalysisSettings(inverse=True))
    assert depth.section(PageContent(report=inverse)).charts[0].layout["shapes"] == []


def test_what_is_worth_a_look_stands_in_the_summary():
    found = summary.section(content_of()).values
    assert [layer.label for layer, _ in found["worth_a_look"]] == ["under-trained", "under-trained", "over-trained"]
    assert {tone: count for tone, _, count in found["shares"]} == {"good": 8, "low": 1, "high": 2, "doubtful": 1}


def test_settings_that_differ_are_told_apart():
    report = report_of(NAMES, xmin="median")
    values = settings.section(PageContent(report=report)).values
    assert [name for name, *_ in values["changed"]] == ["xmin"]
    assert len(values["unchanged"]) == len(dataclasses.fields(AnalysisSettings)) - 1


@pytest.mark.parametrize("status", [status for status in LayerStatus if status != LayerStatus.OK])
def test_every_status_has_a_sentence(status):
    found = verdict(row("fc", status=status, notes="so it is"), AnalysisSettings())
    assert found.word == str(status).replace("_", " ")
    assert found.sentence.endswith(" So it is.")


def test_a_fit_that_is_not_judged_is_only_fitted():
    found = verdict(row("fc", 3.0), AnalysisSettings(inverse=True))
    assert (found.tone, found.word) == ("plain", "fitted")


def test_fisher_scores_stand_beside_alpha_and_in_the_table():
    measured = fisher_of(squared_gradients())
    content = content_of(["block.fc", "block.proj", "other"], fisher=measured)
    beside, along = fisher.section(content).charts
    scores = measured.scores("layer")
    drawn = {trace["y"][i]: trace["x"][i] for trace in points_of(beside) for i in range(len(trace["x"]))}
    expected = {scores[layer.layer_name]: layer.alpha for layer in content.report.layers[:2]}
    assert list(drawn) == pytest.approx(list(expected), rel=1e-5)
    assert list(drawn.values()) == pytest.approx(list(expected.values()), rel=1e-5)
    assert sum(len(trace["x"]) for trace in points_of(along)) == sum(score > 0.0 for score in scores.values())
    values = layers.section(content).values
    assert values["columns"][-1].name == "fisher"
    texts = {shown.layer.matrix_name: shown.cells[-1][1] for shown in values["rows"]}
    assert texts == {"block.fc": f"{scores['block.fc']:.2e}", "block.proj": f"{scores['block.proj']:.2e}", "other": "–"}


def test_a_fisher_of_another_model_is_told_and_the_page_stands():
    content = content_of(fisher=fisher_of(squared_gradients()))
    found = fisher.section(content)
    assert [chart.name for chart in found.charts] == ["fisher-by-depth"]
    assert "no layer is in both" in found.values["notes"][-1]
    assert "fisher" not in [column.name for column in layers.section(content).values["columns"]]


def test_plans_show_every_unit(tmp_path):
    import spectra

    report_of(NAMES).save(tmp_path)
    made = spectra.plan(str(tmp_path))
    [shown] = plan.section(content_of(plans=(("plan.yaml", made),))).values["plans"]
    assert [name for name, *_ in shown.units] == list(made.values)
    drawn = [value for trace in points_of(shown.chart) for value in trace["y"]]
    assert drawn == pytest.approx(list(made.values.values()), rel=1e-5)
    assert shown.sentences[0].lower() == str(made).splitlines()[0].lower()


def test_what_lies_in_the_folder_is_found(tmp_path):
    import spectra

    report_of(NAMES).save(tmp_path)
    fisher_of(squared_gradients()).save(tmp_path / "fisher.safetensors")
    spectra.plan(str(tmp_path)).save(tmp_path / "rates.yaml")
    (tmp_path / "recipe.yaml").write_text("model: {name: demo}\n")
    (tmp_path / "spoilt.yaml").write_text("policy: tempbalance\nvalues: {a: 1\n")
    content = read_content(tmp_path)
    assert content.fisher.info.model == "tiny"
    assert [name for name, _ in content.plans] == ["rates.yaml"]
    [note] = content.notes
    assert note.startswith("spoilt.yaml is not shown: ")


def test_a_damaged_fisher_in_the_folder_is_a_note(tmp_path):
    report_of(NAMES).save(tmp_path)
    (tmp_path / "f.json").write_text("{}")
    (tmp_path / "f.safetensors").write_bytes(b"")
    content = read_content(tmp_path)
    assert content.fisher is None
    assert content.notes[0].startswith("f.safetensors is not shown: ")
    assert fisher.section(content) is None
    assert plan.section(content) is None
