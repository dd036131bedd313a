import csv
import io
import json

import pytest

from spectra.cli.fleet import FleetAnswer, analyze_several
from spectra.cli.interrupted import Interrupted
from tests.cli.interrupts import ctrl_c_in
from tests.models import write_small

COMMAND = "analyze"


@pytest.fixture
def two(tmp_path):
    """Two small checkpoints of one name."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    return [str(write_small(folder / "tiny.safetensors")) for folder in folders]


def test_several_models_get_a_line_and_a_folder_each(run, two, tmp_path):
    code, out, err = run(*two, "--output", tmp_path / "out")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "Analysed 2 models"
    assert lines[2].split() == ["model", "layers", "alpha", "median", "range", "note", "location"]
    assert [line.split()[:2] for line in lines[3:]] == [["first-tiny", "6"], ["second-tiny", "6"]]
    assert lines[3].endswith("first/tiny.safetensors")
    assert f"{tmp_path / 'out' / 'fleet.json'} says which" in err
    assert (tmp_path / "out" / "second-tiny" / "report.json").is_file()


def test_data_of_several_models_is_a_table_of_all_layers_or_a_summary_of_each(run, two, tmp_path):
    code, out, err = run(*two, "-o", tmp_path / "out", "--csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["model"] for row in rows] == ["first-tiny"] * 6 + ["second-tiny"] * 6
    code, out, err = run(*two, "-o", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    assert [(model["name"], model["summary"]["num_layers"]) for model in json.loads(out)["models"]] == [
        ("first-tiny", 6),
        ("second-tiny", 6),
    ]


def test_a_model_that_cannot_be_opened_is_told_at_the_end_with_exit_code_1(run, two, tmp_path):
    code, out, err = run(two[0], tmp_path / "gone", "-o", tmp_path / "out", "--quiet")
    assert code == 1
    assert "gone" in out
    assert out.splitlines()[0] == "Analysed 1 of 2 models"
    assert "not analysed  …" in out.splitlines()[-1]
    assert err == f"spectra: '{tmp_path / 'gone'}' was not analysed: no file or folder '{tmp_path / 'gone'}'. " + (
        "Check the path, or give a hub id such as 'org/name'.\n"
    )


def test_a_terminal_obeys_no_name_of_a_model_that_cannot_be_opened(run, two, tmp_path):
    code, out, err = run(two[0], f"{tmp_path}/gone\x1b[2J", "-o", tmp_path / "out", "--quiet")
    assert code == 1
    assert "\x1b" not in out + err
    assert "gone␛[2J" in err


def test_pages_are_written_for_each_model(run, two, tmp_path):
    assert run(*two, "-o", tmp_path / "out", "--report", "--quiet")[0] == 0
    assert [(tmp_path / "out" / name / "report.html").is_file() for name in ("first-tiny", "second-tiny")] == [True, True]


def test_several_models_without_a_folder_or_to_be_listed_only_are_refused(refused, two, tmp_path):
    assert refused(*two) == "several models: each gets a result folder of its own. Give a folder for them with --output DIR."
    assert refused(*two, "--dry-run") == "--dry-run lists one model, and there are 2. Give one."
    message = refused(tmp_path / "x", tmp_path / "y", "-o", tmp_path / "out")
    assert message.startswith("none of 2 models can be analysed. 'x': no file or folder")


def test_engines_and_addresses_are_checked(refused, two):
    assert refused(two[0], "--engine", "rya") == "engine: unknown 'rya'. Did you mean 'ray'? Known: local, ray."
    assert refused(two[0], "--address", "auto").startswith("address 'auto': only engine 'ray' works at another place.")


def test_an_interrupt_says_how_to_go_on(capsys, two, tmp_path):
    answer = FleetAnswer(as_json=False, as_csv=False, with_page=False, quiet=True, no_color=True)
    with ctrl_c_in("add"), pytest.raises(Interrupted, match="^Finished layers are kept in '.*out'; the same"):
        analyze_several(tuple(two), tmp_path / "out", answer, engine="local")
    assert capsys.readouterr() == ("", "")
