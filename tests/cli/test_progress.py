"""The progress bar of counted work."""

from spectra.cli.progress import progress_bar


def test_a_hidden_bar_prints_nothing(capsys):
    with progress_bar("texts", hidden=True) as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_counts_on_stderr(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for: this is a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("texts", hidden=False) as advance:
        advance(1000, 4000)
        advance(2000, 4000)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2,000/4,000 texts" in err


def test_a_bar_may_count_something_else_first(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("texts", hidden=False) as advance:
        advance(2, 3, "steps")
        assert "2/3 steps" in capsys.readouterr().err
        advance(3, 3, "steps")
        advance(1, 9)
    assert "1/9 texts" in capsys.readouterr().err
